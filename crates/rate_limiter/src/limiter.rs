use std::{borrow::Borrow, hash::Hash};

use backends::Result;
use clock::{Clock, PreciseClock};

use crate::{Capability, Decision, Limit, Memory, Store, telemetry};

/// Decides, for every key, whether a request may go ahead.
///
/// In memory the calls without `await` decide in some tens of nanoseconds:
///
/// ```
/// use rate_limiter::{Decision, Limit, Memory, Quota, RateLimiter};
///
/// let limit = Limit::token_bucket(Quota::per_second(10)?.with_burst(2)?)?;
/// let limiter = RateLimiter::<Memory<String>>::in_memory(limit);
/// assert!(limiter.try_allow("alice")?);
/// assert!(limiter.try_allow("alice")?);
/// match limiter.try_acquire("alice", 1)? {
///     Decision::Denied { retry_after } => assert!(retry_after <= std::time::Duration::from_millis(100)),
///     other => panic!("{other:?}"),
/// }
/// assert!(limiter.try_allow("bob")?);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct RateLimiter<S = Memory> {
    store: S,
    limit: Limit,
}

impl<S> RateLimiter<S> {
    /// Enforces `limit` on each key of `store`.
    pub const fn new(store: S, limit: Limit) -> Self {
        Self { store, limit }
    }

    /// The limit on each key.
    pub const fn limit(&self) -> &Limit {
        &self.limit
    }

    /// Where the state is kept.
    pub const fn store(&self) -> &S {
        &self.store
    }
}

impl<S: Store> RateLimiter<S> {
    /// Whether a request of cost 1 may go ahead.
    ///
    /// # Errors
    ///
    /// Those of [`Store::acquire`].
    ///
    /// # Cancel safety
    ///
    /// A dropped call may or may not have taken its token.
    pub async fn allow(&self, key: impl AsRef<[u8]> + Send) -> Result<bool> {
        Ok(self.acquire(key, 1).await?.is_allowed())
    }

    /// Takes `cost` tokens from `key`, or nothing.
    ///
    /// # Errors
    ///
    /// Those of [`Store::acquire`].
    ///
    /// # Cancel safety
    ///
    /// A dropped call may or may not have taken its cost, never part of it.
    pub async fn acquire(&self, key: impl AsRef<[u8]> + Send, cost: u32) -> Result<Decision> {
        let backend = self.store.capability().backend;
        telemetry::observe(backend, self.store.acquire(key.as_ref(), &self.limit, cost)).await
    }

    /// What the backend does differently from the others.
    pub fn capability(&self) -> Capability {
        self.store.capability()
    }

    /// Asks the backend for a sign of life. Cancel-safe.
    ///
    /// # Errors
    ///
    /// When it cannot serve requests now.
    pub async fn health(&self) -> Result<()> {
        self.store.health().await
    }

    /// Ends the use of the store: later calls answer `Closed`. Cancel-safe.
    ///
    /// # Errors
    ///
    /// Those of [`Store::close`].
    pub async fn close(&self) -> Result<()> {
        self.store.close().await
    }
}

impl<K: Hash + Eq> RateLimiter<Memory<K, PreciseClock>> {
    /// Enforces `limit` in the memory of this process, with the defaults of [`Memory::builder`].
    #[must_use]
    pub fn in_memory(limit: Limit) -> Self {
        Self::new(Memory::default(), limit)
    }
}

impl<K: Hash + Eq, C: Clock> RateLimiter<Memory<K, C>> {
    /// Whether a request of cost 1 may go ahead, without `await`.
    ///
    /// # Errors
    ///
    /// `Closed` after the store was closed.
    #[inline]
    pub fn try_allow<Q>(&self, key: &Q) -> Result<bool>
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ToOwned<Owned = K> + ?Sized,
    {
        Ok(self.try_acquire(key, 1)?.is_allowed())
    }

    /// Takes `cost` tokens from `key`, or nothing, without `await`.
    ///
    /// # Errors
    ///
    /// Those of [`Memory::try_acquire`].
    #[inline]
    pub fn try_acquire<Q>(&self, key: &Q, cost: u32) -> Result<Decision>
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ToOwned<Owned = K> + ?Sized,
    {
        self.store.try_acquire(key, &self.limit, cost)
    }
}
