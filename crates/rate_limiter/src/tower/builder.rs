use std::{fmt, sync::Arc};

use backends::{Error, ErrorKind, Result};
use http::Request;

use super::{
    Counters, OnNoKey, OnStoreError, RateLimitLayer, SendFields, Shared, Tier,
    decide::Limited,
    denial::ProblemJson,
    fields::{Policies, QuotaUnit, check_name},
    key::{WithCost, WithTier},
};

/// How to build a [`RateLimitLayer`].
#[must_use]
pub struct RateLimitBuilder<L, F, R = ProblemJson> {
    /// By the name of its policy; the first is for requests without a tier of their own.
    tiers: Vec<(String, Arc<L>)>,
    key: F,
    on_denied: R,
    unit: QuotaUnit,
    on_no_key: OnNoKey,
    on_store_error: OnStoreError,
    send_fields: SendFields,
}

impl<L: Limited, F> RateLimitBuilder<L, F> {
    pub(super) fn new(limiter: Arc<L>, key: F) -> Self {
        Self {
            tiers: vec![("default".to_owned(), limiter)],
            key,
            on_denied: ProblemJson,
            unit: QuotaUnit::Requests,
            on_no_key: OnNoKey::default(),
            on_store_error: OnStoreError::default(),
            send_fields: SendFields::default(),
        }
    }
}

impl<L: Limited, F, R> RateLimitBuilder<L, F, R> {
    /// Names the policy of the first limiter, which is `default` unless said otherwise: 1 to 64 printable
    /// ASCII characters. Of several limits on one key each has its rate added: `default-10/s`.
    pub fn policy(mut self, name: impl Into<String>) -> Self {
        if let Some((first, _)) = self.tiers.first_mut() {
            *first = name.into();
        }
        self
    }

    /// Has another limiter for the requests of this tier, which is the name of its policy, too.
    ///
    /// A tier has a quota, an algorithm and a shadow mode of its own. In memory a key that changes its tier
    /// starts with a whole quota; over one store that tiers share it keeps its state.
    pub fn tier(mut self, name: impl Into<String>, limiter: impl Into<Arc<L>>) -> Self {
        self.tiers.push((name.into(), limiter.into()));
        self
    }

    /// Chooses the tier of a request by name; without one, or with one that there is not, the first limiter
    /// decides.
    pub fn tier_by<B, G>(self, tier: G) -> RateLimitBuilder<L, WithTier<F, G>, R>
    where
        G: Fn(&Request<B>) -> Option<&'static str>,
    {
        self.with_key(|key| WithTier { key, tier })
    }

    /// Says what a request costs: 1 unless said otherwise. What costs nothing goes ahead without a decision.
    pub fn cost<B, G>(self, cost: G) -> RateLimitBuilder<L, WithCost<F, G>, R>
    where
        G: Fn(&Request<B>) -> u32,
    {
        self.with_key(|key| WithCost { key, cost })
    }

    /// Says what the quota counts, in `RateLimit-Policy`.
    pub fn unit(self, unit: QuotaUnit) -> Self {
        Self { unit, ..self }
    }

    /// Does this with requests that have no key.
    pub fn on_no_key(self, on_no_key: OnNoKey) -> Self {
        Self { on_no_key, ..self }
    }

    /// Does this with requests that the store cannot decide on.
    pub fn on_store_error(self, on_store_error: OnStoreError) -> Self {
        Self { on_store_error, ..self }
    }

    /// Sends the fields with these responses.
    pub fn send_fields(self, send_fields: SendFields) -> Self {
        Self { send_fields, ..self }
    }

    /// Makes the responses to requests that do not reach the service: problem details unless said otherwise.
    pub fn on_denied<N>(self, on_denied: N) -> RateLimitBuilder<L, F, N> {
        let Self { tiers, key, on_denied: _, unit, on_no_key, on_store_error, send_fields } = self;
        RateLimitBuilder { tiers, key, on_denied, unit, on_no_key, on_store_error, send_fields }
    }

    /// Builds the layer.
    ///
    /// # Errors
    ///
    /// `Config` when a policy cannot have its name, or two tiers have the same.
    pub fn build(self) -> Result<RateLimitLayer<L, F, R>> {
        for (at, (name, _)) in self.tiers.iter().enumerate() {
            check_name(name)?;
            if self.tiers[..at].iter().any(|(other, _)| other == name) {
                let message = format!("two tiers are named {name:?}");
                return Err(Error::new(ErrorKind::Config, "any", "build", message));
            }
        }
        let unit = self.unit;
        let tier = |(name, limiter): (String, Arc<L>)| Tier {
            policies: Policies::new(&name, unit, limiter.limit()),
            name: name.into(),
            limiter,
        };
        Ok(RateLimitLayer {
            shared: Arc::new(Shared {
                tiers: self.tiers.into_iter().map(tier).collect(),
                key: self.key,
                on_denied: self.on_denied,
                on_no_key: self.on_no_key,
                on_store_error: self.on_store_error,
                send_fields: self.send_fields,
                counts: Counters::default(),
            }),
        })
    }

    fn with_key<N>(self, with: impl FnOnce(F) -> N) -> RateLimitBuilder<L, N, R> {
        let Self { tiers, key, on_denied, unit, on_no_key, on_store_error, send_fields } = self;
        RateLimitBuilder { tiers, key: with(key), on_denied, unit, on_no_key, on_store_error, send_fields }
    }
}

impl<L: fmt::Debug, F, R> fmt::Debug for RateLimitBuilder<L, F, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RateLimitBuilder").field("tiers", &self.tiers).finish_non_exhaustive()
    }
}
