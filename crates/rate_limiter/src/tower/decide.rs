use std::{fmt, hash::Hash};

use backends::Result;
use clock::Clock;

use crate::{Decision, Limit, Memory, RateLimiter, Store};

/// What decides on a request: a [`RateLimiter`] in memory, or [`OverStore`] over any [`Store`].
pub trait Decide<K>: Limited {
    /// The decision, where it takes no waiting; `None` where [`decide`](Decide::decide) must be awaited.
    fn decide_now(&self, key: &K, cost: u32) -> Option<Result<Decision>>;

    /// The decision.
    ///
    /// # Cancel safety
    ///
    /// A dropped call may or may not have taken its cost, never part of it.
    fn decide(&self, key: K, cost: u32) -> impl Future<Output = Result<Decision>> + Send;
}

/// What has a [`Limit`].
pub trait Limited: Send + Sync + 'static {
    /// The limit on each key.
    fn limit(&self) -> &Limit;
}

/// A limiter over any [`Store`], which is asked asynchronously: a box for each request.
///
/// Its keys are bytes: what the [`KeyFn`](super::KeyFn) returns must be `AsRef<[u8]>`.
pub struct OverStore<S>(pub(super) RateLimiter<S>);

impl<S> OverStore<S> {
    /// The limiter.
    pub const fn limiter(&self) -> &RateLimiter<S> {
        &self.0
    }
}

impl<S> From<RateLimiter<S>> for OverStore<S> {
    fn from(limiter: RateLimiter<S>) -> Self {
        Self(limiter)
    }
}

impl<S: fmt::Debug> fmt::Debug for OverStore<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("OverStore").field(&self.0).finish()
    }
}

impl<S: Store> Limited for OverStore<S> {
    fn limit(&self) -> &Limit {
        self.0.limit()
    }
}

impl<S: Store, K: AsRef<[u8]> + Send> Decide<K> for OverStore<S> {
    fn decide_now(&self, _key: &K, _cost: u32) -> Option<Result<Decision>> {
        None
    }

    async fn decide(&self, key: K, cost: u32) -> Result<Decision> {
        self.0.acquire(key, cost).await
    }
}

impl<K: Send + 'static, C: Clock> Limited for RateLimiter<Memory<K, Limit, C>> {
    fn limit(&self) -> &Limit {
        Self::limit(self)
    }
}

impl<K: Hash + Eq + Clone + Send + 'static, C: Clock> Decide<K> for RateLimiter<Memory<K, Limit, C>> {
    #[inline]
    fn decide_now(&self, key: &K, cost: u32) -> Option<Result<Decision>> {
        Some(self.try_acquire(key, cost))
    }

    async fn decide(&self, key: K, cost: u32) -> Result<Decision> {
        self.try_acquire(&key, cost)
    }
}
