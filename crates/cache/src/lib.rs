#![doc = include_str!("../README.md")]

mod codec;
#[cfg(feature = "redis")]
mod envelope;
mod key;
#[cfg(feature = "redis")]
pub mod redis;
pub mod slot;
mod source;
mod store;
mod version;

pub use backends::{Error, ErrorKind, Result, Retry};
#[cfg(feature = "json")]
pub use codec::Json;
pub use codec::{Codec, Raw};
pub use key::Key;
pub use slot::{Filled, Leased, Refusal, Token};
pub use source::{DynSource, Reads, Row, Source, StoreError};
pub use store::{
    Ack, Acks, Announce, Announcement, Announcements, BoxFuture, Capability, DynStore, Entry, Fill, Store,
    Wish,
};
pub use version::{Floor, Version};
