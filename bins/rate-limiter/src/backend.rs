//! Where the limits are kept.

use clap::ValueEnum;

/// The backends of the workspace, whether the limiter runs on them or not: a name that people will try
/// deserves a better answer than "invalid value".
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Backend {
    Memory,
    Redis,
    RedisCluster,
    Kafka,
    Scylla,
}

impl Backend {
    /// What stands in the way of using it, and the command that works.
    pub(crate) fn check(self) -> Result<(), String> {
        const INSTEAD: &str = "run: cargo run --release --bin rate-limiter -- --backend memory";
        match self {
            Self::Memory => Ok(()),
            Self::Kafka => {
                Err(format!("kafka cannot keep limits, since a log has no read-modify-write; {INSTEAD}"))
            }
            Self::Redis | Self::RedisCluster | Self::Scylla => {
                Err(format!("the backend {self} is not built into this version; {INSTEAD}"))
            }
        }
    }
}

impl std::fmt::Display for Backend {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Memory => "memory",
            Self::Redis => "redis",
            Self::RedisCluster => "redis-cluster",
            Self::Kafka => "kafka",
            Self::Scylla => "scylla",
        })
    }
}
