//! The generic cell rate algorithm: a request conforms when it does not come too long before its
//! theoretical arrival time.
//!
//! ITU-T I.371 (03/2004), annex A, virtual scheduling: the emission interval is `period / tokens`, the
//! tolerance `burst - 1` emission intervals. It admits exactly what a [token
//! bucket](crate::token_bucket) admits, and has the same bound; the theoretical arrival time is when that
//! bucket is whole again. The name is kept for those who know the rule by it.

use crate::{BucketState, Decision, Quota, QuotaError, Rule, bucket::Bucket, token_bucket::TokenBucket};

/// A [`Quota`] enforced by the generic cell rate algorithm.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gcra(TokenBucket);

impl Gcra {
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

impl Rule for Gcra {
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
