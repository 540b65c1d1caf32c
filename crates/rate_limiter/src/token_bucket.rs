//! The token bucket: tokens flow into a bucket at the rate, up to the burst; a request takes its cost
//! or nothing.
//!
//! J. Turner, "New directions in communications", IEEE Communications Magazine 24(10), 1986.
//!
//! **Bound.** Of a key whose clock does not go backwards, the limiter admits in any window of length t
//! at most `burst + rate * t`, so up to `2 * burst` in a trailing window of `burst / rate`. From a whole
//! bucket on, greedy demand gets at least `burst + rate * t - 1`.

use crate::{
    Decision, Quota, QuotaError, Rule, State,
    bucket::{Bucket, BucketState},
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

    pub(crate) const fn bucket(&self) -> Bucket {
        self.0
    }
}

impl Rule for TokenBucket {
    type State = BucketState;

    #[inline]
    fn take(&self, state: &mut BucketState, now: u64, cost: u32) -> Decision {
        let cost = u64::from(cost);
        if cost > self.0.burst {
            return Decision::NeverFits { burst: self.0.burst };
        }
        let mut look = self.0.look(state, now);
        if !look.fits(cost) {
            return Decision::Denied { retry_after: look.until_fits(cost) };
        }
        *state = look.take(cost);
        Decision::allowed(look.tokens(), look.until_whole())
    }

    fn peek(&self, state: &BucketState, now: u64, cost: u32) -> Decision {
        self.take(&mut state.clone(), now, cost)
    }

    fn available(&self, state: &BucketState, now: u64) -> u64 {
        self.0.look(&mut state.clone(), now).tokens()
    }

    fn refund(&self, state: &mut BucketState, now: u64, _taken_at: u64, cost: u32) {
        *state = self.0.look(state, now).give(u64::from(cost));
    }

    fn mend(&self, state: &mut BucketState, now: u64) {
        self.0.look(state, now);
    }
}

impl State for BucketState {
    #[inline]
    fn fresh_at(&self) -> u64 {
        self.whole_at
    }
}
