//! A filter whose kind is chosen at run time.

use backends::Result;

use crate::{Blocked, Bloom, Counting, Filter, Fuse8, Fuse16, Insert, Kind, Plan, RFilter, Ribbon, bytes};

macro_rules! any {
    ($($kind:ident)*) => {
        /// A filter of any kind.
        #[derive(Debug)]
        #[non_exhaustive]
        pub enum AnyFilter {
            $(
                #[doc = concat!("A [`", stringify!($kind), "`](crate::", stringify!($kind), ").")]
                $kind($kind),
            )*
        }

        impl AnyFilter {
            /// What [`Filter::encode`] stored, whichever kind it was. Takes no more memory than `bytes` have.
            ///
            /// # Errors
            ///
            /// `Corrupt` for anything else, `Unsupported` for what a newer release stored, and `Invalid` when it was
            /// made with another hasher than the one of fingerprint `hasher`.
            pub fn decode(bytes: &[u8], hasher: u64) -> Result<Self> {
                // The kind decides who reads it; each checks the whole header.
                match bytes.get(5) {
                    $(Some(code) if *code == Kind::$kind.code() => Ok(Self::$kind($kind::decode(bytes, hasher)?)),)*
                    _ => Err(bytes::corrupt("not a filter of a kind that this release knows".to_owned())),
                }
            }
        }

        macro_rules! each {
            ($any:expr, $filter:ident => $result:expr) => {
                match $any {
                    $(AnyFilter::$kind($filter) => $result,)*
                }
            };
        }
    };
}

any!(Bloom Blocked Counting Fuse8 Fuse16 Ribbon RFilter);

/// What is done with a filter of a kind that is known when it is compiled; see [`AnyFilter::visit`].
pub trait Visit {
    /// What comes of it.
    type Output;

    /// Does it.
    fn visit<F: Filter>(self, filter: F) -> Self::Output;
}

impl AnyFilter {
    /// Hands the filter itself to `visit`: what that asks it then takes no look at the kind.
    pub fn visit<V: Visit>(self, visit: V) -> V::Output {
        each!(self, filter => visit.visit(filter))
    }

    /// A filter of `kind` with the keys of `hashes`.
    ///
    /// # Errors
    ///
    /// `Overloaded` when there is no memory for it; for static kinds what their own `build` reports.
    pub fn build(kind: Kind, plan: Plan, hashes: &[u64]) -> Result<Self> {
        match kind {
            Kind::Bloom => {
                let mut filter = Bloom::new(plan)?;
                filter.extend(hashes.iter().copied());
                Ok(Self::Bloom(filter))
            }
            Kind::Blocked => {
                let mut filter = Blocked::new(plan)?;
                filter.extend(hashes.iter().copied());
                Ok(Self::Blocked(filter))
            }
            Kind::Counting => {
                let mut filter = Counting::new(plan)?;
                filter.extend(hashes.iter().copied());
                Ok(Self::Counting(filter))
            }
            Kind::RFilter => {
                let mut filter = RFilter::new(plan)?;
                filter.extend(hashes.iter().copied());
                Ok(Self::RFilter(filter))
            }
            Kind::Fuse8 => Fuse8::build(plan, hashes).map(Self::Fuse8),
            Kind::Fuse16 => Fuse16::build(plan, hashes).map(Self::Fuse16),
            Kind::Ribbon => Ribbon::build(plan, hashes).map(Self::Ribbon),
        }
    }

    /// Itself as one that keys can be added to; `None` for the static kinds.
    #[must_use]
    pub fn as_insert(&self) -> Option<&dyn Insert> {
        match self {
            Self::Bloom(filter) => Some(filter),
            Self::Blocked(filter) => Some(filter),
            Self::Counting(filter) => Some(filter),
            Self::RFilter(filter) => Some(filter),
            Self::Fuse8(_) | Self::Fuse16(_) | Self::Ribbon(_) => None,
        }
    }
}

impl Filter for AnyFilter {
    fn kind(&self) -> Kind {
        each!(self, filter => filter.kind())
    }

    #[inline]
    fn contains_hash(&self, hash: u64) -> bool {
        each!(self, filter => filter.contains_hash(hash))
    }

    fn contains_hashes(&self, hashes: &[u64], found: &mut Vec<bool>) {
        each!(self, filter => filter.contains_hashes(hashes, found));
    }

    fn len(&self) -> u64 {
        each!(self, filter => filter.len())
    }

    fn planned(&self) -> u64 {
        each!(self, filter => filter.planned())
    }

    fn size_bytes(&self) -> usize {
        each!(self, filter => filter.size_bytes())
    }

    fn expected_rate(&self) -> f64 {
        each!(self, filter => filter.expected_rate())
    }

    fn encode(&self, hasher: u64) -> Vec<u8> {
        each!(self, filter => filter.encode(hasher))
    }
}
