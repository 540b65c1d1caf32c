//! What an invalidation publishes.

use crate::{Floor, Key, Version};

/// The version of the format.
const FORMAT: u8 = 1;

/// Reads a message of the [channel](super::RedisStore::channel) of a cache: the key that was invalidated, and up to
/// which version.
///
/// A byte for the version of the format, 1; the floor in 8 bytes, big-endian; the bytes of the key, without the prefix
/// of the cache. `None` for anything else, such as the message of a newer release: then it is not known what was
/// invalidated, and no copy can be trusted.
#[must_use]
pub fn decode_announcement<K: Key>(message: &[u8]) -> Option<(K, Floor)> {
    let (&FORMAT, rest) = message.split_first()? else { return None };
    let (floor, key) = rest.split_first_chunk()?;
    let floor = Floor::at(Version::new(u64::from_be_bytes(*floor))?);
    Some((K::decode(key)?, floor))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_a_floor_and_a_key() {
        let message = b"\x01\0\0\0\0\0\0\x01\x02user 7";
        let floor = Floor::at(Version::new(258).unwrap());
        assert_eq!(decode_announcement::<String>(message), Some(("user 7".to_owned(), floor)));
        assert_eq!(decode_announcement::<String>(&message[..9]), Some((String::new(), floor)));
        assert_eq!(decode_announcement::<u64>(message), None, "no such key");
    }

    #[test]
    fn what_is_cut_or_newer_is_none() {
        let message = b"\x01\0\0\0\0\0\0\x01\x02";
        for length in 0..message.len() {
            assert_eq!(decode_announcement::<String>(&message[..length]), None);
        }
        assert_eq!(decode_announcement::<String>(b"\x02\0\0\0\0\0\0\x01\x02k"), None);
        assert_eq!(decode_announcement::<String>(b"\x01\xff\0\0\0\0\0\x01\x02k"), None, "no version");
    }
}
