//! How reads and writes are kept apart.

use std::{fmt, str::FromStr};

/// How a write and the loads beside it are kept from leaving something stale.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Protocol {
    /// A lease for who loads, and a floor for what was written: nothing stale stays. See [`slot`](crate::slot).
    #[default]
    Lease,
    /// Write, then delete the entry. A load that began before the write and ends after the deletion leaves the old row in
    /// the cache, until it expires: what most caches do, kept to show it.
    DeleteAfter,
    /// Delete the entry, then write. Every load between the two leaves the old row in the cache, until it expires; kept
    /// to show it.
    DeleteFirst,
}

impl Protocol {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Lease, Self::DeleteAfter, Self::DeleteFirst];

    /// As flags and labels have it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Lease => "lease",
            Self::DeleteAfter => "delete-after",
            Self::DeleteFirst => "delete-first",
        }
    }
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// There is no protocol of that name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UnknownProtocol;

impl fmt::Display for UnknownProtocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("not a protocol: lease, delete-after or delete-first")
    }
}

impl std::error::Error for UnknownProtocol {}

impl FromStr for Protocol {
    type Err = UnknownProtocol;

    fn from_str(text: &str) -> Result<Self, UnknownProtocol> {
        Self::ALL.into_iter().find(|protocol| protocol.as_str() == text).ok_or(UnknownProtocol)
    }
}

/// What may leave a stale entry in the cache nevertheless, until it expires.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Gap {
    /// The protocol does not keep late loads from filling.
    Protocol(Protocol),
    /// Loads may read from a replica that lags, and an evicted entry takes its floor with it.
    ReplicaLag,
    /// A failover may bring back what an invalidation removed, since no replica was waited for.
    Failover,
}

impl fmt::Display for Gap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Protocol(protocol) => {
                write!(f, "{protocol} lets a late load fill in what a write made stale")
            }
            Self::ReplicaLag => f.write_str(
                "loads may read from a replica that lags, which an evicted or expired floor does not tell",
            ),
            Self::Failover => f.write_str(
                "no replica was waited for: a failover may bring back what an invalidation removed",
            ),
        }
    }
}
