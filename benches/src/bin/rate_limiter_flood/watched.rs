//! A rule that tells when a request made the store look for keys to forget, at the price of a store into memory.

use std::sync::atomic::{AtomicU64, Ordering};

use rate_limiter::{Decision, Limit, LimitState, Rule, State};

/// Only one thread asks: no ordering is needed, nor a read-modify-write.
static LOOKED_AT: AtomicU64 = AtomicU64::new(0);

/// Whether since the last call more states were looked at than a search for one key passes.
pub(crate) fn was_rebuilt() -> bool {
    const MORE_THAN_A_SEARCH: u64 = 100;
    let looked_at = LOOKED_AT.load(Ordering::Relaxed);
    LOOKED_AT.store(0, Ordering::Relaxed);
    looked_at > MORE_THAN_A_SEARCH
}

/// A limit whose states count how often one is asked whether it is fresh.
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

    fn is_ahead(&self, word: u64, now: u64) -> bool {
        self.0.is_ahead(word, now)
    }
}

impl State for WatchedState {
    fn fresh_at(&self) -> u64 {
        LOOKED_AT.store(LOOKED_AT.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
        self.0.fresh_at()
    }

    fn pack(&self) -> Option<u64> {
        self.0.pack()
    }

    fn unpack(word: u64) -> Self {
        Self(LimitState::unpack(word))
    }
}
