//! What a row says: whose it is, which write it came from, and how new it is.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use bytes::Bytes;

/// Key and sequence stand before the filler.
pub(crate) const LEAST_PAYLOAD: usize = 16;

/// A value of the cache: the bytes of a row, and the version that its database gave it.
#[derive(Clone, Debug)]
pub(crate) struct Value {
    /// As the database orders the writes of the row; of one that is yet to be written, zero.
    pub(crate) version: u64,
    pub(crate) bytes: Bytes,
    receipt: Option<Receipt>,
}

/// Where the database leaves the version that it gave to a write.
#[derive(Clone, Debug, Default)]
pub(crate) struct Receipt(Arc<AtomicU64>);

impl Receipt {
    /// Zero while there is none.
    pub(crate) fn version(&self) -> u64 {
        self.0.load(Ordering::Acquire)
    }
}

impl Value {
    /// Of the row of `key` as it was read; `sequence` names the write that it came from.
    pub(crate) fn new(key: u64, sequence: u64, payload: usize, version: u64) -> Self {
        let mut bytes = Vec::with_capacity(payload);
        bytes.extend_from_slice(&key.to_be_bytes());
        bytes.extend_from_slice(&sequence.to_be_bytes());
        bytes.resize(payload.max(LEAST_PAYLOAD), filler(key, sequence));
        Self { version, bytes: bytes.into(), receipt: None }
    }

    /// Of bytes that a database or a store has kept.
    pub(crate) const fn kept(bytes: Bytes, version: u64) -> Self {
        Self { version, bytes, receipt: None }
    }

    /// The same bytes, which the database has at `version`.
    #[cfg(feature = "scylla")]
    pub(crate) fn at(self, version: u64) -> Self {
        Self { version, ..self }
    }

    /// To be written, and where its version will stand.
    pub(crate) fn to_write(key: u64, sequence: u64, payload: usize) -> (Self, Receipt) {
        let receipt = Receipt::default();
        let value = Self { receipt: Some(receipt.clone()), ..Self::new(key, sequence, payload, 0) };
        (value, receipt)
    }

    /// Tells who waits for it which version the write got.
    pub(crate) fn written(&self, version: u64) {
        if let Some(receipt) = &self.receipt {
            receipt.0.store(version, Ordering::Release);
        }
    }

    /// Whether it is a whole row of `key`.
    pub(crate) fn is_of(&self, key: u64) -> bool {
        let number = |at: usize| {
            let bytes = self.bytes.get(at..at + 8)?;
            Some(u64::from_be_bytes(bytes.try_into().ok()?))
        };
        let (Some(whose), Some(sequence)) = (number(0), number(8)) else { return false };
        let filler = filler(key, sequence);
        whose == key && self.bytes[LEAST_PAYLOAD..].iter().all(|byte| *byte == filler)
    }
}

const fn filler(key: u64, sequence: u64) -> u8 {
    key.wrapping_mul(31).wrapping_add(sequence) as u8
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_is_known_by_its_key_and_every_byte() {
        let value = Value::new(7, 3, 100, 3);
        assert!(value.is_of(7) && !value.is_of(8));
        assert_eq!(value.bytes.len(), 100);
        let mut damaged = value.bytes.to_vec();
        damaged[99] ^= 1;
        assert!(!Value::kept(damaged.into(), 3).is_of(7));
        assert!(!Value::kept(value.bytes.slice(..15), 3).is_of(7));
    }

    #[test]
    fn a_write_learns_its_version() {
        let (value, receipt) = Value::to_write(1, 1, 16);
        assert_eq!(receipt.version(), 0);
        value.clone().written(9);
        assert_eq!(receipt.version(), 9);
    }
}
