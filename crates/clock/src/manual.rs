use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use crate::{Clock, Time, time::saturating_nanos};

/// A clock that stands still until it is told to move; clones share the time.
#[derive(Clone, Debug, Default)]
pub struct ManualClock {
    nanos: Arc<AtomicU64>,
}

impl ManualClock {
    /// A clock at [`Time::ZERO`].
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// A clock at `time`.
    #[must_use]
    pub fn at(time: Time) -> Self {
        Self { nanos: Arc::new(AtomicU64::new(time.as_nanos())) }
    }

    /// Moves the clock forward.
    pub fn advance(&self, by: Duration) {
        let by = saturating_nanos(by);
        let step = |nanos: u64| Some(nanos.saturating_add(by));
        // Never fails: the step is always `Some`.
        let _ = self.nanos.fetch_update(Ordering::SeqCst, Ordering::SeqCst, step);
    }

    /// Sets the clock, also backwards, as a real wall clock may be.
    pub fn set(&self, time: Time) {
        self.nanos.store(time.as_nanos(), Ordering::SeqCst);
    }
}

impl Clock for ManualClock {
    #[inline]
    fn now(&self) -> Time {
        Time::from_nanos(self.nanos.load(Ordering::SeqCst))
    }
}
