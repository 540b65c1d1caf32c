//! The flags, as they are written and as they make sense together.

use std::{path::PathBuf, str::FromStr, time::Duration};

use bench::{
    KeyDistribution, Report,
    format::{parse_count, parse_duration, parse_share},
};
use cache::Policy;
use clap::Args;

use crate::{
    backend::FilterName,
    hasher::{AnyHasher, HashName},
    row::{LEAST_PAYLOAD, MOST_ITEMS},
    size::parse_bytes,
};

#[derive(Args)]
#[command(next_help_heading = "Filter")]
pub(crate) struct FilterArgs {
    /// What is asked first: none, bloom, blocked, counting, fuse8, fuse16, ribbon, rfilter (each in memory) or hosted (on
    /// the server of the entries)
    #[arg(long, default_value = "bloom")]
    pub(crate) filter: FilterName,
    /// Bits of the filter for each row [default: 10]
    #[arg(long, value_name = "N")]
    pub(crate) bits: Option<f64>,
    /// How many of them a key sets [default: 7, or what serves --bits best]
    #[arg(long, value_name = "N")]
    pub(crate) positions: Option<u32>,
    /// As many bits as this rate of false positives takes, like 0.01
    #[arg(long, value_name = "RATE", conflicts_with_all = ["bits", "positions", "memory"])]
    pub(crate) fpr: Option<f64>,
    /// As many bits as fit into so much, like 95MB
    #[arg(long, value_name = "SIZE", value_parser = parse_bytes, conflicts_with = "bits")]
    pub(crate) memory: Option<u64>,
    /// What makes hashes of keys: xxh3 or sip
    #[arg(long, value_name = "HASH", default_value = "xxh3")]
    pub(crate) hash: HashName,
    /// The seed of that; where strangers choose the keys, they must not know it
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub(crate) hash_seed: u64,
    /// Build it anew from all rows of the database so often, while it serves
    #[arg(long, value_name = "TIME", value_parser = positive)]
    pub(crate) rebuild_every: Option<Duration>,
    /// Keep it there, with a journal of the keys that come; the next run goes on with it
    #[arg(long, value_name = "DIR")]
    pub(crate) folder: Option<PathBuf>,
    /// Compare every kind of filter on the same keys, with no cache behind it
    #[arg(long)]
    pub(crate) compare_filters: bool,
}

#[derive(Args)]
#[command(next_help_heading = "Cache")]
pub(crate) struct CacheArgs {
    /// Entries that memory holds, as a share of the rows or a number [default: 10%]
    #[arg(long, value_name = "SHARE|N")]
    pub(crate) capacity: Option<Capacity>,
    /// What memory evicts: lru or s3-fifo [default: s3-fifo]
    #[arg(long, value_parser = policy)]
    pub(crate) policy: Option<Policy>,
    /// How long an entry is fresh
    #[arg(long, value_name = "TIME", default_value = "5min", value_parser = positive)]
    pub(crate) ttl: Duration,
    /// How long it is remembered that a row is absent; 0s: not at all
    #[arg(long, value_name = "TIME", default_value = "5s", value_parser = parse_duration)]
    pub(crate) negative_ttl: Duration,
}

#[derive(Args)]
#[command(next_help_heading = "Rows and operations")]
pub(crate) struct RowArgs {
    /// How many rows are there from the start
    #[arg(long, default_value = "1M", value_name = "N", value_parser = parse_count)]
    pub(crate) items: u64,
    /// The share of the reads that ask for rows that are there
    #[arg(long, value_name = "SHARE", default_value = "10%", value_parser = parse_share)]
    pub(crate) present_share: f64,
    /// How those are chosen: uniform, zipf:EXPONENT or hotspot:FRACTION:SHARE
    #[arg(long, default_value = "zipf:0.99")]
    pub(crate) distribution: KeyDistribution,
    /// The share of the operations that insert a new row
    #[arg(long, value_name = "SHARE", default_value = "0%", value_parser = parse_share)]
    pub(crate) writes: f64,
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
    /// How long a load or a write of the database in memory takes
    #[arg(long, value_name = "TIME", value_parser = parse_duration)]
    pub(crate) db_latency: Option<Duration>,
    /// Leave this share of the rows out of the filter: they are denied, and the check has to find it
    #[arg(long, value_name = "SHARE", value_parser = parse_share)]
    pub(crate) lose_keys: Option<f64>,
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
            Some(_) => Ok(Self::Share(parse_share(text)?)),
            None => match parse_count(text)? {
                0 => Err("a cache has room for at least one entry".to_owned()),
                entries => Ok(Self::Entries(entries)),
            },
        }
    }
}

fn positive(text: &str) -> Result<Duration, String> {
    match parse_duration(text)? {
        duration if duration < Duration::from_millis(1) => Err("at least a millisecond".to_owned()),
        duration => Ok(duration),
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
    /// Says what makes no sense together, and warns of what hardly does.
    pub(crate) fn check(&self) -> Result<(), String> {
        self.backend.check()?;
        self.db.check()?;
        self.run.check()?;
        if self.run.virtual_time {
            return Err(
                "--virtual-time: loads and leases take the time of a real clock; leave it out".to_owned()
            );
        }
        self.check_places()?;
        self.check_filter()?;
        if !(1..=MOST_ITEMS).contains(&self.rows.items) {
            return Err(format!("{} rows; use 1 to {MOST_ITEMS}", self.rows.items));
        }
        if !(LEAST_PAYLOAD..=1 << 20).contains(&self.rows.payload) {
            return Err(format!("--payload: from {LEAST_PAYLOAD} bytes, for the key, to 1,048,576"));
        }
        if !(1..=10_000).contains(&self.rows.batch) {
            return Err("--batch: from 1 to 10,000 keys".to_owned());
        }
        self.plan(self.planned())?;
        if self.filter.hash == HashName::Sip && self.filter_is_kept() {
            bench::complain(
                "cache-filter: --hash sip: the hashes of the standard library may be others in its next release: a filter \
                 that is stored, or shared by processes, is not believed any more then, and built anew; xxh3 stays what it is",
            );
        }
        Ok(())
    }

    fn check_places(&self) -> Result<(), String> {
        let (backend, db, filter) = (self.backend, self.db, self.filter.filter);
        let asks_server = !backend.is_memory() || filter == FilterName::Hosted;
        if self.url.is_some() && !asks_server {
            return Err(format!(
                "--url does not go with --backend {backend}: use --backend redis or redis-cluster, or --filter hosted"
            ));
        }
        if self.cache.capacity.is_some() && !backend.is_memory() {
            return Err(format!(
                "--capacity does not go with --backend {backend}: the server decides how much it holds"
            ));
        }
        if self.cache.policy.is_some() && !backend.is_memory() {
            return Err(format!("--policy does not go with --backend {backend}: use --backend memory"));
        }
        if self.db_url.is_some() && db.is_memory() {
            return Err("--db-url does not go with --db memory: use --db scylla or scylla-cluster".to_owned());
        }
        if self.faults.db_latency.is_some() && !db.is_memory() {
            return Err(format!("--db-latency does not go with --db {db}: use --db memory"));
        }
        Ok(())
    }

    fn check_filter(&self) -> Result<(), String> {
        let args = &self.filter;
        let none = args.filter == FilterName::None && !args.compare_filters;
        let is_local = matches!(args.filter, FilterName::Local(_));
        let given = [
            ("--bits", args.bits.is_some(), !none),
            ("--positions", args.positions.is_some(), !none),
            ("--fpr", args.fpr.is_some(), !none),
            ("--memory", args.memory.is_some(), !none),
            ("--rebuild-every", args.rebuild_every.is_some(), !none),
            ("--lose-keys", self.faults.lose_keys.is_some(), !none),
            ("--folder", args.folder.is_some(), is_local),
        ];
        for (flag, is_given, is_fit) in given {
            if is_given && !is_fit {
                let use_instead = if args.filter == FilterName::Hosted {
                    "the server keeps it; use a filter in memory, like --filter bloom"
                } else {
                    "there is nothing to build; use --filter bloom"
                };
                return Err(format!("{flag} does not go with --filter {}: {use_instead}", args.filter));
            }
        }
        let sizes = [
            ("--positions", args.positions.is_some(), args.filter.has_positions()),
            ("--bits", args.bits.is_some(), args.filter.has_bits()),
            ("--memory", args.memory.is_some(), args.filter.has_bits()),
        ];
        if let Some((flag, ..)) = sizes.into_iter().find(|(_, is_given, is_fit)| *is_given && !is_fit) {
            return Err(format!(
                "{flag} does not go with --filter {}: it always has the same; leave it out, or use --filter bloom",
                args.filter
            ));
        }
        if args.compare_filters {
            let useless = [
                ("--json, --report and --hgrm", self.run.output.is_file()),
                ("--rebuild-every", args.rebuild_every.is_some()),
                ("--folder", args.folder.is_some()),
                ("--lose-keys", self.faults.lose_keys.is_some()),
                ("--writes", self.rows.writes > 0.0),
            ];
            if let Some((flag, _)) = useless.into_iter().find(|(_, is_given)| *is_given) {
                return Err(format!(
                    "--compare-filters prints one table and asks filters alone: {flag} says nothing to it"
                ));
            }
        }
        Ok(())
    }

    fn filter_is_kept(&self) -> bool {
        self.filter.folder.is_some() || self.filter.filter == FilterName::Hosted
    }

    pub(crate) fn hasher(&self) -> AnyHasher {
        AnyHasher::new(self.filter.hash, self.filter.hash_seed)
    }

    pub(crate) fn capacity(&self) -> u64 {
        self.cache.capacity.unwrap_or(Capacity::DEFAULT).of(self.rows.items)
    }

    /// The flags that decide what is measured.
    pub(crate) fn describe(&self, report: &mut Report) {
        let mut flag = |name: &str, value: String| report.config.insert(name.to_owned(), value);
        let seconds = |time: Duration| format!("{}s", time.as_secs_f64());
        let percent = |share: f64| format!("{}%", share * 100.0);
        flag("filter", self.filter.filter.to_string());
        flag("backend", self.backend.to_string());
        flag("db", self.db.to_string());
        flag("items", self.rows.items.to_string());
        flag("present-share", percent(self.rows.present_share));
        flag("distribution", self.rows.distribution.to_string());
        flag("writes", percent(self.rows.writes));
        flag("batch", self.rows.batch.to_string());
        flag("payload", self.rows.payload.to_string());
        flag("ttl", seconds(self.cache.ttl));
        flag("negative-ttl", seconds(self.cache.negative_ttl));
        if self.backend.is_memory() {
            flag("capacity", self.capacity().to_string());
            let policy = if self.cache.policy == Some(Policy::Lru) { "lru" } else { "s3-fifo" };
            flag("policy", policy.to_owned());
        }
        if self.filter.filter != FilterName::None {
            flag("hash", format!("{}, seed {}", self.filter.hash, self.filter.hash_seed));
            if let Ok(plan) = self.plan(self.planned()) {
                if self.filter.filter.has_bits() {
                    flag("bits", format!("{:.4}", plan.bits()));
                }
                if self.filter.filter.has_positions() {
                    flag("positions", plan.positions().to_string());
                }
            }
        }
        let given = [
            ("fpr", self.filter.fpr.map(|rate| rate.to_string())),
            ("memory", self.filter.memory.map(|bytes| bytes.to_string())),
            ("rebuild-every", self.filter.rebuild_every.map(seconds)),
            ("folder", self.filter.folder.as_ref().map(|folder| folder.display().to_string())),
            ("db-latency", self.faults.db_latency.map(seconds)),
            ("lose-keys", self.faults.lose_keys.map(percent)),
        ];
        for (name, value) in given {
            report.config.extend(value.map(|value| (name.to_owned(), value)));
        }
    }
}
