//! Leases: permits taken from a distant store in lots, and given out here in nanoseconds.
//!
//! A lot is taken from the key's quota before any of it is given out, so all processes together never admit more
//! than the quota. What a process holds and does not use is missing to the others until the lease ends, when it is
//! given back: at most one lot for each process and key. The size of a lot adapts to the demand.
//!
//! Raghavan et al., "Cloud control with distributed rate limiting" (SIGCOMM 2007), divide a limit by demand as well, by
//! gossip and approximately; here the store has the last word.

use std::{fmt, future::Future, sync::Arc, time::Duration};

use backends::{Error, ErrorKind, Result};
use clock::{Clock, PreciseClock};

use self::{
    held::{Found, Held, Lots, PATIENCE},
    trip::Trip,
};
use crate::{Answer, Ask, Capability, Decision, Limit, Store, store::no_cost};

mod held;
mod trip;

const BACKEND: &str = "lease";

/// Where permits come from: any [`Store`] is one.
pub trait PermitSource: fmt::Debug + Send + Sync + 'static {
    /// Takes as many permits from the quota of `key` as there are, at most `most`.
    ///
    /// # Errors
    ///
    /// What the connection reports.
    ///
    /// # Cancel safety
    ///
    /// A call whose future is dropped may have taken permits; they flow in again as the quota does.
    fn lease(&self, key: &[u8], limit: &Limit, most: u32) -> impl Future<Output = Result<Answer>> + Send;

    /// Gives back `permits` that were taken at `taken_at`, [`Answer::at`].
    ///
    /// # Errors
    ///
    /// What the connection reports.
    ///
    /// # Cancel safety
    ///
    /// A call whose future is dropped has given back all or nothing.
    fn give_back(
        &self,
        key: &[u8],
        limit: &Limit,
        permits: u32,
        taken_at: u64,
    ) -> impl Future<Output = Result<()>> + Send;
}

impl<S: Store> PermitSource for S {
    async fn lease(&self, key: &[u8], limit: &Limit, most: u32) -> Result<Answer> {
        self.ask(key, limit, Ask::TakeUpTo(most)).await
    }

    async fn give_back(&self, key: &[u8], limit: &Limit, permits: u32, taken_at: u64) -> Result<()> {
        self.refund(key, limit, permits, taken_at).await
    }
}

/// A store that leases permits from another one and gives them out itself.
///
/// Needs a Tokio runtime: trips to the source are tasks of their own, so that a dropped request loses no permits.
///
/// A request that costs more than a lot goes to the source. While the source has nothing left, requests are denied
/// here for as long as a lot takes to flow in, so a token may wait for that long before it is given out.
/// [`Decision::Allowed`] counts what is left of the lease, not of the quota.
pub struct Leased<S, C = PreciseClock> {
    shared: Arc<Shared<S, C>>,
}

struct Shared<S, C> {
    source: S,
    clock: C,
    options: Options,
    lots: Lots,
}

#[derive(Clone, Copy)]
struct Options {
    most: u32,
    lasts: Duration,
}

/// How to build a [`Leased`].
#[derive(Clone, Debug)]
pub struct LeaseBuilder<C = PreciseClock> {
    most: u32,
    lasts: Duration,
    max_keys: usize,
    clock: C,
}

/// What has happened in a [`Leased`] so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct LeaseStats {
    /// Trips to the source for a lot.
    pub trips: u64,
    /// Permits that the source gave.
    pub leased: u64,
    /// Permits that requests took from the source themselves: for more than a lot, or when others were quicker.
    pub direct: u64,
    /// Permits given back to it.
    pub given_back: u64,
    /// Permits that could not be given back when their lease ended: they flow in again as the quota does.
    pub lost: u64,
    /// Trips that failed.
    pub failed: u64,
}

impl Leased<()> {
    /// A builder: lots of at most a hundredth of what the quota grants in a second, leases of a second,
    /// room for 65,536 keys.
    #[must_use]
    pub fn builder() -> LeaseBuilder {
        let lasts = Duration::from_secs(1);
        LeaseBuilder { most: u32::MAX, lasts, max_keys: 1 << 16, clock: PreciseClock::new() }
    }
}

impl<C: Clock> LeaseBuilder<C> {
    /// Takes at most `permits` in a lot, and at most a hundredth of what the quota grants in a second; at least
    /// one.
    #[must_use]
    pub fn most(self, permits: u32) -> Self {
        Self { most: permits, ..self }
    }

    /// Gives back what is left of a lot after `time`.
    #[must_use]
    pub fn lasts(self, time: Duration) -> Self {
        Self { lasts: time, ..self }
    }

    /// Holds leases for at most `keys` at once; requests of others go to the source.
    #[must_use]
    pub fn max_keys(self, keys: usize) -> Self {
        Self { max_keys: keys, ..self }
    }

    /// Takes the time from `clock`.
    #[must_use]
    pub fn clock<D: Clock>(self, clock: D) -> LeaseBuilder<D> {
        LeaseBuilder { most: self.most, lasts: self.lasts, max_keys: self.max_keys, clock }
    }

    /// Leases from `source`.
    ///
    /// # Errors
    ///
    /// `Config` when lots, leases or the room for keys are zero.
    pub fn build<S: PermitSource>(self, source: S) -> Result<Leased<S, C>> {
        if self.most == 0 || self.lasts.is_zero() || self.max_keys == 0 {
            let message = "the permits of a lot, the time of a lease and the number of keys must not be zero";
            return Err(Error::new(ErrorKind::Config, BACKEND, "build", message));
        }
        let options = Options { most: self.most, lasts: self.lasts };
        let lots = Lots::new(self.max_keys);
        Ok(Leased { shared: Arc::new(Shared { source, clock: self.clock, options, lots }) })
    }
}

impl<S: PermitSource, C: Clock> Leased<S, C> {
    /// Decides from the lease alone, in nanoseconds; `None` when a trip to the source is needed, which
    /// [`ask`](Store::ask) makes.
    ///
    /// # Errors
    ///
    /// `Invalid` when `cost` is zero, `Closed` after [`close`](Store::close).
    #[inline]
    pub fn try_acquire(&self, key: &[u8], limit: &Limit, cost: u32) -> Result<Option<Decision>> {
        match self.look(key, limit, Ask::Take(cost))? {
            Found::Here(answer) => Ok(Some(answer.decision)),
            Found::Trip(_) | Found::Nothing => Ok(None),
        }
    }

    /// What has happened so far.
    pub fn stats(&self) -> LeaseStats {
        self.shared.lots.stats()
    }

    /// Where the permits come from.
    pub fn source(&self) -> &S {
        &self.shared.source
    }

    fn look(&self, key: &[u8], limit: &Limit, ask: Ask) -> Result<Found> {
        if ask.cost() == 0 {
            return Err(no_cost(BACKEND));
        }
        let shared = &self.shared;
        let now = shared.clock.now().as_micros();
        let (found, trip) = shared.lots.look(key, now, ask)?;
        if let Some(notice) = trip {
            Trip::start(shared, key, limit, ask.cost(), notice);
        }
        Ok(found)
    }
}

impl<S: Store, C: Clock> Store for Leased<S, C> {
    fn capability(&self) -> Capability {
        Capability { linearizable: false, ..self.shared.source.capability() }
    }

    async fn ask(&self, key: &[u8], limit: &Limit, ask: Ask) -> Result<Answer> {
        // A lot is at least one permit.
        let is_too_large = matches!(ask, Ask::Take(cost @ 2..) if cost > self.shared.largest_lot(limit));
        // What a trip brought may be taken by others before this request sees it.
        let patience = if is_too_large { 0 } else { PATIENCE };
        for _ in 0..patience {
            match self.look(key, limit, ask)? {
                Found::Here(answer) => return Ok(answer),
                Found::Nothing => break,
                Found::Trip(wait) => wait.over().await?,
            }
        }
        let answer = self.shared.source.ask(key, limit, ask).await?;
        self.shared.lots.count_direct(answer.taken);
        Ok(answer)
    }

    async fn refund(&self, key: &[u8], limit: &Limit, cost: u32, taken_at: u64) -> Result<()> {
        let now = self.shared.clock.now().as_micros();
        if self.shared.lots.put_back(key, now, cost)? {
            return Ok(());
        }
        self.shared.source.refund(key, limit, cost, taken_at).await
    }

    async fn health(&self) -> Result<()> {
        self.shared.lots.check_open("health")?;
        self.shared.source.health().await
    }

    async fn close(&self) -> Result<()> {
        for Held { key, limit, permits, at } in self.shared.lots.close() {
            self.shared.give_back(&key, &limit, permits, at).await;
        }
        self.shared.source.close().await
    }
}

impl<S: PermitSource, C: Clock> Shared<S, C> {
    /// A hundredth of what flows in in a second, and no more than there can be.
    fn largest_lot(&self, limit: &Limit) -> u32 {
        let of_part = |part: &crate::Part| {
            let quota = part.quota();
            let a_second = u128::from(quota.tokens()) * 1_000_000 / quota.period().as_micros().max(1);
            (a_second / 100).clamp(1, u128::from(quota.burst()))
        };
        let most = limit.parts().map(of_part).min().unwrap_or(1);
        u32::try_from(most).unwrap_or(u32::MAX).min(self.options.most)
    }

    async fn give_back(&self, key: &[u8], limit: &Limit, permits: u32, at: u64) {
        let given = self.source.give_back(key, limit, permits, at).await;
        self.lots.count_given_back(permits, given.is_ok());
    }
}

impl<S: fmt::Debug, C> fmt::Debug for Leased<S, C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Leased").field("source", &self.shared.source).finish_non_exhaustive()
    }
}
