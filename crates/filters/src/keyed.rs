//! Filters of keys.

use backends::Result;

use crate::{AnyFilter, Filter, Insert, KeyHasher, Remove, Xxh3, fingerprint};

/// A filter together with the hasher of its keys.
///
/// ```
/// use filters::{Bloom, Keyed, Plan, Xxh3};
///
/// # fn main() -> backends::Result<()> {
/// let names = Keyed::new(Bloom::new(Plan::for_rate(1_000, 0.01)?)?, Xxh3::seeded(7));
/// names.insert("ann");
/// assert!(names.contains("ann"));
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Keyed<F, H = Xxh3> {
    filter: F,
    hasher: H,
}

impl<F, H> Keyed<F, H> {
    /// Asks `filter` for the hashes that `hasher` makes of keys.
    pub const fn new(filter: F, hasher: H) -> Self {
        Self { filter, hasher }
    }

    /// The filter.
    pub const fn filter(&self) -> &F {
        &self.filter
    }

    /// The hasher.
    pub const fn hasher(&self) -> &H {
        &self.hasher
    }
}

impl<F: Filter, H: KeyHasher> Keyed<F, H> {
    /// Whether `key` may be among the keys.
    #[inline]
    pub fn contains(&self, key: impl AsRef<[u8]>) -> bool {
        self.filter.contains_hash(self.hasher.hash(key.as_ref()))
    }

    /// What can be stored: see [`Filter::encode`].
    pub fn encode(&self) -> Vec<u8> {
        self.filter.encode(fingerprint(&self.hasher))
    }
}

impl<H: KeyHasher> Keyed<AnyFilter, H> {
    /// The filter that [`encode`](Self::encode) stored.
    ///
    /// # Errors
    ///
    /// Those of [`AnyFilter::decode`].
    pub fn decode(bytes: &[u8], hasher: H) -> Result<Self> {
        Ok(Self { filter: AnyFilter::decode(bytes, fingerprint(&hasher))?, hasher })
    }
}

impl<F: Insert, H: KeyHasher> Keyed<F, H> {
    /// Adds `key`; `false` when it seemed to be there before.
    #[inline]
    pub fn insert(&self, key: impl AsRef<[u8]>) -> bool {
        self.filter.insert_hash(self.hasher.hash(key.as_ref()))
    }
}

impl<F: Remove, H: KeyHasher> Keyed<F, H> {
    /// Takes out one insertion of `key`; see [`Remove::remove_hash`].
    pub fn remove(&self, key: impl AsRef<[u8]>) -> bool {
        self.filter.remove_hash(self.hasher.hash(key.as_ref()))
    }
}
