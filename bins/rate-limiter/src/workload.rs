//! One decision on one key.

use std::sync::Arc;

use bench::{BoxError, Class, Invariant, Keys, Outcome, Rng, RunFacts, Workload};
use clock::{Clock, Time};
use rate_limiter::{Decision, Limit, Memory, RateLimiter, Result};

use crate::{
    classes::{FAILED, SINGLE, class_of},
    tally::{Tally, Told},
};

/// Decisions on keys drawn from a distribution.
pub(crate) struct Limiting<C> {
    limiter: Arc<RateLimiter<Memory<u64, Limit, C>>>,
    keys: Keys,
    tally: Tally,
    clock: C,
    start: Time,
}

impl<C: Clock> Limiting<C> {
    pub(crate) fn new(limiter: RateLimiter<Memory<u64, Limit, C>>, keys: Keys, clock: C) -> Self {
        let start = clock.now();
        let tally = Tally::new(keys.count());
        Self { limiter: Arc::new(limiter), keys, tally, clock, start }
    }

    pub(crate) fn limiter(&self) -> Arc<RateLimiter<Memory<u64, Limit, C>>> {
        Arc::clone(&self.limiter)
    }
}

impl<C: Clock> Workload for Limiting<C> {
    type Worker = ();
    type Input = u64;
    type Output = Result<Decision>;

    fn classes(&self) -> &'static [Class] {
        SINGLE
    }

    async fn worker(&self, _id: usize) -> Result<(), BoxError> {
        Ok(())
    }

    fn input(&self, _index: u64, rng: &mut Rng) -> u64 {
        self.keys.choose(rng)
    }

    async fn op(&self, (): &mut (), key: &u64) -> Result<Decision> {
        self.limiter.try_acquire(key, 1)
    }

    fn settle(&self, (): &mut (), key: u64, decision: Result<Decision>) -> Outcome {
        match decision {
            Ok(decision) => {
                let allowed = decision.is_allowed();
                self.tally.count(key, allowed);
                Outcome::Class(class_of(allowed))
            }
            Err(error) => Outcome::Error(FAILED, error.to_string().into()),
        }
    }

    fn verify(&self, run: &RunFacts) -> Vec<Invariant> {
        let elapsed = self.clock.now().since(self.start);
        let crowded_out = self.limiter.store().stats().crowded_out;
        let told = Told { crowded_out, ..Told::default() };
        self.tally.check(self.limiter.limit(), elapsed, run, told)
    }
}
