//! A Bloom filter with counters (Fan, Cao, Almeida and Broder, 1998).

use std::sync::atomic::{AtomicU64, Ordering};

use backends::Result;

use crate::{
    Filter, Insert, Kind, Merge, Plan, Remove,
    ahead::{self, FAR, LOT},
    bloom::Sums,
    bytes::{self, Header},
    plan::{MAX_POSITIONS, invalid},
    rate,
};

/// Bits of a counter, and counters of a word.
const WIDTH: u32 = 4;
const COUNTERS: u64 = 64 / WIDTH as u64;
/// Where a counter sticks.
const MOST: u64 = (1 << WIDTH) - 1;

/// A [`Bloom`](crate::Bloom) filter that forgets: a counter of 4 bits in the place of each bit, so four times the memory
/// of its [`Plan`] for the same rate.
///
/// A counter that has reached 15 sticks: nobody knows any longer how many keys it stands for, so it is never lowered, and
/// no key is missed. At the planned load that happens to one counter in 10^15; adding the same key again and again does
/// it, too. [`stuck`](Self::stuck) counts them.
#[derive(Debug)]
pub struct Counting {
    words: Box<[AtomicU64]>,
    positions: u32,
    planned: u64,
    len: AtomicU64,
}

impl Counting {
    /// An empty filter.
    ///
    /// # Errors
    ///
    /// `Overloaded` when there is no memory for it.
    pub fn new(plan: Plan) -> Result<Self> {
        Ok(Self {
            words: bytes::zeros(plan.total_bits().div_ceil(COUNTERS))?,
            positions: plan.positions(),
            planned: plan.items(),
            len: AtomicU64::new(0),
        })
    }

    /// Adds many keys, several times as fast as one by one.
    pub fn extend(&mut self, hashes: impl IntoIterator<Item = u64>) {
        let (words, positions) = (&mut *self.words, self.positions as usize);
        let mut ahead = [0; LOT * MAX_POSITIONS as usize];
        let mut new = 0;
        ahead::lots(hashes, |lot| {
            ahead::ask(words, lot, positions, &mut ahead);
            for (hash, ahead) in lot.iter().zip(ahead.chunks_exact(positions)) {
                let mut least = MOST;
                for (place, sum) in ahead.iter().zip(Sums::of(*hash)) {
                    let word = words[*place].get_mut();
                    let before = count(*word, sum);
                    least = least.min(before);
                    *word += u64::from(before < MOST) << (sum % COUNTERS * u64::from(WIDTH));
                }
                new += u64::from(least == 0);
            }
        });
        *self.len.get_mut() += new;
    }

    /// How many counters it has.
    #[must_use]
    pub const fn counters(&self) -> u64 {
        self.words.len() as u64 * COUNTERS
    }

    /// How many counters stick: keys that set them stay, in part, when they are removed. Reads the whole table.
    #[must_use]
    pub fn stuck(&self) -> u64 {
        let full = |word: &AtomicU64| {
            let word = word.load(Ordering::Relaxed);
            (0..COUNTERS).filter(|counter| count(word, *counter) == MOST).count() as u64
        };
        self.words.iter().map(full).sum()
    }

    /// What [`Filter::encode`] stored.
    ///
    /// # Errors
    ///
    /// Those of [`AnyFilter::decode`](crate::AnyFilter::decode).
    pub fn decode(bytes: &[u8], hasher: u64) -> Result<Self> {
        let (header, table) = Header::open(bytes, hasher)?;
        header.expect(Kind::Counting, table, header.size.checked_mul(8))?;
        Ok(Self {
            words: bytes::words(table).map(AtomicU64::new).collect(),
            positions: header.positions()?,
            planned: header.planned,
            len: AtomicU64::new(header.len),
        })
    }

    #[inline(always)]
    fn word(&self, sum: u64) -> &AtomicU64 {
        ahead::word(&self.words, sum)
    }

    #[inline(always)]
    fn count(&self, sum: u64) -> u64 {
        count(self.word(sum).load(Ordering::Relaxed), sum)
    }

    /// Changes the counter of `sum`, unless it sticks or `change` gives nothing; what it was is the result.
    fn change(&self, sum: u64, change: impl Fn(u64) -> Option<u64>) -> u64 {
        let shift = sum % COUNTERS * u64::from(WIDTH);
        let changed = self.word(sum).fetch_update(Ordering::Relaxed, Ordering::Relaxed, |word| {
            let before = count(word, sum);
            let after = change(before).filter(|_| before < MOST)?;
            Some(word & !(MOST << shift) | after << shift)
        });
        let (Ok(word) | Err(word)) = changed;
        count(word, sum)
    }

    fn sums(&self, hash: u64) -> impl Iterator<Item = u64> {
        Sums::of(hash).take(self.positions as usize)
    }
}

/// The counter of `sum` in its `word`.
#[inline]
const fn count(word: u64, sum: u64) -> u64 {
    word >> (sum % COUNTERS * WIDTH as u64) & MOST
}

impl Filter for Counting {
    fn kind(&self) -> Kind {
        Kind::Counting
    }

    #[inline]
    fn contains_hash(&self, hash: u64) -> bool {
        // Two at a time, as in the Bloom filter.
        let mut sums = Sums::of(hash);
        let mut next = || sums.next().map_or(0, |sum| self.count(sum));
        for _ in 0..self.positions / 2 {
            let (one, two) = (next(), next());
            if one.min(two) == 0 {
                return false;
            }
        }
        self.positions.is_multiple_of(2) || next() != 0
    }

    fn contains_hashes(&self, hashes: &[u64], found: &mut Vec<bool>) {
        found.clear();
        if self.size_bytes() < FAR {
            found.extend(hashes.iter().map(|hash| self.contains_hash(*hash)));
            return;
        }
        let (words, positions) = (&*self.words, self.positions as usize);
        let mut ahead = [0; LOT * MAX_POSITIONS as usize];
        for lot in hashes.chunks(LOT) {
            ahead::ask(words, lot, positions, &mut ahead);
            found.extend(lot.iter().zip(ahead.chunks_exact(positions)).map(|(hash, ahead)| {
                let mut least = MOST;
                for (place, sum) in ahead.iter().zip(Sums::of(*hash)) {
                    least = least.min(count(words[*place].load(Ordering::Relaxed), sum));
                }
                least != 0
            }));
        }
    }

    fn len(&self) -> u64 {
        self.len.load(Ordering::Relaxed)
    }

    fn planned(&self) -> u64 {
        self.planned
    }

    fn size_bytes(&self) -> usize {
        size_of_val(&*self.words)
    }

    fn expected_rate(&self) -> f64 {
        rate::bloom(self.counters(), self.len(), self.positions)
    }

    fn encode(&self, hasher: u64) -> Vec<u8> {
        let header = Header {
            kind: Kind::Counting.code(),
            positions: self.positions as u16,
            hasher,
            planned: self.planned,
            len: self.len(),
            size: self.words.len() as u64,
            seed: 0,
        };
        header.seal(self.words.iter().map(|word| word.load(Ordering::Relaxed)))
    }
}

impl Insert for Counting {
    /// Adds the key of `hash`, once more if it is there already; `false` when it seemed to be there before.
    fn insert_hash(&self, hash: u64) -> bool {
        let mut is_new = false;
        for sum in self.sums(hash) {
            is_new |= self.change(sum, |count| Some(count + 1)) == 0;
        }
        if is_new {
            self.len.fetch_add(1, Ordering::Relaxed);
        }
        is_new
    }
}

impl Remove for Counting {
    fn remove_hash(&self, hash: u64) -> bool {
        if !self.contains_hash(hash) {
            return false;
        }
        for sum in self.sums(hash) {
            self.change(sum, |count| count.checked_sub(1));
        }
        if !self.contains_hash(hash) {
            let less = |len: u64| len.checked_sub(1);
            _ = self.len.fetch_update(Ordering::Relaxed, Ordering::Relaxed, less);
        }
        true
    }
}

impl Merge for Counting {
    fn merge(&self, other: &Self) -> Result<()> {
        if (self.words.len(), self.positions) != (other.words.len(), other.positions) {
            return Err(invalid("filters of different size or positions cannot be merged".to_owned()));
        }
        for (word, other) in self.words.iter().zip(&other.words) {
            let other = other.load(Ordering::Relaxed);
            if other != 0 {
                let both = |word| {
                    let both = |counter| (count(word, counter) + count(other, counter)).min(MOST);
                    Some(
                        (0..COUNTERS)
                            .fold(0, |word, counter| word | both(counter) << (counter * u64::from(WIDTH))),
                    )
                };
                _ = word.fetch_update(Ordering::Relaxed, Ordering::Relaxed, both);
            }
        }
        // An upper bound: keys of both are counted twice.
        self.len.fetch_add(other.len(), Ordering::Relaxed);
        Ok(())
    }
}
