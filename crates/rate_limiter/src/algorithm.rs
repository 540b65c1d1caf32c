use std::{error, fmt, str::FromStr};

/// Which rule decides.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Algorithm {
    /// Tokens flow into a bucket at the rate; a request takes its cost. See
    /// [`token_bucket`](crate::token_bucket).
    TokenBucket,
}

impl Algorithm {
    /// Every algorithm.
    pub const ALL: [Self; 1] = [Self::TokenBucket];

    /// The name in kebab case, as flags and keys carry it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::TokenBucket => "token-bucket",
        }
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
