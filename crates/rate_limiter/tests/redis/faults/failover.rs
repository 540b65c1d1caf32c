//! What a promoted replica knows of what its dead master has granted.

use std::{sync::Arc, time::Duration};

use rate_limiter::{
    Ask, AskMany as _, Limit,
    redis::{RedisStore, TooFew},
};
use testkit::{Failed, RedisCluster, RedisServer, eventually};

use super::load::{LONG, Load, Outcome, TASKS, Totals, limit, redis, taken, tell};

/// How long a decision waits for a replica.
const WAIT: Duration = Duration::from_millis(50);

/// A cluster whose `victim` has every key that begins with `{key}`, and whose replica is the `heir`.
struct Doomed {
    cluster: RedisCluster,
    victim: usize,
    heir: usize,
}

impl Doomed {
    fn start(program: &str) -> Result<Self, Failed> {
        let cluster = RedisCluster::builder(program).replicas(1).arg("--appendonly").arg("no").start()?;
        let victim = cluster.first_master(cluster.slot("{key}")?);
        let heir = cluster.replica_of(victim);
        Ok(Self { cluster, victim, heir })
    }

    async fn plain(&self) -> Result<Arc<RedisStore>, Failed> {
        Ok(Arc::new(RedisStore::new(redis(&self.cluster.url()).await?)))
    }

    /// Grants nothing that no replica has acknowledged.
    async fn waiting(&self) -> Result<Arc<RedisStore>, Failed> {
        let builder = RedisStore::builder().wait(1, WAIT, TooFew::Deny);
        Ok(Arc::new(builder.build(redis(&self.cluster.url()).await?)))
    }

    fn victim(&self) -> &RedisServer {
        self.cluster.node(self.victim)
    }

    fn heir(&self) -> &RedisServer {
        self.cluster.node(self.heir)
    }

    /// Kills the victim, and waits for its heir to be promoted.
    fn fail_over(&mut self) -> Outcome {
        self.cluster.set_node_timeout(Duration::from_secs(1))?;
        self.cluster.node_mut(self.victim).kill()?;
        eventually(LONG, "the replica is promoted", || self.heir().role().is_ok_and(|role| role.is_master));
        Ok(())
    }

    /// Lets the heir acknowledge whatever was written before.
    async fn acknowledge_all(&self) -> Outcome {
        let victim = redis(&self.victim().url()).await?;
        let mut mark = ::redis::pipe();
        mark.cmd("SET").arg("{key}mark").arg(1).ignore().cmd("WAIT").arg(1).arg(LONG.as_millis() as u64);
        let (replicas,): (u32,) = mark.query_async(&mut victim.connection()?).await?;
        assert_eq!(replicas, 1);
        Ok(())
    }

    /// What the heir has counted, be it a replica still.
    async fn counted(&self, key: &str, limit: &Limit) -> Result<u64, Failed> {
        let redis = redis(&self.heir().url()).await?;
        // A replica in a cluster sends everybody else to its master.
        ::redis::cmd("READONLY").query_async::<()>(&mut redis.connection()?).await?;
        taken(&RedisStore::new(redis), key.as_bytes(), limit).await
    }

    /// Of how many of these keys the heir knows that a token was taken.
    async fn known(&self, keys: &[String], limit: &Limit) -> Result<usize, Failed> {
        let store = RedisStore::new(redis(&self.heir().url()).await?);
        let asks: Vec<_> = keys.iter().map(|key| (key.as_bytes(), Ask::Peek(BURST))).collect();
        let mut known = 0;
        for answer in store.ask_many(limit, &asks).await {
            known += usize::from(!answer?.decision.is_allowed());
        }
        Ok(known)
    }
}

const BURST: u32 = 100_000;

/// Nothing flows in while a case runs.
fn still() -> Limit {
    limit(&format!("1/day burst {BURST}"))
}

pub(crate) async fn acknowledged(program: &str) -> Outcome {
    let (limit, mut doomed) = (still(), Doomed::start(program)?);
    let loads = [
        Load::start_distinct(&doomed.waiting().await?, "{key}0", &limit),
        Load::start_distinct(&doomed.waiting().await?, "{key}1", &limit),
    ];
    for load in &loads {
        load.until(|load| load.granted() > 2_000).await;
    }
    doomed.fail_over()?;
    for load in loads {
        // The heir serves, and nobody is left to acknowledge what it grants.
        let (granted, denied) = (load.granted(), load.denied());
        load.until(|load| load.denied() > denied + 2 * TASKS).await;
        assert_eq!(load.granted(), granted, "a grant that no replica has was told as acknowledged");
        let Totals { granted, denied, ambiguous, told, .. } = load.stop().await;
        let known = doomed.known(&told.granted, &limit).await?;
        let lost = told.granted.len() - known;
        tell(&format!(
            "{granted} acknowledged, {lost} of them lost; {denied} not acknowledged; {ambiguous} ambiguous"
        ));
        assert!(ambiguous > 0, "nothing was on its way when the master was killed");
        assert_eq!(lost, 0, "acknowledged grants are lost");
        let (refused, touched) = (told.untouched.len(), doomed.known(&told.untouched, &limit).await?);
        assert!(refused > 0 && touched == 0, "{touched} of {refused} have taken what they say they have not");
    }
    Ok(())
}

pub(crate) async fn not_acknowledged(program: &str) -> Outcome {
    let (limit, mut doomed) = (still(), Doomed::start(program)?);
    let (plain, waiting) = (doomed.plain().await?, doomed.waiting().await?);
    let told = async |patience| {
        let told = waiting.ask_acknowledged(b"{key}first", &limit, Ask::Take(1), 1, patience).await?;
        Ok::<_, backends::Error>(told.replicas)
    };
    assert_eq!(told(LONG).await?, 1);
    doomed.acknowledge_all().await?;
    doomed.heir().freeze()?;
    assert_eq!(told(WAIT).await?, 0, "what the connection wrote before does not count");
    doomed.heir().thaw()?;
    assert_eq!(told(LONG).await?, 1);
    let unprotected = Load::start_until_it_fails(&plain, "{key}unprotected", &limit);
    let protected = Load::start_distinct(&waiting, "{key}protected", &limit);
    unprotected.until(|load| load.granted() > 500).await;
    protected.until(|load| load.granted() > 500).await;
    // A replica that is linked and does not go on has acknowledged nothing, though its socket has received it.
    doomed.heir().freeze()?;
    let denied = protected.denied();
    protected.until(|load| load.denied() > denied + TASKS).await;
    let granted = protected.granted();
    protected.until(|load| load.denied() > denied + 4 * TASKS).await;
    assert_eq!(protected.granted(), granted, "told as acknowledged by a frozen replica");
    doomed.heir().thaw()?;
    protected.until(|load| load.granted() > granted + 100).await;
    let before = unprotected.granted();
    // From here on the heir has at least these; then its link is cut, and only its.
    while doomed.counted("{key}unprotected", &limit).await? < before {}
    doomed.victim().drop_replicas()?;
    eventually(LONG, "the link is down", || doomed.heir().role().is_ok_and(|role| !role.is_linked));
    let applied = doomed.counted("{key}unprotected", &limit).await?;
    let (granted, denied) = (unprotected.granted(), protected.denied());
    unprotected.until(|load| load.granted() > granted + 500).await;
    protected.until(|load| load.denied() > denied + 20).await;
    let told = waiting.ask_acknowledged(b"{key}told", &limit, Ask::Take(7), 1, WAIT).await?;
    assert!(told.answer.decision.is_allowed() && told.answer.taken == 7);
    assert_eq!(told.replicas, 0, "nobody has it");
    doomed.fail_over()?;
    let Totals { granted, failed, .. } = unprotected.stop().await;
    let counted = doomed.counted("{key}unprotected", &limit).await?;
    let lost = granted.saturating_sub(counted);
    let after = granted - before;
    tell(&format!("without wait: {granted} granted, {after} of them after the last offset, {lost} lost"));
    assert!(failed > 0 && lost > 0, "nothing was lost: {failed} failed");
    assert!(lost <= after, "{lost} lost, but {after} granted afterwards");
    assert!(counted >= applied, "{counted} counted of {applied}");
    let Totals { granted, denied, told, .. } = protected.stop().await;
    let lost = told.granted.len() - doomed.known(&told.granted, &limit).await?;
    tell(&format!("with wait: {granted} acknowledged, {lost} of them lost; {denied} not acknowledged"));
    assert_eq!(lost, 0, "acknowledged grants are lost");
    assert_eq!(doomed.counted("{key}told", &limit).await?, 0, "what nobody acknowledged is lost");
    Ok(())
}
