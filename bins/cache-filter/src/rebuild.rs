//! The filter built anew while it serves.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::Duration,
};

use anyhow::bail;
use bench::{
    Fact,
    format::{bytes, grouped, nanos},
};
use bytes::Bytes;
use cache::Store;
use clock::{Clock, PreciseClock};
use filters::{Membership, Rebuilt};
use parking_lot::Mutex;
use tokio::{sync::Notify, task::JoinHandle};

use crate::{Args, filter::Losing, size::Size, workload::Shared};

/// Rebuilds, one after the other, and what they were like.
#[derive(Debug, Default)]
pub(crate) struct Rebuilds {
    stop: Notify,
    task: Mutex<Option<JoinHandle<()>>>,
    record: Mutex<Record>,
}

#[derive(Clone, Debug, Default)]
struct Record {
    done: u64,
    scanned: u64,
    carried: u64,
    longest: Duration,
    all: Duration,
    /// The most memory that the process had beyond what it had when the rebuild began.
    extra: Option<u64>,
    failed: u64,
    error: Option<String>,
}

/// How often, and what is built.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Recipe {
    pub(crate) every: Duration,
    pub(crate) size: Size,
    /// For how many keys at least.
    pub(crate) planned: u64,
}

impl Rebuilds {
    /// Begins, until [`end`](Self::end).
    pub(crate) fn start<T: Store<u64, Bytes>>(shared: &Arc<Shared<T>>, recipe: Recipe, args: &Args) {
        let lose = (args.faults.lose_keys.unwrap_or_default(), args.run.seed);
        let copy = Arc::clone(shared);
        let task = shared.handle.spawn(async move {
            let rebuilds = &copy.rebuilds;
            while tokio::time::timeout(recipe.every, rebuilds.stop.notified()).await.is_err() {
                let (clock, memory) = (PreciseClock::new(), Memory::watch());
                let began = clock.now();
                let rebuilt = copy.rebuild(recipe, lose).await;
                rebuilds.record.lock().add(rebuilt, clock.now().since(began), memory.end());
            }
        });
        *shared.rebuilds.task.lock() = Some(task);
    }

    /// Waits for the one that is under way, and begins no more.
    pub(crate) async fn end(&self) {
        self.stop.notify_one();
        let task = self.task.lock().take();
        if let Some(task) = task
            && let Err(error) = task.await
            && let Ok(panic) = error.try_into_panic()
        {
            std::panic::resume_unwind(panic);
        }
    }

    /// Why one has failed.
    pub(crate) fn error(&self) -> Option<String> {
        self.record.lock().error.clone()
    }

    pub(crate) fn fact(&self) -> Option<Fact> {
        let record = self.record.lock().clone();
        let Record { done, scanned, carried, longest, all, extra, failed, .. } = record;
        if done + failed == 0 {
            return None;
        }
        let of = |time: Duration| nanos(time.as_nanos() as f64);
        let mean = of(all / u32::try_from(done.max(1)).unwrap_or(u32::MAX));
        let extra = extra.map_or_else(|| "unknown".to_owned(), bytes);
        let value = format!(
            "{done} while it served, {failed} failed; {} keys in the last, {} carried over in all; {mean} each, {} the \
             longest; {extra} of memory more at most",
            grouped(scanned),
            grouped(carried),
            of(longest)
        );
        Some(Fact { name: "filter: rebuilds".to_owned(), value })
    }
}

impl Record {
    fn add(&mut self, rebuilt: anyhow::Result<Rebuilt>, took: Duration, extra: Option<u64>) {
        match rebuilt {
            Ok(rebuilt) => {
                self.done += 1;
                self.scanned = rebuilt.scanned;
                self.carried += rebuilt.carried;
                self.longest = self.longest.max(took);
                self.all += took;
                self.extra = self.extra.max(extra);
            }
            Err(error) => {
                self.failed += 1;
                self.error = Some(format!("{error:#}"));
            }
        }
    }
}

impl<T: Store<u64, Bytes>> Shared<T> {
    async fn rebuild(&self, recipe: Recipe, (share, seed): (f64, u64)) -> anyhow::Result<Rebuilt> {
        let Some(filter) = &self.filter else { bail!("there is no filter") };
        // Where more rows came than were planned for, a quarter more.
        let items = recipe.planned.max(self.keys.count() + self.inserts.begun() * 5 / 4);
        let plan = recipe.size.plan(items).map_err(anyhow::Error::msg)?;
        let mut scan = Losing { scan: self.cache.source().rows.scan(self.hasher).await?, share, seed };
        Ok(filter.rebuild(plan, &mut scan).await?)
    }
}

/// The memory of this process, read again and again by a thread.
struct Memory {
    before: Option<u64>,
    over: Arc<AtomicBool>,
    reader: thread::JoinHandle<Option<u64>>,
}

impl Memory {
    const STEP: Duration = Duration::from_millis(1);

    fn watch() -> Self {
        let over = Arc::new(AtomicBool::new(false));
        let is_over = Arc::clone(&over);
        let reader = thread::spawn(move || {
            let mut most = bench::resident_bytes();
            while !is_over.load(Ordering::Relaxed) {
                thread::sleep(Self::STEP);
                most = most.max(bench::resident_bytes());
            }
            most
        });
        Self { before: bench::resident_bytes(), over, reader }
    }

    /// How much more it was at the most.
    fn end(self) -> Option<u64> {
        self.over.store(true, Ordering::Relaxed);
        let most = self.reader.join().ok()??;
        Some(most.saturating_sub(self.before?))
    }
}
