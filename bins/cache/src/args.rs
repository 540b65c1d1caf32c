//! The flags, as they are written and as they make sense together.

use std::{fmt, path::PathBuf, str::FromStr, time::Duration};

use bench::{
    KeyDistribution, Report,
    format::{parse_count, parse_duration, parse_share as share},
};
use cache::{Ack, Policy, Protocol};
use clap::Args;

use crate::{backend::Backend, row::LEAST_PAYLOAD, tally::MOST_ROWS};

#[derive(Args)]
#[command(next_help_heading = "Cache")]
pub(crate) struct CacheArgs {
    /// How writes and loads are kept apart: lease, delete-after or delete-first
    #[arg(long, default_value = "lease")]
    pub(crate) protocol: Protocol,
    /// Entries that memory holds, as a share of the rows or a number [default: 10%]
    #[arg(long, value_name = "SHARE|N")]
    pub(crate) capacity: Option<Capacity>,
    /// What memory evicts: lru or s3-fifo [default: s3-fifo]
    #[arg(long, value_parser = policy)]
    pub(crate) policy: Option<Policy>,
    /// How long an entry is fresh
    #[arg(long, value_name = "TIME", default_value = "5min", value_parser = positive)]
    pub(crate) ttl: Duration,
    /// How long it is still served after that, while it is loaded anew
    #[arg(long, value_name = "TIME", default_value = "0s", value_parser = parse_duration)]
    pub(crate) stale_for: Duration,
    /// How long it is remembered that a row is absent; 0s: not at all
    #[arg(long, value_name = "TIME", default_value = "5s", value_parser = parse_duration)]
    pub(crate) negative_ttl: Duration,
    /// Who has to have an invalidation before a write returns: none, replicas:N, fsync:local or fsync:local+N
    #[arg(long, default_value = "none")]
    pub(crate) ack: Acked,
    /// Believe a server that says that an invalidation is on disk, without a probe at the start
    #[arg(long)]
    pub(crate) trust_fsync: bool,
}

#[derive(Args)]
#[command(next_help_heading = "Rows and operations")]
pub(crate) struct RowArgs {
    /// How many rows there are
    #[arg(long, default_value = "1M", value_name = "N", value_parser = parse_count)]
    pub(crate) rows: u64,
    /// How keys are chosen: uniform, zipf:EXPONENT or hotspot:FRACTION:SHARE
    #[arg(long, default_value = "zipf:0.99")]
    pub(crate) distribution: KeyDistribution,
    /// The share of the operations that write
    #[arg(long, value_name = "SHARE", default_value = "5%", value_parser = share)]
    pub(crate) writes: f64,
    /// The share of the reads that ask for rows that are not there
    #[arg(long, value_name = "SHARE", default_value = "0%", value_parser = share)]
    pub(crate) absent: f64,
    /// Read so many keys at once
    #[arg(long, default_value_t = 1, value_name = "N")]
    pub(crate) batch: usize,
    /// Bytes of a row
    #[arg(long, default_value_t = 100, value_name = "BYTES")]
    pub(crate) payload: usize,
}

#[derive(Args)]
#[command(next_help_heading = "Faults")]
pub(crate) struct FaultArgs {
    /// How long a load or a write of the database in memory takes on average, give or take a half
    #[arg(long, value_name = "TIME", value_parser = parse_duration)]
    pub(crate) db_latency: Option<Duration>,
    /// Let a replica answer this share of the loads of the database in memory, that much behind, like 50%:20ms
    #[arg(long, value_name = "SHARE:TIME")]
    pub(crate) replica_lag: Option<ReplicaLag>,
    /// Remove so many keys a second from the store
    #[arg(long, value_name = "N/s", value_parser = per_second)]
    pub(crate) evict: Option<f64>,
    /// Lose this share of the invalidations on their way to the store
    #[arg(long, value_name = "SHARE", value_parser = share)]
    pub(crate) lose_invalidations: Option<f64>,
    /// Start a Redis or a cluster of one's own for the entries, on loopback, and end it afterwards
    #[arg(long)]
    pub(crate) spawn_store: bool,
    /// Start a replica of it, too; of a cluster, one of each of its three masters
    #[arg(long)]
    pub(crate) spawn_replica: bool,
    /// What to start [default: redis-server or valkey-server of the path, or what scripts/backends fetched]
    #[arg(long, value_name = "PATH")]
    pub(crate) redis_server: Option<PathBuf>,
    /// Kill it so often, and start it again [starts one]
    #[arg(long, value_name = "TIME", value_parser = positive)]
    pub(crate) kill_store: Option<Duration>,
    /// Freeze it so often, for a quarter of the time but at most a second [starts one]
    #[arg(long, value_name = "TIME", value_parser = positive)]
    pub(crate) freeze_store: Option<Duration>,
    /// Kill a master of a cluster for good so often, so that its replica takes its place [starts three of each]
    #[arg(long, value_name = "TIME", value_parser = positive)]
    pub(crate) fail_over: Option<Duration>,
    /// Cut the replica off for so long before its master is killed: what it misses is lost
    #[arg(long, value_name = "TIME", requires = "fail_over", value_parser = positive)]
    pub(crate) fail_over_lag: Option<Duration>,
    /// Freeze a master so often until its replica has taken its place, and let it come back [starts three of each]
    #[arg(long, value_name = "TIME", value_parser = positive)]
    pub(crate) cut_off: Option<Duration>,
}

/// How many entries there is room for.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Capacity {
    Share(f64),
    Entries(u64),
}

impl Capacity {
    pub(crate) const DEFAULT: Self = Self::Share(0.1);

    pub(crate) fn of(self, rows: u64) -> u64 {
        match self {
            Self::Share(share) => ((rows as f64 * share).round() as u64).max(1),
            Self::Entries(entries) => entries,
        }
    }
}

impl FromStr for Capacity {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.strip_suffix('%') {
            Some(_) => Ok(Self::Share(share(text)?)),
            None => match parse_count(text)? {
                0 => Err("a cache has room for at least one entry".to_owned()),
                entries => Ok(Self::Entries(entries)),
            },
        }
    }
}

/// An [`Ack`] as a flag has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Acked(pub(crate) Ack);

impl FromStr for Acked {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let replicas = |text: &str| text.parse().ok().filter(|replicas| (1..=1_000).contains(replicas));
        let ack = match text.split_once(':') {
            None if text == "none" => Some(Ack::None),
            Some(("replicas", number)) => replicas(number).map(Ack::Replicas),
            Some(("fsync", "local")) => Some(Ack::Fsync { local: true, replicas: 0 }),
            Some(("fsync", rest)) => rest
                .strip_prefix("local+")
                .and_then(replicas)
                .map(|replicas| Ack::Fsync { local: true, replicas }),
            _ => None,
        };
        ack.map(Self).ok_or_else(|| {
            format!("{text:?} is no acknowledgement; use none, replicas:N, fsync:local or fsync:local+N")
        })
    }
}

impl fmt::Display for Acked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Ack::Replicas(replicas) => write!(f, "replicas:{replicas}"),
            Ack::Fsync { replicas: 0, .. } => f.write_str("fsync:local"),
            Ack::Fsync { replicas, .. } => write!(f, "fsync:local+{replicas}"),
            _ => f.write_str("none"),
        }
    }
}

/// A replica that is behind.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct ReplicaLag {
    pub(crate) share: f64,
    pub(crate) delay: Duration,
}

impl FromStr for ReplicaLag {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (loads, delay) =
            text.split_once(':').ok_or_else(|| format!("{text:?}: write it like 50%:20ms"))?;
        Ok(Self { share: share(loads)?, delay: parse_duration(delay)? })
    }
}

fn positive(text: &str) -> Result<Duration, String> {
    match parse_duration(text)? {
        duration if duration < Duration::from_millis(1) => Err("at least a millisecond".to_owned()),
        duration => Ok(duration),
    }
}

fn per_second(text: &str) -> Result<f64, String> {
    let number = text.strip_suffix("/s").ok_or_else(|| format!("{text:?}: write it like 100/s"))?;
    match parse_count(number)? {
        0 => Err("zero a second makes no sense here".to_owned()),
        count => Ok(count as f64),
    }
}

fn policy(text: &str) -> Result<Policy, String> {
    match text {
        "lru" => Ok(Policy::Lru),
        "s3-fifo" => Ok(Policy::S3Fifo),
        _ => Err("use lru or s3-fifo".to_owned()),
    }
}

impl crate::Args {
    /// Says what makes no sense together.
    pub(crate) fn check(&self) -> Result<(), String> {
        self.backend.check()?;
        self.db.check()?;
        self.run.check()?;
        if self.run.virtual_time {
            return Err(
                "--virtual-time: loads and leases take the time of a real clock; leave it out".to_owned()
            );
        }
        let (backend, db) = (self.backend, self.db);
        let has_redis = matches!(backend, Backend::Redis | Backend::Tiered);
        let is_cluster = backend == Backend::RedisCluster;
        let has_memory = matches!(backend, Backend::Memory | Backend::Tiered);
        let given = [
            ("--url", self.url.is_some(), !backend.is_memory()),
            ("--spawn-store", self.faults.spawn_store, !backend.is_memory()),
            ("--spawn-replica", self.faults.spawn_replica, !backend.is_memory()),
            ("--redis-server", self.faults.redis_server.is_some(), !backend.is_memory()),
            ("--kill-store", self.faults.kill_store.is_some(), has_redis),
            ("--freeze-store", self.faults.freeze_store.is_some(), has_redis),
            ("--fail-over", self.faults.fail_over.is_some(), is_cluster),
            ("--cut-off", self.faults.cut_off.is_some(), is_cluster),
            ("--capacity", self.cache.capacity.is_some(), has_memory),
            ("--policy", self.cache.policy.is_some(), backend.is_memory()),
        ];
        for (flag, is_given, is_fit) in given {
            if is_given && !is_fit {
                let fit = match flag {
                    "--capacity" => "the server decides how much it holds; use --backend memory or tiered",
                    "--policy" => "use --backend memory",
                    "--url" | "--spawn-store" | "--spawn-replica" | "--redis-server" => {
                        "use --backend redis, redis-cluster or tiered"
                    }
                    "--fail-over" | "--cut-off" => {
                        "a replica takes the place of a master in a cluster; use --backend redis-cluster"
                    }
                    _ => "use --backend redis or tiered",
                };
                return Err(format!("{flag} does not go with --backend {backend}: {fit}"));
            }
        }
        if self.spawns() && self.url.is_some() {
            return Err(
                "--url: faults act only on a server that this binary starts itself; leave the url out, \
                or --spawn-store, --spawn-replica, --redis-server, --kill-store, --freeze-store, --fail-over \
                and --cut-off"
                    .to_owned(),
            );
        }
        let given = [
            ("--db-url", self.db_url.is_some(), !db.is_memory()),
            ("--db-latency", self.faults.db_latency.is_some(), db.is_memory()),
            ("--replica-lag", self.faults.replica_lag.is_some(), db.is_memory()),
            ("--consistency", self.consistency.is_some(), !db.is_memory()),
        ];
        for (flag, is_given, is_fit) in given {
            if is_given && !is_fit {
                let fit =
                    if db.is_memory() { "use --db scylla or scylla-cluster" } else { "use --db memory" };
                return Err(format!("{flag} does not go with --db {db}: {fit}"));
            }
        }
        if self.cache.ack.0 != Ack::None {
            if backend.is_memory() {
                return Err(format!(
                    "--ack {}: the memory of a process has no replicas and no disk; use --backend redis",
                    self.cache.ack
                ));
            }
            if self.cache.protocol != Protocol::Lease {
                return Err(format!(
                    "--ack {}: {} deletes without waiting for anyone; use --protocol lease",
                    self.cache.ack, self.cache.protocol
                ));
            }
        }
        if self.cache.trust_fsync && !matches!(self.cache.ack.0, Ack::Fsync { .. }) {
            return Err("--trust-fsync: no disk is waited for; use --ack fsync:local, too".to_owned());
        }
        if !(1..=MOST_ROWS).contains(&self.rows.rows) {
            return Err(format!(
                "{} rows cannot be checked one by one; use 1 to {MOST_ROWS}",
                self.rows.rows
            ));
        }
        if !(LEAST_PAYLOAD..=1 << 20).contains(&self.rows.payload) {
            return Err(format!(
                "--payload: from {LEAST_PAYLOAD} bytes, for the key and the write, to 1,048,576"
            ));
        }
        if !(1..=10_000).contains(&self.rows.batch) {
            return Err("--batch: from 1 to 10,000 keys".to_owned());
        }
        Ok(())
    }

    /// Whether it starts a server.
    pub(crate) const fn spawns(&self) -> bool {
        let faults = &self.faults;
        faults.spawn_store
            || faults.spawn_replica
            || faults.redis_server.is_some()
            || faults.kill_store.is_some()
            || faults.freeze_store.is_some()
            || self.fails_over()
    }

    /// Whether replicas are to take the places of their masters.
    pub(crate) const fn fails_over(&self) -> bool {
        self.faults.fail_over.is_some() || self.faults.cut_off.is_some()
    }

    pub(crate) fn capacity(&self) -> u64 {
        self.cache.capacity.unwrap_or(Capacity::DEFAULT).of(self.rows.rows)
    }

    /// The flags that decide what is measured.
    pub(crate) fn describe(&self, report: &mut Report) {
        let mut flag = |name: &str, value: String| report.config.insert(name.to_owned(), value);
        let seconds = |time: Duration| format!("{}s", time.as_secs_f64());
        let percent = |share: f64| format!("{}%", share * 100.0);
        flag("backend", self.backend.to_string());
        flag("db", self.db.to_string());
        flag("protocol", self.cache.protocol.to_string());
        flag("ack", self.cache.ack.to_string());
        flag("ttl", seconds(self.cache.ttl));
        flag("stale-for", seconds(self.cache.stale_for));
        flag("negative-ttl", seconds(self.cache.negative_ttl));
        flag("rows", self.rows.rows.to_string());
        flag("distribution", self.rows.distribution.to_string());
        flag("writes", percent(self.rows.writes));
        flag("absent", percent(self.rows.absent));
        flag("batch", self.rows.batch.to_string());
        flag("payload", self.rows.payload.to_string());
        if matches!(self.backend, Backend::Memory | Backend::Tiered) {
            flag("capacity", self.capacity().to_string());
        }
        if self.backend == Backend::Memory {
            let policy = if self.cache.policy == Some(Policy::Lru) { "lru" } else { "s3-fifo" };
            flag("policy", policy.to_owned());
        }
        let faults = &self.faults;
        let given = [
            ("db-latency", faults.db_latency.map(seconds)),
            (
                "replica-lag",
                faults.replica_lag.map(|lag| format!("{}:{}", percent(lag.share), seconds(lag.delay))),
            ),
            ("evict", faults.evict.map(|count| format!("{count}/s"))),
            ("lose-invalidations", faults.lose_invalidations.map(percent)),
            ("spawn-store", self.spawns().then(|| "yes".to_owned())),
            ("spawn-replica", faults.spawn_replica.then(|| "yes".to_owned())),
            ("kill-store", faults.kill_store.map(seconds)),
            ("freeze-store", faults.freeze_store.map(seconds)),
            ("fail-over", faults.fail_over.map(seconds)),
            ("fail-over-lag", faults.fail_over_lag.map(seconds)),
            ("cut-off", faults.cut_off.map(seconds)),
            ("trust-fsync", self.cache.trust_fsync.then(|| "yes".to_owned())),
            ("consistency", self.consistency.map(|consistency| consistency.to_string())),
        ];
        for (name, value) in given {
            report.config.extend(value.map(|value| (name.to_owned(), value)));
        }
    }
}
