//! Reading ahead: what hides the latency of memory behind other keys' work.

use crate::bloom::{Sums, reduce};

/// How many keys are under way at once. Their cache lines, [`MAX_POSITIONS`](crate::MAX_POSITIONS) each at most, stay in
/// a first-level cache of 48 KiB for up to 24 positions.
pub(crate) const LOT: usize = 32;

/// From how many bytes of a table on it pays: below, most of it is in a second-level cache, or one look-up overlaps the
/// next without help.
pub(crate) const FAR: usize = 4 << 20;

/// Asks the processor for the cache line of `table[index]`, without waiting.
#[inline(always)]
pub(crate) fn prefetch<T>(table: &[T], index: usize) {
    #[cfg(all(target_arch = "x86_64", not(miri)))]
    {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};

        let at = table.as_ptr().wrapping_add(index).cast();
        #[expect(unsafe_code, reason = "a load in its place waits: lots of keys take 3 times as long")]
        // SAFETY: the instruction is a hint. It reads nothing that the program sees, and faults at no address.
        unsafe {
            _mm_prefetch::<_MM_HINT_T0>(at);
        }
    }
    #[cfg(not(all(target_arch = "x86_64", not(miri))))]
    let _ = (table, index);
}

/// Asks for the words of all positions of the keys of a `lot`; which they are is in `places`, `positions` for each key.
#[inline(always)]
pub(crate) fn ask<T>(words: &[T], lot: &[u64], positions: usize, places: &mut [usize]) {
    for (hash, places) in lot.iter().zip(places.chunks_exact_mut(positions)) {
        for (place, sum) in places.iter_mut().zip(Sums::of(*hash)) {
            *place = reduce(sum, words.len() as u64) as usize;
            prefetch(words, *place);
        }
    }
}

/// The word of a position.
#[inline(always)]
pub(crate) fn word<T>(words: &[T], sum: u64) -> &T {
    assert!(!words.is_empty(), "a table has a word at least");
    let index = reduce(sum, words.len() as u64) as usize;
    debug_assert!(index < words.len());
    #[expect(
        unsafe_code,
        reason = "a check for each position makes a batch that hits take 1.35 times as long"
    )]
    // SAFETY: `reduce` gives `sum * len / 2^64`, rounded down, and `sum < 2^64`: that is less than `len`, which is above 0.
    unsafe {
        words.get_unchecked(index)
    }
}

/// Calls a function with the number of positions as a constant, so that its loops are unrolled; with 0 for numbers that
/// few plans have.
macro_rules! unrolled {
    ($positions:expr, $this:ident.$function:ident($($argument:expr),*)) => {
        unrolled!(@ $positions, $this.$function($($argument),*), 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16)
    };
    (@ $positions:expr, $this:ident.$function:ident $arguments:tt, $($constant:literal)*) => {
        match $positions {
            $($constant => unrolled!(@@ $this.$function::<$constant> $arguments),)*
            _ => unrolled!(@@ $this.$function::<0> $arguments),
        }
    };
    (@@ $this:ident.$function:ident::<$constant:literal>($($argument:expr),*)) => {
        $this.$function::<$constant>($($argument),*)
    };
}
pub(crate) use unrolled;

/// Gives `each` all of `hashes`, [`LOT`] at a time.
pub(crate) fn lots(hashes: impl IntoIterator<Item = u64>, mut each: impl FnMut(&[u64])) {
    let mut hashes = hashes.into_iter();
    let mut lot = [0; LOT];
    loop {
        let mut len = 0;
        for (place, hash) in lot.iter_mut().zip(&mut hashes) {
            *place = hash;
            len += 1;
        }
        if len == 0 {
            return;
        }
        each(&lot[..len]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lots_have_every_hash_once() {
        for len in [0, 1, 31, 32, 33, 64, 100] {
            let mut seen = Vec::new();
            lots(0..len, |lot| {
                assert!((1..=LOT).contains(&lot.len()));
                seen.extend_from_slice(lot);
            });
            assert_eq!(seen, (0..len).collect::<Vec<_>>());
        }
    }

    #[test]
    fn words_are_those_of_their_table() {
        for len in [1, 2, 63, 1_000] {
            let words: Vec<usize> = (0..len).collect();
            for sum in [0, 1, u64::MAX / 2, u64::MAX - 1, u64::MAX] {
                assert_eq!(*word(&words, sum), reduce(sum, len as u64) as usize);
            }
        }
        assert!(std::panic::catch_unwind(|| *word::<u8>(&[], 1)).is_err());
    }

    #[test]
    fn any_address_can_be_asked_for() {
        prefetch(&[1_u64, 2], 1);
        prefetch::<u64>(&[], usize::MAX);
    }
}
