//! Drives a membership filter in front of the cache at 10-million-request scale, and looks for rows that it denies.

use std::process::ExitCode;

use bench::{ExitStatus, RunArgs, Usage};
use clap::Parser;

mod args;
mod asked;
mod backend;
mod check;
mod compare;
mod database;
mod drive;
mod facts;
mod filter;
mod floor;
mod hasher;
mod rebuild;
mod row;
#[cfg(feature = "scylla")]
mod scylla;
mod servers;
mod size;
mod store;
mod table;
mod tally;
mod workload;

use args::{CacheArgs, FaultArgs, FilterArgs, RowArgs};
use backend::{Backend, Db};

const EXAMPLES: &str = "\
Examples:
  cache-filter                                           10M reads in memory, of which 9 in 10 ask for rows that are not there
  cache-filter --filter none                             the same without a filter
  cache-filter --items 10M --capacity 100k --fpr 0.000008
                                                         as many bits as a rate of 0.0008 % takes
  cache-filter --items 31M --capacity 100k --memory 95MB
                                                         as many bits as fit into 95 MB, and the rate they have
  cache-filter --writes 5% --rebuild-every 1s --duration 10s
                                                         new rows, and a filter that is rebuilt while it serves
  cache-filter --backend redis --concurrency 64 --requests 1M
                                                         entries in a Redis, the filter in front of it
  cache-filter --compare-filters --items 10M             every kind on the same keys, with nothing behind it
  cache-filter --report out/cache-filter.html            one page with plots";

/// Drives a membership filter in front of the cache, and looks for rows that it denies
#[derive(Parser)]
#[command(name = "cache-filter", version, after_help = format!("{EXAMPLES}\n\n{}", ExitStatus::HELP))]
struct Args {
    /// Where the entries are kept
    #[arg(long, default_value = "memory")]
    backend: Backend,
    /// Where the rows are
    #[arg(long, default_value = "memory")]
    db: Db,
    /// Where the server of the entries and of a hosted filter is [default: where scripts/backends starts it]
    #[arg(long)]
    url: Option<String>,
    /// Where the database is, with its keyspace [default: where scripts/backends starts it]
    #[arg(long, value_name = "URL")]
    db_url: Option<String>,
    #[command(flatten)]
    filter: FilterArgs,
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
    let driven = args
        .check()
        .map_err(|error| Usage(error).into())
        .and_then(|()| if args.filter.compare_filters { compare::show(&args) } else { drive::drive(&args) });
    match driven {
        Ok(status) => status.into(),
        Err(error) => {
            let status = if error.is::<Usage>() { ExitStatus::Usage } else { ExitStatus::Failed };
            bench::complain(&format!("cache-filter: {error:#}"));
            status.into()
        }
    }
}
