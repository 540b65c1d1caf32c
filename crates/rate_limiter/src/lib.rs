#![doc = include_str!("../README.md")]

mod algorithm;
#[cfg(feature = "conformance")]
pub mod conformance;
mod decision;
mod limit;
mod limiter;
mod memory;
mod quota;
mod store;
mod telemetry;
pub mod token_bucket;

pub use algorithm::{Algorithm, UnknownAlgorithm};
pub use backends::{Error, ErrorKind, Result, Retry};
pub use decision::Decision;
pub use limit::Limit;
pub use limiter::RateLimiter;
pub use memory::{Memory, MemoryBuilder, Stats};
pub use quota::{ParseQuotaError, Quota, QuotaError};
pub use store::{BoxFuture, Capability, DynStore, Store};
