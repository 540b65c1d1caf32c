//! One decision on one key.

use std::sync::Arc;

use bench::{BoxError, Class, Invariant, Keys, Outcome, Rng, RunFacts, Workload};
use clock::{Clock, Time};
use rate_limiter::{Decision, Limit, Memory, RateLimiter, Result};

use crate::{
    classes::{FAILED, SINGLE, class_of},
    greedy::{self, Greedy, Watch},
    tally::{Tally, Told},
};

/// Decisions on keys drawn from a distribution.
pub(crate) struct Limiting<C> {
    limiter: Arc<RateLimiter<Memory<u64, Limit, C>>>,
    keys: Keys,
    tally: Tally,
    greedy: Option<Greedy>,
    clock: C,
    start: Time,
}

impl<C: Clock> Limiting<C> {
    pub(crate) fn new(limiter: RateLimiter<Memory<u64, Limit, C>>, keys: Keys, clock: C) -> Self {
        let start = clock.now();
        let tally = Tally::new(keys.count());
        let greedy = Greedy::new(limiter.limit());
        Self { limiter: Arc::new(limiter), keys, tally, greedy, clock, start }
    }

    pub(crate) fn limiter(&self) -> Arc<RateLimiter<Memory<u64, Limit, C>>> {
        Arc::clone(&self.limiter)
    }
}

impl<C: Clock> Workload for Limiting<C> {
    type Worker = Watch;
    type Input = u64;
    type Output = Result<Decision>;

    fn classes(&self) -> &'static [Class] {
        SINGLE
    }

    async fn worker(&self, _id: usize) -> Result<Watch, BoxError> {
        Ok(Watch::default())
    }

    fn input(&self, _index: u64, rng: &mut Rng) -> u64 {
        self.keys.choose(rng)
    }

    async fn op(&self, watch: &mut Watch, key: &u64) -> Result<Decision> {
        if *key == greedy::KEY {
            watch.ask(|| self.clock.now(), || self.tally.granted(*key));
        }
        self.limiter.try_acquire(key, 1)
    }

    fn settle(&self, watch: &mut Watch, key: u64, decision: Result<Decision>) -> Outcome {
        match decision {
            Ok(decision) => {
                let allowed = decision.is_allowed();
                if let Some(greedy) = self.greedy.as_ref().filter(|_| key == greedy::KEY) {
                    watch.answer(greedy, allowed, || self.clock.now());
                }
                self.tally.count(key, allowed);
                Outcome::Class(class_of(allowed))
            }
            Err(error) => Outcome::Error(FAILED, error.to_string().into()),
        }
    }

    fn verify(&self, run: &RunFacts) -> Vec<Invariant> {
        let elapsed = self.clock.now().since(self.start);
        let crowded_out = self.limiter.store().stats().crowded_out;
        let least = self.greedy.as_ref().map(Greedy::least);
        let told = Told { crowded_out, least, ..Told::default() };
        self.tally.check(self.limiter.limit(), elapsed, run, told)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use bench::KeyDistribution;
    use clock::ManualClock;

    use super::*;

    /// Which invariants break when one key is asked for all the time, on a limiter that has `limiters` clock.
    fn broken(limiters: &ManualClock, clock: &ManualClock, algorithm: &str) -> Vec<String> {
        let limit = Limit::new(algorithm.parse().unwrap(), "10/s burst 5".parse().unwrap()).unwrap();
        let store = Memory::builder().clock(limiters.clone()).build().unwrap();
        let keys = Keys::new(1, KeyDistribution::Uniform).unwrap();
        let workload = Limiting::new(RateLimiter::new(store, limit), keys, clock.clone());
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let mut watch = Watch::default();
        let operations = 10_000;
        for _ in 0..operations {
            clock.advance(Duration::from_millis(1));
            let decision = runtime.block_on(workload.op(&mut watch, &0));
            workload.settle(&mut watch, 0, decision);
        }
        let run = RunFacts { operations, elapsed: Duration::from_secs(10), interrupted: false };
        let broken = workload.verify(&run).into_iter().filter(|invariant| !invariant.held);
        broken.map(|invariant| invariant.name).collect()
    }

    #[test]
    fn a_limiter_that_never_refills_is_found() {
        for algorithm in ["token-bucket", "leaky-bucket-queue"] {
            let clock = ManualClock::new();
            assert_eq!(broken(&clock, &clock, algorithm), [""; 0]);
            let stopped = ManualClock::new();
            let expected = ["the busiest key was granted what flowed in"];
            assert_eq!(broken(&stopped, &clock, algorithm), expected);
        }
    }
}
