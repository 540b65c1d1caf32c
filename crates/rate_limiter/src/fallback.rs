//! Decisions while the store does not answer.
//!
//! A store that is down, frozen, or accepts and never answers must not stop the service that asks it. After a
//! deadline a request is decided here, and those after it at once; one request in a while finds out whether the store
//! is back.

use std::{
    fmt,
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use backends::{Error, ErrorKind, Result};
use clock::{Clock, PreciseClock};
use parking_lot::Mutex;

use crate::{Answer, Ask, Capability, Decision, Limit, Memory, Quota, QuotaError, Store, rule::span};

const BACKEND: &str = "fallback";
/// Between two attempts to reach a store that is down, first and at most.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// What happens to requests while the store does not answer.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum OnStoreError {
    /// They are allowed: for limits that keep a bill down, not a service up.
    Allow,
    /// They are denied.
    Deny,
    /// This process enforces a part of the quota itself, such as one divided by the number of processes.
    Local {
        /// Above 0 and at most 1. Rounded down to whole tokens, of which there is at least one.
        fraction: f64,
    },
}

/// A store that answers also while the one behind it does not.
///
/// With [`OnStoreError::Local`] there is no burst when the store is back, even if it has forgotten everything:
/// until whatever was granted meanwhile would have flowed in again, a request must pass here as well as there.
pub struct Fallback<S, C = PreciseClock> {
    store: S,
    clock: C,
    on_error: OnStoreError,
    deadline: Duration,
    local: Memory<Vec<u8>, Limit, C>,
    /// Limits and what this process enforces of them.
    shares: Mutex<Vec<(Limit, Limit)>>,
    /// Microseconds; 0 while the store answers.
    next_attempt: AtomicU64,
    /// Microseconds between attempts.
    pause: AtomicU64,
    /// When the store was last known to be down: microseconds, 0 for never.
    last_down: AtomicU64,
    failures: AtomicU64,
    decided_here: AtomicU64,
}

/// How to build a [`Fallback`].
#[derive(Clone, Debug)]
pub struct FallbackBuilder<C = PreciseClock> {
    on_error: OnStoreError,
    deadline: Duration,
    max_keys: usize,
    clock: C,
}

/// What has happened in a [`Fallback`] so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct FallbackStats {
    /// Requests that the store answered with an error, or not in time.
    pub failures: u64,
    /// Requests that were decided here.
    pub decided_here: u64,
    /// The store is down, as far as is known.
    pub is_down: bool,
}

impl Fallback<()> {
    /// A builder: 40 ms for the store to answer, and room for 1,048,576 keys meanwhile.
    #[must_use]
    pub fn builder(on_error: OnStoreError) -> FallbackBuilder {
        let deadline = Duration::from_millis(40);
        FallbackBuilder { on_error, deadline, max_keys: 1 << 20, clock: PreciseClock::new() }
    }
}

impl<C: Clock + Clone> FallbackBuilder<C> {
    /// Waits for an answer of the store for so long.
    #[must_use]
    pub fn deadline(self, deadline: Duration) -> Self {
        Self { deadline, ..self }
    }

    /// Remembers at most `keys` keys while the store is down.
    #[must_use]
    pub fn max_keys(self, keys: usize) -> Self {
        Self { max_keys: keys, ..self }
    }

    /// Takes the time from `clock`.
    #[must_use]
    pub fn clock<D: Clock + Clone>(self, clock: D) -> FallbackBuilder<D> {
        FallbackBuilder { on_error: self.on_error, deadline: self.deadline, max_keys: self.max_keys, clock }
    }

    /// Stands in for `store`.
    ///
    /// # Errors
    ///
    /// `Config` when a fraction is not above 0 and at most 1, or the number of keys cannot be.
    pub fn build<S: Store>(self, store: S) -> Result<Fallback<S, C>> {
        if let OnStoreError::Local { fraction } = self.on_error
            && !(fraction > 0.0 && fraction <= 1.0)
        {
            let message = format!("the fraction is {fraction}; it must be above 0 and at most 1");
            return Err(Error::new(ErrorKind::Config, BACKEND, "build", message));
        }
        Ok(Fallback {
            store,
            on_error: self.on_error,
            deadline: self.deadline,
            local: Memory::builder().clock(self.clock.clone()).max_keys(self.max_keys).build()?,
            clock: self.clock,
            shares: Mutex::default(),
            next_attempt: AtomicU64::new(0),
            pause: AtomicU64::new(span(FIRST_PAUSE.as_micros())),
            last_down: AtomicU64::new(0),
            failures: AtomicU64::new(0),
            decided_here: AtomicU64::new(0),
        })
    }
}

/// Who answers a request.
enum Judge {
    Store,
    /// Both must allow it.
    Both(Limit),
    Here,
}

impl<S: Store, C: Clock> Fallback<S, C> {
    /// What has happened so far.
    pub fn stats(&self) -> FallbackStats {
        FallbackStats {
            failures: self.failures.load(Ordering::Relaxed),
            decided_here: self.decided_here.load(Ordering::Relaxed),
            is_down: self.next_attempt.load(Ordering::Relaxed) != 0,
        }
    }

    /// The store behind.
    pub const fn store(&self) -> &S {
        &self.store
    }

    fn now(&self) -> u64 {
        // Zero stands for never.
        self.clock.now().as_micros() + 1
    }

    fn judge(&self, limit: &Limit) -> Result<Judge> {
        let (now, next) = (self.now(), self.next_attempt.load(Ordering::Relaxed));
        if next != 0 {
            let pause = self.pause.load(Ordering::Relaxed) + span(self.deadline.as_micros());
            let is_chosen = now >= next
                && self
                    .next_attempt
                    .compare_exchange(next, now + pause, Ordering::Relaxed, Ordering::Relaxed)
                    .is_ok();
            if !is_chosen {
                return Ok(Judge::Here);
            }
        }
        let last_down = self.last_down.load(Ordering::Relaxed);
        let OnStoreError::Local { fraction } = self.on_error else { return Ok(Judge::Store) };
        if last_down == 0 || now > last_down.saturating_add(time_to_forget(limit)) {
            return Ok(Judge::Store);
        }
        Ok(Judge::Both(self.share(limit, fraction)?))
    }

    async fn ask_store(&self, key: &[u8], limit: &Limit, ask: Ask) -> Option<Result<Answer>> {
        match tokio::time::timeout(self.deadline, self.store.ask(key, limit, ask)).await {
            Ok(Ok(answer)) => {
                self.next_attempt.store(0, Ordering::Relaxed);
                self.pause.store(span(FIRST_PAUSE.as_micros()), Ordering::Relaxed);
                Some(Ok(answer))
            }
            Ok(Err(error)) if !is_down(&error) => Some(Err(error)),
            Ok(Err(_)) | Err(_) => {
                self.failures.fetch_add(1, Ordering::Relaxed);
                #[cfg(feature = "metrics")]
                metrics::counter!("patterns.rate_limiter.store_errors", backends::telemetry::BACKEND => self.store.capability().backend)
                    .increment(1);
                let (now, pause) = (self.now(), self.pause.load(Ordering::Relaxed));
                self.last_down.fetch_max(now, Ordering::Relaxed);
                self.next_attempt.store(now + pause, Ordering::Relaxed);
                self.pause.store((2 * pause).min(span(LONGEST_PAUSE.as_micros())), Ordering::Relaxed);
                None
            }
        }
    }

    fn decide_here(&self, key: &[u8], limit: &Limit, ask: Ask) -> Result<Answer> {
        let now = self.now();
        self.count_here();
        self.last_down.fetch_max(now, Ordering::Relaxed);
        let taken = if matches!(ask, Ask::Peek(_)) { 0 } else { ask.cost() };
        match self.on_error {
            OnStoreError::Allow => {
                Ok(Answer { decision: Decision::allowed(0, Duration::ZERO), taken, at: now })
            }
            OnStoreError::Deny => {
                let until = self.next_attempt.load(Ordering::Relaxed).saturating_sub(now).max(1);
                let decision = Decision::Denied { retry_after: Duration::from_micros(until) };
                Ok(Answer { decision, taken: 0, at: now })
            }
            OnStoreError::Local { fraction } => self.local.try_ask(key, &self.share(limit, fraction)?, ask),
        }
    }

    fn count_here(&self) {
        self.decided_here.fetch_add(1, Ordering::Relaxed);
        #[cfg(feature = "metrics")]
        {
            use backends::telemetry::{BACKEND, OP};
            let policy = match self.on_error {
                OnStoreError::Allow => "allow",
                OnStoreError::Deny => "deny",
                OnStoreError::Local { .. } => "local",
            };
            let labels = [(BACKEND, self.store.capability().backend), (OP, "acquire"), ("policy", policy)];
            metrics::counter!("patterns.rate_limiter.decided_here", &labels).increment(1);
        }
    }

    /// What this process enforces of `limit`.
    fn share(&self, limit: &Limit, fraction: f64) -> Result<Limit> {
        /// A service has a handful of limits; one that makes them up as it goes pays for it.
        const MOST: usize = 64;
        let mut shares = self.shares.lock();
        if let Some((_, share)) = shares.iter().find(|(whole, _)| whole == limit) {
            return Ok(share.clone());
        }
        let part = |part: &crate::Part| {
            let of = |tokens: u64| ((tokens as f64 * fraction) as u64).max(1);
            let quota = Quota::new(of(part.quota().tokens()), part.quota().period())?;
            Limit::new(part.algorithm(), quota.with_burst(of(part.quota().burst()))?)
        };
        let parts: Result<Vec<Limit>, QuotaError> = limit.parts().map(part).collect();
        let share = parts.and_then(|mut parts| match parts.len() {
            1 => Ok(parts.remove(0)),
            _ => Limit::all_of(parts),
        });
        let share = share.map_err(|error| {
            Error::new(ErrorKind::Config, BACKEND, "acquire", format!("no such part of the limit: {error}"))
        })?;
        if shares.len() >= MOST {
            shares.remove(0);
        }
        shares.push((limit.clone(), share.clone()));
        Ok(share)
    }
}

impl<S: Store, C: Clock> Store for Fallback<S, C> {
    fn capability(&self) -> Capability {
        self.store.capability()
    }

    async fn ask(&self, key: &[u8], limit: &Limit, ask: Ask) -> Result<Answer> {
        match self.judge(limit)? {
            Judge::Here => {}
            Judge::Store => {
                if let Some(answer) = self.ask_store(key, limit, ask).await {
                    return answer;
                }
            }
            Judge::Both(share) => {
                let here = self.local.try_ask(key, &share, ask)?;
                if !here.decision.is_allowed() {
                    return Ok(here);
                }
                let ask = match ask {
                    Ask::TakeUpTo(_) => Ask::TakeUpTo(here.taken),
                    ask => ask,
                };
                let there = self.ask_store(key, limit, ask).await;
                let Some(there) = there else {
                    self.count_here();
                    return Ok(here);
                };
                let taken = there.as_ref().map_or(0, |answer| answer.taken);
                if taken < here.taken {
                    self.local.try_refund(key, &share, here.taken - taken, here.at)?;
                }
                return there;
            }
        }
        self.decide_here(key, limit, ask)
    }

    async fn refund(&self, key: &[u8], limit: &Limit, cost: u32, taken_at: u64) -> Result<()> {
        if self.next_attempt.load(Ordering::Relaxed) != 0 {
            let message = "the store is down: what was taken flows in again by itself";
            return Err(Error::new(ErrorKind::Unavailable, BACKEND, "refund", message));
        }
        let refund = self.store.refund(key, limit, cost, taken_at);
        tokio::time::timeout(self.deadline, refund)
            .await
            .unwrap_or_else(|_| Err(Error::new(ErrorKind::Timeout, BACKEND, "refund", "no answer in time")))
    }

    async fn health(&self) -> Result<()> {
        self.store.health().await
    }

    async fn close(&self) -> Result<()> {
        self.local.close().await?;
        self.store.close().await
    }
}

/// Whether the store, not the request, is to blame.
fn is_down(error: &Error) -> bool {
    matches!(error.kind(), ErrorKind::Unavailable | ErrorKind::Timeout | ErrorKind::Overloaded)
}

/// Microseconds after which nothing of what was taken under `limit` counts.
fn time_to_forget(limit: &Limit) -> u64 {
    let of_part = |part: &crate::Part| {
        let quota = part.quota();
        let period = quota.period().as_micros();
        (period * u128::from(quota.burst()) / u128::from(quota.tokens())).max(2 * period)
    };
    span(limit.parts().map(of_part).max().unwrap_or(0))
}

impl<S: fmt::Debug, C> fmt::Debug for Fallback<S, C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Fallback")
            .field("store", &self.store)
            .field("on_error", &self.on_error)
            .finish_non_exhaustive()
    }
}
