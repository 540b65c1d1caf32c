#![doc = include_str!("../README.md")]

#[cfg(feature = "conformance")]
pub mod conformance;
mod key;
mod memory;
pub mod slot;
mod source;
mod store;
mod version;

pub use backends::{Error, ErrorKind, Result, Retry};
pub use key::Key;
pub use memory::{Memory, MemoryBuilder, Policy, Stats};
pub use slot::{Filled, Leased, Refusal, Token};
pub use source::{DynSource, Reads, Row, Source, StoreError};
pub use store::{
    Ack, Acks, Announce, Announcement, Announcements, BoxFuture, Capability, DynStore, Entry, Fill, Store,
    Wish,
};
pub use version::{Floor, Version};
