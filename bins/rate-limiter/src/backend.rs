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
    /// Where `scripts/backends` starts it.
    pub(crate) const fn url(self) -> &'static str {
        match self {
            Self::RedisCluster => "redis-cluster://127.0.0.1:7000",
            Self::Scylla => "scylla://127.0.0.1:9042/rate_limiter",
            Self::Redis | Self::Memory | Self::Kafka => "redis://127.0.0.1:6379",
        }
    }

    /// Decisions a second that a closed loop is taken to make.
    pub(crate) const fn expected_rate(self, leased: bool, batched: bool) -> f64 {
        match (self, leased, batched) {
            (Self::Memory | Self::Kafka, ..) => 10e6,
            (_, true, _) => 3e6,
            (Self::Scylla, ..) => 1e3,
            (_, _, true) => 1e5,
            _ => 4e4,
        }
    }

    /// What stands in the way of using it, and the command that works.
    pub(crate) fn check(self) -> Result<(), String> {
        const INSTEAD: &str = "run: cargo run --release --bin rate-limiter -- --backend memory";
        match self {
            Self::Memory => Ok(()),
            Self::Kafka => {
                Err(format!("kafka cannot keep limits, since a log has no read-modify-write; {INSTEAD}"))
            }
            Self::Scylla if !cfg!(feature = "scylla") => Err("scylla is not built in; run: cargo run \
                --release --bin rate-limiter --features scylla -- --backend scylla"
                .to_owned()),
            Self::Redis | Self::RedisCluster | Self::Scylla => Ok(()),
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
