//! Keys and a rule that tell what a request made the store do, at the price of a store into memory.

use std::{
    hash::{Hash, Hasher},
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
};

use rate_limiter::{Decision, Limit, LimitState, Rule, State};

/// Only one thread asks: no ordering is needed, nor a read-modify-write.
static SWEPT: AtomicBool = AtomicBool::new(false);
static HASHED: AtomicU64 = AtomicU64::new(0);

/// What a request made the store do besides deciding.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Work {
    Nothing,
    /// It looked for keys to forget.
    Sweep,
    /// It moved a shard to a larger table.
    Growth,
}

/// What was done since the last call.
pub(crate) fn work() -> Work {
    let hashed = HASHED.load(Ordering::Relaxed);
    HASHED.store(0, Ordering::Relaxed);
    if SWEPT.load(Ordering::Relaxed) {
        SWEPT.store(false, Ordering::Relaxed);
        Work::Sweep
    } else if hashed > 1 {
        Work::Growth
    } else {
        Work::Nothing
    }
}

/// A key that counts how often it is hashed: once, unless a table grows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Key(pub(crate) u64);

impl Hash for Key {
    fn hash<H: Hasher>(&self, state: &mut H) {
        HASHED.store(HASHED.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
        self.0.hash(state);
    }
}

/// A limit whose states say that they are looked at for a sweep.
#[derive(Clone, Debug)]
pub(crate) struct Watched(pub(crate) Limit);

#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct WatchedState(LimitState);

impl Rule for Watched {
    type State = WatchedState;

    fn take(&self, state: &mut WatchedState, now: u64, cost: u32) -> Decision {
        self.0.take(&mut state.0, now, cost)
    }

    fn peek(&self, state: &WatchedState, now: u64, cost: u32) -> Decision {
        self.0.peek(&state.0, now, cost)
    }

    fn available(&self, state: &WatchedState, now: u64) -> u64 {
        self.0.available(&state.0, now)
    }

    fn refund(&self, state: &mut WatchedState, now: u64, taken_at: u64, cost: u32) {
        self.0.refund(&mut state.0, now, taken_at, cost);
    }

    fn mend(&self, state: &mut WatchedState, now: u64) {
        self.0.mend(&mut state.0, now);
    }
}

impl State for WatchedState {
    fn fresh_at(&self) -> u64 {
        SWEPT.store(true, Ordering::Relaxed);
        self.0.fresh_at()
    }
}
