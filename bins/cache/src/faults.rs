//! What is done to the store on purpose, while it is used.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use bench::{Fact, Keys, Rng, format::grouped};
use cache::Store;
use parking_lot::Mutex;
use tokio::{
    runtime::Handle,
    sync::watch,
    task::{JoinHandle, spawn_blocking},
    time::{Instant, MissedTickBehavior, interval, interval_at},
};

use crate::{cluster::Cluster, row::Value, spawn::Server};

/// Faults under way, until they are told to end.
pub(crate) struct Faults {
    seed: u64,
    end: watch::Sender<bool>,
    tasks: Mutex<Vec<JoinHandle<Result<(), String>>>>,
    counts: Arc<Counts>,
}

#[derive(Debug, Default)]
struct Counts {
    evicted: AtomicU64,
    killed: AtomicU64,
    frozen: AtomicU64,
    failed_over: AtomicU64,
    cut_off: AtomicU64,
}

impl Faults {
    pub(crate) fn new(seed: u64) -> Self {
        let (end, counts) = (watch::Sender::new(false), Arc::default());
        Self { seed, end, tasks: Mutex::default(), counts }
    }

    /// Removes so many keys a second from `store`, as hot as those that are used.
    pub(crate) fn evict<T: Store<u64, Value>>(&self, on: &Handle, store: T, keys: Keys, per_second: f64) {
        const STEP: Duration = Duration::from_millis(10);
        let (counts, seed, mut end) = (Arc::clone(&self.counts), self.seed, self.end.subscribe());
        let task = on.spawn(async move {
            let (mut ticks, mut due, mut index) = (interval(STEP), 0.0, 0);
            loop {
                tokio::select! {
                    _ = end.wait_for(|end| *end) => return Ok(()),
                    _ = ticks.tick() => {}
                }
                due += per_second * STEP.as_secs_f64();
                while due >= 1.0 {
                    due -= 1.0;
                    index += 1;
                    let key = keys.choose(&mut Rng::new(seed ^ 0x6576_6963, index));
                    // A store that is down has nothing to lose.
                    if store.remove(&key).await.is_ok() {
                        counts.evicted.fetch_add(1, Ordering::Relaxed);
                    }
                }
            }
        });
        self.tasks.lock().push(task);
    }

    /// Kills `server` and starts it again, so often.
    pub(crate) fn kill(&self, on: &Handle, server: Arc<Mutex<Server>>, every: Duration) {
        let counts = Arc::clone(&self.counts);
        self.repeat(on, every, move || {
            counts.killed.fetch_add(1, Ordering::Relaxed);
            server.lock().kill_and_restart()
        });
    }

    /// Freezes `server` for a while, so often.
    pub(crate) fn freeze(&self, on: &Handle, server: Arc<Mutex<Server>>, every: Duration) {
        const LONGEST: Duration = Duration::from_secs(1);
        let counts = Arc::clone(&self.counts);
        self.repeat(on, every, move || {
            // Locked all the while: whoever kills it waits until it goes on.
            let server = server.lock();
            counts.frozen.fetch_add(1, Ordering::Relaxed);
            server.freeze()?;
            std::thread::sleep((every / 4).min(LONGEST));
            server.thaw()
        });
    }

    /// Kills a master of `cluster` for good, so often, while there is a replica to take its place, which misses what happened
    /// in the time `lag` before.
    pub(crate) fn fail_over(
        &self,
        on: &Handle,
        cluster: Arc<Mutex<Cluster>>,
        every: Duration,
        lag: Duration,
    ) {
        let counts = Arc::clone(&self.counts);
        self.repeat(on, every, move || {
            let done = cluster.lock().fail_over(lag)?;
            counts.failed_over.fetch_add(u64::from(done), Ordering::Relaxed);
            Ok(())
        });
    }

    /// Freezes a master of `cluster` until its replica has taken its place, so often.
    pub(crate) fn cut_off(&self, on: &Handle, cluster: Arc<Mutex<Cluster>>, every: Duration) {
        let counts = Arc::clone(&self.counts);
        self.repeat(on, every, move || {
            let done = cluster.lock().cut_off()?;
            counts.cut_off.fetch_add(u64::from(done), Ordering::Relaxed);
            Ok(())
        });
    }

    /// Whether a replica has taken the place of its master.
    pub(crate) fn failed_over(&self) -> bool {
        let Counts { failed_over, cut_off, .. } = &*self.counts;
        failed_over.load(Ordering::Relaxed) + cut_off.load(Ordering::Relaxed) > 0
    }

    /// Does `fault` so often, on a thread that may wait.
    fn repeat(
        &self,
        on: &Handle,
        every: Duration,
        fault: impl Fn() -> anyhow::Result<()> + Send + Sync + 'static,
    ) {
        let (fault, mut end) = (Arc::new(fault), self.end.subscribe());
        let task = on.spawn(async move {
            let mut ticks = interval_at(Instant::now() + every, every);
            ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
            loop {
                tokio::select! {
                    _ = end.wait_for(|end| *end) => return Ok(()),
                    _ = ticks.tick() => {}
                }
                let fault = Arc::clone(&fault);
                let done = spawn_blocking(move || fault()).await.map_err(|error| error.to_string())?;
                done.map_err(|error| format!("{error:#}"))?;
            }
        });
        self.tasks.lock().push(task);
    }

    /// No more of them.
    pub(crate) fn end(&self) {
        self.end.send_replace(true);
    }

    /// Until the last has ended, and what was down is up again.
    pub(crate) async fn ended(&self) -> Result<(), String> {
        let tasks: Vec<_> = self.tasks.lock().drain(..).collect();
        for task in tasks {
            task.await.map_err(|error| error.to_string())??;
        }
        Ok(())
    }

    pub(crate) fn facts(&self) -> impl Iterator<Item = Fact> {
        let counts = [
            ("fault: keys evicted", &self.counts.evicted),
            ("fault: servers killed", &self.counts.killed),
            ("fault: servers frozen", &self.counts.frozen),
            ("fault: masters killed and replaced", &self.counts.failed_over),
            ("fault: masters frozen and replaced", &self.counts.cut_off),
        ];
        counts.into_iter().filter_map(|(name, count)| {
            let count = count.load(Ordering::Relaxed);
            (count > 0).then(|| Fact { name: name.to_owned(), value: grouped(count) })
        })
    }
}
