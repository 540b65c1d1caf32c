//! What a read costs at the very least, driven like the cache: the version of a row in a bare array, or one entry of the
//! same store.

use std::{
    hint::black_box,
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use bench::{
    Amount, BoxError, Ceiling, Class, ClassKind, Config, Invariant, Keys, Outcome, Pacing, Progress, Rng,
    RunFacts, Workload,
};
use cache::{Fill, Store, Version};

use crate::{row::Value, servers::Dyn};

struct Floor {
    versions: Box<[AtomicU64]>,
    keys: Keys,
}

/// Measures the floor with the pacing and the keys of the run; takes a fraction of a second.
pub(crate) fn measure(config: &Config, keys: &Keys) -> Result<Ceiling, BoxError> {
    let versions = (0..keys.count()).map(|_| AtomicU64::new(1)).collect();
    let run =
        bench::run(Floor { versions, keys: keys.clone() }, &short(config, Amount::Requests(2_000_000)))?;
    Ok(Ceiling { name: "reads of a bare array of versions".to_owned(), ops_per_s: run.ops_per_s() })
}

/// So much, closed and in silence.
fn short(config: &Config, amount: Amount) -> Config {
    Config {
        pacing: Pacing::Closed,
        amount,
        warmup: Some(Amount::Duration(Duration::from_millis(50))),
        progress: Progress::Quiet,
        ..config.clone()
    }
}

/// Reads of one entry, as many at once as an operation has keys.
pub(crate) struct Reads {
    store: Dyn,
    keys: Vec<u64>,
}

/// No row has it.
const KEY: u64 = u64::MAX - 1;

impl Reads {
    pub(crate) fn new(store: Dyn, batch: usize) -> Self {
        Self { store, keys: vec![KEY; batch] }
    }

    /// Puts an entry of `payload` bytes there, for a while.
    pub(crate) async fn fill(&self, payload: usize) -> cache::Result<()> {
        let (fresh, load_time) = (Duration::from_secs(60), Duration::ZERO);
        let value = Some(Value::new(KEY, 0, payload, 1));
        let fill = Fill { value, version: Version::default(), fresh, keep: fresh, load_time };
        Store::put(&self.store, &KEY, fill).await
    }

    /// Takes half a second.
    pub(crate) fn measure(self, config: &Config) -> Result<Ceiling, BoxError> {
        let run = bench::run(self, &short(config, Amount::Duration(Duration::from_millis(500))))?;
        Ok(Ceiling { name: "reads of one entry, by the same store".to_owned(), ops_per_s: run.ops_per_s() })
    }
}

impl Workload for Reads {
    type Worker = ();
    type Input = ();
    type Output = bool;

    fn classes(&self) -> &'static [Class] {
        &[Class { name: "done", kind: ClassKind::Success }, Class { name: "failed", kind: ClassKind::Error }]
    }

    async fn worker(&self, _id: usize) -> Result<(), BoxError> {
        Ok(())
    }

    fn input(&self, _index: u64, _rng: &mut Rng) {}

    async fn op(&self, (): &mut (), (): &()) -> bool {
        match self.keys.as_slice() {
            [key] => Store::get(&self.store, key).await.is_ok(),
            keys => Store::get_many(&self.store, keys).await.iter().all(Result::is_ok),
        }
    }

    fn settle(&self, (): &mut (), (): (), done: bool) -> Outcome {
        Outcome::Class(u8::from(!done))
    }

    fn verify(&self, _run: &RunFacts) -> Vec<Invariant> {
        Vec::new()
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
