//! The Bloom filter (Bloom, 1970).

use std::sync::atomic::{AtomicU64, Ordering};

use backends::Result;

use crate::{
    Filter, Insert, Kind, Merge, Plan,
    bytes::{self, Header},
    plan::invalid,
    rate,
};

/// The classical filter: each key sets [`positions`](Plan::positions) bits anywhere in the table.
///
/// All positions come from one hash of 64 bits, by adding a second number that is derived from it again and again
/// (Kirsch and Mitzenmacher, 2006), reduced to the table by a multiplication (Lemire, 2019).
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

    /// Adds many keys, faster than one by one, as nobody else does meanwhile.
    pub fn extend(&mut self, hashes: impl IntoIterator<Item = u64>) {
        for hash in hashes {
            self.insert_hash(hash);
        }
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
        if header.positions == 0 || u32::from(header.positions) > crate::plan::MAX_POSITIONS {
            return Err(bytes::corrupt(format!("{} positions", header.positions)));
        }
        Ok(Self {
            words: bytes::words(table).map(AtomicU64::new).collect(),
            positions: header.positions.into(),
            planned: header.planned,
            len: AtomicU64::new(header.len),
        })
    }

    fn places(&self, hash: u64) -> impl Iterator<Item = (usize, u64)> {
        let (bits, step) = (self.bits(), hash.rotate_left(32).wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1);
        (0..u64::from(self.positions)).map(move |index| {
            let position = reduce(hash.wrapping_add(index.wrapping_mul(step)), bits);
            ((position / 64) as usize, 1 << (position % 64))
        })
    }
}

/// A number below `range`, evenly, by the high bits of `hash` (Lemire, 2019).
pub(crate) const fn reduce(hash: u64, range: u64) -> u64 {
    ((hash as u128 * range as u128) >> 64) as u64
}

impl Filter for Bloom {
    fn kind(&self) -> Kind {
        Kind::Bloom
    }

    fn contains_hash(&self, hash: u64) -> bool {
        self.places(hash).all(|(word, bit)| self.words[word].load(Ordering::Relaxed) & bit != 0)
    }

    fn contains_hashes(&self, hashes: &[u64], found: &mut Vec<bool>) {
        found.clear();
        found.extend(hashes.iter().map(|hash| self.contains_hash(*hash)));
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
        for (word, bit) in self.places(hash) {
            is_new |= self.words[word].fetch_or(bit, Ordering::Relaxed) & bit == 0;
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
