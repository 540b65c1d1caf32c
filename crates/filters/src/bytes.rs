//! What filters look like when they are stored.
//!
//! A header of 64 bytes, numbers in little-endian order, then the table:
//!
//! | bytes | what |
//! |---|---|
//! | 0 to 3 | `PFLT` |
//! | 4 | version of the format, 1 |
//! | 5 | kind |
//! | 6, 7 | positions, or bits of a result |
//! | 8 to 15 | fingerprint of the hasher |
//! | 16 to 23 | planned keys |
//! | 24 to 31 | keys |
//! | 32 to 39 | size of the table, as its kind counts it |
//! | 40 to 47 | seed of the construction, where there is one |
//! | 48 to 55 | length of the table in bytes |
//! | 56 to 63 | XXH3 of the table, seeded by the XXH3 of the 56 bytes before |

use backends::{Error, ErrorKind, Result};
use xxhash_rust::xxh3::{xxh3_64, xxh3_64_with_seed};

use crate::{Kind, MAX_POSITIONS};

const MAGIC: [u8; 4] = *b"PFLT";
const VERSION: u8 = 1;
pub(crate) const HEADER: usize = 64;
/// What leaves room to count on.
const MOST_KEYS: u64 = 1 << 56;

/// The header, without what follows from the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Header {
    pub(crate) kind: u8,
    pub(crate) positions: u16,
    pub(crate) hasher: u64,
    pub(crate) planned: u64,
    pub(crate) len: u64,
    pub(crate) size: u64,
    pub(crate) seed: u64,
}

impl Header {
    /// The bytes of a filter whose table is `table`.
    pub(crate) fn seal(self, table: impl ExactSizeIterator<Item = u64>) -> Vec<u8> {
        self.seal_bytes(table.len() * 8, |out| {
            table.for_each(|word| out.extend_from_slice(&word.to_le_bytes()));
        })
    }

    /// The same, of a table of `len` bytes that `write` appends.
    pub(crate) fn seal_bytes(self, len: usize, write: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
        let mut out = Vec::with_capacity(HEADER + len);
        out.extend_from_slice(&MAGIC);
        out.extend_from_slice(&[VERSION, self.kind]);
        out.extend_from_slice(&self.positions.to_le_bytes());
        for number in [self.hasher, self.planned, self.len, self.size, self.seed, len as u64, 0] {
            out.extend_from_slice(&number.to_le_bytes());
        }
        write(&mut out);
        let checksum = checksum(&out);
        out[HEADER - 8..HEADER].copy_from_slice(&checksum.to_le_bytes());
        out
    }

    /// The header of `bytes`, whose checksum is right, and the table behind it.
    ///
    /// # Errors
    ///
    /// `Corrupt` for anything else than what [`seal`](Self::seal) made; `Unsupported` for a newer format; `Invalid` when
    /// it was made with another hasher than that of fingerprint `hasher`.
    pub(crate) fn open(bytes: &[u8], hasher: u64) -> Result<(Self, &[u8])> {
        let Some((head, table)) = bytes.split_at_checked(HEADER) else {
            return Err(corrupt(format!("{} bytes: a header alone has {HEADER}", bytes.len())));
        };
        if head[..4] != MAGIC {
            return Err(corrupt("not a filter".to_owned()));
        }
        if head[4] != VERSION {
            let message = format!("format {}, where this release knows {VERSION}", head[4]);
            return Err(Error::new(ErrorKind::Unsupported, "memory", "decode", message));
        }
        let number = |at: usize| {
            let mut number = [0; 8];
            number.copy_from_slice(&head[at..at + 8]);
            u64::from_le_bytes(number)
        };
        if number(48) != table.len() as u64 {
            return Err(corrupt(format!(
                "a table of {} bytes, where {} were stored",
                table.len(),
                number(48)
            )));
        }
        if number(56) != checksum(bytes) {
            return Err(corrupt("the checksum is wrong".to_owned()));
        }
        let header = Self {
            kind: head[5],
            positions: u16::from_le_bytes([head[6], head[7]]),
            hasher: number(8),
            planned: number(16),
            len: number(24),
            size: number(32),
            seed: number(40),
        };
        if header.planned.max(header.len) > MOST_KEYS {
            return Err(corrupt(format!("more keys than anyone has: {}", header.planned.max(header.len))));
        }
        if header.hasher != hasher {
            let message = "made with another hasher, or another seed";
            return Err(Error::new(ErrorKind::Invalid, "memory", "decode", message));
        }
        Ok((header, table))
    }

    /// Whether this is of `kind`, and `wanted` bytes are what its table should have.
    pub(crate) fn expect(&self, kind: Kind, table: &[u8], wanted: Option<u64>) -> Result<()> {
        if self.kind != kind.code() {
            return Err(corrupt(format!("not a {kind} filter")));
        }
        if wanted != Some(table.len() as u64) || table.is_empty() {
            return Err(corrupt(format!("a table of {} bytes does not fit its own header", table.len())));
        }
        Ok(())
    }

    /// Its positions, as a plan may have them.
    pub(crate) fn positions(&self) -> Result<u32> {
        match u32::from(self.positions) {
            positions @ 1..=MAX_POSITIONS => Ok(positions),
            other => Err(corrupt(format!("{other} positions"))),
        }
    }
}

fn checksum(bytes: &[u8]) -> u64 {
    let (head, table) = bytes.split_at(HEADER);
    xxh3_64_with_seed(table, xxh3_64(&head[..HEADER - 8]))
}

/// The words of a table, whose length has been checked.
pub(crate) fn words(table: &[u8]) -> impl ExactSizeIterator<Item = u64> {
    table.as_chunks::<8>().0.iter().map(|word| u64::from_le_bytes(*word))
}

pub(crate) fn corrupt(message: String) -> Error {
    Error::new(ErrorKind::Corrupt, "memory", "decode", message)
}

/// Memory for `len` zeros.
///
/// # Errors
///
/// `Overloaded` when the system does not give that much.
pub(crate) fn zeros<T: bytemuck::Zeroable>(len: u64) -> Result<Box<[T]>> {
    let refused = || {
        let bytes = len.saturating_mul(size_of::<T>() as u64);
        Error::new(
            ErrorKind::Overloaded,
            "memory",
            "allocate",
            format!("no memory for a table of {bytes} bytes"),
        )
    };
    let len = usize::try_from(len).map_err(|_| refused())?;
    len.checked_mul(size_of::<T>()).filter(|bytes| isize::try_from(*bytes).is_ok()).ok_or_else(refused)?;
    bytemuck::allocation::try_zeroed_slice_box(len).map_err(|()| refused())
}
