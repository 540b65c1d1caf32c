//! Elimination: a segment's equations become a band matrix in echelon form.

use super::{
    equation::{GROUP, WIDTH, bit, coefficients, sum},
    parity::dot,
    partition::Sorted,
};

/// The rows of a segment's slots: in the low 32 bits coefficients from the slot on, of which the first is 1, and above
/// them the sum; 0 for no row.
#[derive(Debug, Default)]
pub(super) struct Band {
    rows: Vec<u64>,
    /// Where the rows are that came from the equations of the start that is looked at.
    added: Vec<usize>,
    /// Equations that say what others said already: duplicates, mostly.
    pub(super) redundant: usize,
}

impl Band {
    /// Takes the equations of `sorted` for as many groups as `bumped` has elements. Where one contradicts the others,
    /// `bumped` of its group says below which offset all were left out, and these go to `left_out`.
    ///
    /// Groups are taken from left to right, in a group from right to left: so what is left out are the first slots of a
    /// group, which equations of the group before have taken.
    ///
    /// Rows may be in all `slots`; `behind` is the solution of the block behind them.
    pub(super) fn fill<const BITS: usize>(
        &mut self,
        sorted: &Sorted,
        slots: usize,
        behind: &[u32; BITS],
        bumped: &mut [u8],
        left_out: &mut Vec<u64>,
    ) {
        self.rows.clear();
        self.rows.resize(slots, 0);
        for (group, bumped) in bumped.iter_mut().enumerate() {
            let first = group * GROUP;
            for slot in (first..first + GROUP).rev() {
                if !self.add(sorted.at(slot), slot, behind) {
                    *bumped = (slot - first + 1) as u8;
                    left_out.extend_from_slice(sorted.between(first, slot + 1));
                    break;
                }
            }
        }
    }

    /// Adds the equations that start at `slot`, all of them or, where that cannot be, none.
    fn add<const BITS: usize>(&mut self, equations: &[u64], slot: usize, behind: &[u32; BITS]) -> bool {
        self.added.clear();
        let (mut redundant, room) = (0, self.rows.len() - slot);
        for mixed in equations {
            let (mut slot, mut row) = (slot, coefficients(*mixed));
            let mut sums = pack::<BITS>(sum::<BITS>(*mixed));
            if room < WIDTH {
                let mut blocks = [[0; BITS]; 2];
                blocks[0] = *behind;
                sums ^= pack::<BITS>(dot::<BITS>(blocks.as_flattened(), row >> room, 0));
                row &= (1 << room) - 1;
            }
            let mut row = sums << 32 | u64::from(row);
            while let Some(other) = self.rows.get(slot).filter(|row| **row != 0) {
                row ^= other;
                let zeros = (row as u32).trailing_zeros();
                if zeros == 32 {
                    break;
                }
                row = row >> 32 << 32 | u64::from(row as u32 >> zeros);
                slot += zeros as usize;
            }
            if row as u32 != 0 {
                self.rows[slot] = row;
                self.added.push(slot);
            } else if row == 0 {
                redundant += 1;
            } else {
                for slot in &self.added {
                    self.rows[*slot] = 0;
                }
                return false;
            }
        }
        self.redundant += redundant;
        true
    }

    /// Solves the rows from right to left, and writes the solution of each block into `columns`: a word for each bit of
    /// a sum. `behind` is that of the block behind the segment.
    pub(super) fn solve<const BITS: usize>(&self, behind: &[u32; BITS], columns: &mut [[u32; BITS]]) {
        let mut window = *behind;
        for (columns, rows) in columns.iter_mut().zip(self.rows.as_chunks::<WIDTH>().0).rev() {
            for row in rows.iter().rev() {
                for (column, window) in window.iter_mut().enumerate() {
                    *window <<= 1;
                    let sum = (*window & *row as u32).count_ones() ^ (row >> (32 + column)) as u32;
                    *window |= sum & 1;
                }
            }
            *columns = window;
        }
    }
}

/// One bit a column, in their order.
#[inline]
fn pack<const BITS: usize>(spread: [u64; 2]) -> u64 {
    (0..BITS).fold(0, |packed, column| packed | u64::from(bit(spread, column)) << column)
}
