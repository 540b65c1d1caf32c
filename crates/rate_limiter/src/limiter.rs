use std::{
    borrow::Borrow,
    hash::Hash,
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use backends::Result;
use clock::{Clock, PreciseClock};

use crate::{Answer, Ask, AskMany, Capability, Decision, Limit, Memory, Store, telemetry};

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
    shadow: Option<Shadow>,
    #[cfg(feature = "wait")]
    queues: crate::wait::Queues,
}

/// What would have been denied.
#[derive(Debug, Default)]
struct Shadow {
    denied: AtomicU64,
}

impl<S> RateLimiter<S> {
    /// Enforces `limit` on each key of `store`.
    pub fn new(store: S, limit: Limit) -> Self {
        Self {
            store,
            limit,
            shadow: None,
            #[cfg(feature = "wait")]
            queues: crate::wait::Queues::default(),
        }
    }

    /// Only watches: every request is allowed, and [`shadow_denied`](RateLimiter::shadow_denied) counts those
    /// that would not have been. For trying a quota on real traffic.
    #[must_use]
    pub fn shadow(self) -> Self {
        Self { shadow: Some(Shadow::default()), ..self }
    }

    /// How many requests a limiter in shadow mode would have denied.
    pub fn shadow_denied(&self) -> u64 {
        self.shadow.as_ref().map_or(0, |shadow| shadow.denied.load(Ordering::Relaxed))
    }

    /// Enforces another limit from now on. Keys keep their state: a change of the quota is no new start.
    ///
    /// Where several threads share the limiter, keep it behind a lock or swap an `Arc`.
    pub fn set_limit(&mut self, limit: Limit) {
        self.limit = limit;
    }

    #[cfg(feature = "wait")]
    pub(crate) const fn queues(&self) -> &crate::wait::Queues {
        &self.queues
    }

    #[inline]
    fn overlook(&self, decision: Decision) -> Decision {
        match &self.shadow {
            Some(shadow) if !decision.is_allowed() => {
                shadow.denied.fetch_add(1, Ordering::Relaxed);
                Decision::allowed(0, Duration::ZERO)
            }
            _ => decision,
        }
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
    /// Those of [`Store::ask`].
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
    /// Those of [`Store::ask`].
    ///
    /// # Cancel safety
    ///
    /// A dropped call may or may not have taken its cost, never part of it.
    pub async fn acquire(&self, key: impl AsRef<[u8]> + Send, cost: u32) -> Result<Decision> {
        Ok(self.overlook(self.ask(key.as_ref(), Ask::Take(cost)).await?.decision))
    }

    /// Takes as many tokens from `key` as there are, at most `most`; [`Answer::taken`] says how many.
    ///
    /// # Errors
    ///
    /// Those of [`Store::ask`].
    ///
    /// # Cancel safety
    ///
    /// A dropped call may or may not have taken tokens.
    pub async fn acquire_up_to(&self, key: impl AsRef<[u8]> + Send, most: u32) -> Result<Answer> {
        self.ask(key.as_ref(), Ask::TakeUpTo(most)).await
    }

    /// What [`acquire`](RateLimiter::acquire) would answer, taking nothing. Cancel-safe.
    ///
    /// # Errors
    ///
    /// Those of [`Store::ask`].
    pub async fn peek(&self, key: impl AsRef<[u8]> + Send, cost: u32) -> Result<Decision> {
        Ok(self.ask(key.as_ref(), Ask::Peek(cost)).await?.decision)
    }

    /// Gives back `cost` tokens of `key` that were taken at [`Answer::at`].
    ///
    /// # Errors
    ///
    /// Those of [`Store::refund`].
    ///
    /// # Cancel safety
    ///
    /// A dropped call has given back all or nothing.
    pub async fn refund(&self, key: impl AsRef<[u8]> + Send, cost: u32, taken_at: u64) -> Result<()> {
        self.store.refund(key.as_ref(), &self.limit, cost, taken_at).await
    }

    async fn ask(&self, key: &[u8], ask: Ask) -> Result<Answer> {
        let backend = self.store.capability().backend;
        telemetry::observe(backend, self.store.ask(key, &self.limit, ask)).await
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

impl<S: AskMany> RateLimiter<S> {
    /// Takes `cost` tokens from each of `keys`, or nothing from it; one decision a key, in their order. As many
    /// as there are go to the store at once.
    ///
    /// # Errors
    ///
    /// For each key, those of [`Store::ask`].
    ///
    /// # Cancel safety
    ///
    /// Of a dropped call, any key may have paid its cost.
    pub async fn acquire_many<K: AsRef<[u8]> + Sync>(&self, keys: &[K], cost: u32) -> Vec<Result<Decision>> {
        let asks: Vec<_> = keys.iter().map(|key| (key.as_ref(), Ask::Take(cost))).collect();
        let answers = self.store.ask_many(&self.limit, &asks).await;
        answers.into_iter().map(|answer| Ok(self.overlook(answer?.decision))).collect()
    }
}

impl<K> RateLimiter<Memory<K, Limit, PreciseClock>> {
    /// Enforces `limit` in the memory of this process, with the defaults of [`Memory::builder`].
    #[must_use]
    pub fn in_memory(limit: Limit) -> Self {
        Self::new(Memory::default(), limit)
    }
}

impl<K, C: Clock> RateLimiter<Memory<K, Limit, C>> {
    /// Whether a request of cost 1 may go ahead, without `await`.
    ///
    /// # Errors
    ///
    /// `Closed` after the store was closed.
    #[inline]
    pub fn try_allow<Q>(&self, key: &Q) -> Result<bool>
    where
        K: Borrow<Q>,
        Q: Hash + ToOwned<Owned = K> + ?Sized,
    {
        let allowed = self.store.try_allow(key, &self.limit)?;
        Ok(allowed || self.overlook(Decision::Denied { retry_after: Duration::ZERO }).is_allowed())
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
        Q: Hash + ToOwned<Owned = K> + ?Sized,
    {
        Ok(self.overlook(self.store.try_acquire(key, &self.limit, cost)?))
    }
}
