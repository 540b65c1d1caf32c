//! Which block a key is in, and which bits it sets there. Stored filters and those on servers rely on it: it never
//! changes.

use crate::bloom::reduce;

/// Bits of a block: a cache line.
pub(crate) const BITS: u64 = 512;
/// Words of a block. Bit `b` of a block is bit `b % 64` of word `b / 64`; stored, its 64 bytes are the words in their
/// order, each in little-endian order.
pub(crate) const WORDS: usize = 8;

/// Bits of a number below [`BITS`], and how many such numbers one mixed hash gives.
const WIDTH: u32 = BITS.trailing_zeros();
const FROM_ONE: u32 = u64::BITS / WIDTH;

/// What a key has in a filter of blocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Block {
    /// Its block.
    pub(crate) index: u64,
    /// The bits that it sets there, one at least and `positions` at most.
    pub(crate) bits: [u64; WORDS],
}

/// What the key of `hash` has in a filter of `blocks` blocks, in one of which it sets `positions` bits.
#[inline]
pub(crate) fn block(hash: u64, blocks: u64, positions: u32) -> Block {
    let mut bits = [0; WORDS];
    places(hash, positions, |word, bit| bits[word] |= 1 << bit);
    Block { index: reduce(hash, blocks), bits }
}

/// Gives `each` the word, and the number of the bit in it, of every position of the key of `hash`.
#[inline(always)]
pub(crate) fn places(hash: u64, positions: u32, mut each: impl FnMut(usize, u32)) {
    let (mut left, mut mixed) = (positions, hash);
    while left > 0 {
        // The block is of the hash's high bits, so all that tells its keys apart is in the low ones: mix them into all.
        mixed = mix(mixed);
        let now = left.min(FROM_ONE);
        for index in 0..now {
            let place = mixed >> (index * WIDTH);
            each((place >> 6) as usize % WORDS, (place % 64) as u32);
        }
        left -= now;
    }
}

/// The low bits brought up, then both halves of a product of 128 bits folded. Over 100M strangers, rates are as with the
/// finaliser of SplitMix64, which costs two multiplications.
const fn mix(hash: u64) -> u64 {
    let product = hash.rotate_left(32) as u128 * 0xD6E8_FEB8_6659_FD93;
    (product >> 64) as u64 ^ product as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rule_stays_as_it_is() {
        let Block { index, bits } = block(0x0123_4567_89AB_CDEF, 1_000, 9);
        assert_eq!(index, 4);
        let set = (0..512).filter(|bit| bits[bit / 64] >> (bit % 64) & 1 == 1);
        assert_eq!(set.collect::<Vec<_>>(), [16, 39, 112, 184, 281, 303, 367, 372]);
    }

    #[test]
    fn a_key_sets_as_many_bits_as_it_may() {
        for positions in 1..=crate::MAX_POSITIONS {
            let mut calls = 0;
            places(u64::from(positions) << 40, positions, |word, bit| {
                assert!(word < WORDS && bit < 64);
                calls += 1;
            });
            assert_eq!(calls, positions);
            let set: u32 = block(u64::from(positions) << 40, 7, positions)
                .bits
                .iter()
                .map(|word| word.count_ones())
                .sum();
            assert!((1..=positions).contains(&set));
        }
    }
}
