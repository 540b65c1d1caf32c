use std::{error, fmt, num::NonZeroU64, str::FromStr, time::Duration};

use backends::{Error, ErrorKind};

/// How much is allowed: `tokens` per `period`, and at most `burst` at once.
///
/// The burst is `tokens` unless said otherwise. As text: `100/s`, `5/30s`, `1/day`, `100/s burst 20`.
///
/// ```
/// use rate_limiter::Quota;
/// use std::time::Duration;
///
/// let quota = Quota::per_second(100)?.with_burst(20)?;
/// assert_eq!(quota, "100/s burst 20".parse()?);
/// assert_eq!(quota.to_string(), "100/s burst 20");
/// assert_eq!(Quota::new(5, Duration::from_secs(30))?, "5/30s".parse()?);
/// assert!(Quota::per_second(0).is_err());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Quota {
    tokens: NonZeroU64,
    /// Whole microseconds: the resolution that a Redis server's clock and exact Lua integers share.
    period_micros: NonZeroU64,
    burst: NonZeroU64,
}

/// The highest rate that can be built: one token a nanosecond.
const MAX_TOKENS_PER_SECOND: u128 = 1_000_000_000;

impl Quota {
    /// `tokens` per `period`, with a burst of `tokens`.
    ///
    /// # Errors
    ///
    /// When `tokens` is zero, `period` is not a whole number of microseconds from one microsecond to
    /// 365 days, or the rate exceeds 1,000,000,000 tokens a second.
    pub fn new(tokens: u64, period: Duration) -> Result<Self, QuotaError> {
        const LONGEST: Duration = Duration::from_secs(365 * 24 * 3600);
        let tokens = NonZeroU64::new(tokens).ok_or(QuotaError::ZeroTokens)?;
        if !period.subsec_nanos().is_multiple_of(1_000) || period > LONGEST {
            return Err(QuotaError::Period);
        }
        let micros = u64::try_from(period.as_micros()).unwrap_or(0);
        let period_micros = NonZeroU64::new(micros).ok_or(QuotaError::Period)?;
        if u128::from(tokens.get()) * 1_000_000 > MAX_TOKENS_PER_SECOND * u128::from(micros) {
            return Err(QuotaError::TooFast);
        }
        Ok(Self { tokens, period_micros, burst: tokens })
    }

    /// `tokens` per second.
    ///
    /// # Errors
    ///
    /// When `tokens` is zero or above 1,000,000,000.
    pub fn per_second(tokens: u64) -> Result<Self, QuotaError> {
        Self::new(tokens, Duration::from_secs(1))
    }

    /// `tokens` per minute.
    ///
    /// # Errors
    ///
    /// When `tokens` is zero or above 60,000,000,000.
    pub fn per_minute(tokens: u64) -> Result<Self, QuotaError> {
        Self::new(tokens, Duration::from_secs(60))
    }

    /// Allows at most `burst` at once.
    ///
    /// # Errors
    ///
    /// When `burst` is zero.
    pub fn with_burst(self, burst: u64) -> Result<Self, QuotaError> {
        let burst = NonZeroU64::new(burst).ok_or(QuotaError::ZeroBurst)?;
        Ok(Self { burst, ..self })
    }

    /// Tokens per period.
    #[must_use]
    pub const fn tokens(&self) -> u64 {
        self.tokens.get()
    }

    /// The period.
    #[must_use]
    pub const fn period(&self) -> Duration {
        Duration::from_micros(self.period_micros.get())
    }

    /// The most that is allowed at once.
    #[must_use]
    pub const fn burst(&self) -> u64 {
        self.burst.get()
    }

    /// Tokens and microseconds of a window; a window has no burst of its own.
    pub(crate) fn window(&self) -> Result<(u64, u64), QuotaError> {
        if self.burst == self.tokens {
            Ok((self.tokens.get(), self.period_micros.get()))
        } else {
            Err(QuotaError::BurstInWindow)
        }
    }

    /// The most that an exact limiter admits from a whole quota on within `elapsed`: the burst, and
    /// what flows in meanwhile, rounded down.
    #[must_use]
    pub fn most_within(&self, elapsed: Duration) -> u128 {
        let micros = elapsed.as_nanos().div_ceil(1_000);
        let inflow = micros.saturating_mul(u128::from(self.tokens())) / u128::from(self.period_micros.get());
        inflow + u128::from(self.burst())
    }
}

impl fmt::Display for Quota {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let micros = self.period_micros.get();
        let unit =
            UNITS.iter().find(|(_, unit)| micros.is_multiple_of(*unit)).unwrap_or(&UNITS[UNITS.len() - 1]);
        write!(f, "{}/", self.tokens)?;
        if micros != unit.1 {
            write!(f, "{}", micros / unit.1)?;
        }
        write!(f, "{}", unit.0)?;
        if self.burst != self.tokens {
            write!(f, " burst {}", self.burst)?;
        }
        Ok(())
    }
}

/// Names and microseconds of the units of a period, longest first.
const UNITS: [(&str, u64); 6] = [
    ("day", 86_400_000_000),
    ("h", 3_600_000_000),
    ("min", 60_000_000),
    ("s", 1_000_000),
    ("ms", 1_000),
    ("us", 1),
];

impl FromStr for Quota {
    type Err = ParseQuotaError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let malformed = || ParseQuotaError::Malformed(text.into());
        let (rate, burst) = match text.split_once(" burst ") {
            Some((rate, burst)) => (rate, Some(parse_count(burst).ok_or_else(malformed)?)),
            None => (text, None),
        };
        let (tokens, period) = rate.split_once('/').ok_or_else(malformed)?;
        let tokens = parse_count(tokens).ok_or_else(malformed)?;
        let digits = period.find(|c: char| !c.is_ascii_digit()).ok_or_else(malformed)?;
        let (count, unit) = period.split_at(digits);
        let count: u64 = if count.is_empty() { 1 } else { count.parse().map_err(|_| malformed())? };
        let unit = UNITS.iter().find(|(name, _)| *name == unit).ok_or_else(malformed)?;
        let micros = count.checked_mul(unit.1).ok_or(QuotaError::Period)?;
        let quota = Self::new(tokens, Duration::from_micros(micros))?;
        Ok(burst.map_or(Ok(quota), |burst| quota.with_burst(burst))?)
    }
}

/// A whole number, optionally with `_` or `,` between digits.
fn parse_count(text: &str) -> Option<u64> {
    let text = text.trim();
    let digits: String = text.chars().filter(|c| !matches!(c, '_' | ',')).collect();
    if digits.starts_with('+') { None } else { digits.parse().ok() }
}

/// Why a quota cannot be built.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum QuotaError {
    /// Zero tokens per period would deny everything.
    ZeroTokens,
    /// A burst of zero would deny everything.
    ZeroBurst,
    /// The period is not a whole number of microseconds, is zero, or exceeds 365 days.
    Period,
    /// More than 1,000,000,000 tokens a second.
    TooFast,
    /// A limit of several quotas has none.
    Empty,
    /// The burst is not the tokens of a period, which is the only burst that a window has.
    BurstInWindow,
    /// Rate and burst together cannot be counted within 1 ppm in integers below 2^53, or a whole burst takes
    /// more than 146,000 years to flow in.
    Uncountable,
}

impl fmt::Display for QuotaError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::ZeroTokens => "a quota of zero tokens denies everything; use at least 1",
            Self::ZeroBurst => "a burst of zero denies everything; use at least 1",
            Self::Period => "the period must be a whole number of microseconds, from 1us to 365day",
            Self::TooFast => "the rate exceeds 1,000,000,000 tokens a second",
            Self::Empty => "a limit needs at least one quota",
            Self::BurstInWindow => "a window admits all tokens of a period at once; leave the burst out",
            Self::Uncountable => {
                "rate and burst together cannot be counted: within 1 ppm below 2^53, and flow in within 146,000 years; use a smaller burst or a simpler rate"
            }
        })
    }
}

impl error::Error for QuotaError {}

impl From<QuotaError> for Error {
    fn from(error: QuotaError) -> Self {
        Self::new(ErrorKind::Config, "any", "quota", error.to_string()).with_source(error)
    }
}

/// Why a text is not a quota.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ParseQuotaError {
    /// Not of the form `100/s` or `100/s burst 20`.
    Malformed(Box<str>),
    /// Well formed, but no quota.
    Quota(QuotaError),
}

impl fmt::Display for ParseQuotaError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Malformed(text) => write!(
                f,
                "{text:?} is not a quota; write it like 100/s, 5/30s or '100/s burst 20' (us, ms, s, min, h, day)"
            ),
            Self::Quota(error) => error.fmt(f),
        }
    }
}

impl error::Error for ParseQuotaError {
    fn source(&self) -> Option<&(dyn error::Error + 'static)> {
        match self {
            Self::Malformed(_) => None,
            Self::Quota(error) => Some(error),
        }
    }
}

impl From<QuotaError> for ParseQuotaError {
    fn from(error: QuotaError) -> Self {
        Self::Quota(error)
    }
}
