use std::{error, future::Future, hash::Hash, time::Duration};

use serde::{Deserialize, Serialize};

use crate::Rng;

/// The error with which a workload ends the run: shown with its causes, exit code 1.
pub type BoxError = Box<dyn error::Error + Send + Sync>;

/// What is driven: the runner calls [`op`](Workload::op) as often as was asked, from as many workers
/// as were asked, and times it.
pub trait Workload: Send + Sync + 'static {
    /// What one worker has for itself: a connection, a buffer.
    type Worker: Send;
    /// What one operation is given. It depends on the seed and the operation's index alone, so that
    /// any number of workers runs the same operations.
    type Input: Hash + Send + Sync;
    /// What one operation gives back, before it is looked at.
    type Output: Send;

    /// How an operation may end. [`Outcome`] names them by their place in this list, of at most 256.
    fn classes(&self) -> &'static [Class];

    /// Prepares worker `id`.
    fn worker(&self, id: usize) -> impl Future<Output = Result<Self::Worker, BoxError>> + Send;

    /// Makes the input of operation `index`; not timed in a closed loop.
    fn input(&self, index: u64, rng: &mut Rng) -> Self::Input;

    /// The operation: this is what is timed.
    ///
    /// It is dropped unfinished when the run is interrupted.
    fn op(&self, worker: &mut Self::Worker, input: &Self::Input)
    -> impl Future<Output = Self::Output> + Send;

    /// Looks at what came out, keeps what [`verify`](Workload::verify) will need, and says how it
    /// ended; not timed.
    fn settle(&self, worker: &mut Self::Worker, input: Self::Input, output: Self::Output) -> Outcome;

    /// After the last operation: does what must hold hold? A report with a broken invariant gives no
    /// verdict on speed.
    fn verify(&self, run: &RunFacts) -> Vec<Invariant>;
}

/// One way in which an operation may end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Class {
    /// In the words of the pattern: `allowed`, `hit`, `timeout`.
    pub name: &'static str,
    /// What it counts as.
    pub kind: ClassKind,
}

/// What a class of outcomes counts as.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ClassKind {
    /// What was asked for.
    Success,
    /// A correct "no": a denial, a miss. Not an error.
    Rejected,
    /// What should not happen; counts into the error rate.
    Error,
}

/// How one operation ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// In the class at this place of [`Workload::classes`].
    Class(u8),
    /// Likewise, with a message: the report shows the first three of a class.
    Error(u8, Box<str>),
}

impl Outcome {
    pub(crate) const fn class(&self) -> u8 {
        match self {
            Self::Class(class) | Self::Error(class, _) => *class,
        }
    }
}

/// What the runner knows when [`Workload::verify`] is called.
#[derive(Clone, Copy, Debug)]
pub struct RunFacts {
    /// Operations that ran to their end, warm-up included.
    pub operations: u64,
    /// From before the first operation, warm-up included, to after the last.
    pub elapsed: Duration,
    /// Whether the run was cut short; operations may have taken effect without having been settled.
    pub interrupted: bool,
}

/// Something that must hold after a run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Invariant {
    /// What must hold, as a statement: `no key admitted more than its quota`.
    pub name: String,
    /// Whether it does.
    pub held: bool,
    /// The figures.
    pub detail: String,
}
