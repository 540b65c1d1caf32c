//! The token bucket: tokens flow into a bucket at the rate, up to the burst; a request takes its cost
//! or nothing.
//!
//! J. Turner, "New directions in communications", IEEE Communications Magazine 24(10), 1986.
//!
//! **Bound.** Of a key whose clock does not go backwards, the limiter admits in any window of length t
//! at most `burst + rate * t`, so up to `2 * burst` in a trailing window of `burst / rate`. From a whole
//! bucket on, greedy demand gets at least `burst + rate * t - 1`.

use std::time::Duration;

use crate::{
    Decision, Quota, QuotaError, Rule,
    bucket::{Bucket, BucketState},
    rule::outcome,
};

/// A [`Quota`] enforced by a token bucket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TokenBucket(Bucket);

impl TokenBucket {
    /// Makes `quota` ready for counting.
    ///
    /// # Errors
    ///
    /// [`QuotaError::Uncountable`] when rate and burst cannot be counted within 1 ppm below 2^53.
    pub fn new(quota: &Quota) -> Result<Self, QuotaError> {
        Bucket::new(quota).map(Self)
    }

    /// By value, so that the state of the quick path stays in registers.
    #[inline(never)]
    fn take_generally(&self, mut state: BucketState, now: u64, cost: u64) -> (BucketState, Decision) {
        let mut look = self.0.look(&mut state, now);
        if !look.fits(cost) {
            let retry_after = look.until_fits(cost);
            return (state, Decision::Denied { retry_after });
        }
        (look.take(cost), Decision::allowed(look.tokens(), look.until_whole()))
    }

    /// Until the bucket of `state` is whole.
    pub(crate) fn until_whole(&self, state: &BucketState, now: u64) -> Duration {
        self.0.look(&mut state.clone(), now).until_whole()
    }

    pub(crate) const fn bucket(&self) -> &Bucket {
        &self.0
    }
}

impl Rule for TokenBucket {
    type State = BucketState;

    #[inline(always)]
    fn take(&self, state: &mut BucketState, now: u64, cost: u32) -> Decision {
        let cost = u64::from(cost);
        if cost > self.0.burst {
            return Decision::NeverFits { burst: self.0.burst };
        }
        if let Some(decision) = self.0.take_simply(state, now, cost) {
            return decision;
        }
        let (next, decision) = self.take_generally(*state, now, cost);
        *state = next;
        decision
    }

    #[inline(always)]
    fn allow_packed(&self, word: u64, now: u64) -> Option<(u64, bool)> {
        if self.0.is_ahead(word, now) {
            return None;
        }
        self.0.allow_simply(word, now).or_else(|| outcome(self.take_packed(word, now, 1)))
    }

    fn available(&self, state: &BucketState, now: u64) -> u64 {
        self.0.look(&mut state.clone(), now).tokens()
    }

    fn refund(&self, state: &mut BucketState, now: u64, taken_at: u64, cost: u32) {
        *state = self.0.look(state, now).give(u64::from(cost), taken_at);
    }

    fn mend(&self, state: &mut BucketState, now: u64) {
        self.0.look(state, now);
    }

    #[inline(always)]
    fn is_ahead(&self, word: u64, now: u64) -> bool {
        self.0.is_ahead(word, now)
    }
}

/// Makes a rule of one that wraps a [`TokenBucket`]; all but `take` is the same, and that, too, unless given.
macro_rules! as_token_bucket {
    ($rule:ty) => {
        crate::token_bucket::as_token_bucket!($rule, |rule, state, now, cost| rule.0.take(state, now, cost));
    };
    ($rule:ty, |$own:ident, $state:ident, $now:ident, $cost:ident| $take:expr) => {
        impl crate::Rule for $rule {
            type State = crate::BucketState;

            #[inline]
            fn take(&self, $state: &mut crate::BucketState, $now: u64, $cost: u32) -> crate::Decision {
                let $own = self;
                $take
            }

            fn available(&self, state: &crate::BucketState, now: u64) -> u64 {
                self.0.available(state, now)
            }

            fn refund(&self, state: &mut crate::BucketState, now: u64, taken_at: u64, cost: u32) {
                self.0.refund(state, now, taken_at, cost);
            }

            fn mend(&self, state: &mut crate::BucketState, now: u64) {
                self.0.mend(state, now);
            }

            #[inline]
            fn is_ahead(&self, word: u64, now: u64) -> bool {
                self.0.is_ahead(word, now)
            }
        }
    };
}

pub(crate) use as_token_bucket;
