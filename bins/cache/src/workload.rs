//! One read or write through the cache, or several reads at once.

use std::{
    cell::Cell,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use bench::{BoxError, Class, ClassKind, Invariant, Keys, Outcome, Rng, RunFacts, Workload};
use cache::{Acks, Cache, DynStore, Result, Store, WriteError};
use tokio::runtime::Handle;

use crate::{
    check::{self, Checked},
    database::Database,
    faults::Faults,
    row::Value,
    store::{HIT, Watched},
    tally::Tally,
};

/// Reads and writes of keys drawn from a distribution.
pub(crate) struct Caching<T: Store<u64, Value>>(pub(crate) Arc<Shared<T>>);

/// What the report is written from, too.
pub(crate) struct Shared<T: Store<u64, Value>> {
    pub(crate) cache: Cache<u64, Value, Database, Watched<T>>,
    /// The store behind one that has copies of its own.
    pub(crate) behind: Option<Arc<dyn DynStore<u64, Value>>>,
    pub(crate) keys: Keys,
    pub(crate) mix: Mix,
    pub(crate) tally: Tally,
    pub(crate) faults: Faults,
    /// There is no server that could fail.
    pub(crate) in_memory: bool,
    /// The server was spawned, and is nobody else's to fail over.
    pub(crate) is_own: bool,
    /// Replicas take the places of their masters: only what was acknowledged is confirmed.
    pub(crate) fails_over: bool,
    /// Of the runtime in which connections live.
    pub(crate) handle: Handle,
    /// Writes so far: the name of the next.
    pub(crate) sequence: AtomicU64,
    pub(crate) checked: parking_lot::Mutex<Checked>,
}

/// What operations are made of.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Mix {
    /// The share of the operations that write.
    pub(crate) writes: f64,
    /// The share of the reads that ask for a row that is not there.
    pub(crate) absent: f64,
    /// Keys of an operation.
    pub(crate) batch: usize,
    /// Bytes of a row.
    pub(crate) payload: usize,
}

#[derive(Hash)]
pub(crate) enum Input {
    Read(u64),
    Write(u64),
    Batch { reads: Vec<u64>, writes: Vec<u64> },
}

pub(crate) enum Output {
    Read { hit: bool, least: u64, value: Result<Option<Value>> },
    Write(Result<Acks, WriteError>),
    Batch { least: Vec<u64>, values: Vec<Result<Option<Value>>>, writes: Vec<Result<Acks, WriteError>> },
}

/// How an operation may end: in memory, with a server, and in batches.
const CLASSES: [Class; 9] = [
    Class { name: "hit", kind: ClassKind::Success },
    Class { name: "miss", kind: ClassKind::Success },
    Class { name: "write", kind: ClassKind::Success },
    Class { name: "read failed", kind: ClassKind::Error },
    Class { name: "write failed", kind: ClassKind::Error },
    Class { name: "written, queued", kind: ClassKind::Rejected },
    Class { name: "written, under", kind: ClassKind::Rejected },
    Class { name: "written, lost", kind: ClassKind::Error },
    Class { name: "batch", kind: ClassKind::Success },
];
/// Of these, those that an operation in memory may end in, and those of a single operation.
const IN_MEMORY: usize = 5;
const SINGLE: usize = 8;

const HIT_CLASS: u8 = 0;
const MISS: u8 = 1;
const WRITE: u8 = 2;
const UNREAD: u8 = 3;
const UNWRITTEN: u8 = 4;
const QUEUED: u8 = 5;
const UNDER: u8 = 6;
const DROPPED: u8 = 7;
const BATCH: u8 = 8;

impl<T: Store<u64, Value>> Shared<T> {
    async fn read(&self, key: u64) -> Output {
        let least = self.tally.least(key);
        HIT.scope(Cell::new(false), async {
            let value = self.cache.get(&key).await;
            Output::Read { hit: HIT.with(Cell::get), least, value }
        })
        .await
    }

    async fn write(&self, key: u64) -> Result<Acks, WriteError> {
        let sequence = self.sequence.fetch_add(1, Ordering::Relaxed);
        let (value, receipt) = Value::to_write(key, sequence, self.mix.payload);
        self.tally.begin(key);
        let written = self.cache.write(&key, value).await;
        let known = match &written {
            Ok(_) => true,
            // A failover may undo it, as was said.
            Err(WriteError::Under { .. }) => !self.fails_over,
            // This process does not use the entry.
            Err(WriteError::NotInvalidated { queued, .. }) => *queued && !self.fails_over,
            Err(_) => false,
        };
        if known {
            self.tally.confirm(key, receipt.version());
        }
        written
    }

    /// A read that failed, if it did.
    fn hold(&self, key: u64, least: u64, value: Result<Option<Value>>) -> Option<Box<str>> {
        match value {
            Ok(value) => {
                self.tally.read(key, least, value.as_ref());
                None
            }
            Err(error) => Some(error.to_string().into()),
        }
    }

    /// Everything that may leave something stale in this run, in words.
    pub(crate) fn excuses(&self) -> Vec<String> {
        let stats = self.cache.stats();
        // What did not fail did not fail over. A server of our own is empty when it is started again, and its failover is
        // known.
        let failed = if self.is_own { self.faults.failed_over() } else { stats.store_errors > 0 };
        let gaps = self.cache.gaps().into_iter();
        let gaps = gaps.filter(|gap| failed || *gap != cache::Gap::Failover).map(|gap| gap.to_string());
        let lost = self.cache.store().lost();
        let lost = (lost > 0).then(|| format!("{lost} invalidations were lost on purpose"));
        let dropped = stats.invalidations_dropped;
        let dropped = (dropped > 0).then(|| format!("{dropped} invalidations found no room in the queue"));
        gaps.chain(lost).chain(dropped).collect()
    }

    /// On a thread of its own, since the runner's runtime waits for the answer.
    fn check(&self) -> Checked {
        self.faults.end();
        self.cache.store().recover();
        let check = || {
            self.handle.block_on(async {
                if let Err(error) = self.faults.ended().await {
                    return Checked { failed: Some(error), ..Checked::default() };
                }
                let rows = self.keys.count();
                let least = |key| if self.fails_over { self.tally.least(key) } else { u64::MAX };
                check::check(&self.cache, self.behind.as_ref(), self.tally.written(), rows, least).await
            })
        };
        let joined = std::thread::scope(|scope| scope.spawn(check).join());
        joined.unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    }
}

impl<T: Store<u64, Value>> Workload for Caching<T> {
    type Worker = ();
    type Input = Input;
    type Output = Output;

    fn classes(&self) -> &'static [Class] {
        match self.0.mix.batch {
            1 if self.0.in_memory => &CLASSES[..IN_MEMORY],
            1 => &CLASSES[..SINGLE],
            _ => &CLASSES,
        }
    }

    async fn worker(&self, _id: usize) -> Result<(), BoxError> {
        Ok(())
    }

    fn input(&self, _index: u64, rng: &mut Rng) -> Input {
        let Shared { keys, mix, .. } = &*self.0;
        let mut one = || {
            let writes = rng.unit() < mix.writes;
            let key = keys.choose(rng);
            // Rows that are not there come after those that are, as hot.
            let absent = !writes && mix.absent > 0.0 && rng.unit() < mix.absent;
            (writes, if absent { keys.count() + key } else { key })
        };
        if mix.batch == 1 {
            return match one() {
                (true, key) => Input::Write(key),
                (false, key) => Input::Read(key),
            };
        }
        let (mut reads, mut writes) = (Vec::with_capacity(mix.batch), Vec::new());
        for _ in 0..mix.batch {
            let (is_write, key) = one();
            if is_write { writes.push(key) } else { reads.push(key) }
        }
        Input::Batch { reads, writes }
    }

    async fn op(&self, (): &mut (), input: &Input) -> Output {
        let shared = &*self.0;
        match input {
            Input::Read(key) => shared.read(*key).await,
            Input::Write(key) => Output::Write(shared.write(*key).await),
            Input::Batch { reads, writes } => {
                let least = reads.iter().map(|key| shared.tally.least(*key)).collect();
                let values = shared.cache.get_many(reads).await;
                let mut written = Vec::with_capacity(writes.len());
                for key in writes {
                    written.push(shared.write(*key).await);
                }
                Output::Batch { least, values, writes: written }
            }
        }
    }

    fn settle(&self, (): &mut (), input: Input, output: Output) -> Outcome {
        let shared = &*self.0;
        match (input, output) {
            (Input::Read(key), Output::Read { hit, least, value }) => match shared.hold(key, least, value) {
                Some(message) => Outcome::Error(UNREAD, message),
                None => Outcome::Class(if hit { HIT_CLASS } else { MISS }),
            },
            (Input::Batch { reads, .. }, Output::Batch { least, values, writes }) => {
                let mut failed = None;
                for ((key, least), value) in reads.into_iter().zip(least).zip(values) {
                    failed = shared.hold(key, least, value).or(failed);
                }
                if let Some(message) = failed {
                    return Outcome::Error(UNREAD, message);
                }
                let written = writes.into_iter().map(write_outcome);
                written
                    .into_iter()
                    .find(|outcome| *outcome != Outcome::Class(WRITE))
                    .unwrap_or(Outcome::Class(BATCH))
            }
            (_, Output::Write(written)) => write_outcome(written),
            _ => unreachable!("an operation gives back what its input asked for"),
        }
    }

    fn verify(&self, run: &RunFacts) -> Vec<Invariant> {
        let shared = &*self.0;
        let checked = shared.check();
        let is_covered = shared.excuses().is_empty();
        let mut invariants = vec![shared.tally.never_wrong()];
        if is_covered {
            invariants.push(shared.tally.never_back());
            invariants.push(checked.none_stale());
        }
        // A write that was cut short may be under way still, and its invalidation with it.
        if !run.interrupted || checked.failed.is_none() {
            invariants.push(checked.complete());
        }
        *shared.checked.lock() = checked;
        invariants
    }
}

fn write_outcome(written: Result<Acks, WriteError>) -> Outcome {
    match written {
        Ok(_) => Outcome::Class(WRITE),
        Err(WriteError::NotInvalidated { queued: true, .. }) => Outcome::Class(QUEUED),
        Err(WriteError::Under { .. }) => Outcome::Class(UNDER),
        Err(error @ WriteError::NotInvalidated { queued: false, .. }) => {
            Outcome::Error(DROPPED, error.to_string().into())
        }
        Err(error) => Outcome::Error(UNWRITTEN, error.to_string().into()),
    }
}
