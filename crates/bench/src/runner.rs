use std::{
    hash::{Hash, Hasher},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread,
    time::Duration,
};

use clock::{Clock, PreciseClock, Time};
use parking_lot::Mutex;
use tokio::{sync::Notify, task::JoinSet};
use xxhash_rust::xxh3::Xxh3;

use crate::{
    Amount, BoxError, Config, Invariant, Pacing, RunFacts, Sample, Series, Workload, interrupt,
    recorder::{Record, Recorder, Records, Totals},
    sampler::Sampler,
};

mod closed;
mod open;
mod progress;
mod virtual_time;

/// What came out of a run, before it is made a [`Report`](crate::Report).
#[derive(Debug)]
pub struct Run {
    pub(crate) totals: Totals,
    pub(crate) records: Records,
    pub(crate) timeline: Vec<Sample>,
    pub(crate) series: Series,
    /// Of the measured phase.
    pub(crate) elapsed: Duration,
    /// Operations that the plan asked for; in a closed loop, those that were asked for.
    pub(crate) planned: Option<u64>,
    pub(crate) interrupted: bool,
    pub(crate) digest: Option<u64>,
    pub(crate) cpu_seconds: f64,
    pub(crate) invariants: Vec<Invariant>,
}

impl Run {
    /// Operations a second in the measured phase.
    #[must_use]
    pub fn ops_per_s(&self) -> f64 {
        self.totals.operations as f64 / self.elapsed.as_secs_f64().max(f64::MIN_POSITIVE)
    }
}

/// Runs `workload` on a tokio runtime of its own, until it is done or Ctrl-C is pressed.
///
/// After Ctrl-C, operations under way get two seconds to end; a second Ctrl-C ends the process. A run that
/// begins after a Ctrl-C ends at once.
///
/// # Errors
///
/// When the runtime cannot be started, a worker cannot be prepared, or a worker panics.
pub fn run<W: Workload>(workload: W, config: &Config) -> Result<Run, BoxError> {
    let threads = thread::available_parallelism().map_or(1, Into::into).min(config.concurrency.max(1));
    interrupt::listen();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(threads).enable_all().build()?;
    let result = runtime.block_on(run_in_runtime(Arc::new(workload), config));
    // A driver's task that hangs must not hold up the report.
    runtime.shutdown_timeout(Duration::from_secs(1));
    result
}

async fn run_in_runtime<W: Workload>(workload: Arc<W>, config: &Config) -> Result<Run, BoxError> {
    let mut workers = Vec::with_capacity(config.concurrency);
    for id in 0..config.concurrency {
        if interrupt::is_set() {
            break;
        }
        workers.push(workload.worker(id).await?);
    }
    let start = config.clock.now();
    let mut operations = 0;
    let mut interrupted = false;
    if let Some(amount) = config.warmup {
        let warmup = Phase::new(&workload, config, amount, WARMUP_INDEX);
        let (outcome, done) = warmup.run(workers, config, None).await?;
        interrupted = outcome.interrupted;
        operations += outcome.totals.operations;
        workers = done;
    }
    interrupted |= interrupt::is_set();
    let amount = if interrupted { Amount::Requests(0) } else { config.amount };
    let cpu_before = crate::process::cpu_seconds();
    let phase = Phase::new(&workload, config, amount, 0);
    let (mut run, _workers) = phase.run(workers, config, Some(config.progress)).await?;
    run.cpu_seconds = crate::process::cpu_seconds() - cpu_before;
    run.interrupted |= interrupted;
    operations += run.totals.operations;
    let elapsed = config.clock.now().since(start);
    run.invariants = workload.verify(&RunFacts { operations, elapsed, interrupted: run.interrupted });
    Ok(run)
}

/// Operations of the warm-up are numbered from here, so that the measured ones are the same with and
/// without it.
const WARMUP_INDEX: u64 = 1 << 62;

/// What the workers of one phase, warm-up or measured, share.
struct Phase<W> {
    workload: Arc<W>,
    clock: PreciseClock,
    recorder: Recorder,
    seed: u64,
    sample_every: u64,
    /// The next operation that nobody has claimed.
    next: AtomicU64,
    /// One past the last operation.
    end: u64,
    duration: Option<Duration>,
    stop: AtomicBool,
    stopped: Notify,
    digest: Option<Mutex<u64>>,
    /// Operations that an open loop's plan made due.
    due: AtomicU64,
}

impl<W: Workload> Phase<W> {
    fn new(workload: &Arc<W>, config: &Config, amount: Amount, first: u64) -> Arc<Self> {
        let (count, duration) = match amount {
            Amount::Requests(count) => (count, None),
            Amount::Duration(duration) => (u64::MAX - first, Some(duration)),
        };
        let cpus = thread::available_parallelism().map_or(1, usize::from);
        Arc::new(Self {
            workload: Arc::clone(workload),
            clock: config.clock.clone(),
            recorder: Recorder::new(config.concurrency.clamp(1, 2 * cpus), workload.classes().len()),
            seed: config.seed,
            sample_every: config.sample_every.max(1),
            next: AtomicU64::new(first),
            end: first.saturating_add(count),
            duration,
            stop: AtomicBool::new(false),
            stopped: Notify::new(),
            digest: config.digest.then(|| Mutex::new(0)),
            due: AtomicU64::new(0),
        })
    }

    /// Runs the workers, and gives them back as far as they came to an end.
    async fn run(
        self: Arc<Self>,
        workers: Vec<W::Worker>,
        config: &Config,
        progress: Option<crate::Progress>,
    ) -> Result<(Run, Vec<W::Worker>), BoxError> {
        let first = self.next.load(Ordering::Relaxed);
        let start = self.clock.now();
        let sampling = Sampling::start(Arc::clone(&self), progress);
        let mut tasks = JoinSet::new();
        let mut planned = (self.duration.is_none()).then(|| self.end - first);
        match &config.pacing {
            Pacing::Closed => closed::spawn(&self, workers, start, &mut tasks),
            Pacing::Open { plan, late } => open::spawn(&self, workers, start, *plan, *late, &mut tasks),
            Pacing::Virtual { plan, clock } => {
                virtual_time::spawn(&self, workers, *plan, clock.clone(), &mut tasks);
            }
        }
        let (workers, interrupted) = self.join(tasks).await?;
        let elapsed = self.clock.now().since(start);
        let sampler = sampling.finish();
        if planned.is_none() && matches!(config.pacing, Pacing::Open { .. }) {
            planned = Some(self.due.load(Ordering::Relaxed));
        }
        let run = Run {
            totals: sampler.totals,
            records: sampler.total,
            timeline: sampler.timeline,
            series: sampler.series,
            elapsed,
            planned,
            interrupted,
            digest: self.digest.as_ref().map(|digest| *digest.lock()),
            cpu_seconds: 0.0,
            invariants: Vec::new(),
        };
        Ok((run, workers))
    }

    /// Waits for the workers; after Ctrl-C for two seconds more.
    async fn join(&self, mut tasks: JoinSet<W::Worker>) -> Result<(Vec<W::Worker>, bool), BoxError> {
        const GRACE: Duration = Duration::from_secs(2);
        let mut workers = Vec::with_capacity(tasks.len());
        let mut interrupted = false;
        loop {
            tokio::select! {
                joined = tasks.join_next() => match joined {
                    None => return Ok((workers, interrupted)),
                    Some(worker) => workers.push(worker?),
                },
                () = interrupt::wait(), if !interrupted => {
                    interrupted = true;
                    self.stop();
                }
                () = tokio::time::sleep(GRACE), if interrupted => {
                    tasks.shutdown().await;
                    return Ok((workers, true));
                }
            }
        }
    }

    fn stop(&self) {
        self.stop.store(true, Ordering::Relaxed);
        self.stopped.notify_waiters();
    }

    fn is_stopped(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    /// Claims up to `count` operations that nobody has claimed.
    fn claim(&self, count: u64) -> std::ops::Range<u64> {
        let start = self.next.fetch_add(count, Ordering::Relaxed).min(self.end);
        start..start.saturating_add(count).min(self.end)
    }

    fn input(&self, index: u64) -> W::Input {
        self.workload.input(index, &mut crate::Rng::new(self.seed, index))
    }

    /// Settles one operation and says in which class it ended.
    fn settle(&self, id: usize, worker: &mut W::Worker, input: W::Input, output: W::Output) -> u8 {
        let outcome = self.workload.settle(worker, input, output);
        let class = outcome.class();
        if let crate::Outcome::Error(class, message) = outcome {
            self.recorder.add_message(id, class, message);
        }
        class
    }

    /// Folds an input into the digest, where one is kept. The order of operations does not matter.
    fn fold(&self, index: u64, input: &W::Input) {
        if let Some(digest) = &self.digest {
            let mut hasher = Xxh3::new();
            index.hash(&mut hasher);
            input.hash(&mut hasher);
            let mut digest = digest.lock();
            *digest = digest.wrapping_add(hasher.finish());
        }
    }
}

/// The thread that samples the recorder and shows progress.
struct Sampling {
    thread: thread::JoinHandle<Sampler>,
    done: std::sync::mpsc::SyncSender<()>,
}

impl Sampling {
    fn start<W: Workload>(phase: Arc<Phase<W>>, progress: Option<crate::Progress>) -> Self {
        const STEP: Duration = Duration::from_millis(10);
        let (done, stopped) = std::sync::mpsc::sync_channel(1);
        // Before a worker claims anything.
        let operations = phase.end - phase.next.load(Ordering::Relaxed);
        let goal = progress::Goal { operations, duration: phase.duration };
        let thread = thread::spawn(move || {
            let mut sampler = Sampler::new(phase.clock.clone(), phase.workload.classes().len());
            let mut display = progress.map(|progress| progress::Display::new(progress, goal));
            while stopped.recv_timeout(STEP).is_err() {
                sampler.step(&phase.recorder);
                if let Some(display) = &mut display {
                    display.step(&mut sampler, phase.workload.classes());
                }
            }
            sampler.finish(&phase.recorder);
            if let Some(display) = &mut display {
                display.finish();
            }
            sampler
        });
        Self { thread, done }
    }

    fn finish(self) -> Sampler {
        // The receiver is gone only when the thread has panicked, which the join reports.
        let _ = self.done.send(());
        self.thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    }
}

/// A worker's records until there are enough to be worth a lock.
struct Buffer {
    records: Vec<Record>,
    flushed: Time,
}

impl Buffer {
    /// As many operations as this share one lock and one claim.
    const MOST: usize = 64;

    fn new(now: Time) -> Self {
        Self { records: Vec::with_capacity(Self::MOST), flushed: now }
    }

    fn push<W: Workload>(&mut self, phase: &Phase<W>, id: usize, record: Record, now: Time) {
        const LONGEST: Duration = Duration::from_millis(5);
        self.records.push(record);
        if self.records.len() == Self::MOST || now.since(self.flushed) > LONGEST {
            self.flush(phase, id, now);
        }
    }

    fn flush<W: Workload>(&mut self, phase: &Phase<W>, id: usize, now: Time) {
        phase.recorder.add(id, &self.records);
        self.records.clear();
        self.flushed = now;
    }
}
