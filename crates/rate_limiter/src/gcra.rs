//! The generic cell rate algorithm: a request conforms when it does not come too long before its
//! theoretical arrival time.
//!
//! ITU-T I.371 (03/2004), annex A, virtual scheduling: the emission interval is `period / tokens`, the
//! tolerance `burst - 1` emission intervals. It admits exactly what a [token
//! bucket](crate::token_bucket) admits, and has the same bound; the theoretical arrival time is when that
//! bucket is whole again. The name is kept for those who know the rule by it.

use crate::{
    Quota, QuotaError,
    token_bucket::{TokenBucket, as_token_bucket},
};

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
}

as_token_bucket!(Gcra);
