//! From keys to hashes, as the cache and the database make bytes of them.

use std::{
    hash::{BuildHasher, DefaultHasher, Hasher},
    io::Write,
};

use clap::ValueEnum;
use filters::{KeyHasher, Std, Xxh3};

/// What `--hash` names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum HashName {
    Xxh3,
    Sip,
}

/// A hasher that is chosen at run time.
#[derive(Clone, Copy, Debug)]
pub(crate) enum AnyHasher {
    Xxh3(Xxh3),
    Sip(Std<Sip>),
}

/// `SipHash` of the standard library, whose hashes may be others in its next release.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sip(u64);

impl BuildHasher for Sip {
    type Hasher = DefaultHasher;

    fn build_hasher(&self) -> DefaultHasher {
        let mut hasher = DefaultHasher::new();
        hasher.write_u64(self.0);
        hasher
    }
}

impl AnyHasher {
    pub(crate) const fn new(name: HashName, seed: u64) -> Self {
        match name {
            HashName::Xxh3 => Self::Xxh3(Xxh3::seeded(seed)),
            HashName::Sip => Self::Sip(Std(Sip(seed))),
        }
    }

    /// The hash of a key whose bytes are its decimal digits, as those of the cache are.
    #[inline]
    pub(crate) fn of(&self, key: u64) -> u64 {
        let mut digits = [0; 20];
        let mut rest = &mut digits[..];
        // Twenty digits are enough for any.
        let _ = write!(rest, "{key}");
        let left = rest.len();
        self.hash(&digits[..20 - left])
    }
}

impl KeyHasher for AnyHasher {
    #[inline]
    fn hash(&self, key: &[u8]) -> u64 {
        match self {
            Self::Xxh3(hasher) => hasher.hash(key),
            Self::Sip(hasher) => hasher.hash(key),
        }
    }
}

impl std::fmt::Display for HashName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Xxh3 => "xxh3",
            Self::Sip => "sip",
        })
    }
}

#[cfg(test)]
mod tests {
    use cache::Key;

    use super::*;

    #[test]
    fn a_hash_is_of_the_bytes_that_the_cache_makes_of_a_key() {
        for name in [HashName::Xxh3, HashName::Sip] {
            let hasher = AnyHasher::new(name, 7);
            for key in [0, 9, 10, 1 << 40, u64::MAX] {
                let mut bytes = Vec::new();
                key.encode(&mut bytes);
                assert_eq!(hasher.of(key), hasher.hash(&bytes), "{name} {key}");
            }
            assert_ne!(hasher.of(1), AnyHasher::new(name, 8).of(1), "{name}: the seed counts");
        }
    }
}
