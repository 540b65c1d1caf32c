use std::time::Duration;

use clock::{ManualClock, PreciseClock};

use crate::Plan;

/// How to run a workload. Flags of a binary become one through [`RunArgs`](crate::RunArgs).
#[derive(Clone, Debug)]
pub struct Config {
    /// What paces the operations.
    pub pacing: Pacing,
    /// When to stop.
    pub amount: Amount,
    /// Run before anything is measured.
    pub warmup: Option<Amount>,
    /// Workers, each with one operation in flight.
    pub concurrency: usize,
    /// Decides all inputs and all arrivals.
    pub seed: u64,
    /// Time every Nth operation only, for operations cheaper than reading the clock.
    pub sample_every: u64,
    /// Fold all inputs into a digest, so that two runs can be shown to have had the same.
    pub digest: bool,
    /// What to show meanwhile.
    pub progress: Progress,
    /// Times the operations.
    pub clock: PreciseClock,
}

/// What paces the operations.
#[derive(Clone, Debug)]
pub enum Pacing {
    /// A closed loop: a worker starts its next operation when the last has ended.
    Closed,
    /// An open loop: operations start when the plan says so, or as soon after as a worker is free.
    Open {
        /// When operations are due.
        plan: Plan,
        /// What becomes of operations that cannot start when they are due.
        late: Late,
    },
    /// One operation after the other on a clock that the runner moves to each one's due time: the
    /// outcome depends on the seed alone.
    Virtual {
        /// When operations are due.
        plan: Plan,
        /// The clock that the workload reads.
        clock: ManualClock,
    },
}

/// What becomes of operations that cannot start when they are due.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Late {
    /// They wait; their response time counts from when they were due.
    #[default]
    Queue,
    /// After a millisecond they are dropped, and counted.
    Drop,
}

/// How much to run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Amount {
    /// This many operations.
    Requests(u64),
    /// This long.
    Duration(Duration),
}

/// What to show of a run that is under way, on standard error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// A block that is redrawn in place.
    Terminal,
    /// A line a second.
    Lines,
    /// Nothing.
    Quiet,
}
