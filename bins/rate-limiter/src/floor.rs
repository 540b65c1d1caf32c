//! What a decision costs at the very least: a clock reading and a compare-and-swap in a bare array,
//! driven like the limiter.

use std::sync::atomic::{AtomicU64, Ordering};

use bench::{
    Amount, BoxError, Ceiling, Class, ClassKind, Config, Invariant, Keys, Outcome, Pacing, Progress, Rng,
    RunFacts, Workload,
};
use clock::{Clock, PreciseClock};

struct Floor {
    slots: Box<[AtomicU64]>,
    keys: Keys,
    clock: PreciseClock,
}

/// Measures the floor with the pacing and the keys of the run; takes a fraction of a second.
pub(crate) fn measure(config: &Config, keys: &Keys) -> Result<Ceiling, BoxError> {
    let slots = (0..keys.count()).map(|_| AtomicU64::new(0)).collect();
    let floor = Floor { slots, keys: keys.clone(), clock: PreciseClock::new() };
    let config = Config {
        pacing: Pacing::Closed,
        amount: Amount::Requests(2_000_000),
        warmup: Some(Amount::Requests(200_000)),
        progress: Progress::Quiet,
        ..config.clone()
    };
    let run = bench::run(floor, &config)?;
    Ok(Ceiling { name: "clock and compare-and-swap in a bare array".to_owned(), ops_per_s: run.ops_per_s() })
}

impl Workload for Floor {
    type Worker = ();
    type Input = u64;
    type Output = ();

    fn classes(&self) -> &'static [Class] {
        &[Class { name: "done", kind: ClassKind::Success }]
    }

    async fn worker(&self, _id: usize) -> Result<(), BoxError> {
        Ok(())
    }

    fn input(&self, _index: u64, rng: &mut Rng) -> u64 {
        self.keys.choose(rng)
    }

    async fn op(&self, (): &mut (), key: &u64) {
        let now = self.clock.now().as_nanos();
        if let Some(slot) = usize::try_from(*key).ok().and_then(|key| self.slots.get(key)) {
            // Lost races are part of what a decision costs.
            let _ = slot.fetch_update(Ordering::AcqRel, Ordering::Relaxed, |old| Some(old.max(now)));
        }
    }

    fn settle(&self, (): &mut (), _key: u64, (): ()) -> Outcome {
        Outcome::Class(0)
    }

    fn verify(&self, _run: &RunFacts) -> Vec<Invariant> {
        Vec::new()
    }
}
