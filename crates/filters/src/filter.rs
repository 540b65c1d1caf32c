//! What every filter does.

use std::fmt;

use backends::Result;

/// A set of which one can ask whether a key is in it. `false` is certain; `true` is wrong at a known rate.
///
/// Filters work on hashes (see [`KeyHasher`](crate::KeyHasher)); [`Keyed`](crate::Keyed) takes keys.
pub trait Filter: fmt::Debug + Send + Sync + 'static {
    /// Which structure it is.
    fn kind(&self) -> Kind;

    /// Whether the key of `hash` may be among the keys.
    fn contains_hash(&self, hash: u64) -> bool;

    /// The same for each of `hashes`, in their order, into `found`, whose content is dropped. Faster than one by one
    /// where the filter is larger than a cache of the processor: what many of them read is fetched at once.
    fn contains_hashes(&self, hashes: &[u64], found: &mut Vec<bool>);

    /// How many keys are in it, as far as it could tell new ones from old ones.
    fn len(&self) -> u64;

    /// Whether nothing is in it.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// For how many keys it was made.
    fn planned(&self) -> u64;

    /// Whether it has more keys than it was made for: its rate is above the planned one, and it is time to build a
    /// larger one.
    fn is_overloaded(&self) -> bool {
        self.len() > self.planned()
    }

    /// How many bytes of memory its table has.
    fn size_bytes(&self) -> usize;

    /// The false-positive rate that theory gives for the keys that are in it now.
    fn expected_rate(&self) -> f64;

    /// What can be stored, and read by this and later releases. `hasher` names the hasher
    /// ([`fingerprint`](crate::fingerprint)), so that nobody asks with another.
    ///
    /// Of a filter to which others add meanwhile, every key that was in before the call is in the bytes.
    fn encode(&self, hasher: u64) -> Vec<u8>;
}

/// A filter that keys can be added to, by several threads at once.
pub trait Insert: Filter {
    /// Adds the key of `hash`; `false` when it seemed to be there before.
    fn insert_hash(&self, hash: u64) -> bool;
}

/// A filter that forgets.
pub trait Remove: Insert {
    /// Takes out one insertion of the key of `hash`; `false` when there is none, and nothing was changed.
    ///
    /// A key that was never inserted may seem to be there. Taking it out takes others with it, so remove only what was
    /// inserted, as often as it was.
    fn remove_hash(&self, hash: u64) -> bool;
}

/// A filter that can take in all keys of another of the same shape.
pub trait Merge: Filter {
    /// Adds all keys of `other`.
    ///
    /// # Errors
    ///
    /// `Invalid` when the two differ in size or positions; nothing was changed.
    fn merge(&self, other: &Self) -> Result<()>;
}

/// The structures.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Kind {
    /// [`Bloom`](crate::Bloom).
    Bloom,
    /// [`Blocked`](crate::Blocked).
    Blocked,
    /// [`Counting`](crate::Counting).
    Counting,
    /// [`Fuse8`](crate::Fuse8).
    Fuse8,
    /// [`Fuse16`](crate::Fuse16).
    Fuse16,
    /// [`Ribbon`](crate::Ribbon).
    Ribbon,
    /// [`RFilter`](crate::RFilter).
    RFilter,
}

impl Kind {
    /// All of them.
    pub const ALL: [Self; 7] =
        [Self::Bloom, Self::Blocked, Self::Counting, Self::Fuse8, Self::Fuse16, Self::Ribbon, Self::RFilter];

    /// Its name, as flags and tables have it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Bloom => "bloom",
            Self::Blocked => "blocked",
            Self::Counting => "counting",
            Self::Fuse8 => "fuse8",
            Self::Fuse16 => "fuse16",
            Self::Ribbon => "ribbon",
            Self::RFilter => "rfilter",
        }
    }

    /// Whether all keys must be known when it is built.
    #[must_use]
    pub const fn is_static(self) -> bool {
        matches!(self, Self::Fuse8 | Self::Fuse16 | Self::Ribbon)
    }

    /// Its number in stored bytes.
    pub(crate) const fn code(self) -> u8 {
        match self {
            Self::Bloom => 1,
            Self::Blocked => 2,
            Self::Counting => 3,
            Self::Fuse8 => 4,
            Self::Fuse16 => 5,
            Self::Ribbon => 6,
            Self::RFilter => 7,
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}
