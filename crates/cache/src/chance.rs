//! Numbers by chance: names of leases, jitter, early refreshes.

use std::{
    hash::{BuildHasher, RandomState},
    num::NonZeroU64,
    sync::atomic::{AtomicU64, Ordering::Relaxed},
};

use crate::Token;

/// A sequence of 64-bit numbers that looks random (SplitMix64; Steele, Lea and Flood, OOPSLA 2014).
#[derive(Debug)]
pub(crate) struct Chance(AtomicU64);

const STEP: u64 = 0x9e37_79b9_7f4a_7c15;

impl Chance {
    pub(crate) const fn seeded(seed: u64) -> Self {
        Self(AtomicU64::new(seed))
    }

    /// Another sequence in every process.
    pub(crate) fn new() -> Self {
        Self::seeded(RandomState::new().hash_one(0))
    }

    fn next(&self) -> u64 {
        let z = self.0.fetch_add(STEP, Relaxed).wrapping_add(STEP);
        let z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub(crate) fn token(&self) -> Token {
        Token(NonZeroU64::new(self.next()).unwrap_or(NonZeroU64::MIN))
    }

    /// Above zero, and at most one.
    pub(crate) fn fraction(&self) -> f64 {
        ((self.next() >> 11) + 1) as f64 / (1_u64 << 53) as f64
    }
}
