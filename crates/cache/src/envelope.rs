//! What a key of a server holds: a header of 56 bytes, and behind it the payload.
//!
//! The scripts write it (`redis/lua/prelude.lua` has the layout); a plain `GET` brings it here.

use bytes::Bytes;

use crate::{Codec, Version, slot::Content};

/// The length of the header.
const HEAD: usize = 56;
/// The first byte begins neither UTF-8 nor JSON; the second is the version of the format.
const FORMAT: [u8; 2] = [193, 1];

/// What was read.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Envelope<V> {
    /// A lease or a floor, without content.
    Bare,
    /// Content, perhaps expired.
    Content(Content<V>),
    /// Something else: what another program, a newer release or another codec wrote. With what names it for a lease,
    /// where it has the header that we know.
    Undecodable {
        /// [`Content::fresh_until`] of what the caller's codec wrote, and cannot read.
        fresh_until: Option<u64>,
    },
}

/// Reads a value as `codec` has it; the payload is a slice of `bytes`, not a copy.
pub(crate) fn read<V, C: Codec<V>>(mut bytes: Bytes, codec: &C) -> Envelope<V> {
    let foreign = Envelope::Undecodable { fresh_until: None };
    if bytes.len() < HEAD || bytes[..2] != FORMAT {
        return foreign;
    }
    let payload = bytes.split_off(HEAD);
    let word = |at: usize| {
        let mut word = [0; 8];
        word.copy_from_slice(&bytes[at..at + 8]);
        u64::from_be_bytes(word)
    };
    let is_value = match bytes[2] {
        0 => return Envelope::Bare,
        1 => true,
        2 => false,
        _ => return foreign,
    };
    if word(48) != codec.fingerprint() {
        return foreign;
    }
    let fresh_until = word(16);
    let unreadable = Envelope::Undecodable { fresh_until: Some(fresh_until) };
    let value = match is_value.then(|| codec.decode(payload)) {
        Some(None) => return unreadable,
        Some(value) => value,
        None => None,
    };
    // A version that is none was not written by us, whatever else is right.
    let Some(version) = Version::new(word(8)) else { return unreadable };
    let load_ms = u32::from_be_bytes([bytes[4], bytes[5], bytes[6], bytes[7]]);
    Envelope::Content(Content { value, version, fresh_until, expires_at: word(24), load_ms })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Raw;

    /// As the first release wrote it. Never changed: a deploy must read what is there.
    fn golden() -> Vec<u8> {
        let mut bytes = vec![193, 1, 1, 0, 0, 0, 0, 9];
        for word in [7_u64, 1_700_000_000_000, 1_700_000_060_000, 0, 0, 0x3b5a_134f_77e4_e15b] {
            bytes.extend(word.to_be_bytes());
        }
        bytes.extend(b"payload");
        bytes
    }

    fn read_raw(bytes: Vec<u8>) -> Envelope<Bytes> {
        read(bytes.into(), &Raw)
    }

    #[test]
    fn the_format_stays_what_it_is() {
        assert_eq!(Codec::<Bytes>::fingerprint(&Raw), 0x3b5a_134f_77e4_e15b);
        let content = Content {
            value: Some(Bytes::from_static(b"payload")),
            version: Version::new(7).unwrap(),
            fresh_until: 1_700_000_000_000,
            expires_at: 1_700_000_060_000,
            load_ms: 9,
        };
        assert_eq!(read_raw(golden()), Envelope::Content(content.clone()));
        let mut absent = golden();
        absent[2] = 2;
        absent.truncate(HEAD);
        assert_eq!(read_raw(absent), Envelope::Content(Content { value: None, ..content }));
        let mut bare = golden();
        bare[2] = 0;
        assert_eq!(read_raw(bare), Envelope::Bare);
    }

    #[test]
    fn the_payload_is_not_copied() {
        let bytes = Bytes::from(golden());
        let at = bytes[HEAD..].as_ptr();
        let Envelope::Content(content) = read::<Bytes, _>(bytes, &Raw) else { panic!() };
        assert_eq!(content.value.unwrap().as_ptr(), at);
    }

    #[test]
    fn what_we_did_not_write_is_undecodable() {
        let foreign = Envelope::Undecodable { fresh_until: None };
        for (at, byte) in [(0, b'{'), (1, 2), (2, 3), (48, 0)] {
            let mut bytes = golden();
            bytes[at] = byte;
            assert_eq!(read_raw(bytes), foreign, "byte {at}");
        }
        for length in 0..HEAD {
            assert_eq!(read_raw(golden()[..length].to_vec()), foreign);
        }
        // Not text, or a version that is none, behind a header of ours: a lease names it.
        let named =
            |envelope| assert_eq!(envelope, Envelope::Undecodable { fresh_until: Some(1_700_000_000_000) });
        let mut bytes = golden();
        bytes[HEAD] = 0xff;
        named(read::<String, _>(bytes.into(), &Raw));
        let mut bytes = golden();
        bytes[8] = 0xff;
        named(read::<String, _>(bytes.into(), &Raw));
    }

    proptest::proptest! {
        #[test]
        fn any_bytes_can_be_read(head in proptest::collection::vec(0_u8.., 0..80), ours in 0..80_usize) {
            // The front of ours, and then anything.
            let mut bytes = golden();
            bytes.truncate(ours);
            bytes.extend(head);
            let _ = read::<String, _>(bytes.into(), &Raw);
        }
    }
}
