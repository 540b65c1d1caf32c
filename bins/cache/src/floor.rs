//! What a read costs at the very least: the version of a row in a bare array, driven like the cache.

use std::{
    hint::black_box,
    sync::atomic::{AtomicU64, Ordering},
};

use bench::{
    Amount, BoxError, Ceiling, Class, ClassKind, Config, Invariant, Keys, Outcome, Pacing, Progress, Rng,
    RunFacts, Workload,
};

struct Floor {
    versions: Box<[AtomicU64]>,
    keys: Keys,
}

/// Measures the floor with the pacing and the keys of the run; takes a fraction of a second.
pub(crate) fn measure(config: &Config, keys: &Keys) -> Result<Ceiling, BoxError> {
    let versions = (0..keys.count()).map(|_| AtomicU64::new(1)).collect();
    let run = bench::run(Floor { versions, keys: keys.clone() }, &short(config, 2_000_000))?;
    Ok(Ceiling { name: "reads of a bare array of versions".to_owned(), ops_per_s: run.ops_per_s() })
}

/// As many operations, and a tenth of them before, in silence.
pub(crate) fn short(config: &Config, operations: u64) -> Config {
    Config {
        pacing: Pacing::Closed,
        amount: Amount::Requests(operations),
        warmup: Some(Amount::Requests(operations / 10)),
        progress: Progress::Quiet,
        ..config.clone()
    }
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
        let version = usize::try_from(*key).ok().and_then(|key| self.versions.get(key));
        black_box(version.map(|version| version.load(Ordering::Acquire)));
    }

    fn settle(&self, (): &mut (), _key: u64, (): ()) -> Outcome {
        Outcome::Class(0)
    }

    fn verify(&self, _run: &RunFacts) -> Vec<Invariant> {
        Vec::new()
    }
}
