//! Reads of rows that are there and of keys that are not, and new rows.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use bench::{BoxError, Class, ClassKind, Invariant, Keys, Outcome, Rng, RunFacts, Workload};
use bytes::Bytes;
use cache::{Acks, Cache, Result, Store, WriteError};
use filters::Answer;
use tokio::runtime::Handle;

use crate::{
    asked::{SEEN, Seen},
    database::Database,
    facts::Measured,
    filter,
    hasher::AnyHasher,
    rebuild::Rebuilds,
    row::{ABSENT, INSERTED, STRANGERS, value},
    store::Watched,
    table::Bits,
    tally::{Counts, Tally, Truth},
};

/// Reads through the filter and the cache, and inserts.
pub(crate) struct Filtering<T: Store<u64, Bytes>>(pub(crate) Arc<Shared<T>>);

/// What the report is written from, too.
pub(crate) struct Shared<T: Store<u64, Bytes>> {
    pub(crate) cache: Cache<u64, Bytes, Database, Watched<T>>,
    pub(crate) filter: Option<Arc<filter::Watched>>,
    pub(crate) hasher: AnyHasher,
    pub(crate) keys: Keys,
    pub(crate) mix: Mix,
    pub(crate) tally: Tally,
    pub(crate) inserts: Inserts,
    pub(crate) rebuilds: Rebuilds,
    /// There is no server that a check would have to ask.
    pub(crate) in_memory: bool,
    /// Of the runtime in which connections live.
    pub(crate) handle: Handle,
    pub(crate) measured: parking_lot::Mutex<Measured>,
}

/// What operations are made of.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Mix {
    /// The share of the reads that ask for rows that are there.
    pub(crate) present: f64,
    /// The share of the operations that insert a row.
    pub(crate) writes: f64,
    /// Keys of an operation.
    pub(crate) batch: usize,
    /// Bytes of a row.
    pub(crate) payload: usize,
}

/// Rows that were inserted, by their number.
pub(crate) struct Inserts {
    begun: AtomicU64,
    /// Those whose write has returned.
    done: Bits,
}

impl Inserts {
    /// Room for so many; more are the first ones again.
    pub(crate) fn new(room: u64) -> Self {
        Self { begun: AtomicU64::new(0), done: Bits::new(room) }
    }

    pub(crate) fn begun(&self) -> u64 {
        self.begun.load(Ordering::Acquire).min(self.done.end())
    }

    pub(crate) fn is_done(&self, number: u64) -> bool {
        self.done.has(number)
    }
}

/// What one key of an operation is.
#[derive(Clone, Copy, Debug, Hash)]
pub(crate) enum Ask {
    Present(u64),
    /// The row that is so far, of 2^64, along those that were inserted.
    Inserted(u64),
    Absent(u64),
    Insert,
}

#[derive(Hash)]
pub(crate) enum Input {
    One(Ask),
    Many(Vec<Ask>),
}

pub(crate) enum Output {
    Read {
        key: u64,
        truth: Truth,
        hit: bool,
        answer: Answer,
        value: Result<Option<Bytes>>,
    },
    Insert(Result<Acks, WriteError>),
    Many {
        keys: Vec<(u64, Truth)>,
        answers: Vec<Answer>,
        values: Vec<Result<Option<Bytes>>>,
        inserts: Vec<Result<Acks, WriteError>>,
    },
}

const CLASSES: [Class; 9] = [
    Class { name: "denied", kind: ClassKind::Success },
    Class { name: "hit", kind: ClassKind::Success },
    Class { name: "miss", kind: ClassKind::Success },
    Class { name: IN_VAIN_CLASS, kind: ClassKind::Success },
    Class { name: "read failed", kind: ClassKind::Error },
    Class { name: "insert", kind: ClassKind::Success },
    Class { name: "insert failed", kind: ClassKind::Error },
    Class { name: "inserted, queued", kind: ClassKind::Rejected },
    Class { name: "batch", kind: ClassKind::Success },
];
/// Of these, those of a run that inserts nothing, and of one key at a time.
const READS: usize = 5;
const SINGLE: usize = 8;

/// Keys that no row has, and that were not denied.
pub(crate) const IN_VAIN_CLASS: &str = "in vain";

const DENIED: u8 = 0;
const HIT: u8 = 1;
const MISS: u8 = 2;
const IN_VAIN: u8 = 3;
const UNREAD: u8 = 4;
const INSERT: u8 = 5;
const UNWRITTEN: u8 = 6;
const QUEUED: u8 = 7;
const BATCH: u8 = 8;

/// Of the reads of rows that are there, those that ask for one that was inserted, if rows are.
const OF_INSERTED: f64 = 0.2;

impl<T: Store<u64, Bytes>> Shared<T> {
    /// The key that is asked for, and what is known of it now.
    fn key(&self, ask: Ask) -> (u64, Truth) {
        match ask {
            Ask::Present(key) => (key, Truth::Present),
            Ask::Absent(key) => (key, Truth::Absent),
            Ask::Inserted(place) => {
                let number = ((u128::from(place) * u128::from(self.inserts.begun())) >> 64) as u64;
                let truth = if self.inserts.is_done(number) { Truth::Present } else { Truth::Perhaps };
                (INSERTED + number, truth)
            }
            Ask::Insert => (INSERTED, Truth::Perhaps),
        }
    }

    async fn read(&self, ask: Ask) -> Output {
        let (key, truth) = self.key(ask);
        SEEN.scope(Seen::default(), async {
            let value = self.cache.get(&key).await;
            let (hit, answer) = Seen::read();
            Output::Read { key, truth, hit, answer, value }
        })
        .await
    }

    async fn read_many(&self, asks: &[Ask]) -> Output {
        let reads = asks.iter().filter(|ask| !matches!(ask, Ask::Insert));
        let keys: Vec<(u64, Truth)> = reads.map(|ask| self.key(*ask)).collect();
        let wanted: Vec<u64> = keys.iter().map(|(key, _)| *key).collect();
        let read = async {
            let values = self.cache.get_many(&wanted).await;
            (values, Seen::read_many(wanted.len()))
        };
        let (values, answers) = SEEN.scope(Seen::default(), read).await;
        let mut inserts = Vec::with_capacity(asks.len() - keys.len());
        for _ in keys.len()..asks.len() {
            inserts.push(self.insert().await);
        }
        Output::Many { keys, answers, values, inserts }
    }

    async fn insert(&self) -> Result<Acks, WriteError> {
        let number = self.inserts.begun.fetch_add(1, Ordering::AcqRel) % self.inserts.done.end();
        let key = INSERTED + number;
        let written = self.cache.write(&key, value(key, self.mix.payload)).await;
        // The database has it, whatever became of its invalidation.
        if matches!(written, Ok(_) | Err(WriteError::NotInvalidated { .. } | WriteError::Under { .. })) {
            self.inserts.done.set(number);
        }
        written
    }
}

impl<T: Store<u64, Bytes>> Workload for Filtering<T> {
    type Worker = Arc<Counts>;
    type Input = Input;
    type Output = Output;

    fn classes(&self) -> &'static [Class] {
        let mix = self.0.mix;
        if mix.batch > 1 {
            &CLASSES
        } else if mix.writes > 0.0 {
            &CLASSES[..SINGLE]
        } else {
            &CLASSES[..READS]
        }
    }

    async fn worker(&self, _id: usize) -> Result<Arc<Counts>, BoxError> {
        Ok(self.0.tally.worker())
    }

    fn input(&self, _index: u64, rng: &mut Rng) -> Input {
        let Mix { batch, .. } = self.0.mix;
        if batch == 1 {
            Input::One(ask(&self.0, rng))
        } else {
            Input::Many((0..batch).map(|_| ask(&self.0, rng)).collect())
        }
    }

    async fn op(&self, _: &mut Arc<Counts>, input: &Input) -> Output {
        match input {
            Input::One(Ask::Insert) => Output::Insert(self.0.insert().await),
            Input::One(ask) => self.0.read(*ask).await,
            Input::Many(asks) => self.0.read_many(asks).await,
        }
    }

    fn settle(&self, counts: &mut Arc<Counts>, _: Input, output: Output) -> Outcome {
        match output {
            Output::Read { key, truth, hit, answer, value } => {
                counts.read(key, truth, answer, &value);
                match value {
                    Err(error) => Outcome::Error(UNREAD, error.to_string().into()),
                    Ok(_) if answer == Answer::Absent => Outcome::Class(DENIED),
                    Ok(_) if truth == Truth::Absent => Outcome::Class(IN_VAIN),
                    Ok(_) => Outcome::Class(if hit { HIT } else { MISS }),
                }
            }
            Output::Insert(written) => inserted(counts, written),
            Output::Many { keys, answers, values, inserts } => {
                let mut outcome = Outcome::Class(BATCH);
                for (((key, truth), answer), value) in keys.into_iter().zip(answers).zip(values) {
                    counts.read(key, truth, answer, &value);
                    if let Err(error) = value {
                        outcome = Outcome::Error(UNREAD, error.to_string().into());
                    }
                }
                for written in inserts {
                    match inserted(counts, written) {
                        Outcome::Class(INSERT) => {}
                        failed => outcome = failed,
                    }
                }
                outcome
            }
        }
    }

    fn verify(&self, run: &RunFacts) -> Vec<Invariant> {
        let shared = &*self.0;
        // Before the check reads, too.
        let (total, mut measured) = (shared.tally.total(), Measured::of(shared));
        let checked = shared.check(run.interrupted);
        let mut invariants = vec![total.none_denied(), total.none_wrong()];
        if !run.interrupted {
            // Operations that were dropped are counted by the one and not by the other.
            invariants.push(total.adds_up(&measured.stats));
        }
        invariants.extend(checked.invariants(run.interrupted));
        measured.rows = checked.scanned.map(|(scanned, _)| scanned);
        *shared.measured.lock() = measured;
        invariants
    }
}

fn ask<T: Store<u64, Bytes>>(shared: &Shared<T>, rng: &mut Rng) -> Ask {
    let Mix { present, writes, .. } = shared.mix;
    if writes > 0.0 && rng.unit() < writes {
        Ask::Insert
    } else if rng.unit() >= present {
        Ask::Absent(ABSENT + rng.below(STRANGERS))
    } else if writes > 0.0 && rng.unit() < OF_INSERTED {
        Ask::Inserted(rng.next_u64())
    } else {
        Ask::Present(shared.keys.choose(rng))
    }
}

fn inserted(counts: &Counts, written: Result<Acks, WriteError>) -> Outcome {
    match written {
        Ok(_) => {
            counts.inserted();
            Outcome::Class(INSERT)
        }
        Err(WriteError::NotInvalidated { queued: true, .. } | WriteError::Under { .. }) => {
            counts.inserted();
            Outcome::Class(QUEUED)
        }
        Err(error) => Outcome::Error(UNWRITTEN, error.to_string().into()),
    }
}
