//! Keys of tests.

/// The hash of key `index`; those of different `index` are different.
pub(crate) fn hash(index: u64) -> u64 {
    // A bijection of 64 bits (the finaliser of SplitMix64), so keys and strangers cannot collide.
    let mut hash = index.wrapping_add(1).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    hash = (hash ^ (hash >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    hash = (hash ^ (hash >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    hash ^ (hash >> 31)
}
