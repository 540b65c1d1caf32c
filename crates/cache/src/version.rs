//! Versions of rows, and what an invalidation leaves behind.

use std::fmt;

/// The version of a row, as its database keeps it: a newer row has a higher one.
///
/// A counter, a timestamp in microseconds, a log position. At most 2^53 - 1, so that a script in Lua, whose numbers are
/// doubles, compares it exactly; microseconds since 1970 stay below that until the year 2255.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Version(u64);

impl Version {
    /// The version of a row that is not there: lower than that of every row.
    pub const ABSENT: Self = Self(0);
    /// The highest.
    pub const MAX: Self = Self((1 << 53) - 1);

    /// `None` when `version` is above [`MAX`](Self::MAX).
    #[must_use]
    pub const fn new(version: u64) -> Option<Self> {
        if version <= Self::MAX.0 { Some(Self(version)) } else { None }
    }

    /// The number.
    #[must_use]
    pub const fn get(self) -> u64 {
        self.0
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// What a write has made stale, or doubtful: every version up to this one, and the absence of the row.
///
/// An invalidation leaves it in the place of the entry, for as long as an older load may be under way. A fill must be
/// strictly newer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Floor(Version);

impl Floor {
    /// Only absence is in doubt: the version that was written is not known.
    pub const UNKNOWN: Self = Self(Version::ABSENT);

    /// The floor of a write whose `version` no other write of the row can have: what is older is stale.
    #[must_use]
    pub const fn below(version: Version) -> Self {
        Self(Version(version.0.saturating_sub(1)))
    }

    /// The floor of a write whose `version` another write of the row may have too, like a timestamp: which of the two
    /// won is not known, so both are in doubt.
    #[must_use]
    pub const fn at(version: Version) -> Self {
        Self(version)
    }

    /// The highest version in doubt.
    #[must_use]
    pub const fn version(self) -> Version {
        self.0
    }
}
