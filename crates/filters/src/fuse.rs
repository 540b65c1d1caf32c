//! Binary fuse filters, on the crate `xorf`.

use backends::{Error, ErrorKind, Result};
use xorf::{BinaryFuse8, BinaryFuse16, Filter as _};

use crate::{
    Filter, Kind, Plan,
    bytes::{self, Header},
    plan::invalid,
};

/// The most keys: their fingerprints are counted in 32 bits.
const MAX_KEYS: usize = 1 << 31;
/// The longest segment that is made.
const MAX_SEGMENT: u32 = 1 << 18;

macro_rules! fuse {
    ($(#[$doc:meta])* $name:ident $filter:ident $fingerprint:ident) => {
        $(#[$doc])*
        ///
        /// Built from unlike hashes, it finds one with three reads, at once. The build sorts a copy of the hashes and takes
        /// some 35 bytes a hash.
        #[derive(Debug)]
        pub struct $name {
            filter: $filter,
            planned: u64,
            len: u64,
        }

        impl $name {
            const BITS: u16 = $fingerprint::BITS as u16;

            /// The filter of `hashes`, in any order. A plan says for how many keys it is; the bits are always the same.
            ///
            /// # Errors
            ///
            /// `Invalid` for more than 2^31 hashes; `Conflict` when none of a thousand seeds led to a filter, which takes
            /// hashes that were chosen for that.
            pub fn build(plan: Plan, hashes: &[u64]) -> Result<Self> {
                if hashes.len() > MAX_KEYS {
                    return Err(invalid(format!("{} hashes in one fuse filter", hashes.len())));
                }
                let mut hashes = hashes.to_vec();
                hashes.sort_unstable();
                hashes.dedup();
                let len = hashes.len() as u64;
                let filter = Self::solve(&hashes)?;
                Ok(Self { filter, planned: plan.items().max(len), len })
            }

            fn solve(hashes: &[u64]) -> Result<$filter> {
                $filter::try_from_iterator(hashes.iter().copied()).map_err(|message| {
                    let message = format!("{} hashes: {message}", hashes.len());
                    Error::new(ErrorKind::Conflict, "memory", "build", message)
                })
            }

            /// What [`Filter::encode`] stored.
            ///
            /// # Errors
            ///
            /// Those of [`AnyFilter::decode`](crate::AnyFilter::decode).
            pub fn decode(bytes: &[u8], hasher: u64) -> Result<Self> {
                let (header, table) = Header::open(bytes, hasher)?;
                let size = header.size.checked_mul(u64::from($fingerprint::BITS / 8));
                header.expect(Kind::$name, table, size.and_then(|size| size.checked_add(8)))?;
                let segments = bytes::words(table).next().unwrap_or_default();
                let (segment_length, segment_count_length) = (segments as u32, (segments >> 32) as u32);
                let is_sound = header.positions == Self::BITS
                    && is_sound(segment_length, segment_count_length, header.size)
                    && header.len <= header.planned;
                if !is_sound {
                    return Err(bytes::corrupt(concat!(stringify!($name), ": segments that do not fit").to_owned()));
                }
                let (fingerprints, _) = table[8..].as_chunks();
                // Its descriptor has no name outside of its crate, so there is no other way to one.
                let mut filter = Self::solve(&[])?;
                filter.descriptor.seed = header.seed;
                filter.descriptor.segment_length = segment_length;
                filter.descriptor.segment_length_mask = segment_length - 1;
                filter.descriptor.segment_count_length = segment_count_length;
                filter.fingerprints =
                    fingerprints.iter().map(|bytes| $fingerprint::from_le_bytes(*bytes)).collect();
                Ok(Self { filter, planned: header.planned, len: header.len })
            }
        }

        impl Filter for $name {
            fn kind(&self) -> Kind {
                Kind::$name
            }

            #[inline]
            fn contains_hash(&self, hash: u64) -> bool {
                // Without keys all fingerprints are 0, which some strangers have.
                self.len > 0 && self.filter.contains(&hash)
            }

            fn contains_hashes(&self, hashes: &[u64], found: &mut Vec<bool>) {
                // No answer decides what is read next, so the reads of several are on their way at once.
                found.clear();
                found.extend(hashes.iter().map(|hash| self.filter.contains(hash) & (self.len > 0)));
            }

            fn len(&self) -> u64 {
                self.len
            }

            fn planned(&self) -> u64 {
                self.planned
            }

            fn size_bytes(&self) -> usize {
                size_of_val(&*self.filter.fingerprints)
            }

            fn expected_rate(&self) -> f64 {
                if self.len == 0 { 0.0 } else { 0.5f64.powi(i32::from(Self::BITS)) }
            }

            fn encode(&self, hasher: u64) -> Vec<u8> {
                let (descriptor, fingerprints) = (&self.filter.descriptor, &self.filter.fingerprints);
                let header = Header {
                    kind: Kind::$name.code(),
                    positions: Self::BITS,
                    hasher,
                    planned: self.planned,
                    len: self.len,
                    size: fingerprints.len() as u64,
                    seed: descriptor.seed,
                };
                header.seal_bytes(8 + self.size_bytes(), |out| {
                    out.extend_from_slice(&descriptor.segment_length.to_le_bytes());
                    out.extend_from_slice(&descriptor.segment_count_length.to_le_bytes());
                    fingerprints.iter().for_each(|print| out.extend_from_slice(&print.to_le_bytes()));
                })
            }
        }
    };
}

fuse! {
    /// A static filter (Graf and Lemire, 2022) of 9 bits a key at a false-positive rate of 0.39 %: the fastest to ask, and
    /// smaller than [`Bloom`](crate::Bloom) at its rate. [`Ribbon`](crate::Ribbon) is smaller still, and has other rates.
    Fuse8 BinaryFuse8 u8
}

fuse! {
    /// A static filter (Graf and Lemire, 2022) of 18 bits a key at a false-positive rate of 0.0015 %.
    Fuse16 BinaryFuse16 u16
}

/// Whether a key's three places lie in a table of `size` fingerprints: the first below `count_length`, the others in the
/// two segments behind its own.
fn is_sound(segment_length: u32, count_length: u32, size: u64) -> bool {
    segment_length.is_power_of_two()
        && segment_length <= MAX_SEGMENT
        && count_length > 0
        && count_length.is_multiple_of(segment_length)
        && size == u64::from(count_length) + 2 * u64::from(segment_length)
        && u32::try_from(size).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn few_hashes_and_none_make_a_filter() {
        let plan = Plan::for_bits(10, 10.0).unwrap();
        for count in [0, 1, 2, 3, 5, 9, 17, 100] {
            let hashes: Vec<u64> = (0..count).flat_map(|key| [key << 40, key << 40]).collect();
            let small = Fuse8::build(plan, &hashes).unwrap();
            let large = Fuse16::build(plan, &hashes).unwrap();
            assert_eq!((small.len(), large.len()), (count, count));
            assert!(hashes.iter().all(|hash| small.contains_hash(*hash) && large.contains_hash(*hash)));
            if count == 0 {
                assert!((0..10_000).all(|hash| !small.contains_hash(hash) && !large.contains_hash(hash)));
            }
            let back = Fuse16::decode(&large.encode(1), 1).unwrap();
            assert!(hashes.iter().all(|hash| back.contains_hash(*hash)));
            assert_eq!(Fuse8::decode(&small.encode(1), 1).unwrap().encode(1), small.encode(1));
        }
    }

    #[test]
    fn segments_that_lead_out_of_the_table_are_refused() {
        assert!(is_sound(4, 8, 16) && is_sound(1, 1, 3));
        for (length, count, size) in [
            (0, 8, 8),
            (4, 8, 15),
            (4, 8, 17),
            (4, 6, 14),
            (3, 6, 12),
            (4, 0, 8),
            (1 << 19, 1 << 19, 3 << 19),
        ] {
            assert!(!is_sound(length, count, size), "{length} {count} {size}");
        }
        let most = u32::MAX - 3;
        assert!(!is_sound(4, most, u64::from(most) + 8));
    }
}
