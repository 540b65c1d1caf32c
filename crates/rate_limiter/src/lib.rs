#![doc = include_str!("../README.md")]

mod algorithm;
mod bucket;
#[cfg(feature = "conformance")]
pub mod conformance;
mod decision;
mod direct;
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
mod reservation;
mod rule;
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
pub use store::{Answer, Ask, BoxFuture, Capability, DynStore, Store};
