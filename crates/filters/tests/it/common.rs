//! Keys of tests.

use testkit::SplitMix64;

/// The hash of key `index`; those of different `index` are different.
pub(crate) fn hash(index: u64) -> u64 {
    // A bijection of 64 bits, so keys and strangers cannot collide.
    SplitMix64(index.wrapping_mul(0x9E37_79B9_7F4A_7C15)).bits()
}
