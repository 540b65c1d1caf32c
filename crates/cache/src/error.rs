//! What can go wrong with a write.

use std::fmt;

use backends::Error;

use crate::{Ack, Acks};

/// A write that did not go all the way. Only with [`Source`](Self::Source), [`Closed`](Self::Closed)
/// and [`NotAnnounced`](Self::NotAnnounced) may the database not have it.
#[derive(Debug)]
#[non_exhaustive]
pub enum WriteError {
    /// The database did not take it, or its answer was lost ([`Retry::Ambiguous`](crate::Retry::Ambiguous)). The entry's
    /// invalidation was tried in any case, and is queued if it failed.
    Source(Error),
    /// The cache was closed before: nothing was written, and nothing invalidated.
    Closed(Error),
    /// The filter in front could not take the key: nothing was written, and nothing invalidated.
    NotAnnounced(Error),
    /// The database has it, and the entry is invalidated, but not as durably as was asked for: a failover may bring the
    /// old entry back, until it expires. [`Cache::invalidate`](crate::Cache::invalidate) asks again.
    Under {
        /// How durable it is.
        got: Acks,
        /// How durable it was to be.
        want: Ack,
    },
    /// The database has it, and the cache could not be told: other processes may read the old entry.
    NotInvalidated {
        /// What the store reported.
        error: Error,
        /// Until when: `true` when the invalidation is repeated in the background, while this process does not use the
        /// entry; `false` when the queue was full or the cache was closed meanwhile, and the old entry is served until it expires.
        queued: bool,
    },
}

impl fmt::Display for WriteError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Source(error) => write!(f, "the database did not confirm the write: {error}"),
            Self::Closed(error) => write!(f, "nothing was written: {error}"),
            Self::NotAnnounced(error) => {
                write!(f, "nothing was written, since the filter in front did not take the key: {error}")
            }
            Self::Under { got, want } => {
                write!(f, "written, but the invalidation is less durable than {want:?}: {got:?}")
            }
            Self::NotInvalidated { error, queued: true } => {
                write!(f, "written, but the cache was not told yet, which is tried again: {error}")
            }
            Self::NotInvalidated { error, queued: false } => {
                write!(
                    f,
                    "written, but the cache was not told; the old entry stays until it expires: {error}"
                )
            }
        }
    }
}

impl std::error::Error for WriteError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Source(error)
            | Self::Closed(error)
            | Self::NotAnnounced(error)
            | Self::NotInvalidated { error, .. } => Some(error),
            Self::Under { .. } => None,
        }
    }
}
