//! The same quota in everybody's terms.

use std::{num::NonZeroU32, time::Duration};

use bench::BoxError;
use peers::Outcome;
use rate_limiter::Quota;

/// Tokens at once, and tokens in each period.
#[derive(Clone, Copy)]
pub(crate) struct Amount {
    pub(crate) burst: u32,
    pub(crate) tokens: u32,
    pub(crate) period: Duration,
}

pub(crate) const HOUR: Duration = Duration::from_secs(3_600);

/// A quota that answers all that a run can ask by `outcome`, once its first token was taken.
pub(crate) const fn always(outcome: Outcome) -> Amount {
    match outcome {
        Outcome::Allow => Amount { burst: u32::MAX, tokens: 1_000, period: Duration::from_secs(1) },
        Outcome::Deny => Amount { burst: 1, tokens: 1, period: HOUR },
    }
}

impl Amount {
    pub(crate) fn ours(self) -> Result<Quota, BoxError> {
        let quota = Quota::new(self.tokens.into(), self.period)?;
        Ok(quota.with_burst(self.burst.into())?)
    }

    pub(crate) fn governor(self) -> Result<governor::Quota, BoxError> {
        let burst = NonZeroU32::new(self.burst).ok_or("a burst of zero")?;
        let quota = governor::Quota::with_period(self.period / self.tokens).ok_or("a period of zero")?;
        Ok(quota.allow_burst(burst))
    }
}
