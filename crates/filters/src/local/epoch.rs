//! One filter after another.

use std::sync::{Arc, OnceLock};

use backends::Result;

use crate::{AnyFilter, Filter, Kind, Plan};

/// Bits of a key that was added to a static filter after it was built.
const LATE_BITS: f64 = 16.0;

/// What readers and writers see at one time.
#[derive(Debug, Default)]
pub(super) struct View {
    /// Whom readers ask; `None`: nothing is known.
    pub(super) serving: Option<Arc<Epoch>>,
    /// What is being built; writers add to it, too.
    pub(super) next: Option<Arc<Epoch>>,
}

/// A filter: of the static kinds, what was built, and what came later.
#[derive(Debug)]
pub(super) struct Epoch {
    pub(super) number: u64,
    /// What a static kind was built from; empty until then, and for the other kinds.
    base: OnceLock<AnyFilter>,
    /// What can be added to.
    live: AnyFilter,
}

impl Epoch {
    /// An empty one.
    pub(super) fn new(number: u64, kind: Kind, plan: Plan, late: u64) -> Result<Self> {
        let live = if kind.is_static() {
            let plan = Plan::for_bits(late, LATE_BITS)?;
            AnyFilter::build(Kind::Bloom, plan, &[])?
        } else {
            AnyFilter::build(kind, plan, &[])?
        };
        Ok(Self { number, base: OnceLock::new(), live })
    }

    /// One that was stored.
    pub(super) fn restore(number: u64, filter: AnyFilter, late: u64) -> Result<Self> {
        if !filter.kind().is_static() {
            return Ok(Self { number, base: OnceLock::new(), live: filter });
        }
        let live = AnyFilter::build(Kind::Bloom, Plan::for_bits(late, LATE_BITS)?, &[])?;
        Ok(Self { number, base: OnceLock::from(filter), live })
    }

    /// Whether the key may be there.
    #[inline]
    pub(super) fn contains(&self, hash: u64) -> bool {
        self.live.contains_hash(hash) || self.base.get().is_some_and(|base| base.contains_hash(hash))
    }

    pub(super) fn contains_many(&self, hashes: &[u64], found: &mut Vec<bool>) {
        self.live.contains_hashes(hashes, found);
        if let Some(base) = self.base.get() {
            let mut more = Vec::with_capacity(hashes.len());
            base.contains_hashes(hashes, &mut more);
            for (found, more) in found.iter_mut().zip(more) {
                *found |= more;
            }
        }
    }

    /// Adds a key; `false` when nothing changed by it.
    pub(super) fn insert(&self, hash: u64) -> bool {
        self.live.as_insert().is_some_and(|live| live.insert_hash(hash))
    }

    /// Builds the static part.
    pub(super) fn build(&self, kind: Kind, plan: Plan, hashes: &[u64]) -> Result<()> {
        let base = AnyFilter::build(kind, plan, hashes)?;
        // Only one rebuild runs, and it builds once.
        let _ = self.base.set(base);
        Ok(())
    }

    /// What is stored: what a journal does not have.
    pub(super) fn encode(&self, hasher: u64) -> Vec<u8> {
        self.base.get().unwrap_or(&self.live).encode(hasher)
    }

    pub(super) fn len(&self) -> u64 {
        self.live.len() + self.base.get().map_or(0, Filter::len)
    }

    /// How many keys it may have: for a static kind, those it was built from and those that may come later.
    pub(super) fn planned(&self) -> u64 {
        self.live.planned() + self.base.get().map_or(0, Filter::len)
    }

    pub(super) fn size_bytes(&self) -> u64 {
        (self.live.size_bytes() + self.base.get().map_or(0, Filter::size_bytes)) as u64
    }

    pub(super) fn expected_rate(&self) -> f64 {
        let passes = |filter: &AnyFilter| 1.0 - filter.expected_rate();
        1.0 - passes(&self.live) * self.base.get().map_or(1.0, passes)
    }
}
