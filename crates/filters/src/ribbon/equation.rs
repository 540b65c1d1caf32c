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

/// One bit a column, each in a byte of its own: column 0 in byte 0, column 1 in byte 4; see [`LANES`].
pub(super) type Spread = [u64; 2];

/// The byte in which the bit of a column is, of 8 columns. In this order neighbours are folded in one word.
const LANES: [u32; 8] = [0, 4, 1, 5, 2, 6, 3, 7];

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
    [product & const { mask(BITS) }, product >> 1 & const { mask(BITS.saturating_sub(8)) }]
}

/// The bit of `column`.
#[inline]
pub(super) const fn bit(spread: Spread, column: usize) -> u32 {
    (spread[column / 8] >> (8 * LANES[column % 8])) as u32 & 1
}

/// Columns `2 * at` and the one behind it, of `BITS`, in one word.
#[inline(always)]
pub(super) fn pair<const BITS: usize>(columns: &[u32], at: usize) -> u64 {
    let high = if 2 * at + 1 < BITS { columns[2 * at + 1] } else { 0 };
    u64::from(columns[2 * at]) | u64::from(high) << 32
}

/// Whether the number of ones in each column is odd; a function gives the columns, two in a word.
///
/// Halves are added until a bit is left, of two columns in one word, then of four, then of eight: half the work of one
/// column after the other, where the processor's count of ones is not to be relied on.
macro_rules! parities {
    ($bits:expr, $pair:expr) => {{
        let mut pairs = [0; 8];
        let mut at = 0;
        while 2 * at < $bits {
            pairs[at] = $pair(at);
            at += 1;
        }
        let [a, b, c, d, e, f, g, h] = pairs;
        [
            $crate::ribbon::equation::fold(a, b, c, d),
            if $bits > 8 { $crate::ribbon::equation::fold(e, f, g, h) } else { 0 },
        ]
    }};
}

pub(super) use parities;

#[inline(always)]
pub(super) const fn fold(a: u64, b: u64, c: u64, d: u64) -> u64 {
    /// Adds the two halves of each field of `low` into the lower half, and those of `high` into the upper one.
    const fn halve(low: u64, high: u64, half: u32, lower: u64) -> u64 {
        let swapped = (low >> half ^ high) & lower;
        low ^ high ^ swapped ^ swapped << half
    }
    let (even, odd) = (halve(a, c, 16, 0x0000_FFFF_0000_FFFF), halve(b, d, 16, 0x0000_FFFF_0000_FFFF));
    let mut eight = halve(even, odd, 8, 0x00FF_00FF_00FF_00FF);
    eight ^= eight >> 4;
    eight ^= eight >> 2;
    eight ^= eight >> 1;
    eight & const { mask(8) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parities_are_those_of_the_columns() {
        for seed in 0..1_000 {
            let columns: [u32; 13] = std::array::from_fn(|column| mix(seed, column as u64) as u32);
            let parities = parities!(13, |at| pair::<13>(&columns, at));
            for (at, column) in columns.iter().enumerate() {
                assert_eq!(bit(parities, at), column.count_ones() & 1, "{at}");
            }
            let sum = sum::<13>(mix(seed, 13));
            assert_eq!(
                (sum[0].count_ones() + sum[1].count_ones()),
                (0..13).map(|column| bit(sum, column)).sum::<u32>()
            );
        }
    }
}
