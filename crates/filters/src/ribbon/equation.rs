//! What a key says of the solution: 32 coefficients from a start on, and the sum that they must give.

/// Slots that an equation spans, and slots of a block.
pub(super) const WIDTH: usize = 32;
/// Slots of a group, whose equations are left out together.
pub(super) const GROUP: usize = 64;

/// The bits from which an equation is derived, by a finaliser of full avalanche (that of `MurmurHash3` with the constants of
/// Stafford's mix 13): whatever is wrong with hashes that come in, and whatever else was derived from them, starts,
/// coefficients and sums are independent of it.
#[inline]
pub(super) const fn mix(hash: u64, seed: u64) -> u64 {
    let mut mixed = hash.wrapping_add(seed);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    mixed ^ (mixed >> 31)
}

/// The bits of the same key in the next layer.
#[inline]
pub(super) const fn next(mixed: u64) -> u64 {
    mix(mixed, 0x9E37_79B9_7F4A_7C15)
}

/// Where the equation starts, below `starts`: the high bits, so that equations sorted by `mixed` are sorted by start.
#[inline]
pub(super) const fn start(mixed: u64, starts: u64) -> u64 {
    crate::bloom::reduce(mixed, starts)
}

/// The coefficients, of which the first is 1.
#[inline]
pub(super) const fn coefficients(mixed: u64) -> u32 {
    (mixed.wrapping_mul(0xD6E8_FEB8_6659_FD93) >> 32) as u32 | 1
}

/// One bit a column, each in a byte of its own: see [`LANES`].
pub(super) type Spread = [u64; 2];

/// The byte in which the bit of a column is, of 8 columns.
const LANES: [u32; 8] = [0, 2, 4, 6, 1, 3, 5, 7];

const fn mask(columns: usize) -> u64 {
    let (mut mask, mut column) = (0, 0);
    while column < columns && column < 8 {
        mask |= 1 << (8 * LANES[column]);
        column += 1;
    }
    mask
}

/// The sum, of one bit a column.
#[inline]
pub(super) const fn sum<const BITS: usize>(mixed: u64) -> Spread {
    let product = mixed.wrapping_mul(0xA076_1D64_78BD_642F);
    let product = product ^ (product >> 32);
    let masks = masks::<BITS>();
    [product & masks[0], product >> 1 & masks[1]]
}

/// The bits of columns there are.
#[inline]
pub(super) const fn masks<const BITS: usize>() -> Spread {
    const { [mask(BITS), mask(BITS.saturating_sub(8))] }
}

/// The bit of `column`.
#[inline]
pub(super) const fn bit(spread: Spread, column: usize) -> u32 {
    (spread[column / 8] >> (8 * LANES[column % 8])) as u32 & 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sum_has_a_bit_for_each_column() {
        for seed in 0..1_000 {
            let sum = sum::<13>(mix(seed, 13));
            assert_eq!(
                (sum[0].count_ones() + sum[1].count_ones()),
                (0..13).map(|column| bit(sum, column)).sum::<u32>()
            );
        }
    }
}
