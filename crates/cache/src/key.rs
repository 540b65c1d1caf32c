//! Keys.

use std::{fmt, hash::Hash};

/// What rows are found by, in the cache and in the database.
pub trait Key: Clone + Eq + Hash + fmt::Debug + Send + Sync + 'static {
    /// Appends the bytes that stand for the key on a server; different keys have different bytes.
    fn encode(&self, out: &mut Vec<u8>);

    /// The key that `bytes` stand for, if they do.
    fn decode(bytes: &[u8]) -> Option<Self>;
}

impl Key for String {
    fn encode(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(self.as_bytes());
    }

    fn decode(bytes: &[u8]) -> Option<Self> {
        Some(str::from_utf8(bytes).ok()?.to_owned())
    }
}

impl Key for Vec<u8> {
    fn encode(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(self);
    }

    fn decode(bytes: &[u8]) -> Option<Self> {
        Some(bytes.to_owned())
    }
}

macro_rules! numbers {
    ($($number:ty)*) => {$(
        /// As decimal digits, which a person at a console can read.
        impl Key for $number {
            fn encode(&self, out: &mut Vec<u8>) {
                use std::io::Write;
                // Writing to a vector cannot fail.
                let _ = write!(out, "{self}");
            }

            fn decode(bytes: &[u8]) -> Option<Self> {
                str::from_utf8(bytes).ok()?.parse().ok()
            }
        }
    )*};
}

numbers!(u32 u64 i32 i64 u128);
