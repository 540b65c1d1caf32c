use crate::{Algorithm, Quota, QuotaError, token_bucket::TokenBucket};

/// A quota and the algorithm that enforces it, made ready for counting.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limit {
    quota: Quota,
    pub(crate) rule: Rule,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Rule {
    TokenBucket(TokenBucket),
}

impl Limit {
    /// Enforces `quota` by `algorithm`.
    ///
    /// # Errors
    ///
    /// [`QuotaError::Uncountable`] when the algorithm cannot count this quota within 1 ppm.
    pub fn new(algorithm: Algorithm, quota: Quota) -> Result<Self, QuotaError> {
        let rule = match algorithm {
            Algorithm::TokenBucket => Rule::TokenBucket(TokenBucket::new(&quota)?),
        };
        Ok(Self { quota, rule })
    }

    /// Enforces `quota` by a token bucket.
    ///
    /// # Errors
    ///
    /// Those of [`Limit::new`].
    pub fn token_bucket(quota: Quota) -> Result<Self, QuotaError> {
        Self::new(Algorithm::TokenBucket, quota)
    }

    /// The quota.
    #[must_use]
    pub const fn quota(&self) -> &Quota {
        &self.quota
    }

    /// The algorithm.
    #[must_use]
    pub const fn algorithm(&self) -> Algorithm {
        match self.rule {
            Rule::TokenBucket(_) => Algorithm::TokenBucket,
        }
    }
}
