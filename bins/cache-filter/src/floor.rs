//! What each part does at the most, alone in a loop that is driven like the run.

use std::{hint::black_box, sync::Arc, time::Duration};

use bench::{
    Amount, BoxError, Ceiling, Class, ClassKind, Config, Invariant, Keys, Outcome, Pacing, Progress, Rng,
    RunFacts, Workload,
};
use bytes::Bytes;
use cache::{Fill, Store, Version};
use filters::DynMembership;

use crate::{
    hasher::AnyHasher,
    row::{ABSENT, STRANGERS, value},
    table::Table,
};

/// A part of the way of a read.
pub(crate) trait Part: Send + Sync + 'static {
    /// One operation; whether it was done.
    fn op(&self, rng: Rng) -> impl Future<Output = bool> + Send;
}

/// Takes a third of a second.
pub(crate) fn measure(config: &Config, name: &str, part: impl Part) -> Result<Ceiling, BoxError> {
    let config = Config {
        pacing: Pacing::Closed,
        amount: Amount::Duration(Duration::from_millis(300)),
        warmup: Some(Amount::Duration(Duration::from_millis(50))),
        progress: Progress::Quiet,
        ..config.clone()
    };
    let run = bench::run(Loop(part), &config)?;
    Ok(Ceiling { name: name.to_owned(), ops_per_s: run.ops_per_s() })
}

/// Questions to the filter, for the keys that the run asks for.
pub(crate) struct Queries {
    pub(crate) filter: Arc<dyn DynMembership>,
    pub(crate) hasher: AnyHasher,
    pub(crate) keys: Keys,
    pub(crate) present: f64,
    pub(crate) batch: usize,
}

impl Part for Queries {
    async fn op(&self, mut rng: Rng) -> bool {
        let mut hash = || {
            let key = if rng.unit() < self.present {
                self.keys.choose(&mut rng)
            } else {
                ABSENT + rng.below(STRANGERS)
            };
            self.hasher.of(key)
        };
        if self.batch == 1 {
            let hash = hash();
            return match black_box(self.filter.look(hash)) {
                Some(_) => true,
                None => self.filter.check(&[hash]).await.is_ok(),
            };
        }
        let hashes: Vec<u64> = (0..self.batch).map(|_| hash()).collect();
        self.filter.check(&hashes).await.is_ok()
    }
}

/// Reads of one entry, as many at once as an operation has keys.
pub(crate) struct Reads<T> {
    store: T,
    keys: Vec<u64>,
}

/// No row has it, and nobody asks for it.
const KEY: u64 = u64::MAX - 1;

impl<T: Store<u64, Bytes>> Reads<T> {
    /// Puts an entry of `payload` bytes there, for a while.
    pub(crate) async fn of(store: T, batch: usize, payload: usize) -> cache::Result<Self> {
        let (fresh, load_time) = (Duration::from_secs(60), Duration::ZERO);
        let fill = Fill {
            value: Some(value(KEY, payload)),
            version: Version::default(),
            fresh,
            keep: fresh,
            load_time,
        };
        store.put(&KEY, fill).await?;
        Ok(Self { store, keys: vec![KEY; batch] })
    }
}

impl<T: Store<u64, Bytes>> Part for Reads<T> {
    async fn op(&self, _: Rng) -> bool {
        match self.keys.as_slice() {
            [key] => self.store.get(key).await.is_ok(),
            keys => self.store.get_many(keys).await.iter().all(Result::is_ok),
        }
    }
}

/// Loads from the table in memory.
pub(crate) struct Loads {
    pub(crate) table: Arc<Table>,
    pub(crate) keys: Keys,
    pub(crate) batch: usize,
}

impl Part for Loads {
    async fn op(&self, mut rng: Rng) -> bool {
        for _ in 0..self.batch {
            black_box(self.table.load(self.keys.choose(&mut rng)).await);
        }
        true
    }
}

struct Loop<P>(P);

impl<P: Part> Workload for Loop<P> {
    type Worker = ();
    type Input = u64;
    type Output = bool;

    fn classes(&self) -> &'static [Class] {
        &[Class { name: "done", kind: ClassKind::Success }, Class { name: "failed", kind: ClassKind::Error }]
    }

    async fn worker(&self, _id: usize) -> Result<(), BoxError> {
        Ok(())
    }

    fn input(&self, _index: u64, rng: &mut Rng) -> u64 {
        rng.next_u64()
    }

    async fn op(&self, (): &mut (), seed: &u64) -> bool {
        self.0.op(Rng::new(*seed, 0)).await
    }

    fn settle(&self, (): &mut (), _: u64, done: bool) -> Outcome {
        Outcome::Class(u8::from(!done))
    }

    fn verify(&self, _run: &RunFacts) -> Vec<Invariant> {
        Vec::new()
    }
}
