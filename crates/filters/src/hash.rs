//! From keys to the 64 bits that filters work on.

use std::hash::{BuildHasher, Hasher as _};

/// Turns keys into hashes. Filters see nothing else of a key, so hash once and use the hash for shards and caches, too.
///
/// Who stores filters, or shares them, needs a hasher whose hashes are the same in every process and every release:
/// [`Xxh3`] is; those of `std` are not.
pub trait KeyHasher: Clone + Send + Sync + 'static {
    /// The hash of `key`. All 64 bits count: a filter takes positions from the high ones and mixes in the low ones.
    fn hash(&self, key: &[u8]) -> u64;
}

/// What names a hasher and its seed in stored filters, without giving the seed away.
#[must_use]
pub fn fingerprint(hasher: &impl KeyHasher) -> u64 {
    hasher.hash(b"patterns.filters")
}

/// XXH3, 64 bits, with a seed.
///
/// Whoever knows the seed can make keys that collide, and so drive up the rate of false positives; where keys come from
/// strangers, take a secret one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Xxh3 {
    seed: u64,
}

impl Xxh3 {
    /// The hasher of `seed`.
    #[must_use]
    pub const fn seeded(seed: u64) -> Self {
        Self { seed }
    }
}

impl KeyHasher for Xxh3 {
    #[inline]
    fn hash(&self, key: &[u8]) -> u64 {
        xxhash_rust::xxh3::xxh3_64_with_seed(key, self.seed)
    }
}

/// Any hasher of the standard library's kind.
#[derive(Clone, Copy, Debug, Default)]
pub struct Std<S>(pub S);

impl<S: BuildHasher + Clone + Send + Sync + 'static> KeyHasher for Std<S> {
    #[inline]
    fn hash(&self, key: &[u8]) -> u64 {
        let mut hasher = self.0.build_hasher();
        hasher.write(key);
        hasher.finish()
    }
}
