//! What a cache has done.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};

use crate::Refusal;

macro_rules! counters {
    ($($(#[$doc:meta])* $name:ident,)*) => {
        /// Counts since the cache was built.
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
        #[non_exhaustive]
        pub struct Stats {
            $($(#[$doc])* pub $name: u64,)*
        }

        #[derive(Debug)]
        pub(crate) struct Counters {
            $(pub(crate) $name: Count,)*
        }

        impl Counters {
            pub(crate) fn new(backend: &'static str) -> Self {
                Self { $($name: Count::new(backend, stringify!($name)),)* }
            }

            pub(crate) fn read(&self) -> Stats {
                Stats { $($name: self.$name.sum(),)* }
            }
        }
    };
}

counters! {
    /// Reads that the store answered, fresh or stale.
    hits,
    /// Of those, reads that got something stale while it was being loaded anew.
    stale_hits,
    /// Of the hits, those that said that there is no row.
    negative_hits,
    /// Reads that the filter in front answered: there is no such row.
    filtered,
    /// Calls of the filter that failed: a read then takes the key for one that may be there.
    filter_errors,
    /// Reads that the store did not answer.
    misses,
    /// Misses that waited for the load of another.
    coalesced,
    /// Loads that the database answered.
    loads,
    /// Loads that failed.
    failed_loads,
    /// Loads before or after the entry became stale, in the background. They count among the loads, too.
    refreshes,
    /// Refreshes that were not begun, since enough were under way.
    refreshes_skipped,
    /// Fills that were refused because the lease did not hold any more.
    refused_revoked,
    /// Fills that were refused because a newer version is known: a replica lags.
    refused_older,
    /// Fills that were refused because their version is in doubt.
    refused_tie,
    /// Writes that the database confirmed.
    writes,
    /// Invalidations that the store confirmed.
    invalidations,
    /// Invalidations that were queued, to be tried again.
    invalidations_queued,
    /// Invalidations for which the queue had no room, or that the end of the cache left: the old entry stays until it expires.
    invalidations_dropped,
    /// Invalidations that were less durable than was asked for.
    invalidations_under,
    /// Calls of the store that failed. A read that fails is a miss.
    store_errors,
}

const STRIPES: usize = 8;

/// A count that many threads add to, each mostly on a cache line of its own. With the feature `metrics` it is also the
/// counter `patterns.cache.events` with the labels of [`backends::telemetry`], the outcome being its name.
#[derive(Debug)]
pub(crate) struct Count {
    stripes: [Stripe; STRIPES],
    #[cfg(feature = "metrics")]
    labels: [(&'static str, &'static str); 2],
}

#[derive(Debug, Default)]
#[repr(align(64))]
struct Stripe(AtomicU64);

thread_local! {
    static STRIPE: usize = {
        static THREADS: AtomicUsize = AtomicUsize::new(0);
        THREADS.fetch_add(1, Relaxed) % STRIPES
    };
}

impl Count {
    #[cfg_attr(not(feature = "metrics"), expect(unused_variables, reason = "labels of a metric"))]
    fn new(backend: &'static str, name: &'static str) -> Self {
        Self {
            stripes: Default::default(),
            #[cfg(feature = "metrics")]
            labels: [(backends::telemetry::BACKEND, backend), (backends::telemetry::OUTCOME, name)],
        }
    }

    pub(crate) fn one(&self) {
        let stripe = STRIPE.try_with(|stripe| *stripe).unwrap_or_default();
        self.stripes[stripe].0.fetch_add(1, Relaxed);
        #[cfg(feature = "metrics")]
        metrics::counter!("patterns.cache.events", &self.labels).increment(1);
    }

    fn sum(&self) -> u64 {
        self.stripes.iter().map(|stripe| stripe.0.load(Relaxed)).sum()
    }
}

impl Counters {
    pub(crate) fn refused(&self, refusal: Refusal) {
        match refusal {
            Refusal::Revoked => self.refused_revoked.one(),
            Refusal::Older => self.refused_older.one(),
            Refusal::Tie => self.refused_tie.one(),
        }
    }
}

impl Stats {
    /// The share of reads that the store answered; zero when there were none.
    #[must_use]
    pub fn hit_rate(&self) -> f64 {
        let reads = self.hits + self.misses;
        if reads == 0 { 0.0 } else { self.hits as f64 / reads as f64 }
    }
}
