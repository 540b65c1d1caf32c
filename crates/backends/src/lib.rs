#![doc = include_str!("../README.md")]

mod config;
mod error;
#[cfg(feature = "kafka")]
#[cfg_attr(not(feature = "rdkafka-0_39"), expect(unreachable_pub, reason = "public with `rdkafka-0_39`"))]
mod kafka;
#[cfg(feature = "redis")]
#[cfg_attr(not(feature = "redis-1"), expect(unreachable_pub, dead_code, reason = "public with `redis-1`"))]
mod redis;
#[cfg(feature = "scylla")]
#[cfg_attr(not(feature = "scylla-1"), expect(unreachable_pub, reason = "public with `scylla-1`"))]
mod scylla;
pub mod telemetry;

pub use config::{Config, Scheme};
pub use error::{Error, ErrorKind, Result, Retry};

#[cfg(feature = "kafka")]
pub use crate::kafka::Kafka;
#[cfg(feature = "redis")]
pub use crate::redis::{FsyncHonesty, NodeMemory, Redis, Subscription, SubscriptionEvent};
#[cfg(feature = "scylla")]
pub use crate::scylla::Cql;

/// For code that speaks to Redis by the `redis` crate, version 1. Feature `redis-1`.
#[cfg(feature = "redis-1")]
pub mod redis_1 {
    pub use crate::redis::{
        Acknowledged, Batch, Integers, KeyedCommand, RedisConnection, Reply, Wait, is_unknown_script,
        redis_error,
    };
}

/// For code that speaks to Kafka by the `rdkafka` crate, version 0.39. Feature `rdkafka-0_39`.
#[cfg(feature = "rdkafka-0_39")]
pub mod rdkafka_0_39 {
    pub use crate::kafka::kafka_error;
}

/// For code that speaks CQL by the `scylla` crate, version 1. Feature `scylla-1`.
#[cfg(feature = "scylla-1")]
pub mod scylla_1 {
    pub use crate::scylla::cql_error;
}
