use std::{error, fmt, str::FromStr};

/// Which rule decides.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Algorithm {
    /// Tokens flow into a bucket at the rate; a request takes its cost. See
    /// [`token_bucket`](crate::token_bucket).
    TokenBucket,
    /// The generic cell rate algorithm. See [`gcra`](crate::gcra).
    Gcra,
    /// A bucket that fills with requests and leaks at the rate. See [`leaky_bucket`](crate::leaky_bucket).
    LeakyBucket,
    /// The same as a queue, which tells when to go ahead. See [`leaky_bucket`](crate::leaky_bucket).
    LeakyBucketQueue,
    /// Each window of the clock has the whole quota. See [`fixed_window`](crate::fixed_window).
    FixedWindow,
    /// Two windows, the earlier one weighted. See [`sliding_window_counter`](crate::sliding_window_counter).
    SlidingWindowCounter,
    /// The time of every request. See [`sliding_window_log`](crate::sliding_window_log).
    SlidingWindowLog,
}

impl Algorithm {
    /// Every algorithm.
    pub const ALL: [Self; 7] = [
        Self::TokenBucket,
        Self::Gcra,
        Self::LeakyBucket,
        Self::LeakyBucketQueue,
        Self::FixedWindow,
        Self::SlidingWindowCounter,
        Self::SlidingWindowLog,
    ];

    /// The name in kebab case, as flags and keys carry it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::TokenBucket => "token-bucket",
            Self::Gcra => "gcra",
            Self::LeakyBucket => "leaky-bucket",
            Self::LeakyBucketQueue => "leaky-bucket-queue",
            Self::FixedWindow => "fixed-window",
            Self::SlidingWindowCounter => "sliding-window-counter",
            Self::SlidingWindowLog => "sliding-window-log",
        }
    }

    /// Whether the quota is counted in windows, in which the burst is always the tokens of a period.
    #[must_use]
    pub const fn is_windowed(self) -> bool {
        matches!(self, Self::FixedWindow | Self::SlidingWindowCounter | Self::SlidingWindowLog)
    }
}

impl fmt::Display for Algorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl FromStr for Algorithm {
    type Err = UnknownAlgorithm;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        let known = Self::ALL.into_iter().find(|algorithm| algorithm.as_str() == name);
        known.ok_or_else(|| UnknownAlgorithm { name: name.into() })
    }
}

/// No algorithm has this name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnknownAlgorithm {
    name: Box<str>,
}

impl fmt::Display for UnknownAlgorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let known = Algorithm::ALL.map(Algorithm::as_str).join(", ");
        write!(f, "unknown algorithm {:?}; known: {known}", self.name)
    }
}

impl error::Error for UnknownAlgorithm {}
