//! What is known of a segment: which tables it has, and what they are called.
//!
//! The head is 84 bytes, numbers in big-endian order:
//!
//! | bytes | what |
//! |---|---|
//! | 0, 1 | 194, which begins no text; version of the format, 1 |
//! | 2, 3 | number of segments |
//! | 4 to 7 | how long an announced key is remembered, in milliseconds |
//! | 8 to 15 | fingerprint of the hasher |
//! | 16 to 49 | the table that serves; zeros: none |
//! | 50 to 83 | the table that is built; zeros: none |
//!
//! Of a table: its epoch, its token, its blocks and the planned keys of the whole filter, of 8 bytes each, and its
//! positions in 2. Heads are compared as bytes, so there is one way to write each.

use std::sync::atomic::AtomicBool;

use backends::{Error, ErrorKind, Result};

use crate::{
    Plan,
    blocked::rule::{self, Block},
};

const MAGIC: u8 = 194;
const VERSION: u8 = 1;
const TABLE: usize = 34;
const LEN: usize = 16 + 2 * TABLE;

/// Bytes of a block.
pub(super) const BLOCK: u64 = rule::BITS / 8;
/// The longest string that a server takes.
const MAX_TABLE: u64 = 512 << 20;

/// What all segments of a filter agree on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Shape {
    pub(super) segments: u16,
    pub(super) in_doubt_ms: u32,
    pub(super) hasher: u64,
}

/// The bits of one segment in one epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Table {
    pub(super) epoch: u64,
    /// Sets it apart from all others of this name that were ever made, also by those who don't know of each other.
    pub(super) token: u64,
    pub(super) blocks: u64,
    pub(super) planned: u64,
    pub(super) positions: u16,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Head {
    pub(super) shape: Shape,
    pub(super) serving: Option<Table>,
    pub(super) building: Option<Table>,
}

impl Table {
    /// The table that each segment has by `plan`.
    pub(super) fn new(plan: Plan, segments: u16, epoch: u64, token: u64) -> Option<Self> {
        let blocks = plan.total_bits().div_ceil(rule::BITS * u64::from(segments)).max(1);
        let positions = u16::try_from(plan.positions()).ok()?;
        let table = Self { epoch, token, blocks, planned: plan.items(), positions };
        (table.bytes() <= MAX_TABLE).then_some(table)
    }

    pub(super) const fn bytes(&self) -> u64 {
        self.blocks * BLOCK
    }

    pub(super) fn block(&self, hash: u64) -> Block {
        rule::block(hash, self.blocks, self.positions.into())
    }

    fn encode(table: Option<Self>, out: &mut Vec<u8>) {
        let Some(Self { epoch, token, blocks, planned, positions }) = table else {
            return out.extend_from_slice(&[0; TABLE]);
        };
        for number in [epoch, token, blocks, planned] {
            out.extend_from_slice(&number.to_be_bytes());
        }
        out.extend_from_slice(&positions.to_be_bytes());
    }

    /// `Err` for what cannot be.
    fn decode(bytes: &[u8]) -> Result<Option<Self>, ()> {
        let positions = u16::from_be_bytes([bytes[32], bytes[33]]);
        let (epoch, token, blocks) = (number(bytes, 0), number(bytes, 8), number(bytes, 16));
        if bytes.iter().all(|byte| *byte == 0) {
            return Ok(None);
        }
        let is_sound = epoch > 0
            && (1..=MAX_TABLE / BLOCK).contains(&blocks)
            && (1..=crate::MAX_POSITIONS).contains(&positions.into());
        let table = Self { epoch, token, blocks, planned: number(bytes, 24), positions };
        if is_sound { Ok(Some(table)) } else { Err(()) }
    }
}

fn number(bytes: &[u8], at: usize) -> u64 {
    bytes[at..at + 8].iter().fold(0, |number, byte| number << 8 | u64::from(*byte))
}

impl Head {
    /// That of a segment in which no filter is.
    pub(super) const fn empty(shape: Shape) -> Self {
        Self { shape, serving: None, building: None }
    }

    pub(super) fn encode(&self) -> Vec<u8> {
        let Shape { segments, in_doubt_ms, hasher } = self.shape;
        let mut out = Vec::with_capacity(LEN);
        out.extend_from_slice(&[MAGIC, VERSION]);
        out.extend_from_slice(&segments.to_be_bytes());
        out.extend_from_slice(&in_doubt_ms.to_be_bytes());
        out.extend_from_slice(&hasher.to_be_bytes());
        Table::encode(self.serving, &mut out);
        Table::encode(self.building, &mut out);
        out
    }

    /// The head of `bytes`, whose shape has to be `shape`.
    ///
    /// # Errors
    ///
    /// `Corrupt` for anything else than a head, `Unsupported` for that of a newer release, `Config` for another shape.
    pub(super) fn decode(bytes: &[u8], shape: Shape, backend: &'static str) -> Result<Self> {
        let error = |kind, message: String| Err(Error::new(kind, backend, "head", message));
        match bytes {
            [MAGIC, VERSION, ..] if bytes.len() == LEN => {}
            [MAGIC, version, ..] if *version > VERSION => {
                let message = format!("format {version}, where this release knows {VERSION}");
                return error(ErrorKind::Unsupported, message);
            }
            _ => return error(ErrorKind::Corrupt, "not the head of a filter".to_owned()),
        }
        let found = Shape {
            segments: u16::from_be_bytes([bytes[2], bytes[3]]),
            in_doubt_ms: u32::from_be_bytes([bytes[4], bytes[5], bytes[6], bytes[7]]),
            hasher: number(bytes, 8),
        };
        if found.hasher != shape.hasher {
            return error(ErrorKind::Config, "made with another hasher, or another seed".to_owned());
        }
        if found != shape {
            let message = format!(
                "made with {} segments and {} ms in doubt, not {} and {}",
                found.segments, found.in_doubt_ms, shape.segments, shape.in_doubt_ms
            );
            return error(ErrorKind::Config, message);
        }
        let (serving, building) = bytes[16..].split_at(TABLE);
        match (Table::decode(serving), Table::decode(building)) {
            (Ok(serving), Ok(building)) => Ok(Self { shape, serving, building }),
            _ => error(ErrorKind::Corrupt, "a head with a table that cannot be".to_owned()),
        }
    }
}

/// How the keys of a segment are called.
#[derive(Clone, Debug)]
pub(super) struct Names {
    /// With the colon.
    stem: String,
    pub(super) head: String,
    pub(super) recent: [String; 2],
    pub(super) scratch: [String; 2],
}

impl Names {
    pub(super) fn new(prefix: &str, segment: u16) -> Self {
        let stem = format!("{{{prefix}:{segment}}}:");
        let name = |name: &str| format!("{stem}{name}");
        Self {
            head: name("head"),
            recent: [name("recent:0"), name("recent:1")],
            scratch: [name("scratch:0"), name("scratch:1")],
            stem,
        }
    }

    pub(super) fn serving(&self, table: &Table) -> String {
        format!("{}e{}:{:016x}", self.stem, table.epoch, table.token)
    }

    pub(super) fn building(&self, table: &Table) -> String {
        format!("{}b{}:{:016x}", self.stem, table.epoch, table.token)
    }

    pub(super) fn lock(&self) -> String {
        format!("{}rebuild", self.stem)
    }
}

/// A head that was read, and the names of its tables.
#[derive(Debug)]
pub(super) struct Known {
    pub(super) head: Head,
    pub(super) bytes: Vec<u8>,
    pub(super) serving: Option<(Table, String)>,
    pub(super) building: Option<(Table, String)>,
    /// Whether the table that serves was looked for and was not there.
    pub(super) is_lost: AtomicBool,
}

impl Known {
    pub(super) fn new(head: Head, names: &Names) -> Self {
        Self {
            head,
            bytes: head.encode(),
            serving: head.serving.map(|table| (table, names.serving(&table))),
            building: head.building.map(|table| (table, names.building(&table))),
            is_lost: AtomicBool::new(false),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHAPE: Shape = Shape { segments: 64, in_doubt_ms: 60_000, hasher: 0x0102_0304_0506_0708 };

    fn head() -> Head {
        let serving = Table { epoch: 7, token: u64::MAX, blocks: 300, planned: 1_000_000, positions: 7 };
        let building = Table { epoch: 8, token: 1, blocks: 600, planned: 2_000_000, positions: 9 };
        Head { shape: SHAPE, serving: Some(serving), building: Some(building) }
    }

    #[test]
    fn a_head_comes_back() {
        for head in
            [head(), Head::empty(SHAPE), Head { building: None, ..head() }, Head { serving: None, ..head() }]
        {
            let bytes = head.encode();
            assert_eq!(bytes.len(), LEN);
            assert_eq!(Head::decode(&bytes, SHAPE, "redis").unwrap(), head);
        }
    }

    #[test]
    fn what_is_no_head_is_told_apart() {
        let kind = |bytes: &[u8], shape| Head::decode(bytes, shape, "redis").map_err(|error| error.kind());
        let bytes = head().encode();
        for len in 0..bytes.len() {
            assert_eq!(kind(&bytes[..len], SHAPE), Err(ErrorKind::Corrupt), "{len}");
        }
        let mut newer = bytes.clone();
        newer[1] = 2;
        assert_eq!(kind(&newer, SHAPE), Err(ErrorKind::Unsupported));
        for shape in
            [Shape { segments: 32, ..SHAPE }, Shape { hasher: 1, ..SHAPE }, Shape { in_doubt_ms: 1, ..SHAPE }]
        {
            assert_eq!(kind(&bytes, shape), Err(ErrorKind::Config));
        }
        // No blocks, too many blocks, no positions, too many positions, no epoch.
        for (at, value) in [(32..40, 0), (32..40, 1), (48..50, 0), (48..50, 255), (16..24, 0)] {
            let mut bytes = bytes.clone();
            bytes[at.clone()].fill(value);
            assert_eq!(kind(&bytes, SHAPE), Err(ErrorKind::Corrupt), "{at:?}");
        }
    }

    #[test]
    fn a_table_is_no_longer_than_a_string() {
        let plan = Plan::for_bits(1 << 32, 8.0).unwrap();
        assert_eq!(Table::new(plan, 8, 1, 1).unwrap().bytes(), MAX_TABLE);
        assert_eq!(Table::new(plan, 7, 1, 1), None);
        assert_eq!(Table::new(Plan::for_bits(1, 1.0).unwrap(), 64, 1, 1).unwrap().blocks, 1);
    }
}
