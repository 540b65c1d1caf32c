//! Equations in the order of their starts.

use std::ops::Range;

use backends::Result;

use super::equation::{GROUP, start};
use crate::bytes;

/// Slots of a segment: what its equations take while they are solved, about 30 bytes a slot, stays in a cache.
const SEGMENT_BITS: u32 = 14;
/// With more segments than this, putting equations into segments would miss the cache, and the table of pages, at each.
const MAX_SEGMENTS: u64 = 2_048;

/// Mixed hashes, put into segments of the table; within a segment in no order.
#[derive(Debug)]
pub(super) struct Segments {
    mixed: Box<[u64]>,
    /// Where each ends; the first begins at 0.
    ends: Vec<usize>,
    bits: u32,
    starts: u64,
}

impl Segments {
    pub(super) fn new(hashes: &[u64], starts: u64, mix: impl Fn(u64) -> u64) -> Result<Self> {
        let bits = SEGMENT_BITS.max(starts.div_ceil(MAX_SEGMENTS).next_power_of_two().ilog2());
        let segment = |mixed| (start(mixed, starts) >> bits) as usize;
        let mut ends = vec![0; (starts.div_ceil(1 << bits)) as usize];
        for hash in hashes {
            ends[segment(mix(*hash))] += 1;
        }
        let mut begin = 0;
        for end in &mut ends {
            begin += std::mem::replace(end, begin);
        }
        let mut sorted = bytes::zeros(hashes.len() as u64)?;
        for hash in hashes {
            let mixed = mix(*hash);
            let at = &mut ends[segment(mixed)];
            sorted[*at] = mixed;
            *at += 1;
        }
        Ok(Self { mixed: sorted, ends, bits, starts })
    }

    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.ends.len()
    }

    /// The groups of segment `index`.
    pub(super) fn groups(&self, index: usize) -> Range<usize> {
        let size = (1 << self.bits) / GROUP;
        index * size..((index + 1) * size).min(self.starts as usize / GROUP)
    }

    /// Puts the equations of segment `index` into `sorted`, by their starts.
    pub(super) fn sort(&self, index: usize, sorted: &mut Sorted) {
        let begin = if index == 0 { 0 } else { self.ends[index - 1] };
        let mixed = &self.mixed[begin..self.ends[index]];
        sorted.ends.clear();
        sorted.ends.resize(1 << self.bits, 0);
        sorted.mixed.resize(mixed.len(), 0);
        let slot = |mixed| (start(mixed, self.starts) & ((1 << self.bits) - 1)) as usize;
        for mixed in mixed {
            sorted.ends[slot(*mixed)] += 1;
        }
        let mut begin = 0;
        for end in &mut sorted.ends {
            begin += std::mem::replace(end, begin);
        }
        for mixed in mixed {
            let at = &mut sorted.ends[slot(*mixed)];
            sorted.mixed[*at as usize] = *mixed;
            *at += 1;
        }
    }
}

/// The equations of a segment, by their starts.
#[derive(Debug, Default)]
pub(super) struct Sorted {
    mixed: Vec<u64>,
    ends: Vec<u32>,
}

impl Sorted {
    /// Those that start at `slot` of the segment.
    pub(super) fn at(&self, slot: usize) -> &[u64] {
        let begin = if slot == 0 { 0 } else { self.ends[slot - 1] };
        &self.mixed[begin as usize..self.ends[slot] as usize]
    }

    /// Those that start before `slot` and in or behind `from`.
    pub(super) fn between(&self, from: usize, slot: usize) -> &[u64] {
        let begin = if from == 0 { 0 } else { self.ends[from - 1] };
        let end = if slot == 0 { 0 } else { self.ends[slot - 1] };
        &self.mixed[begin as usize..end as usize]
    }
}
