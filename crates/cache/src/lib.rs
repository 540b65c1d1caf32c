#![doc = include_str!("../README.md")]

mod key;
#[cfg(feature = "scylla")]
pub mod scylla;
pub mod slot;
mod source;
mod store;
mod version;

#[cfg(feature = "scylla")]
pub use crate::scylla::CqlSource;
pub use backends::{Error, ErrorKind, Result, Retry};
pub use key::Key;
pub use slot::{Filled, Leased, Refusal, Token};
pub use source::{DynSource, Reads, Row, Source, StoreError};
pub use store::{
    Ack, Acks, Announce, Announcement, Announcements, BoxFuture, Capability, DynStore, Entry, Fill, Store,
    Wish,
};
pub use version::{Floor, Version};
