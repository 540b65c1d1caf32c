//! Ours and the peers, behind calls that each take a whole lot of keys.

use bench::BoxError;
use filters::{AnyFilter, ErrorKind, Filter, Kind, Plan, Visit, rate};
use xorf::Filter as _;
use xxhash_rust::xxh3::xxh3_64;

/// Who is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Who {
    Fastbloom,
    Ours(Kind),
    Sbbf,
    Xorf8,
    Xorf16,
}

/// A filter with its keys.
pub(crate) trait Subject {
    fn size_bytes(&self) -> usize;

    /// The rate by theory, where the author of the filter, or the field, gives one.
    fn theory(&self) -> Option<f64>;

    /// How many of `hashes` seem to be there, asked one by one.
    fn single(&self, hashes: &[u64]) -> usize;

    /// The same of keys, each hashed first.
    fn keyed(&self, keys: &[u64]) -> usize;

    /// The same, asked at once; `None` of who can't.
    fn batched(&self, hashes: &[u64], found: &mut Vec<bool>) -> Option<usize>;
}

pub(crate) fn hash(key: u64) -> u64 {
    xxh3_64(&key.to_le_bytes())
}

impl Who {
    pub(crate) const fn all() -> [Self; Kind::ALL.len() + 4] {
        let mut all = [Self::Fastbloom; Kind::ALL.len() + 4];
        let mut at = 0;
        while at < Kind::ALL.len() {
            all[at + 1] = Self::Ours(Kind::ALL[at]);
            at += 1;
        }
        (all[at + 1], all[at + 2], all[at + 3]) = (Self::Sbbf, Self::Xorf8, Self::Xorf16);
        all
    }

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Fastbloom => "(fastbloom)",
            Self::Ours(kind) => kind.as_str(),
            Self::Sbbf => "(sbbf-rs-safe)",
            Self::Xorf8 => "(xorf, fuse8)",
            Self::Xorf16 => "(xorf, fuse16)",
        }
    }

    /// Its plan. Static kinds have the rate that is theirs by nature; ribbon has that of 7 bits.
    pub(crate) fn plan(self, keys: u64, bits: f64) -> Result<Plan, BoxError> {
        Ok(match self {
            Self::Ours(Kind::Fuse8) => Plan::for_rate(keys, 1.0 / 256.0)?,
            Self::Ours(Kind::Fuse16) => Plan::for_rate(keys, 1.0 / 65_536.0)?,
            Self::Ours(Kind::Ribbon) => Plan::for_rate(keys, 1.0 / 128.0)?,
            _ => Plan::for_bits(keys, bits)?,
        })
    }

    /// A filter with the keys of `hashes`; `None` for a kind that is not there.
    pub(crate) fn build(self, plan: Plan, hashes: &[u64]) -> Result<Option<Box<dyn Subject>>, BoxError> {
        Ok(Some(match self {
            Self::Fastbloom => {
                let filter = fastbloom::BloomFilter::with_num_bits(plan.total_bits() as usize);
                let mut filter = filter.hashes(plan.positions());
                for hash in hashes {
                    filter.insert_hash(*hash);
                }
                let theory = rate::bloom(filter.num_bits() as u64, hashes.len() as u64, plan.positions());
                let size_bytes = filter.num_bits() / 8;
                peer(size_bytes, Some(theory), move |hash| filter.contains_hash(hash))
            }
            Self::Ours(kind) => match AnyFilter::build(kind, plan, hashes) {
                Ok(filter) => filter.visit(Wrap { plan, keys: hashes.len() as u64 }),
                Err(error) if error.kind() == ErrorKind::Unsupported => return Ok(None),
                Err(error) => return Err(error.into()),
            },
            Self::Sbbf => {
                let mut filter = sbbf_rs_safe::Filter::new(plan.bits() as usize, hashes.len());
                for hash in hashes {
                    filter.insert_hash(*hash);
                }
                peer(filter.as_bytes().len(), None, move |hash| filter.contains_hash(hash))
            }
            Self::Xorf8 => {
                let filter = xorf::BinaryFuse8::try_from(hashes)?;
                let size_bytes = filter.fingerprints.len();
                peer(size_bytes, Some(1.0 / 256.0), move |hash| filter.contains(&hash))
            }
            Self::Xorf16 => {
                let filter = xorf::BinaryFuse16::try_from(hashes)?;
                let size_bytes = filter.fingerprints.len() * 2;
                peer(size_bytes, Some(1.0 / 65_536.0), move |hash| filter.contains(&hash))
            }
        }))
    }
}

/// One of ours; its type is known in the loops.
struct Ours<F> {
    filter: F,
    theory: f64,
}

struct Wrap {
    plan: Plan,
    keys: u64,
}

impl Visit for Wrap {
    type Output = Box<dyn Subject>;

    fn visit<F: Filter>(self, filter: F) -> Box<dyn Subject> {
        let (bytes, positions) = (filter.size_bytes() as u64, self.plan.positions());
        // The filter itself knows only of the keys that it could tell from those before.
        let theory = match filter.kind() {
            Kind::Bloom => rate::bloom(bytes * 8, self.keys, positions),
            Kind::Counting => rate::bloom(bytes * 2, self.keys, positions),
            Kind::RFilter => rate::bloom(bytes * 8, self.keys, 1),
            Kind::Blocked => rate::blocked(bytes / 64, self.keys, positions),
            _ => filter.expected_rate(),
        };
        Box::new(Ours { filter, theory })
    }
}

impl<F: Filter> Subject for Ours<F> {
    fn size_bytes(&self) -> usize {
        self.filter.size_bytes()
    }

    fn theory(&self) -> Option<f64> {
        Some(self.theory)
    }

    fn single(&self, hashes: &[u64]) -> usize {
        hashes.iter().filter(|hash| self.filter.contains_hash(**hash)).count()
    }

    fn keyed(&self, keys: &[u64]) -> usize {
        keys.iter().filter(|key| self.filter.contains_hash(hash(**key))).count()
    }

    fn batched(&self, hashes: &[u64], found: &mut Vec<bool>) -> Option<usize> {
        let lots = hashes.chunks(4_096).map(|lot| {
            self.filter.contains_hashes(lot, found);
            found.iter().filter(|found| **found).count()
        });
        Some(lots.sum())
    }
}

struct Peer<F> {
    size_bytes: usize,
    theory: Option<f64>,
    contains: F,
}

fn peer(
    size_bytes: usize,
    theory: Option<f64>,
    contains: impl Fn(u64) -> bool + 'static,
) -> Box<dyn Subject> {
    Box::new(Peer { size_bytes, theory, contains })
}

impl<F: Fn(u64) -> bool> Subject for Peer<F> {
    fn size_bytes(&self) -> usize {
        self.size_bytes
    }

    fn theory(&self) -> Option<f64> {
        self.theory
    }

    fn single(&self, hashes: &[u64]) -> usize {
        hashes.iter().filter(|hash| (self.contains)(**hash)).count()
    }

    fn keyed(&self, keys: &[u64]) -> usize {
        keys.iter().filter(|key| (self.contains)(hash(**key))).count()
    }

    fn batched(&self, _hashes: &[u64], _found: &mut Vec<bool>) -> Option<usize> {
        None
    }
}
