//! The leaky bucket: what is admitted leaves at a constant rate.
//!
//! J. Turner, "New directions in communications", 1986. Two descriptions are in use:
//!
//! - As a **meter**, the bucket fills with each request and leaks at the rate; a request that would make
//!   it run over is denied. It admits exactly what a [token bucket](crate::token_bucket) admits.
//! - As a **queue**, requests wait in the bucket and leave it one after the other, which smooths a burst to
//!   the rate: an admitted request is told *when* it may go ahead. The bucket holds `burst` tokens.
//!
//! **Bound.** The meter's is the token bucket's, `burst + rate * t` in any window of length t. What leaves
//! the queue is at most `rate * t` and one request more, if callers wait as they are told.

use crate::{BucketState, Decision, Quota, QuotaError, Rule, bucket::Bucket, token_bucket::TokenBucket};

/// A [`Quota`] enforced by a leaky bucket as a meter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LeakyBucketMeter(TokenBucket);

/// A [`Quota`] enforced by a leaky bucket as a queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LeakyBucketQueue(Bucket);

impl LeakyBucketMeter {
    /// Makes `quota` ready for counting.
    ///
    /// # Errors
    ///
    /// [`QuotaError::Uncountable`] when rate and burst cannot be counted within 1 ppm below 2^53.
    pub fn new(quota: &Quota) -> Result<Self, QuotaError> {
        TokenBucket::new(quota).map(Self)
    }

    pub(crate) const fn bucket(&self) -> Bucket {
        self.0.bucket()
    }
}

impl LeakyBucketQueue {
    /// Makes `quota` ready for counting.
    ///
    /// # Errors
    ///
    /// [`QuotaError::Uncountable`] when rate and burst cannot be counted within 1 ppm below 2^53.
    pub fn new(quota: &Quota) -> Result<Self, QuotaError> {
        Bucket::new(quota).map(Self)
    }
}

impl Rule for LeakyBucketMeter {
    type State = BucketState;

    #[inline]
    fn take(&self, state: &mut BucketState, now: u64, cost: u32) -> Decision {
        self.0.take(state, now, cost)
    }

    fn peek(&self, state: &BucketState, now: u64, cost: u32) -> Decision {
        self.0.peek(state, now, cost)
    }

    fn available(&self, state: &BucketState, now: u64) -> u64 {
        self.0.available(state, now)
    }

    fn refund(&self, state: &mut BucketState, now: u64, taken_at: u64, cost: u32) {
        self.0.refund(state, now, taken_at, cost);
    }

    fn mend(&self, state: &mut BucketState, now: u64) {
        self.0.mend(state, now);
    }
}

impl Rule for LeakyBucketQueue {
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
        // Everything that is in the queue leaves first.
        let delay = look.until_whole();
        *state = look.take(cost);
        Decision::Allowed { delay, remaining: look.tokens(), reset_after: look.until_whole() }
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
