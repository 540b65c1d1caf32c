use std::{env, fmt, net::ToSocketAddrs, path::PathBuf, str::FromStr};

mod record;

/// A kind of server that trials run against, or none at all.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Backend {
    /// In memory: always there.
    Memory,
    /// One Redis.
    Redis,
    /// One Valkey.
    Valkey,
    /// A Redis Cluster of 10 masters and 10 replicas.
    RedisCluster,
    /// One Kafka broker.
    Kafka,
    /// Two Kafka brokers.
    KafkaCluster,
    /// One CQL node.
    Scylla,
    /// Two CQL nodes.
    ScyllaCluster,
}

impl Backend {
    /// All of them, in the order in which suites list them.
    pub const ALL: [Self; 8] = [
        Self::Memory,
        Self::Redis,
        Self::Valkey,
        Self::RedisCluster,
        Self::Kafka,
        Self::KafkaCluster,
        Self::Scylla,
        Self::ScyllaCluster,
    ];

    /// The name in trials, in `REQUIRE_BACKENDS` and for `scripts/backends`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Memory => "memory",
            Self::Redis => "redis",
            Self::Valkey => "valkey",
            Self::RedisCluster => "redis-cluster",
            Self::Kafka => "kafka",
            Self::KafkaCluster => "kafka-cluster",
            Self::Scylla => "scylla",
            Self::ScyllaCluster => "scylla-cluster",
        }
    }

    /// Where `scripts/backends` starts it.
    #[must_use]
    pub const fn default_url(self) -> &'static str {
        match self {
            Self::Memory => "memory:",
            Self::Redis => "redis://127.0.0.1:6379",
            Self::Valkey => "redis://127.0.0.1:6380",
            Self::RedisCluster => "redis-cluster://127.0.0.1:7000,127.0.0.1:7001,127.0.0.1:7002",
            Self::Kafka => "kafka://127.0.0.1:9092",
            Self::KafkaCluster => "kafka://127.0.0.1:9192,127.0.0.1:9292",
            Self::Scylla => "scylla://127.0.0.1:9042",
            Self::ScyllaCluster => "scylla://127.0.0.2:9042,127.0.0.3:9042",
        }
    }

    /// The environment variable that names a server to use instead, for example
    /// `REDIS_CLUSTER_TEST_URL`.
    #[must_use]
    pub fn url_variable(self) -> String {
        format!("{}_TEST_URL", self.name().replace('-', "_").to_uppercase())
    }

    /// The URL of a server that tests may use: the one that [`url_variable`](Self::url_variable)
    /// names, else the one that `scripts/backends` started, if it still runs and listens. Whatever
    /// else may listen on the default port is left alone.
    ///
    /// # Errors
    ///
    /// Why there is none, and what to do, in one line.
    pub fn locate(self) -> Result<String, String> {
        self.locate_by(|variable| env::var(variable).ok())
    }

    fn locate_by(self, variable: impl Fn(&str) -> Option<String>) -> Result<String, String> {
        let explicit = variable(&self.url_variable()).filter(|url| !url.is_empty());
        if let Some(url) = explicit {
            return Ok(url);
        }
        if self != Self::Memory {
            let home = variable("BACKENDS_HOME").map_or_else(backends_home, PathBuf::from);
            record::check(&home, self)?;
        }
        Ok(self.default_url().to_owned())
    }

    /// The backends that `REQUIRE_BACKENDS` names, separated by commas: a missing one of these is a
    /// failure.
    ///
    /// # Errors
    ///
    /// When a name is unknown; the text names those that are known.
    pub fn required() -> Result<Vec<Self>, String> {
        parse_list(&env::var("REQUIRE_BACKENDS").unwrap_or_default())
            .map_err(|error| format!("REQUIRE_BACKENDS: {error}"))
    }

    /// The addresses of [`default_url`](Self::default_url).
    fn addresses(self) -> impl Iterator<Item = std::net::SocketAddr> {
        let (_, authority) = self.default_url().split_once("://").unwrap_or_default();
        authority.split(',').filter_map(|address| address.to_socket_addrs().ok()).flatten()
    }
}

impl fmt::Display for Backend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for Backend {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        Self::ALL.into_iter().find(|backend| backend.name() == name).ok_or_else(|| {
            format!("unknown backend {name:?}: known are {}", Self::ALL.map(Self::name).join(", "))
        })
    }
}

/// What `scripts/backends` keeps, for all checkouts that don't set `BACKENDS_HOME`.
pub(crate) fn backends_home() -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../.backends"))
}

fn parse_list(list: &str) -> Result<Vec<Backend>, String> {
    list.split(',').map(str::trim).filter(|name| !name.is_empty()).map(str::parse).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_urls_and_variables_are_distinct() {
        for (i, a) in Backend::ALL.into_iter().enumerate() {
            assert_eq!(a.name().parse(), Ok(a));
            for b in &Backend::ALL[i + 1..] {
                assert_ne!(a.name(), b.name());
                assert_ne!(a.default_url(), b.default_url());
            }
        }
        assert_eq!(Backend::RedisCluster.url_variable(), "REDIS_CLUSTER_TEST_URL");
        assert_eq!(Backend::ScyllaCluster.addresses().count(), 2);
    }

    #[test]
    fn lists_are_parsed_and_unknown_names_are_told_the_known_ones() {
        assert_eq!(parse_list(""), Ok(vec![]));
        assert_eq!(parse_list(" redis, scylla-cluster,"), Ok(vec![Backend::Redis, Backend::ScyllaCluster]));
        let error = parse_list("redis,rediss").unwrap_err();
        assert!(error.contains("\"rediss\"") && error.contains("redis-cluster, kafka"), "{error}");
    }

    #[test]
    fn an_explicit_url_is_used_unseen_and_an_empty_one_is_none() {
        let url =
            Backend::Kafka.locate_by(|name| (name == "KAFKA_TEST_URL").then(|| "kafka://there:1".into()));
        assert_eq!(url.unwrap(), "kafka://there:1");
        let nothing =
            |name: &str| Some(if name == "BACKENDS_HOME" { "/nonexistent".into() } else { String::new() });
        assert!(Backend::Kafka.locate_by(nothing).is_err());
        assert_eq!(Backend::Memory.locate_by(nothing).unwrap(), "memory:");
    }
}
