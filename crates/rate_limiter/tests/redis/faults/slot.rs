//! A slot that moves while limits on its keys are asked for.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use rate_limiter::{
    Answer, Ask, AskMany, Decision, Limit, Store,
    redis::{RedisStore, TooFew},
};
use testkit::RedisCluster;
use tokio::task::{JoinSet, spawn_blocking};

use super::load::{Outcome, limit, redis, tell};

const KEYS: usize = 30;
const BURST: usize = 700;
/// Each has at most one request on its way for a key.
const TASKS: u64 = 9;

/// What was granted of one key.
struct Key {
    name: String,
    granted: AtomicU64,
    denied: AtomicBool,
    /// Which tokens: that after which so many remained.
    tokens: Vec<AtomicBool>,
}

impl Key {
    fn new(n: usize) -> Self {
        let tokens = (0..BURST).map(|_| AtomicBool::new(false)).collect();
        Self {
            name: format!("{{moving}}:{n}"),
            granted: AtomicU64::new(0),
            denied: AtomicBool::new(false),
            tokens,
        }
    }

    fn decided(&self, answer: Answer) {
        let Key { name, granted, .. } = self;
        match answer.decision {
            Decision::Allowed { remaining, .. } => {
                let token = usize::try_from(remaining).ok().and_then(|place| self.tokens.get(place));
                let twice = token.is_none_or(|token| token.swap(true, Ordering::SeqCst));
                assert!(!twice, "{name}: a token was granted twice, or never was one: {remaining} remain");
                granted.fetch_add(1, Ordering::SeqCst);
            }
            Decision::Denied { .. } => {
                let granted = granted.load(Ordering::SeqCst) + TASKS;
                assert!(granted > BURST as u64, "{name}: denied too early, at {granted}");
                self.denied.store(true, Ordering::SeqCst);
            }
            Decision::NeverFits { .. } => panic!("{name}: one token fits"),
        }
    }
}

/// Asks in one of three ways, until every key is used up.
async fn ask(task: u64, store: &RedisStore, keys: &[Key], limit: &Limit) -> Result<(), backends::Error> {
    while keys.iter().any(|key| !key.denied.load(Ordering::SeqCst)) {
        if task % 3 == 1 {
            let asks: Vec<_> = keys.iter().map(|key| (key.name.as_bytes(), Ask::Take(1))).collect();
            for (key, answer) in keys.iter().zip(store.ask_many(limit, &asks).await) {
                key.decided(answer?);
            }
        } else {
            for key in keys {
                key.decided(store.ask(key.name.as_bytes(), limit, Ask::Take(1)).await?);
            }
        }
    }
    Ok(())
}

pub(crate) async fn moves(program: &str) -> Outcome {
    let cluster = Arc::new(RedisCluster::builder(program).arg("--appendonly").arg("no").start()?);
    let limit = limit(&format!("1/day burst {BURST}"));
    let plain = Arc::new(RedisStore::new(redis(&cluster.url()).await?));
    // For no replica: what is tried is the connection of its own.
    let waiting = RedisStore::builder().wait(0, Duration::from_millis(1), TooFew::Fail);
    let waiting = Arc::new(waiting.build(redis(&cluster.url()).await?));
    let keys: Arc<Vec<Key>> = Arc::new((0..KEYS).map(Key::new).collect());
    let (mut callers, done) = (JoinSet::new(), Arc::new(AtomicBool::new(false)));
    for task in 0..TASKS {
        let store = Arc::clone(if task % 3 == 2 { &waiting } else { &plain });
        let (keys, limit) = (Arc::clone(&keys), limit.clone());
        callers.spawn(async move { ask(task, &store, &keys, &limit).await });
    }
    let mover = {
        let (cluster, keys, done) = (Arc::clone(&cluster), Arc::clone(&keys), Arc::clone(&done));
        spawn_blocking(move || {
            let slot = cluster.slot("{moving}")?;
            let (owner, mut moves) = (cluster.first_master(slot), Vec::new());
            let granted = || keys.iter().map(|key| key.granted.load(Ordering::SeqCst)).sum::<u64>();
            while !done.load(Ordering::SeqCst) {
                let before = granted();
                cluster.move_slot(slot, (owner + moves.len()) % 3, (owner + moves.len() + 1) % 3)?;
                moves.push(granted() - before);
            }
            Ok::<_, std::io::Error>(moves)
        })
    };
    let mut outcome = Ok(());
    while let Some(caller) = callers.join_next().await {
        outcome = outcome.and(caller?);
    }
    done.store(true, Ordering::SeqCst);
    let moves = mover.await??;
    outcome?;
    let granted: u64 = keys.iter().map(|key| key.granted.load(Ordering::SeqCst)).sum();
    let during: u64 = moves.iter().sum();
    let [asked, moved] = [cluster.errors("ASK")?, cluster.errors("MOVED")?];
    tell(&format!(
        "{granted} granted, {during} of them during {} moves; {asked} ASK, {moved} MOVED",
        moves.len()
    ));
    assert_eq!(granted, (KEYS * BURST) as u64, "not the quota");
    assert!(keys.iter().flat_map(|key| &key.tokens).all(|token| token.load(Ordering::SeqCst)));
    assert!(moves.iter().filter(|granted| **granted > 0).count() >= 3, "moved beside the load: {moves:?}");
    assert!(asked > 0 && moved > 0);
    for key in &*keys {
        let answer = plain.ask(key.name.as_bytes(), &limit, Ask::Take(1)).await?;
        assert!(!answer.decision.is_allowed(), "{} has forgotten", key.name);
    }
    Ok(())
}
