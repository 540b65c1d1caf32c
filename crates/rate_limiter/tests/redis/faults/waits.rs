//! Who waits for a replica, and who does not.

#![expect(clippy::unwrap_used, reason = "a test may fail by panicking")]

use std::{sync::Arc, time::Duration};

use rate_limiter::{Ask, AskMany as _, Limit, redis::RedisStore};
use testkit::{RedisServer, eventually};
use tokio::{task::JoinSet, time::Instant};

use super::load::{LONG, Outcome, connect, limit, tell};

const REQUESTS: usize = 100_000;
const TASKS: usize = 8;
const BATCH: usize = 25;
const WAITING: usize = 4;
/// What stalled waits may add to the latency of others.
const MOST: Duration = Duration::from_millis(50);

/// A replica that is frozen acknowledges nothing. Beside those who wait for it goes a load of 100,000 requests, and
/// the same on another server at the same time, so that both have the same share of the machine.
pub(crate) async fn stalled(program: &str) -> Outcome {
    let server = || RedisServer::builder(program).arg("--appendfsync").arg("no");
    let (master, control) = (server().start()?, server().start()?);
    let replica = server().replica_of(master.addr()).start()?;
    eventually(LONG, "the replica is linked", || replica.role().is_ok_and(|role| role.is_linked));
    let limit = limit("1/day burst 100000");
    let store = Arc::new(connect(&master.url()).await?);
    let first = store.ask_acknowledged(b"waited for", &limit, Ask::Take(1), 1, LONG).await?;
    assert_eq!(first.replicas, 1);
    replica.freeze()?;
    let mut waiting = JoinSet::new();
    for _ in 0..WAITING {
        let (store, limit) = (Arc::clone(&store), limit.clone());
        waiting.spawn(async move {
            store.ask_acknowledged(b"waited for", &limit, Ask::Take(1), 1, 3 * LONG).await
        });
    }
    let blocked = format!("blocked_clients:{WAITING}\r");
    let is_blocked = || master.ask(&["INFO", "clients"]).is_ok_and(|info| info.text().contains(&blocked));
    eventually(LONG, "they wait", is_blocked);
    let control = Arc::new(connect(&control.url()).await?);
    let (beside, alone) = tokio::join!(load(&store, &limit), load(&control, &limit));
    let ([p99, slowest], [p99_alone, slowest_alone]) = (beside?, alone?);
    tell(&format!(
        "p99 {p99:?}, slowest {slowest:?} beside {WAITING} stalled waits; p99 {p99_alone:?}, slowest {slowest_alone:?} without"
    ));
    assert!(waiting.try_join_next().is_none(), "they did not stall for as long as the load took");
    assert!(p99 <= p99_alone + MOST, "{p99:?} beside stalled waits, {p99_alone:?} without");
    replica.thaw()?;
    while let Some(acknowledged) = waiting.join_next().await {
        let acknowledged = acknowledged??;
        assert!(acknowledged.answer.decision.is_allowed() && acknowledged.replicas == 1);
    }
    Ok(())
}

/// How long requests took that are sent in small batches by many tasks: the 99th percentile and the slowest.
async fn load(store: &Arc<RedisStore>, limit: &Limit) -> Result<[Duration; 2], testkit::Failed> {
    let mut tasks = JoinSet::new();
    for task in 0..TASKS {
        let (store, limit) = (Arc::clone(store), limit.clone());
        let keys: Vec<_> = (0..BATCH).map(|n| format!("{task}:{n}")).collect();
        tasks.spawn(async move {
            let asks: Vec<_> = keys.iter().map(|key| (key.as_bytes(), Ask::Take(1))).collect();
            let mut took = Vec::new();
            for _ in 0..REQUESTS / TASKS / BATCH {
                let start = Instant::now();
                for answer in store.ask_many(&limit, &asks).await {
                    assert!(answer.unwrap().decision.is_allowed());
                }
                took.push(start.elapsed());
            }
            took
        });
    }
    let mut took = Vec::new();
    while let Some(task) = tasks.join_next().await {
        took.extend(task?);
    }
    assert_eq!(took.len() * BATCH, REQUESTS);
    took.sort_unstable();
    Ok([took[took.len() * 99 / 100], took[took.len() - 1]])
}
