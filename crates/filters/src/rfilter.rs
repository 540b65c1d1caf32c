//! The filter of Patgiri, Nayak and Borgohain (rDBF, 2019; also rFilter).

use std::sync::atomic::{AtomicU64, Ordering};

use backends::Result;

use crate::{
    Filter, Insert, Kind, Merge, Plan,
    ahead::{self, LOT},
    bytes::{self, Header},
    plan::invalid,
};

/// One bit a key, in a matrix of words whose two dimensions are prime: the row and the column are the hash modulo each.
///
/// Here to be compared with: with one bit a key, the rate is `1 - e^(-n/m)`, 9.5 % at 10 bits a key, where a
/// [`Bloom`](crate::Bloom) filter has 0.82 %. The positions of its [`Plan`] mean nothing to it.
#[derive(Debug)]
pub struct RFilter {
    words: Box<[AtomicU64]>,
    shape: Shape,
    planned: u64,
    len: AtomicU64,
}

/// Two primes, one next to the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Shape {
    rows: u64,
    columns: u64,
}

impl Shape {
    /// The smallest one of `words` words.
    fn of(words: u64) -> Self {
        let mut rows = prime_up_to(words.isqrt());
        loop {
            let columns = prime_from(rows + 1);
            if rows * columns >= words {
                return Self { rows, columns };
            }
            rows = columns;
        }
    }

    /// The one of `words` words, if there is one.
    fn exactly(words: u64) -> Option<Self> {
        Some(Self::of(words)).filter(|shape| shape.rows * shape.columns == words)
    }

    /// Different primes: by the Chinese remainder theorem, every word is as likely as any other.
    #[inline]
    const fn place(self, hash: u64) -> usize {
        (hash % self.rows * self.columns + hash % self.columns) as usize
    }
}

fn is_prime(number: u64) -> bool {
    number >= 2 && (2..=number.isqrt()).all(|divisor| !number.is_multiple_of(divisor))
}

fn prime_from(number: u64) -> u64 {
    (number..).find(|number| is_prime(*number)).unwrap_or(2)
}

fn prime_up_to(number: u64) -> u64 {
    (2..=number).rev().find(|number| is_prime(*number)).unwrap_or(2)
}

impl RFilter {
    /// An empty filter.
    ///
    /// # Errors
    ///
    /// `Overloaded` when there is no memory for it.
    pub fn new(plan: Plan) -> Result<Self> {
        let shape = Shape::of(plan.total_bits().div_ceil(64));
        Ok(Self {
            words: bytes::zeros(shape.rows * shape.columns)?,
            shape,
            planned: plan.items(),
            len: AtomicU64::new(0),
        })
    }

    /// Adds many keys, faster than one by one.
    pub fn extend(&mut self, hashes: impl IntoIterator<Item = u64>) {
        let (words, shape) = (&mut *self.words, self.shape);
        let mut places = [0; LOT];
        let mut new = 0;
        ahead::lots(hashes, |lot| {
            for (place, hash) in places.iter_mut().zip(lot) {
                *place = shape.place(*hash);
                ahead::prefetch(words, *place);
            }
            for (place, hash) in places.iter().zip(lot) {
                let word = words[*place].get_mut();
                new += u64::from(*word & bit(*hash) == 0);
                *word |= bit(*hash);
            }
        });
        *self.len.get_mut() += new;
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
        header.expect(Kind::RFilter, table, header.size.checked_mul(8))?;
        let shape = Shape::exactly(header.size)
            .ok_or_else(|| bytes::corrupt(format!("{} words are no product of two primes", header.size)))?;
        Ok(Self {
            words: bytes::words(table).map(AtomicU64::new).collect(),
            shape,
            planned: header.planned,
            len: AtomicU64::new(header.len),
        })
    }
}

/// The bit of a key in its word: of the high bits of its hash, as remainders are of all.
#[inline]
const fn bit(hash: u64) -> u64 {
    1 << (hash >> 58)
}

impl Filter for RFilter {
    fn kind(&self) -> Kind {
        Kind::RFilter
    }

    #[inline]
    fn contains_hash(&self, hash: u64) -> bool {
        self.words[self.shape.place(hash)].load(Ordering::Relaxed) & bit(hash) != 0
    }

    fn contains_hashes(&self, hashes: &[u64], found: &mut Vec<bool>) {
        found.clear();
        let mut places = [0; LOT];
        for lot in hashes.chunks(LOT) {
            for (place, hash) in places.iter_mut().zip(lot) {
                *place = self.shape.place(*hash);
                ahead::prefetch(&self.words, *place);
            }
            let is_set =
                |(place, hash): (&usize, &u64)| self.words[*place].load(Ordering::Relaxed) & bit(*hash) != 0;
            found.extend(places.iter().zip(lot).map(is_set));
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
        // Every key that was new has set one bit.
        self.len() as f64 / self.bits() as f64
    }

    fn encode(&self, hasher: u64) -> Vec<u8> {
        let header = Header {
            kind: Kind::RFilter.code(),
            positions: 1,
            hasher,
            planned: self.planned,
            len: self.len(),
            size: self.words.len() as u64,
            seed: 0,
        };
        header.seal(self.words.iter().map(|word| word.load(Ordering::Relaxed)))
    }
}

impl Insert for RFilter {
    fn insert_hash(&self, hash: u64) -> bool {
        let before = self.words[self.shape.place(hash)].fetch_or(bit(hash), Ordering::Relaxed);
        let is_new = before & bit(hash) == 0;
        if is_new {
            self.len.fetch_add(1, Ordering::Relaxed);
        }
        is_new
    }
}

impl Merge for RFilter {
    fn merge(&self, other: &Self) -> Result<()> {
        if self.shape != other.shape {
            return Err(invalid("filters of different size cannot be merged".to_owned()));
        }
        let mut new = 0;
        for (word, other) in self.words.iter().zip(&other.words) {
            let other = other.load(Ordering::Relaxed);
            new += u64::from((other & !word.fetch_or(other, Ordering::Relaxed)).count_ones());
        }
        self.len.fetch_add(new, Ordering::Relaxed);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dimensions_are_neighbouring_primes() {
        let shape = |words| {
            let Shape { rows, columns } = Shape::of(words);
            (rows, columns)
        };
        assert_eq!((shape(1), shape(6), shape(7), shape(100)), ((2, 3), (2, 3), (3, 5), (11, 13)));
        for words in [1, 2, 10, 1_000, 1_562_500, 1 << 30] {
            let (rows, columns) = shape(words);
            assert!(is_prime(rows) && is_prime(columns) && rows < columns);
            assert!((rows * columns) as f64 <= words as f64 * 1.3 + 6.0, "{words}: {rows} x {columns}");
            assert_eq!(Shape::exactly(rows * columns), Some(Shape { rows, columns }));
            assert_eq!(Shape::exactly(rows * columns + 1), None);
        }
    }
}
