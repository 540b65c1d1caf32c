//! Where the entries are kept, and where the rows are.

use clap::ValueEnum;

const INSTEAD: &str = "run: cargo run --release --bin cache -- --backend memory --db memory";

/// The backends of the workspace, whether entries are kept there or not: a name that people will try deserves a better
/// answer than "invalid value".
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Backend {
    Memory,
    Redis,
    RedisCluster,
    /// Copies in memory, in front of a Redis.
    Tiered,
    #[value(hide = true)]
    Kafka,
    #[value(hide = true)]
    Scylla,
}

/// The databases.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Db {
    Memory,
    Scylla,
    ScyllaCluster,
    #[value(hide = true)]
    Redis,
    #[value(hide = true)]
    Kafka,
}

/// How many replicas of a row a load and a write wait for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Level {
    Quorum,
    One,
}

impl Backend {
    /// Where `scripts/backends` starts it.
    pub(crate) const fn url(self) -> &'static str {
        match self {
            Self::RedisCluster => "redis-cluster://127.0.0.1:7000",
            _ => "redis://127.0.0.1:6379",
        }
    }

    pub(crate) const fn is_memory(self) -> bool {
        matches!(self, Self::Memory)
    }

    /// What stands in the way of using it, and the command that works.
    pub(crate) fn check(self) -> Result<(), String> {
        match self {
            Self::Kafka => {
                Err(format!("kafka cannot keep entries, since a log has no read by key; {INSTEAD}"))
            }
            Self::Scylla => {
                Err("scylla is a database here, not a store of entries; run: cargo run --release \
                --bin cache --features scylla -- --backend redis --db scylla"
                    .to_owned())
            }
            Self::Memory | Self::Redis | Self::RedisCluster | Self::Tiered => Ok(()),
        }
    }
}

impl Db {
    /// Where `scripts/backends` starts it.
    #[cfg(feature = "scylla")]
    pub(crate) const fn url(self) -> &'static str {
        match self {
            Self::ScyllaCluster => "scylla://127.0.0.2:9042,127.0.0.3:9042/cache_bench",
            _ => "scylla://127.0.0.1:9042/cache_bench",
        }
    }

    /// Replicas of each row, in a keyspace that is created.
    #[cfg(feature = "scylla")]
    pub(crate) const fn replicas(self) -> u32 {
        match self {
            Self::ScyllaCluster => 2,
            _ => 1,
        }
    }

    pub(crate) const fn is_memory(self) -> bool {
        matches!(self, Self::Memory)
    }

    /// What stands in the way of using it, and the command that works.
    pub(crate) fn check(self) -> Result<(), String> {
        match self {
            Self::Redis => {
                Err("redis keeps entries here, and is no database; run: cargo run --release --bin \
                cache -- --backend redis"
                    .to_owned())
            }
            Self::Kafka => {
                Err(format!("kafka is no database here, since a log has no read by key; {INSTEAD}"))
            }
            Self::Scylla | Self::ScyllaCluster if !cfg!(feature = "scylla") => Err(format!(
                "scylla is not built in; run: cargo run --release --bin cache --features scylla -- --db {self}"
            )),
            Self::Memory | Self::Scylla | Self::ScyllaCluster => Ok(()),
        }
    }
}

impl std::fmt::Display for Level {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Quorum => "quorum",
            Self::One => "one",
        })
    }
}

impl std::fmt::Display for Backend {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Memory => "memory",
            Self::Redis => "redis",
            Self::RedisCluster => "redis-cluster",
            Self::Tiered => "tiered",
            Self::Kafka => "kafka",
            Self::Scylla => "scylla",
        })
    }
}

impl std::fmt::Display for Db {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Memory => "memory",
            Self::Scylla => "scylla",
            Self::ScyllaCluster => "scylla-cluster",
            Self::Redis => "redis",
            Self::Kafka => "kafka",
        })
    }
}
