//! One band of equations, its solution, and what it could not take.

use backends::Result;

use super::{
    banding::Band,
    equation::{GROUP, WIDTH, coefficients, start, sum},
    parity::dot,
    partition::{Segments, Sorted},
};
use crate::bytes;

/// A solution: for each block of 32 slots a word for each bit of a sum, so that a key reads two neighbouring blocks; and
/// for each group, below which offset keys are in the next layer.
#[derive(Debug)]
pub(super) struct Layer {
    starts: u64,
    /// One block more than keys can start in.
    columns: Box<[u32]>,
    bumped: Box<[u8]>,
}

/// A layer, and what became of the hashes.
#[derive(Debug)]
pub(super) struct Built {
    pub(super) layer: Layer,
    /// Mixed hashes that are for the next layer.
    pub(super) bumped: Vec<u64>,
    /// How many hashes were there before.
    pub(super) redundant: usize,
}

/// What a layer says of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Found {
    No,
    Yes,
    /// Ask the next layer.
    Bumped,
}

/// Calls with the number of bits as a constant.
macro_rules! with_bits {
    ($bits:expr, $constant:ident => $call:expr) => {
        with_bits!(@ $bits, $constant => $call; 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15; 16)
    };
    (@ $bits:expr, $constant:ident => $call:expr; $($value:literal)*; $last:literal) => {
        match $bits {
            $($value => { const $constant: usize = $value; $call })*
            _ => { const $constant: usize = $last; $call }
        }
    };
}

impl Layer {
    /// The layer of `hashes`, with `groups` groups and sums of `bits` bits.
    pub(super) fn build(hashes: &[u64], mix: impl Fn(u64) -> u64, groups: u64, bits: u32) -> Result<Built> {
        with_bits!(bits, BITS => Self::build_of::<BITS>(hashes, mix, groups))
    }

    fn build_of<const BITS: usize>(hashes: &[u64], mix: impl Fn(u64) -> u64, groups: u64) -> Result<Built> {
        let starts = groups * GROUP as u64;
        let blocks = starts / WIDTH as u64 + 1;
        let mut columns: Box<[u32]> = bytes::zeros(blocks * BITS as u64)?;
        let mut bumped: Box<[u8]> = bytes::zeros(groups)?;
        let segments = Segments::new(hashes, starts, mix)?;
        let (mut sorted, mut band, mut left_out) = (Sorted::default(), Band::default(), Vec::new());
        let table = columns.as_chunks_mut::<BITS>().0;
        // From right to left: what the last equations of a segment say of slots behind its end is known then.
        for segment in (0..segments.len()).rev() {
            segments.sort(segment, &mut sorted);
            let groups = segments.groups(segment);
            let (first, end) = (groups.start * (GROUP / WIDTH), groups.end * (GROUP / WIDTH));
            // Behind the last segment there is a block in which no equation starts.
            let is_last = segment + 1 == segments.len();
            let behind = if is_last { [0; BITS] } else { table[end] };
            let solution = &mut table[first..end + usize::from(is_last)];
            band.fill(&sorted, solution.len() * WIDTH, &behind, &mut bumped[groups], &mut left_out);
            band.solve(&behind, solution);
        }
        Ok(Built { layer: Self { starts, columns, bumped }, bumped: left_out, redundant: band.redundant })
    }

    /// Without a branch on what the columns say, so that the processor goes on to the next key meanwhile.
    #[inline(always)]
    pub(super) fn find<const BITS: usize>(&self, mixed: u64) -> Found {
        let start = start(mixed, self.starts) as usize;
        if start % GROUP < self.bumped[start / GROUP].into() {
            return Found::Bumped;
        }
        let (block, offset) = (start / WIDTH, start % WIDTH);
        let columns = &self.columns[block * BITS..][..2 * BITS];
        let row = coefficients(mixed);
        let (near, far) = (row << offset, row >> 1 >> (WIDTH - 1 - offset));
        let sums = dot::<BITS>(columns, near, far);
        if sums == sum::<BITS>(mixed) { Found::Yes } else { Found::No }
    }

    /// Has what [`find`](Self::find) will read fetched, and gives something of it.
    #[inline]
    pub(super) fn touch<const BITS: usize>(&self, mixed: u64) -> u32 {
        let start = start(mixed, self.starts) as usize;
        let block = start / WIDTH * BITS;
        self.columns[block] ^ self.columns[block + 2 * BITS - 1] ^ u32::from(self.bumped[start / GROUP])
    }

    pub(super) fn groups(&self) -> u64 {
        self.starts / GROUP as u64
    }

    pub(super) fn size_bytes(&self) -> usize {
        size_of_val(&*self.columns) + size_of_val(&*self.bumped)
    }

    /// How many bytes a stored layer has; `None` for more than there are numbers.
    pub(super) fn stored_bytes(groups: u64, bits: u32) -> Option<u64> {
        let blocks = groups.checked_mul((GROUP / WIDTH) as u64)?.checked_add(1)?;
        blocks.checked_mul(u64::from(bits) * 4)?.checked_add(groups)
    }

    /// Appends what is stored: columns, then what is bumped.
    pub(super) fn write(&self, out: &mut Vec<u8>) {
        for column in &self.columns {
            out.extend_from_slice(&column.to_le_bytes());
        }
        out.extend_from_slice(&self.bumped);
    }

    /// The layer of `groups` groups from its [`stored_bytes`](Self::stored_bytes).
    pub(super) fn read(bytes: &[u8], groups: u64) -> Option<Self> {
        let (columns, bumped) =
            bytes.split_at_checked(bytes.len().checked_sub(usize::try_from(groups).ok()?)?)?;
        Some(Self {
            starts: groups.checked_mul(GROUP as u64)?,
            columns: columns.as_chunks::<4>().0.iter().map(|column| u32::from_le_bytes(*column)).collect(),
            bumped: bumped.into(),
        })
    }
}
