use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use clock::{Clock, PreciseClock, Time};
use hdrhistogram::Histogram;
use parking_lot::Mutex;

use crate::{
    BoxError, Fact,
    format::{grouped, nanos},
};

/// How long one stage of an operation takes: a call of a store, a load, a write of a database. Every nth call is timed.
#[derive(Debug)]
pub struct Stage {
    clock: PreciseClock,
    every: u64,
    shards: Box<[Shard]>,
}

#[derive(Debug)]
#[repr(align(128))]
struct Shard {
    calls: AtomicU64,
    histogram: Mutex<Histogram<u64>>,
}

const SHARDS: usize = 4;

thread_local! {
    static SHARD: usize = {
        static THREADS: AtomicUsize = AtomicUsize::new(0);
        THREADS.fetch_add(1, Ordering::Relaxed) % SHARDS
    };
}

impl Stage {
    /// Times every nth call: reading the clock costs as much as a call in memory.
    ///
    /// # Errors
    ///
    /// When there is no memory for its histograms.
    pub fn new(every: u64) -> Result<Self, BoxError> {
        const HOUR: u64 = 3_600_000_000_000;
        let shard = || {
            let histogram = Mutex::new(Histogram::new_with_bounds(1, HOUR, 3)?);
            Ok(Shard { calls: AtomicU64::new(0), histogram })
        };
        let shards = (0..SHARDS).map(|_| shard()).collect::<Result<_, BoxError>>()?;
        Ok(Self { clock: PreciseClock::new(), every, shards })
    }

    /// Counts a call; the time, if this one is timed.
    #[inline]
    #[must_use]
    pub fn begin(&self) -> Option<Time> {
        let calls = self.shard().calls.fetch_add(1, Ordering::Relaxed);
        calls.is_multiple_of(self.every).then(|| self.clock.now())
    }

    /// Records the time since then.
    #[inline]
    pub fn end(&self, began: Option<Time>) {
        if let Some(began) = began {
            let took = self.clock.now().since(began).as_nanos();
            let took = u64::try_from(took).unwrap_or(u64::MAX);
            self.shard().histogram.lock().saturating_record(took.max(1));
        }
    }

    /// Counts `call`, and times it if it is its turn.
    ///
    /// # Cancel safety
    ///
    /// That of `call`; a dropped call is counted and not timed.
    pub async fn time<T>(&self, call: impl Future<Output = T>) -> T {
        let began = self.begin();
        let answer = call.await;
        self.end(began);
        answer
    }

    /// Calls so far.
    #[must_use]
    pub fn calls(&self) -> u64 {
        self.shards.iter().map(|shard| shard.calls.load(Ordering::Relaxed)).sum()
    }

    /// The mean of the calls that were timed, in nanoseconds, without the slowest hundredth, which other processes make; none
    /// when there was no call.
    #[must_use]
    pub fn typical_ns(&self) -> Option<f64> {
        let all = self.all()?;
        let slow = all.value_at_quantile(0.99);
        let counted = all.iter_recorded().filter(|step| step.value_iterated_to() <= slow);
        let (sum, count) = counted.fold((0.0, 0.0), |(sum, count), step| {
            let calls = step.count_since_last_iteration() as f64;
            (sum + all.median_equivalent(step.value_iterated_to()) as f64 * calls, count + calls)
        });
        (count > 0.0).then(|| sum / count)
    }

    /// A line of the report; none when there was no call.
    #[must_use]
    pub fn fact(&self, name: &str) -> Option<Fact> {
        let all = self.all()?;
        let at = |quantile| nanos(all.value_at_quantile(quantile).min(all.max()) as f64);
        let timed = if self.every > 1 { format!(", every {}th timed", self.every) } else { String::new() };
        let value = format!(
            "p50 {}, p99 {}, p99.9 {}, max {} ({} calls{timed})",
            at(0.5),
            at(0.99),
            at(0.999),
            nanos(all.max() as f64),
            grouped(self.calls()),
        );
        Some(Fact { name: name.to_owned(), value })
    }

    fn all(&self) -> Option<Histogram<u64>> {
        let mut all: Option<Histogram<u64>> = None;
        for shard in &self.shards {
            let histogram = shard.histogram.lock();
            match &mut all {
                None => all = Some(histogram.clone()),
                // They have the same bounds.
                Some(all) => all.add(&*histogram).ok()?,
            }
        }
        all.filter(|all| !all.is_empty())
    }

    #[inline]
    fn shard(&self) -> &Shard {
        &self.shards[SHARD.try_with(|shard| *shard).unwrap_or_default()]
    }
}
