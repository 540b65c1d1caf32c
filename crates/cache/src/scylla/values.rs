use bytes::Bytes;

type Encode<V> = dyn Fn(&V, &mut Vec<u8>) + Send + Sync;
type Decode<V> = dyn Fn(Bytes) -> Option<V> + Send + Sync;

/// Values as bytes, and back.
pub(super) struct Values<V> {
    pub(super) encode: Box<Encode<V>>,
    pub(super) decode: Box<Decode<V>>,
}

impl Values<Bytes> {
    /// Bytes are themselves.
    pub(super) fn plain() -> Self {
        Self { encode: Box::new(|value, out| out.extend_from_slice(value)), decode: Box::new(Some) }
    }
}
