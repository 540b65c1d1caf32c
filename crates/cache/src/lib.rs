#![doc = include_str!("../README.md")]

mod builder;
mod cache;
mod chance;
mod codec;
#[cfg(feature = "conformance")]
pub mod conformance;
#[cfg(feature = "redis")]
mod envelope;
mod error;
mod flights;
mod freshness;
mod front;
mod key;
mod load;
mod memory;
mod pending;
mod protocol;
#[cfg(feature = "redis")]
pub mod redis;
#[cfg(feature = "scylla")]
pub mod scylla;
pub mod slot;
mod source;
mod stats;
mod store;
mod tiered;
mod version;
mod write;

pub use crate::cache::Cache;
#[cfg(feature = "redis")]
pub use crate::redis::{RedisBuilder, RedisStats, RedisStore};
#[cfg(feature = "scylla")]
pub use crate::scylla::CqlSource;
pub use backends::{Error, ErrorKind, Result, Retry};
pub use builder::Builder;
#[cfg(feature = "json")]
pub use codec::Json;
pub use codec::{Codec, Raw};
pub use error::WriteError;
pub use key::Key;
pub use memory::{Memory, MemoryBuilder, Policy, Stats as MemoryStats};
pub use protocol::{Gap, Protocol, UnknownProtocol};
pub use slot::{Filled, Leased, Refusal, Token};
pub use source::{DynSource, Reads, Row, Source, SourceError};
pub use stats::Stats;
pub use store::{
    Ack, Acks, Announce, Announcement, Announcements, BoxFuture, Capability, DynStore, Entry, Fill, Store,
    Wish,
};
pub use tiered::Tiered;
pub use version::{Floor, Version};
