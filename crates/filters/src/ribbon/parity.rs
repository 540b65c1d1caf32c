//! What an equation's coefficients give with columns of the solution.
//!
//! A column gives whether the number of ones is odd in what the coefficients select of it. Halves are added until a bit is
//! left, of several columns at once, where the processor's count of ones is not to be relied on.

use super::equation::{Spread, masks};

/// What columns give: of `columns`, which has two neighbouring blocks, `near` selects from the first one, and `far` from
/// the second one.
#[inline(always)]
pub(super) fn dot<const BITS: usize>(columns: &[u32], near: u32, far: u32) -> Spread {
    #[cfg(target_arch = "x86_64")]
    if BITS >= 4 {
        #[expect(unsafe_code, reason = "vectors have no other interface, and halve what an answer takes")]
        // SAFETY: SSE2 is part of x86-64. What is called is safe otherwise: it has no pointers.
        return unsafe { vector::dot::<BITS>(columns, near, far) };
    }
    scalar::<BITS>(columns, near, far)
}

#[inline(always)]
fn scalar<const BITS: usize>(columns: &[u32], near: u32, far: u32) -> Spread {
    /// Adds the two halves of each field of `low` into the lower half, and those of `high` into the upper one.
    const fn halve(low: u64, high: u64, half: u32, lower: u64) -> u64 {
        let swapped = (low >> half ^ high) & lower;
        low ^ high ^ swapped ^ swapped << half
    }
    let (first, second) = columns.split_at(BITS);
    let one = |at: usize| if at < BITS { u64::from(first[at] & near ^ second[at] & far) } else { 0 };
    let two = |at: usize| one(at) | one(at + 2) << 32;
    let mut found = masks::<BITS>();
    for (index, found) in found.iter_mut().enumerate() {
        let four = |at: usize| halve(two(at), two(at + 1), 16, 0x0000_FFFF_0000_FFFF);
        let mut eight = halve(four(8 * index), four(8 * index + 4), 8, 0x00FF_00FF_00FF_00FF);
        eight ^= eight >> 4;
        eight ^= eight >> 2;
        eight ^= eight >> 1;
        *found &= eight;
    }
    found
}

/// Four columns in a vector of SSE2, which every x86-64 has: half the instructions, so twice as many keys are in what the
/// processor looks ahead.
#[cfg(target_arch = "x86_64")]
mod vector {
    use std::arch::x86_64::{
        __m128i, _mm_and_si128, _mm_cvtsi128_si64, _mm_packus_epi16, _mm_set1_epi16, _mm_set1_epi32,
        _mm_setzero_si128, _mm_slli_epi32, _mm_srli_epi16, _mm_srli_epi32, _mm_srli_si128, _mm_xor_si128,
    };

    use super::{Spread, masks};

    /// Columns `from` to `from + 3`; what is behind the last one is anything.
    #[inline]
    #[target_feature(enable = "sse2")]
    fn four(columns: &[u32], from: usize) -> __m128i {
        let at = from.min(columns.len() - 4);
        let (Some(columns), missing) = (columns[at..].first_chunk::<4>(), from - at) else {
            return _mm_setzero_si128();
        };
        let four = bytemuck::cast(*columns);
        match missing {
            0 => four,
            1 => _mm_srli_si128::<4>(four),
            2 => _mm_srli_si128::<8>(four),
            3 => _mm_srli_si128::<12>(four),
            _ => _mm_setzero_si128(),
        }
    }

    #[inline]
    #[target_feature(enable = "sse2")]
    fn eight<const BITS: usize>(columns: &[u32], from: usize, near: __m128i, far: __m128i) -> u64 {
        let masked = |at: usize| {
            if at >= BITS {
                return _mm_setzero_si128();
            }
            let (near, far) =
                (_mm_and_si128(four(columns, at), near), _mm_and_si128(four(columns, BITS + at), far));
            _mm_xor_si128(near, far)
        };
        // As in the scalar code: halves of the first four columns into the lower halves, of the others into the upper.
        let (low, high) = (masked(from), masked(from + 4));
        let lower = _mm_set1_epi32(0xFFFF);
        let swapped = _mm_and_si128(_mm_xor_si128(_mm_srli_epi32::<16>(low), high), lower);
        let mut eight =
            _mm_xor_si128(_mm_xor_si128(low, high), _mm_xor_si128(swapped, _mm_slli_epi32::<16>(swapped)));
        eight = _mm_xor_si128(eight, _mm_srli_epi16::<8>(eight));
        eight = _mm_xor_si128(eight, _mm_srli_epi16::<4>(eight));
        eight = _mm_xor_si128(eight, _mm_srli_epi16::<2>(eight));
        eight = _mm_xor_si128(eight, _mm_srli_epi16::<1>(eight));
        let bits = _mm_and_si128(eight, _mm_set1_epi16(1));
        _mm_cvtsi128_si64(_mm_packus_epi16(bits, bits)) as u64
    }

    #[inline]
    #[target_feature(enable = "sse2")]
    pub(super) fn dot<const BITS: usize>(columns: &[u32], near: u32, far: u32) -> Spread {
        let columns = &columns[..2 * BITS];
        let (near, far) = (_mm_set1_epi32(near as i32), _mm_set1_epi32(far as i32));
        let masks = masks::<BITS>();
        let second = if BITS > 8 { eight::<BITS>(columns, 8, near, far) & masks[1] } else { 0 };
        [eight::<BITS>(columns, 0, near, far) & masks[0], second]
    }
}

#[cfg(test)]
mod tests {
    use super::{
        super::equation::{bit, mix},
        *,
    };

    fn check<const BITS: usize>() {
        for seed in 0..200 {
            let columns: Vec<u32> = (0..2 * BITS).map(|column| mix(seed, column as u64) as u32).collect();
            let (near, far) = (mix(seed, 100) as u32, mix(seed, 101) as u32);
            let found = dot::<BITS>(&columns, near, far);
            assert_eq!(found, scalar::<BITS>(&columns, near, far), "{BITS}");
            for column in 0..BITS {
                let selected = columns[column] & near ^ columns[BITS + column] & far;
                assert_eq!(bit(found, column), selected.count_ones() & 1, "{column} of {BITS}");
            }
        }
    }

    #[test]
    fn a_column_gives_whether_ones_are_odd() {
        check::<1>();
        check::<3>();
        check::<4>();
        check::<5>();
        check::<7>();
        check::<8>();
        check::<9>();
        check::<11>();
        check::<13>();
        check::<16>();
    }
}
