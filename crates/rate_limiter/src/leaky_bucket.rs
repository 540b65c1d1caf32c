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

use crate::{
    Decision, Quota, QuotaError,
    token_bucket::{TokenBucket, as_token_bucket},
};

/// A [`Quota`] enforced by a leaky bucket as a meter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LeakyBucketMeter(TokenBucket);

/// A [`Quota`] enforced by a leaky bucket as a queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LeakyBucketQueue(TokenBucket);

impl LeakyBucketMeter {
    /// Makes `quota` ready for counting.
    ///
    /// # Errors
    ///
    /// [`QuotaError::Uncountable`] when rate and burst cannot be counted within 1 ppm below 2^53.
    pub fn new(quota: &Quota) -> Result<Self, QuotaError> {
        TokenBucket::new(quota).map(Self)
    }
}

impl LeakyBucketQueue {
    /// Makes `quota` ready for counting.
    ///
    /// # Errors
    ///
    /// [`QuotaError::Uncountable`] when rate and burst cannot be counted within 1 ppm below 2^53.
    pub fn new(quota: &Quota) -> Result<Self, QuotaError> {
        TokenBucket::new(quota).map(Self)
    }
}

impl LeakyBucketQueue {
    #[cfg(feature = "redis")]
    pub(crate) const fn bucket(&self) -> &crate::bucket::Bucket {
        self.0.bucket()
    }
}

as_token_bucket!(LeakyBucketMeter);

as_token_bucket!(LeakyBucketQueue, |queue, state, now, cost| {
    // Everything that is in the queue leaves first.
    let waits = queue.0.until_whole(state, now);
    match queue.0.take(state, now, cost) {
        Decision::Allowed { remaining, reset_after, .. } => {
            Decision::Allowed { delay: waits, remaining, reset_after }
        }
        refusal => refusal,
    }
});
