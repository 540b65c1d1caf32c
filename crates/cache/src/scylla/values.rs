use backends::Result;
use bytes::Bytes;

type Encode<V> = dyn Fn(&V, &mut Vec<u8>) -> Result<()> + Send + Sync;
type Decode<V> = dyn Fn(Bytes) -> Option<V> + Send + Sync;

/// Values as bytes, and back.
pub(super) struct Values<V> {
    pub(super) encode: Box<Encode<V>>,
    pub(super) decode: Box<Decode<V>>,
}

impl Values<Bytes> {
    /// Bytes are themselves.
    pub(super) fn plain() -> Self {
        let encode = |value: &Bytes, out: &mut Vec<u8>| {
            out.extend_from_slice(value);
            Ok(())
        };
        Self { encode: Box::new(encode), decode: Box::new(Some) }
    }
}

impl<V> Values<V> {
    pub(super) fn bytes(&self, value: &V) -> Result<Vec<u8>> {
        let mut bytes = Vec::new();
        (self.encode)(value, &mut bytes)?;
        Ok(bytes)
    }
}
