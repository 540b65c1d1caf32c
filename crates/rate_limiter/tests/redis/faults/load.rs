//! What the cases share: a load, and what is asked of it.

#![expect(clippy::unwrap_used, reason = "a test may fail by panicking")]

use std::{
    io::Write as _,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use backends::Retry;
use rate_limiter::{Answer, Ask, Decision, Limit, Store, redis::RedisStore};
use tokio::time::Instant;

pub(crate) type Outcome = Result<(), testkit::Failed>;

/// Long enough for whatever should happen at all.
pub(crate) const LONG: Duration = Duration::from_secs(20);

pub(crate) fn limit(quota: &str) -> Limit {
    Limit::token_bucket(quota.parse().unwrap()).unwrap()
}

/// A connection whose requests fail only where a server is out, not where the machine is slow.
pub(crate) async fn redis(url: &str) -> Result<backends::Redis, testkit::Failed> {
    Ok(backends::Redis::connect(&backends::Config::parse(url)?).await?)
}

pub(crate) async fn connect(url: &str) -> Result<RedisStore, testkit::Failed> {
    Ok(RedisStore::new(redis(url).await?))
}

/// Takes whatever `key` has; how much that was.
pub(crate) async fn granted(store: &impl Store, key: &[u8], limit: &Limit) -> u64 {
    let mut granted = 0;
    while store.ask(key, limit, Ask::Take(1)).await.unwrap().decision.is_allowed() {
        granted += 1;
    }
    granted
}

/// What was taken of a key whose limit has one part, and into which nothing has flowed since.
pub(crate) async fn taken(store: &impl Store, key: &[u8], limit: &Limit) -> Result<u64, testkit::Failed> {
    let burst = limit.parts().next().map_or(0, |part| part.quota().burst());
    match store.ask(key, limit, Ask::Peek(1)).await?.decision {
        Decision::Allowed { remaining, .. } => Ok(burst - remaining - 1),
        _ => Ok(burst),
    }
}

/// A figure, for who looks at the output.
pub(crate) fn tell(text: &str) {
    let _ = std::io::stderr().write_all(format!("{text}\n").as_bytes());
}

/// A moment in which others have the processor.
pub(crate) async fn moment() {
    let mut moments = tokio::time::interval(Duration::from_millis(2));
    moments.tick().await;
    moments.tick().await;
}

/// How many tasks a [`Load`] has: so many requests are out at once.
pub(crate) const TASKS: u64 = 8;

/// Asks for one token over and over until told to stop.
pub(crate) struct Load {
    counts: Arc<Counts>,
    tasks: Vec<tokio::task::JoinHandle<()>>,
}

#[derive(Default)]
struct Counts {
    stop: AtomicBool,
    granted: AtomicU64,
    denied: AtomicU64,
    /// Without those that may have been carried out.
    failed: AtomicU64,
    ambiguous: AtomicU64,
    asked: AtomicU64,
    told: Mutex<Told>,
}

/// What callers were told about keys that were asked once each.
#[derive(Clone, Default)]
pub(crate) struct Told {
    /// Their token was granted.
    pub(crate) granted: Vec<String>,
    /// The request failed, and is safe to repeat: nothing was taken.
    pub(crate) untouched: Vec<String>,
}

/// How a [`Load`] goes on.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Way {
    /// With the same key.
    Same,
    /// With the same key, until a request fails.
    UntilItFails,
    /// With another key each time.
    Distinct,
}

/// What has become of the requests of a [`Load`].
pub(crate) struct Totals {
    pub(crate) granted: u64,
    pub(crate) denied: u64,
    pub(crate) failed: u64,
    /// Of those that failed: that may have been granted, as far as is known.
    pub(crate) ambiguous: u64,
    pub(crate) told: Told,
}

impl Counts {
    fn count(&self, answer: &Result<Answer, backends::Error>) -> &AtomicU64 {
        match answer {
            Ok(answer) if answer.decision.is_allowed() => &self.granted,
            Ok(_) => &self.denied,
            Err(error) if error.retry() == Retry::Ambiguous => &self.ambiguous,
            Err(_) => &self.failed,
        }
    }

    fn tell(&self, key: String, answer: &Result<Answer, backends::Error>) {
        let mut told = self.told.lock().unwrap();
        match answer {
            Ok(answer) if answer.decision.is_allowed() => told.granted.push(key),
            Err(error) if error.retry() == Retry::Safe => told.untouched.push(key),
            Ok(_) | Err(_) => {}
        }
    }
}

impl Load {
    pub(crate) fn start(store: &Arc<RedisStore>, key: &'static str, limit: &Limit) -> Self {
        Self::spawn(store, key, limit, Way::Same)
    }

    /// As [`start`](Self::start), but a task whose request fails ends: what is granted later is granted to nobody.
    pub(crate) fn start_until_it_fails(store: &Arc<RedisStore>, key: &'static str, limit: &Limit) -> Self {
        Self::spawn(store, key, limit, Way::UntilItFails)
    }

    /// Asks for one token of each of many keys, which begin with `key`.
    pub(crate) fn start_distinct(store: &Arc<RedisStore>, key: &'static str, limit: &Limit) -> Self {
        Self::spawn(store, key, limit, Way::Distinct)
    }

    fn spawn(store: &Arc<RedisStore>, key: &'static str, limit: &Limit, way: Way) -> Self {
        let counts = Arc::<Counts>::default();
        let task = |_| {
            let (store, limit, counts) = (Arc::clone(store), limit.clone(), Arc::clone(&counts));
            tokio::spawn(async move {
                while !counts.stop.load(Ordering::Relaxed) {
                    let key = match way {
                        Way::Same | Way::UntilItFails => key.to_owned(),
                        Way::Distinct => format!("{key}:{}", counts.asked.fetch_add(1, Ordering::Relaxed)),
                    };
                    let answer = store.ask(key.as_bytes(), &limit, Ask::Take(1)).await;
                    counts.count(&answer).fetch_add(1, Ordering::Relaxed);
                    if way == Way::Distinct {
                        counts.tell(key, &answer);
                    }
                    if answer.is_err() && way == Way::UntilItFails {
                        return;
                    }
                    if answer.is_err() {
                        moment().await;
                    }
                }
            })
        };
        let tasks = (0..TASKS).map(task).collect();
        Self { counts, tasks }
    }

    pub(crate) fn granted(&self) -> u64 {
        self.counts.granted.load(Ordering::Relaxed)
    }

    pub(crate) fn denied(&self) -> u64 {
        self.counts.denied.load(Ordering::Relaxed)
    }

    pub(crate) fn failed(&self) -> u64 {
        self.counts.failed.load(Ordering::Relaxed) + self.counts.ambiguous.load(Ordering::Relaxed)
    }

    /// Waits until `condition` holds while the load goes on.
    pub(crate) async fn until(&self, condition: impl Fn(&Self) -> bool) {
        let deadline = Instant::now() + LONG;
        while !condition(self) {
            let (granted, denied, failed) = (self.granted(), self.denied(), self.failed());
            assert!(Instant::now() < deadline, "{granted} granted, {denied} denied, {failed} failed");
            moment().await;
        }
    }

    /// What has become of all requests.
    pub(crate) async fn stop(self) -> Totals {
        self.counts.stop.store(true, Ordering::Relaxed);
        for task in self.tasks {
            task.await.unwrap();
        }
        let of = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Totals {
            granted: of(&self.counts.granted),
            denied: of(&self.counts.denied),
            failed: of(&self.counts.failed) + of(&self.counts.ambiguous),
            ambiguous: of(&self.counts.ambiguous),
            told: self.counts.told.lock().unwrap().clone(),
        }
    }
}
