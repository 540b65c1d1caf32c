use std::{borrow::Borrow, error, fmt, hash::Hash};

use backends::Error;
use clock::Clock;

use crate::{Decision, Limit, Memory, RateLimiter};

/// Tokens that were taken, and are given back when this is dropped without [`commit`](Reservation::commit).
///
/// For work that may not happen after all, or whose cost is known only afterwards:
///
/// ```
/// use rate_limiter::{Limit, Memory, RateLimiter};
///
/// let limiter = RateLimiter::<Memory<String>>::in_memory(Limit::token_bucket("1000/min".parse()?)?);
/// let reservation = limiter.try_reserve("alice", 300)?;
/// let used = 120; // what the work turned out to cost
/// reservation.commit_part(used);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[must_use = "the tokens are given back when this is dropped"]
pub struct Reservation<'a, K: Hash, C: Clock> {
    limiter: &'a RateLimiter<Memory<K, Limit, C>>,
    key: K,
    at: u64,
    /// What a drop gives back.
    cost: u32,
}

/// Why tokens were not reserved.
#[derive(Debug)]
#[non_exhaustive]
pub enum Refusal {
    /// Not now.
    Denied(
        /// When to ask again; see [`Decision::Denied`].
        std::time::Duration,
    ),
    /// Never: the cost exceeds this burst.
    NeverFits(
        /// The largest cost that can ever be allowed.
        u64,
    ),
    /// The store could not decide.
    Failed(Error),
}

impl<K: Hash, C: Clock> Reservation<'_, K, C> {
    /// Keeps the tokens taken.
    pub fn commit(mut self) {
        self.cost = 0;
    }

    /// Keeps `used` of the tokens taken, and gives the others back.
    pub fn commit_part(mut self, used: u32) {
        self.cost = self.cost.saturating_sub(used);
    }

    /// Tokens that were taken.
    #[must_use]
    pub const fn cost(&self) -> u32 {
        self.cost
    }
}

impl<K: Hash, C: Clock> Drop for Reservation<'_, K, C> {
    fn drop(&mut self) {
        if self.cost > 0 {
            // A store that was closed meanwhile has nothing to give back to.
            let _ = self.limiter.store().try_refund(&self.key, self.limiter.limit(), self.cost, self.at);
        }
    }
}

impl<K: Hash, C: Clock> RateLimiter<Memory<K, Limit, C>> {
    /// Takes `cost` tokens from `key` until the reservation is committed or dropped.
    ///
    /// # Errors
    ///
    /// [`Refusal`]: denied, never fits, or those of [`Memory::try_acquire`].
    pub fn try_reserve<Q>(&self, key: &Q, cost: u32) -> Result<Reservation<'_, K, C>, Refusal>
    where
        K: Borrow<Q>,
        Q: Hash + ToOwned<Owned = K> + ?Sized,
    {
        let answer =
            self.store().try_ask(key, self.limit(), crate::Ask::Take(cost)).map_err(Refusal::Failed)?;
        match answer.decision {
            Decision::Allowed { .. } => {
                Ok(Reservation { limiter: self, key: key.to_owned(), at: answer.at, cost })
            }
            Decision::Denied { retry_after } => Err(Refusal::Denied(retry_after)),
            Decision::NeverFits { burst } => Err(Refusal::NeverFits(burst)),
        }
    }
}

impl<K: Hash, C: Clock> RateLimiter<Memory<K, Limit, C>> {
    /// Reserves on several keys, all or none: when one is refused, the others are given back.
    ///
    /// Not one atomic decision ([`Capability::keys_per_decision`](crate::Capability)): until the refusal, others
    /// may be denied what is then given back.
    ///
    /// # Errors
    ///
    /// The first [`Refusal`].
    pub fn try_reserve_each<'a, Q>(
        &self,
        requests: impl IntoIterator<Item = (&'a Q, u32)>,
    ) -> Result<Vec<Reservation<'_, K, C>>, Refusal>
    where
        K: Borrow<Q>,
        Q: Hash + ToOwned<Owned = K> + ?Sized + 'a,
    {
        requests.into_iter().map(|(key, cost)| self.try_reserve(key, cost)).collect()
    }
}

impl<K: Hash, C: Clock> fmt::Debug for Reservation<'_, K, C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reservation").field("at", &self.at).field("cost", &self.cost).finish_non_exhaustive()
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Denied(retry_after) => write!(f, "denied; retry after {retry_after:?}"),
            Self::NeverFits(burst) => write!(f, "the cost exceeds the burst of {burst}"),
            Self::Failed(error) => error.fmt(f),
        }
    }
}

impl error::Error for Refusal {
    fn source(&self) -> Option<&(dyn error::Error + 'static)> {
        match self {
            Self::Failed(error) => Some(error),
            Self::Denied(_) | Self::NeverFits(_) => None,
        }
    }
}
