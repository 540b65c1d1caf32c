#![doc = include_str!("../README.md")]

mod algorithm;
mod bucket;
#[cfg(feature = "conformance")]
pub mod conformance;
mod decision;
mod direct;
#[cfg(feature = "scylla")]
mod encoding;
#[cfg(feature = "fallback")]
pub mod fallback;
pub mod fixed_window;
pub mod gcra;
pub mod leaky_bucket;
#[cfg(feature = "lease")]
pub mod lease;
mod limit;
mod limiter;
mod memory;
mod quota;
#[cfg(feature = "redis")]
pub mod redis;
mod reservation;
mod rule;
#[cfg(feature = "scylla")]
pub mod scylla;
pub mod sliding_window_counter;
pub mod sliding_window_log;
mod store;
mod sync;
mod telemetry;
pub mod token_bucket;
#[cfg(feature = "tower")]
pub mod tower;
#[cfg(feature = "wait")]
mod wait;

#[cfg(feature = "redis")]
pub use crate::redis::RedisStore;
#[cfg(feature = "scylla")]
pub use crate::scylla::CqlStore;
pub use algorithm::{Algorithm, UnknownAlgorithm};
pub use backends::{Error, ErrorKind, Result, Retry};
pub use bucket::BucketState;
pub use decision::Decision;
pub use direct::Direct;
pub use limit::{Limit, LimitState, Part};
pub use limiter::RateLimiter;
pub use memory::{Memory, MemoryBuilder, OnFull, Stats};
pub use quota::{ParseQuotaError, Quota, QuotaError};
pub use reservation::{Refusal, Reservation};
pub use rule::{Rule, State};
pub use store::{Answer, Ask, AskMany, BoxFuture, Capability, DynStore, Store};
