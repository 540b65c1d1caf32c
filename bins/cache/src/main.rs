//! Drives the cache at 10-million-request scale, and looks for stale keys.

use std::process::ExitCode;

use bench::{ExitStatus, RunArgs, Usage};
use clap::Parser;

mod args;
mod backend;
mod check;
mod cluster;
mod database;
mod drive;
mod facts;
mod faults;
mod floor;
mod optimum;
mod row;
#[cfg(feature = "scylla")]
mod scylla;
mod servers;
mod spawn;
mod store;
mod table;
mod tally;
mod workload;

use args::{CacheArgs, FaultArgs, RowArgs};
use backend::{Backend, Db, Level};

const EXAMPLES: &str = "\
Examples:
  cache                                                  10M operations in memory, as fast as they go
  cache --capacity 1% --policy lru                       less room, and another policy
  cache --protocol delete-after --db-latency 8ms --concurrency 2000 --requests 80k --rows 4k --capacity 40k --writes 30%
                                                         what most caches do leaves stale keys
  cache --protocol lease --db-latency 8ms --concurrency 2000 --requests 80k --rows 4k --capacity 40k --writes 30%
                                                         and the lease leaves none
  cache --replica-lag 50%:20ms --evict 1000/s            loads from a replica that lags
  cache --backend redis --concurrency 64 --requests 1M   entries in a Redis
  cache --backend tiered --concurrency 64 --requests 1M  copies in memory, in front of a Redis
  cache --backend redis --kill-store 2s --duration 10s --concurrency 64
                                                         a Redis of its own, killed now and then
  cache --backend redis-cluster --fail-over 5s --ack replicas:1 --duration 20s --concurrency 64
                                                         a cluster of its own, whose masters are killed for good
  cache --report out/cache.html                          one page with plots";

/// Drives the cache and looks for stale keys
#[derive(Parser)]
#[command(name = "cache", version, after_help = format!("{EXAMPLES}\n\n{}", ExitStatus::HELP))]
struct Args {
    /// Where the entries are kept
    #[arg(long, default_value = "memory")]
    backend: Backend,
    /// Where the rows are
    #[arg(long, default_value = "memory")]
    db: Db,
    /// Where the server of the entries is [default: where scripts/backends starts it]
    #[arg(long)]
    url: Option<String>,
    /// Where the database is, with its keyspace [default: where scripts/backends starts it]
    #[arg(long, value_name = "URL")]
    db_url: Option<String>,
    /// How many replicas of the database a load and a write wait for [default: quorum]
    #[arg(long)]
    consistency: Option<Level>,
    #[command(flatten)]
    cache: CacheArgs,
    #[command(flatten)]
    rows: RowArgs,
    #[command(flatten)]
    faults: FaultArgs,
    #[command(flatten)]
    run: RunArgs,
}

fn main() -> ExitCode {
    let args: Args = match bench::parse(std::env::args_os()) {
        Ok(args) => args,
        Err(status) => return status.into(),
    };
    let driven = args.check().map_err(|error| Usage(error).into()).and_then(|()| drive::drive(&args));
    match driven {
        Ok(status) => status.into(),
        Err(error) => {
            let status = if error.is::<Usage>() { ExitStatus::Usage } else { ExitStatus::Failed };
            bench::complain(&format!("cache: {error:#}"));
            status.into()
        }
    }
}
