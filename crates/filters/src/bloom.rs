//! The Bloom filter (Bloom, 1970).

use std::sync::atomic::{AtomicU64, Ordering};

use backends::Result;

use crate::{
    Filter, Insert, Kind, Merge, Plan,
    ahead::{self, FAR, LOT, unrolled},
    bytes::{self, Header},
    plan::{MAX_POSITIONS, invalid},
    rate,
};

/// The classical filter: each key sets [`positions`](Plan::positions) bits anywhere in the table.
///
/// All positions come from one hash of 64 bits, by adding a second number that is derived from it again and again
/// (Kirsch and Mitzenmacher, 2006). Of each sum, the high bits choose the word by a multiplication (Lemire, 2019), and
/// the low ones the bit in it.
#[derive(Debug)]
pub struct Bloom {
    words: Box<[AtomicU64]>,
    positions: u32,
    planned: u64,
    len: AtomicU64,
}

impl Bloom {
    /// An empty filter.
    ///
    /// # Errors
    ///
    /// `Overloaded` when there is no memory for it.
    pub fn new(plan: Plan) -> Result<Self> {
        Ok(Self {
            words: bytes::zeros(plan.total_bits().div_ceil(64))?,
            positions: plan.positions(),
            planned: plan.items(),
            len: AtomicU64::new(0),
        })
    }

    /// Adds many keys, several times as fast as one by one.
    pub fn extend(&mut self, hashes: impl IntoIterator<Item = u64>) {
        *self.len.get_mut() += unrolled!(self.positions, self.set_all(hashes));
    }

    /// How many bits the table has.
    #[must_use]
    pub const fn bits(&self) -> u64 {
        self.words.len() as u64 * 64
    }

    /// What [`Filter::encode`] stored.
    ///
    /// # Errors
    ///
    /// Those of [`AnyFilter::decode`](crate::AnyFilter::decode).
    pub fn decode(bytes: &[u8], hasher: u64) -> Result<Self> {
        let (header, table) = Header::open(bytes, hasher)?;
        header.expect(Kind::Bloom, table, header.size.checked_mul(8))?;
        Ok(Self {
            words: bytes::words(table).map(AtomicU64::new).collect(),
            positions: header.positions()?,
            planned: header.planned,
            len: AtomicU64::new(header.len),
        })
    }

    /// The bit of `sum` as the lowest one of the result.
    #[inline(always)]
    fn bit(&self, sum: u64) -> u64 {
        ahead::word(&self.words, sum).load(Ordering::Relaxed) >> (sum % 64)
    }

    const fn constant<const POSITIONS: usize>(&self) -> usize {
        if POSITIONS == 0 { self.positions as usize } else { POSITIONS }
    }

    /// Sets the bits of all of `hashes`, while nobody else does; how many were new is the result.
    fn set_all<const POSITIONS: usize>(&mut self, hashes: impl IntoIterator<Item = u64>) -> u64 {
        let positions = self.constant::<POSITIONS>();
        let words = &*self.words;
        let mut new = 0;
        if self.size_bytes() < FAR {
            for hash in hashes {
                let mut changed = 0;
                for sum in Sums::of(hash).take(positions) {
                    changed |= set(ahead::word(words, sum), sum);
                }
                new += u64::from(changed != 0);
            }
            return new;
        }
        let mut ahead = [0; LOT * MAX_POSITIONS as usize];
        ahead::lots(hashes, |lot| {
            ahead::ask(words, lot, positions, &mut ahead);
            for (hash, ahead) in lot.iter().zip(ahead.chunks_exact(positions)) {
                let mut changed = 0;
                for (place, sum) in ahead.iter().zip(Sums::of(*hash)) {
                    changed |= set(&words[*place], sum);
                }
                new += u64::from(changed != 0);
            }
        });
        new
    }

    /// [`contains_hashes`](Filter::contains_hashes) in a table beyond the caches.
    fn find_all<const POSITIONS: usize>(&self, hashes: &[u64], found: &mut Vec<bool>) {
        let (words, positions) = (&*self.words, self.constant::<POSITIONS>());
        let mut ahead = [0; LOT * MAX_POSITIONS as usize];
        for lot in hashes.chunks(LOT) {
            ahead::ask(words, lot, positions, &mut ahead);
            found.extend(lot.iter().zip(ahead.chunks_exact(positions)).map(|(hash, ahead)| {
                let mut bits = 1;
                for (place, sum) in ahead.iter().zip(Sums::of(*hash)) {
                    bits &= words[*place].load(Ordering::Relaxed) >> (sum % 64);
                }
                bits & 1 == 1
            }));
        }
    }
}

/// What the positions of a key are made of; without end.
#[derive(Clone, Copy)]
pub(crate) struct Sums {
    sum: u64,
    step: u64,
}

impl Sums {
    #[inline(always)]
    pub(crate) const fn of(hash: u64) -> Self {
        Self { sum: hash, step: hash.rotate_left(32).wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1 }
    }
}

impl Iterator for Sums {
    type Item = u64;

    #[inline(always)]
    fn next(&mut self) -> Option<u64> {
        let sum = self.sum;
        self.sum = sum.wrapping_add(self.step);
        Some(sum)
    }
}

/// Sets the bit of `sum`, while nobody else changes the word; what was changed is the result.
#[inline(always)]
fn set(word: &AtomicU64, sum: u64) -> u64 {
    let before = word.load(Ordering::Relaxed);
    let after = before | 1 << (sum % 64);
    word.store(after, Ordering::Relaxed);
    before ^ after
}

/// A number below `range`, evenly, by the high bits of `hash` (Lemire, 2019).
#[inline(always)]
pub(crate) const fn reduce(hash: u64, range: u64) -> u64 {
    ((hash as u128 * range as u128) >> 64) as u64
}

impl Filter for Bloom {
    fn kind(&self) -> Kind {
        Kind::Bloom
    }

    #[inline]
    fn contains_hash(&self, hash: u64) -> bool {
        // Two at a time: a branch for each would be mispredicted for one stranger in two, and four at a time read two
        // cache lines too many for most.
        let mut sums = Sums::of(hash);
        let mut next = || sums.next().map_or(0, |sum| self.bit(sum));
        for _ in 0..self.positions / 2 {
            if next() & next() & 1 == 0 {
                return false;
            }
        }
        self.positions.is_multiple_of(2) || next() & 1 == 1
    }

    fn contains_hashes(&self, hashes: &[u64], found: &mut Vec<bool>) {
        found.clear();
        if self.size_bytes() < FAR {
            found.extend(hashes.iter().map(|hash| self.contains_hash(*hash)));
            return;
        }
        unrolled!(self.positions, self.find_all(hashes, found));
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
        rate::bloom(self.bits(), self.len(), self.positions)
    }

    fn encode(&self, hasher: u64) -> Vec<u8> {
        let header = Header {
            kind: Kind::Bloom.code(),
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

impl Insert for Bloom {
    fn insert_hash(&self, hash: u64) -> bool {
        let mut is_new = false;
        for sum in Sums::of(hash).take(self.positions as usize) {
            let bit = 1 << (sum % 64);
            is_new |= ahead::word(&self.words, sum).fetch_or(bit, Ordering::Relaxed) & bit == 0;
        }
        if is_new {
            self.len.fetch_add(1, Ordering::Relaxed);
        }
        is_new
    }
}

impl Merge for Bloom {
    fn merge(&self, other: &Self) -> Result<()> {
        if (self.words.len(), self.positions) != (other.words.len(), other.positions) {
            return Err(invalid("filters of different size or positions cannot be merged".to_owned()));
        }
        for (word, other) in self.words.iter().zip(&other.words) {
            word.fetch_or(other.load(Ordering::Relaxed), Ordering::Relaxed);
        }
        // An upper bound: keys of both are counted twice.
        self.len.fetch_add(other.len(), Ordering::Relaxed);
        Ok(())
    }
}
