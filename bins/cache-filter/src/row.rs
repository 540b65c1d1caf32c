//! Which rows there are, and what stands in them.

use bytes::Bytes;

/// The key stands before the filler.
pub(crate) const LEAST_PAYLOAD: usize = 8;
/// Rows that are there from the start have the keys below.
pub(crate) const MOST_ITEMS: u64 = 1 << 32;
/// Rows that are inserted have the keys from here on.
pub(crate) const INSERTED: u64 = 1 << 40;
/// No row has a key from here on.
pub(crate) const ABSENT: u64 = 1 << 62;
/// So many keys are asked for that no row has: hardly one twice.
pub(crate) const STRANGERS: u64 = 1 << 48;

/// The value of the row of `key`.
pub(crate) fn value(key: u64, payload: usize) -> Bytes {
    let mut bytes = Vec::with_capacity(payload);
    bytes.extend_from_slice(&key.to_be_bytes());
    bytes.resize(payload.max(LEAST_PAYLOAD), filler(key));
    bytes.into()
}

/// Whether it is the whole value of `key`.
pub(crate) fn is_of(value: &[u8], key: u64) -> bool {
    let filler = filler(key);
    value.split_first_chunk().is_some_and(|(whose, rest)| {
        u64::from_be_bytes(*whose) == key && rest.iter().all(|byte| *byte == filler)
    })
}

const fn filler(key: u64) -> u8 {
    key.wrapping_mul(31).wrapping_add(key >> 40) as u8
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_is_known_by_its_key_and_every_byte() {
        let row = value(7, 100);
        assert_eq!(row.len(), 100);
        assert!(is_of(&row, 7) && !is_of(&row, 8) && !is_of(&row[..7], 7));
        let mut damaged = row.to_vec();
        damaged[99] ^= 1;
        assert!(!is_of(&damaged, 7));
    }

    #[test]
    fn present_inserted_and_absent_keys_are_apart() {
        const {
            assert!(
                MOST_ITEMS <= INSERTED && INSERTED * 2 <= ABSENT && ABSENT.checked_add(STRANGERS).is_some()
            );
        };
    }
}
