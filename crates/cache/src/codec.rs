//! How values become bytes on a server.

use bytes::Bytes;
use xxhash_rust::xxh3::xxh3_64;
#[cfg(feature = "json")]
use xxhash_rust::xxh3::xxh3_64_with_seed;

use crate::Result;

/// Makes bytes of values, and values of bytes.
///
/// What was written with another [`fingerprint`](Self::fingerprint) is not decoded but a miss, so that two releases with
/// different types can run side by side: each loads what it finds of the other.
pub trait Codec<V>: Send + Sync + 'static {
    /// A number that changes whenever bytes of before are to be read no more.
    fn fingerprint(&self) -> u64;

    /// Appends the bytes of `value` to `out`.
    ///
    /// # Errors
    ///
    /// `Invalid` for a value that has no bytes.
    fn encode(&self, value: &V, out: &mut Vec<u8>) -> Result<()>;

    /// The value of `bytes`, which may be kept without a copy; `None` when they are not those of a value.
    fn decode(&self, bytes: Bytes) -> Option<V>;
}

/// Values that are bytes already: [`Bytes`], which are not copied when read, `Vec<u8>` and `String`.
///
/// All three have the same bytes and one fingerprint; those that are not UTF-8 are no `String`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Raw;

impl Raw {
    fn fingerprint() -> u64 {
        xxh3_64(b"raw 1")
    }
}

macro_rules! raw {
    ($($type:ty: |$bytes:ident| $decode:expr;)*) => {$(
        impl Codec<$type> for Raw {
            fn fingerprint(&self) -> u64 {
                Self::fingerprint()
            }

            fn encode(&self, value: &$type, out: &mut Vec<u8>) -> Result<()> {
                out.extend_from_slice(value.as_ref());
                Ok(())
            }

            fn decode(&self, $bytes: Bytes) -> Option<$type> {
                $decode
            }
        }
    )*};
}

raw! {
    Bytes: |bytes| Some(bytes);
    Vec<u8>: |bytes| Some(bytes.into());
    String: |bytes| String::from_utf8(bytes.into()).ok();
}

/// Values as JSON, by serde. Feature `json`.
#[cfg(feature = "json")]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Json {
    fingerprint: Option<u64>,
}

#[cfg(feature = "json")]
impl Json {
    /// With the path of the Rust type as its fingerprint: renaming or moving the type makes every entry a miss, and so
    /// may a new compiler. [`named`](Self::named) is for who deploys often.
    #[must_use]
    pub const fn new() -> Self {
        Self { fingerprint: None }
    }

    /// With `name` and `version` as its fingerprint: a new version is for a change that serde would not notice, such as
    /// a field that is there as before and means something else.
    #[must_use]
    pub fn named(name: &str, version: u32) -> Self {
        Self { fingerprint: Some(Self::print(name, version)) }
    }

    fn print(name: &str, version: u32) -> u64 {
        // The upper half tells it from what other codecs may hash.
        xxh3_64_with_seed(name.as_bytes(), 0x4a53_4f4e << 32 | u64::from(version))
    }
}

#[cfg(feature = "json")]
impl Default for Json {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(feature = "json")]
impl<V: serde::Serialize + serde::de::DeserializeOwned> Codec<V> for Json {
    fn fingerprint(&self) -> u64 {
        self.fingerprint.unwrap_or_else(|| Self::print(std::any::type_name::<V>(), 0))
    }

    fn encode(&self, value: &V, out: &mut Vec<u8>) -> Result<()> {
        serde_json::to_writer(out, value).map_err(|error| {
            crate::Error::new(crate::ErrorKind::Invalid, "json", "encode", "the value has no json")
                .with_source(error)
        })
    }

    fn decode(&self, bytes: Bytes) -> Option<V> {
        serde_json::from_slice(&bytes).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn round<V, C: Codec<V>>(codec: &C, value: &V) -> Option<V> {
        let mut out = b"before".to_vec();
        codec.encode(value, &mut out).unwrap();
        assert!(out.starts_with(b"before"), "it appends");
        codec.decode(Bytes::from(out).slice(6..))
    }

    #[test]
    fn raw_is_what_it_was() {
        for text in ["", "text"] {
            assert_eq!(round(&Raw, &text.to_owned()).as_deref(), Some(text));
            assert_eq!(round(&Raw, &text.as_bytes().to_vec()).as_deref(), Some(text.as_bytes()));
            assert_eq!(round(&Raw, &Bytes::from(text)).as_deref(), Some(text.as_bytes()));
        }
        assert_eq!(Codec::<String>::decode(&Raw, Bytes::from_static(&[0xff])), None);
    }

    #[cfg(feature = "json")]
    #[test]
    fn json_is_known_by_its_name_and_version() {
        let value = vec![(1_u32, "one".to_owned())];
        assert_eq!(round(&Json::new(), &value), Some(value));
        assert_eq!(Codec::<u8>::decode(&Json::new(), Bytes::from_static(b"256")), None);
        let of = |codec: Json| Codec::<u8>::fingerprint(&codec);
        assert_eq!(of(Json::named("user", 1)), of(Json::named("user", 1)));
        assert_ne!(of(Json::named("user", 1)), of(Json::named("user", 2)));
        assert_ne!(of(Json::named("user", 1)), of(Json::named("users", 1)));
        assert_ne!(of(Json::new()), Codec::<u16>::fingerprint(&Json::new()));
        let keys = std::collections::HashMap::from([(vec![1], 1)]);
        let error =
            Codec::<std::collections::HashMap<Vec<u8>, u8>>::encode(&Json::new(), &keys, &mut Vec::new());
        assert_eq!(error.unwrap_err().kind(), crate::ErrorKind::Invalid);
    }
}
