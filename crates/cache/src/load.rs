//! The way of a miss: lease, load, fill.

use std::{fmt, sync::Arc, time::Duration};

use backends::{Error, ErrorKind, Result};
use tokio::{runtime::Handle, time::Instant};

use crate::{
    Fill, Filled, Key, Leased, Protocol, Refusal, Row, Source, Store, Token, Wish,
    cache::Inner,
    flights::{Landing, Leader, Role, Step},
    freshness::jittered,
};

/// How long who waits for the lease of another process waits before it looks again: at first, and at most.
const PAUSES: (Duration, Duration) = (Duration::from_millis(1), Duration::from_millis(50));

/// What a load gave, and the step that it is as new as.
struct Loaded<V> {
    value: Option<V>,
    step: Step,
}

/// What came of asking for a lease.
enum Right<L, V> {
    /// Load, and fill under this lease.
    Lease(L),
    /// Load, and fill nothing.
    None,
    /// Someone else has loaded.
    Filled(Option<V>, Step),
}

impl<K: Key, V: Clone + Send + Sync + 'static, S: Source<K, V>, T: Store<K, V>> Inner<K, V, S, T> {
    /// The value of a key that the store does not have.
    pub(crate) async fn load(self: &Arc<Self>, key: &K) -> Result<Option<V>> {
        let mut waited = false;
        loop {
            match self.flights.join(key) {
                Role::Leader(leader) => {
                    if waited {
                        // The others who look again come before the load begins.
                        tokio::task::yield_now().await;
                    }
                    let (value, landing) = self.lead(key, &leader).await;
                    leader.land(landing);
                    return value;
                }
                Role::Follower(follower) => {
                    if !std::mem::replace(&mut waited, true) {
                        self.counters.coalesced.one();
                    }
                    match follower.wait().await {
                        Landing::Value(value, _) => return Ok(value),
                        Landing::Failed(error) => return Err(shared(&error)),
                        Landing::Panicked => return Err(self.panicked()),
                        Landing::Nothing => {}
                    }
                }
            }
        }
    }

    /// Loads for all who wait: what the leader gets, and what the others get.
    async fn lead(self: &Arc<Self>, key: &K, leader: &Leader<'_, K, V>) -> (Result<Option<V>>, Landing<V>) {
        let right = match self.settings.protocol {
            Protocol::Lease => self.right_to_fill(key, leader).await,
            Protocol::DeleteAfter | Protocol::DeleteFirst => Right::None,
        };
        let lease = match right {
            Right::Filled(value, step) => return (Ok(value.clone()), Landing::Value(value, step)),
            Right::Lease(lease) => Some(lease),
            Right::None => None,
        };
        match self.load_and_fill(key, lease, leader).await {
            Ok(loaded) => (Ok(loaded.value.clone()), Landing::Value(loaded.value, loaded.step)),
            Err(error) => {
                let error = Arc::new(error);
                (Err(shared(&error)), Landing::Failed(error))
            }
        }
    }

    /// Asks for the lease, until it is granted, or another has filled, or has taken too long.
    async fn right_to_fill<'a>(
        self: &'a Arc<Self>,
        key: &'a K,
        leader: &Leader<'_, K, V>,
    ) -> Right<Lease<'a, K, V, S, T>, V> {
        // The server does not have what this process knows.
        if self.pending.holds(key) {
            return Right::None;
        }
        let patience = Instant::now() + self.settings.lease;
        let mut pause = PAUSES.0;
        loop {
            // Before it is asked for: who is dropped meanwhile may have been granted it.
            let mut lease = Lease { inner: self, key, token: self.chance.token(), ends: true };
            let (token, step) = (lease.token, leader.step());
            match self.store.lease(key, Wish { token, ttl: self.settings.lease, seen: None }).await {
                Ok(Leased::Granted) => return Right::Lease(lease),
                Ok(Leased::Filled(entry)) => {
                    lease.ends = false;
                    return Right::Filled(entry.value, step);
                }
                Ok(Leased::Held { for_ms }) => {
                    lease.ends = false;
                    if Instant::now() >= patience {
                        return Right::None;
                    }
                    tokio::time::sleep(pause.min(Duration::from_millis(for_ms))).await;
                    pause = (pause * 2).min(PAUSES.1);
                }
                Err(_) => {
                    self.counters.store_errors.one();
                    return Right::None;
                }
            }
        }
    }

    /// One load, and its fill if there is a right to it.
    async fn load_and_fill(
        self: &Arc<Self>,
        key: &K,
        lease: Option<Lease<'_, K, V, S, T>>,
        leader: &Leader<'_, K, V>,
    ) -> Result<Loaded<V>> {
        let (step, began) = (leader.step(), Instant::now());
        let load = self.source.load(key);
        #[cfg(feature = "tracing")]
        let load = {
            use tracing::Instrument as _;
            load.instrument(tracing::debug_span!("patterns.cache.load", backend = self.backend()))
        };
        let row = match load.await {
            Ok(row) => row,
            Err(error) => {
                self.counters.failed_loads.one();
                return Err(error);
            }
        };
        self.counters.loads.one();
        let mut loaded = Loaded { value: row.value.clone(), step };
        match (lease, self.fill_of(row, began.elapsed())) {
            (Some(mut lease), Some(fill)) => {
                let step = leader.step();
                let filled = self.store.fill(key, lease.token, fill).await;
                lease.ends = filled.is_err();
                match filled {
                    Ok(Filled::Stored) => {}
                    Ok(Filled::Refused(refusal)) => self.counters.refused(refusal),
                    Err(_) => self.counters.store_errors.one(),
                }
                // While the lease held, nobody has invalidated the row.
                if filled.is_ok_and(|filled| filled != Filled::Refused(Refusal::Revoked)) {
                    loaded.step = step;
                }
            }
            (None, Some(fill)) if self.settings.protocol != Protocol::Lease => {
                let put = self.store.put(key, fill).await;
                put.unwrap_or_else(|_| self.counters.store_errors.one());
            }
            // An absent row that is not to be remembered.
            _ => {}
        }
        Ok(loaded)
    }

    /// How `row` is kept, if it is.
    fn fill_of(&self, row: Row<V>, load_time: Duration) -> Option<Fill<V>> {
        let settings = &self.settings;
        let ttl = if row.value.is_some() { Some(settings.ttl) } else { settings.negative_ttl };
        let fresh = jittered(ttl?, settings.jitter, self.chance.fraction());
        let stale_for = if row.value.is_some() { settings.stale_for } else { Duration::ZERO };
        let keep = fresh.saturating_add(stale_for);
        Some(Fill { value: row.value, version: row.version, fresh, keep, load_time })
    }

    /// Loads the entry of `key` anew in the background, unless someone does; `seen` is the one that is to be replaced.
    pub(crate) fn refresh(self: &Arc<Self>, key: &K, seen: u64) {
        if self.settings.protocol != Protocol::Lease || self.flights.has(key) {
            return;
        }
        let Ok(permit) = Arc::clone(&self.refreshes).try_acquire_owned() else {
            self.counters.refreshes_skipped.one();
            return;
        };
        let Ok(runtime) = Handle::try_current() else { return };
        let (inner, key) = (Arc::clone(self), key.clone());
        runtime.spawn(async move {
            inner.refresh_now(&key, seen).await;
            drop(permit);
        });
    }

    async fn refresh_now(self: &Arc<Self>, key: &K, seen: u64) {
        let Role::Leader(leader) = self.flights.join(key) else { return };
        let mut lease = Lease { inner: self, key, token: self.chance.token(), ends: true };
        let wish = Wish { token: lease.token, ttl: self.settings.lease, seen: Some(seen) };
        let Ok(Leased::Granted) = self.store.lease(key, wish).await else {
            lease.ends = false;
            return;
        };
        self.counters.refreshes.one();
        let landing = match self.load_and_fill(key, Some(lease), &leader).await {
            Ok(loaded) => Landing::Value(loaded.value, loaded.step),
            Err(error) => Landing::Failed(Arc::new(error)),
        };
        leader.land(landing);
    }

    fn panicked(&self) -> Error {
        Error::new(
            ErrorKind::Unavailable,
            self.backend(),
            "get",
            "the load that this one waited for panicked",
        )
    }
}

/// A lease that is given back if what it was for does not come to its end.
struct Lease<'a, K: Key, V, S, T>
where
    V: Clone + Send + Sync + 'static,
    S: Source<K, V>,
    T: Store<K, V>,
{
    inner: &'a Arc<Inner<K, V, S, T>>,
    key: &'a K,
    token: Token,
    ends: bool,
}

impl<K: Key, V: Clone + Send + Sync + 'static, S: Source<K, V>, T: Store<K, V>> Drop
    for Lease<'_, K, V, S, T>
{
    fn drop(&mut self) {
        let Ok(runtime) = Handle::try_current() else { return };
        if self.ends {
            let (inner, key, token) = (Arc::clone(self.inner), self.key.clone(), self.token);
            // At most one for each load under way; one that is lost runs out.
            runtime.spawn(async move { inner.store.release(&key, token).await });
        }
    }
}

/// `error`, for one more of those who waited.
fn shared(error: &Arc<Error>) -> Error {
    let message = format!("the load failed: {error}");
    Error::new(error.kind(), error.backend(), "load", message)
        .with_retry(error.retry())
        .with_source(Shared(Arc::clone(error)))
}

#[derive(Debug)]
struct Shared(Arc<Error>);

impl fmt::Display for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl std::error::Error for Shared {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        std::error::Error::source(&*self.0)
    }
}
