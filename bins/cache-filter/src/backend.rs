//! Where the entries are kept, where the rows are, and which filter stands in front.

use std::{fmt, str::FromStr};

use clap::ValueEnum;
use filters::Kind;

/// The backends of the workspace, whether entries are kept there or not: a name that people will try deserves a better
/// answer than "invalid value".
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Backend {
    Memory,
    Redis,
    RedisCluster,
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
}

/// What stands in front of the cache.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FilterName {
    None,
    /// In memory.
    Local(Kind),
    /// On the server of the entries.
    Hosted,
}

const RUN: &str = "run: cargo run --release --bin cache-filter";

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
            Self::Kafka => Err(format!(
                "kafka cannot keep entries, since a log has no read by key; {RUN} -- --backend redis"
            )),
            Self::Scylla => Err(format!(
                "scylla is a database here, not a store of entries; {RUN} --features scylla -- --backend redis --db scylla"
            )),
            Self::Memory | Self::Redis | Self::RedisCluster => Ok(()),
        }
    }
}

impl Db {
    /// Where `scripts/backends` starts it.
    #[cfg(feature = "scylla")]
    pub(crate) const fn url(self) -> &'static str {
        match self {
            Self::ScyllaCluster => "scylla://127.0.0.2:9042,127.0.0.3:9042/cache_filter_bench",
            _ => "scylla://127.0.0.1:9042/cache_filter_bench",
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
                Err(format!("redis keeps entries here, and is no database; {RUN} -- --backend redis"))
            }
            Self::Scylla | Self::ScyllaCluster if !cfg!(feature = "scylla") => {
                Err(format!("scylla is not built in; {RUN} --features scylla -- --db {self}"))
            }
            Self::Memory | Self::Scylla | Self::ScyllaCluster => Ok(()),
        }
    }
}

impl FilterName {
    /// Whether `--bits` and `--memory` decide how large it is.
    pub(crate) const fn has_bits(self) -> bool {
        !matches!(self, Self::Local(Kind::Fuse8 | Kind::Fuse16))
    }

    /// Whether a key sets as many bits as `--positions` says.
    pub(crate) const fn has_positions(self) -> bool {
        !matches!(self, Self::Local(Kind::Fuse8 | Kind::Fuse16 | Kind::Ribbon | Kind::RFilter))
    }
}

impl FromStr for FilterName {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        match name {
            "none" => Ok(Self::None),
            "hosted" => Ok(Self::Hosted),
            _ => Kind::ALL.into_iter().find(|kind| kind.as_str() == name).map(Self::Local).ok_or_else(|| {
                let kinds: Vec<_> = Kind::ALL.iter().map(|kind| kind.as_str()).collect();
                format!("use none, {} or hosted", kinds.join(", "))
            }),
        }
    }
}

impl fmt::Display for FilterName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::None => f.write_str("none"),
            Self::Local(kind) => kind.fmt(f),
            Self::Hosted => f.write_str("hosted"),
        }
    }
}

impl fmt::Display for Backend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Memory => "memory",
            Self::Redis => "redis",
            Self::RedisCluster => "redis-cluster",
            Self::Kafka => "kafka",
            Self::Scylla => "scylla",
        })
    }
}

impl fmt::Display for Db {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Memory => "memory",
            Self::Scylla => "scylla",
            Self::ScyllaCluster => "scylla-cluster",
            Self::Redis => "redis",
        })
    }
}
