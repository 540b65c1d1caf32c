//! How a cache is set up.

use std::{
    sync::{Arc, atomic::AtomicBool},
    time::Duration,
};

use backends::{Error, ErrorKind, Result};
use tokio::sync::Semaphore;

use crate::{
    Ack, Cache, Key, Protocol, Source, Store, cache::Inner, chance::Chance, flights::Flights, front::Front,
    pending::Pending, stats::Counters,
};

/// Sets up a [`Cache`]. What it says of times is checked by [`build`](Self::build).
#[derive(Clone, Debug)]
#[must_use]
pub struct Builder<S, T> {
    source: S,
    store: T,
    settings: Settings,
    seed: Option<u64>,
    front: Front,
}

#[derive(Clone, Debug)]
pub(crate) struct Settings {
    pub(crate) protocol: Protocol,
    pub(crate) ttl: Duration,
    pub(crate) stale_for: Duration,
    pub(crate) negative_ttl: Option<Duration>,
    pub(crate) jitter: f64,
    pub(crate) early_refresh: f64,
    pub(crate) lease: Duration,
    pub(crate) floor: Duration,
    pub(crate) ack: Ack,
    pub(crate) refreshes: usize,
    pub(crate) batch: usize,
    pub(crate) pending: usize,
}

impl<S, T> Builder<S, T> {
    pub(crate) const fn new(source: S, store: T) -> Self {
        let settings = Settings {
            protocol: Protocol::Lease,
            ttl: Duration::from_secs(60),
            stale_for: Duration::ZERO,
            negative_ttl: Some(Duration::from_secs(5)),
            jitter: 0.1,
            early_refresh: 1.0,
            lease: Duration::from_secs(3),
            floor: Duration::from_secs(3),
            ack: Ack::None,
            refreshes: 64,
            batch: 64,
            pending: 1024,
        };
        Self { source, store, settings, seed: None, front: Front::NONE }
    }

    /// How writes and loads are kept apart. By default [`Protocol::Lease`].
    pub const fn protocol(mut self, protocol: Protocol) -> Self {
        self.settings.protocol = protocol;
        self
    }

    /// How long an entry is fresh. By default a minute.
    pub const fn ttl(mut self, ttl: Duration) -> Self {
        self.settings.ttl = ttl;
        self
    }

    /// For how long after that it is still served, while it is loaded anew in the background. By default not at all.
    ///
    /// Only by [`Protocol::Lease`] is it loaded anew before it is gone. Such an entry is old, but no write of this cache has made it stale: an invalidation removes it.
    pub const fn stale_for(mut self, stale_for: Duration) -> Self {
        self.settings.stale_for = stale_for;
        self
    }

    /// How long it is remembered that a row is absent; `None`: not at all. By default five seconds.
    pub const fn negative_ttl(mut self, ttl: Option<Duration>) -> Self {
        self.settings.negative_ttl = ttl;
        self
    }

    /// Shortens each lifetime by chance, by up to this fraction of it, so that what was filled together does not expire
    /// together. By default a tenth.
    pub const fn jitter(mut self, fraction: f64) -> Self {
        self.settings.jitter = fraction;
        self
    }

    /// How eagerly an entry is loaded anew before it becomes stale (the beta of XFetch): at 1, the default, about one load
    /// time before its end; at 0, never.
    pub const fn early_refresh(mut self, beta: f64) -> Self {
        self.settings.early_refresh = beta;
        self
    }

    /// How long a load may take and still be filled in, and how long others wait for it before they load themselves. By
    /// default three seconds.
    pub const fn lease(mut self, lease: Duration) -> Self {
        self.settings.lease = lease;
        self
    }

    /// How long an invalidation refuses fills that are not newer than what was written: the lag of replicas that it
    /// survives. By default three seconds.
    ///
    /// Where a version may belong to two writes ([`Floor::at`](crate::Floor::at)), a row is not cached for as long after a
    /// write.
    pub const fn floor(mut self, floor: Duration) -> Self {
        self.settings.floor = floor;
        self
    }

    /// How durable an invalidation has to be. By default [`Ack::None`]. One that is tried again from the queue waits for
    /// nobody.
    pub const fn ack(mut self, ack: Ack) -> Self {
        self.settings.ack = ack;
        self
    }

    /// How many entries are loaded anew in the background at once. By default 64.
    pub const fn max_refreshes(mut self, refreshes: usize) -> Self {
        self.settings.refreshes = refreshes;
        self
    }

    /// How many rows a [`get_many`](Cache::get_many) loads at once. By default 64.
    pub const fn max_batch_loads(mut self, loads: usize) -> Self {
        self.settings.batch = loads;
        self
    }

    /// How many invalidations are kept to be tried again. By default 1,024.
    pub const fn max_pending(mut self, pending: usize) -> Self {
        self.settings.pending = pending;
        self
    }

    /// Makes chance (jitter, early refreshes, the names of leases) the same in every run: for tests. Two caches on one
    /// store must not have the same seed.
    pub const fn seed(mut self, seed: u64) -> Self {
        self.seed = Some(seed);
        self
    }

    /// Asks `filter` before anything else; `hasher` makes the hashes of keys, which are those of the filter.
    ///
    /// A key that the filter denies is absent, without a look at the store or the database. Each write adds its key to
    /// the filter first, then goes to the database, then invalidates; a write whose key the filter does not take is not
    /// made. So the filter has to be told of, or rebuilt with, all rows that are there, and of those which others write.
    /// While it cannot be asked, all keys may be there. [`Cache::close`] does not close it.
    #[cfg(feature = "filters")]
    pub fn filter(self, filter: Arc<dyn filters::DynMembership>, hasher: impl filters::KeyHasher) -> Self {
        Self { front: Front::new(filter, hasher), ..self }
    }

    /// The cache.
    ///
    /// # Errors
    ///
    /// `Config` for times or fractions that cannot work, `Unsupported` for an [`Ack`] that the store cannot give.
    pub fn build<K: Key, V: Clone + Send + Sync + 'static>(self) -> Result<Cache<K, V, S, T>>
    where
        S: Source<K, V>,
        T: Store<K, V>,
    {
        let capability = self.store.capability();
        let fail = |kind, message: &str| Err(Error::new(kind, capability.backend, "build", message));
        if let Some(message) = self.settings.wrong() {
            return fail(ErrorKind::Config, message);
        }
        if !capability.gives(self.settings.ack) {
            let hint = match self.settings.ack {
                Ack::Fsync { .. } => "; a RedisStore can that was built by RedisBuilder::build_with_fsync",
                _ => "",
            };
            let message = format!("this store cannot give {:?}{hint}", self.settings.ack);
            return fail(ErrorKind::Unsupported, &message);
        }
        let chance = self.seed.map_or_else(Chance::new, Chance::seeded);
        Ok(Cache(Arc::new(Inner {
            source: self.source,
            store: self.store,
            refreshes: Arc::new(Semaphore::new(self.settings.refreshes.min(Semaphore::MAX_PERMITS))),
            pending: Pending::new(self.settings.pending),
            settings: self.settings,
            flights: Flights::new(),
            front: self.front,
            counters: Counters::new(capability.backend),
            chance,
            closed: AtomicBool::new(false),
        })))
    }
}

/// For a lease or a floor.
const LONGEST: Duration = Duration::from_secs(365 * 86_400);

impl Settings {
    /// What cannot work, if anything.
    fn wrong(&self) -> Option<&'static str> {
        let least = Duration::from_millis(1);
        let fraction = |number: f64| (0.0..1.0).contains(&number);
        if self.ttl < least || self.negative_ttl.is_some_and(|ttl| ttl < least) {
            Some("a lifetime is at least a millisecond")
        } else if !fraction(self.jitter) {
            Some("the jitter is a fraction: at least 0, and below 1")
        } else if !(self.early_refresh.is_finite() && self.early_refresh >= 0.0) {
            Some("the eagerness of early refreshes is a number, at least 0")
        } else if self.lease < least || self.floor < least {
            Some("leases and floors last at least a millisecond")
        } else if self.lease > LONGEST || self.floor > LONGEST {
            Some("leases and floors last at most a year")
        } else if self.batch == 0 {
            Some("a batch loads at least one row at once")
        } else {
            None
        }
    }
}
