#![doc = include_str!("../README.md")]

mod any;
mod blocked;
mod bloom;
mod bytes;
#[cfg(feature = "conformance")]
pub mod conformance;
mod filter;
mod hash;
mod keyed;
mod local;
mod membership;
mod plan;
pub mod rate;
#[cfg(feature = "redis")]
pub mod redis;

pub use any::AnyFilter;
pub use backends::{Error, ErrorKind, Result, Retry};
pub use bloom::Bloom;
pub use filter::{Filter, Insert, Kind, Merge, Remove};
pub use hash::{KeyHasher, Std, Xxh3, fingerprint};
pub use keyed::Keyed;
pub use local::{Local, LocalBuilder};
pub use membership::{
    Announced, Answer, BoxFuture, Capability, DynMembership, Membership, Rebuilt, Scan, State, Unsettled,
};
pub use plan::{MAX_BITS, MAX_POSITIONS, Plan};
