use std::sync::atomic::{AtomicU64, Ordering};

use super::denial::Denial;

/// What has happened to requests that were not simply allowed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Counts {
    /// Denied: 429.
    pub denied: u64,
    /// Never fitting: 413.
    pub never_fits: u64,
    /// Refused for want of a key: 403.
    pub no_key: u64,
    /// Not decided, since the store failed: allowed or answered with 503.
    pub store_failed: u64,
}

#[derive(Debug, Default)]
pub(super) struct Counters {
    denied: AtomicU64,
    never_fits: AtomicU64,
    no_key: AtomicU64,
    store_failed: AtomicU64,
}

impl Counters {
    pub(super) fn refused(&self, denial: &Denial<'_>) {
        let counter = match denial {
            Denial::Denied { .. } => &self.denied,
            Denial::NeverFits { .. } => &self.never_fits,
            Denial::NoKey => &self.no_key,
            Denial::StoreFailed(_) => &self.store_failed,
        };
        counter.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn store_failed(&self) {
        self.store_failed.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn read(&self) -> Counts {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Counts {
            denied: read(&self.denied),
            never_fits: read(&self.never_fits),
            no_key: read(&self.no_key),
            store_failed: read(&self.store_failed),
        }
    }
}
