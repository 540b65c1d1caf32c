#![doc = include_str!("../README.md")]

mod ahead;
mod any;
mod blocked;
mod bloom;
mod bytes;
#[cfg(feature = "conformance")]
pub mod conformance;
mod counting;
mod filter;
mod fuse;
mod hash;
mod keyed;
mod local;
mod membership;
mod plan;
pub mod rate;
#[cfg(feature = "redis")]
pub mod redis;
mod rfilter;
mod ribbon;

#[cfg(feature = "redis")]
pub use crate::redis::HostedBloom;
pub use any::{AnyFilter, Visit};
pub use backends::{Error, ErrorKind, Result, Retry};
pub use blocked::Blocked;
pub use bloom::Bloom;
pub use counting::Counting;
pub use filter::{Filter, Insert, Kind, Merge, Remove};
pub use fuse::{Fuse8, Fuse16};
pub use hash::{KeyHasher, Std, Xxh3, fingerprint};
pub use keyed::Keyed;
pub use local::{Local, LocalBuilder};
pub use membership::{
    Announced, Answer, BoxFuture, Capability, DynMembership, Membership, Rebuilt, Scan, State, Unsettled,
};
pub use plan::{MAX_BITS, MAX_POSITIONS, Plan};
pub use rfilter::RFilter;
pub use ribbon::Ribbon;
