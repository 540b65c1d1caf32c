//! Drives the rate limiter at 10-million-request scale, and checks every admission against the quota.

use std::process::ExitCode;

use anyhow::{Context, bail};
use bench::{Config, ExitStatus, Fact, KeyDistribution, Keys, Report, Run, RunArgs, Usage};
use clap::Parser;
use clock::{Clock, PreciseClock};
use rate_limiter::{Algorithm, Limit, Memory, Quota, RateLimiter};

mod args;
mod backend;
mod classes;
mod floor;
mod greedy;
mod quota;
mod remote;
mod server;
mod table;
mod tally;
mod workload;

use args::ServerArgs;
use backend::Backend;
use table::Algorithms;
use workload::Limiting;

const EXAMPLES: &str = "\
Examples:
  rate-limiter                                           10M decisions in memory, as fast as they go
  rate-limiter --algorithm all                           every algorithm, in one table
  rate-limiter --quota '100/s burst 20' --keys 1M        one million keys, another quota
  rate-limiter --backend redis --batch 64                a Redis decides, 64 in a round trip
  rate-limiter --backend redis-cluster --lease 1000      permits taken in lots, decisions in memory
  rate-limiter --rate 200k --arrivals poisson            an open loop: latency under offered load
  rate-limiter --report out/rate-limiter.html            one page with plots
  rate-limiter --virtual-time --seed 7                   a simulated clock: the same outcome each time";

/// Drives the rate limiter and checks every admission against the quota
#[derive(Parser)]
#[command(name = "rate-limiter", version, after_help = format!("{EXAMPLES}\n\n{}", ExitStatus::HELP))]
struct Args {
    /// Where the limits are kept
    #[arg(long, default_value = "memory")]
    backend: Backend,
    /// Which rule decides: token-bucket, gcra, leaky-bucket, leaky-bucket-queue, fixed-window,
    /// sliding-window-counter, sliding-window-log, or all of them one after the other
    #[arg(long, default_value = "token-bucket")]
    algorithm: Algorithms,
    /// What each key may do, like 100/s or '100/s burst 20' [default: what admits about half]
    #[arg(long, allow_hyphen_values = true)]
    quota: Option<Quota>,
    /// How many keys there are
    #[arg(long, default_value = "100k", value_name = "N", value_parser = bench::format::parse_count)]
    keys: u64,
    /// How keys are chosen: uniform, zipf:EXPONENT or hotspot:FRACTION:SHARE
    #[arg(long, default_value = "zipf:0.99")]
    distribution: KeyDistribution,
    #[command(flatten)]
    server: ServerArgs,
    #[command(flatten)]
    run: RunArgs,
}

fn main() -> ExitCode {
    let args: Args = match bench::parse(std::env::args_os()) {
        Ok(args) => args,
        Err(status) => return status.into(),
    };
    match drive(&args) {
        Ok(status) => status.into(),
        Err(error) => {
            let status = if error.is::<Usage>() { ExitStatus::Usage } else { ExitStatus::Failed };
            bench::complain(&format!("rate-limiter: {error:#}"));
            status.into()
        }
    }
}

fn drive(args: &Args) -> anyhow::Result<ExitStatus> {
    args.backend.check().map_err(Usage)?;
    args.run.check().map_err(Usage)?;
    args.server.check(args.backend).map_err(Usage)?;
    let keys = Keys::new(args.keys, args.distribution).map_err(|error| Usage(error.to_string()))?;
    if args.keys > tally::MOST_KEYS {
        bail!(Usage(format!(
            "{} keys cannot be checked one by one; the most is {}",
            args.keys,
            tally::MOST_KEYS
        )));
    }
    match args.algorithm {
        Algorithms::One(algorithm) => {
            let (report, run, status) = measure(args, &keys, algorithm)?;
            args.run.output.write(&report, &run).map_err(anyhow::Error::from_boxed)?;
            Ok(status)
        }
        Algorithms::All if args.run.output.is_file() => {
            bail!(Usage("a file holds one report: name one algorithm, not all".to_owned()))
        }
        Algorithms::All => table::show(|algorithm| measure(args, &keys, algorithm)),
    }
}

/// Runs one algorithm and checks what it admitted.
fn measure(args: &Args, keys: &Keys, algorithm: Algorithm) -> anyhow::Result<(Report, Run, ExitStatus)> {
    let virtual_clock = args.run.virtual_clock();
    let config = args.run.config(virtual_clock.clone());
    let rate = args.backend.expected_rate(args.server.lease.is_some(), args.server.batch > 1);
    let half = || quota::admitting_half(&config, args.keys, args.distribution, algorithm, rate);
    let quota = args.quota.unwrap_or_else(half);
    let limit = Limit::new(algorithm, quota).map_err(|error| Usage(format!("--quota: {error}")))?;
    if args.backend != Backend::Memory {
        if virtual_clock.is_some() {
            bail!(Usage(format!("--virtual-time: the backend {} has a clock of its own", args.backend)));
        }
        return server::drive(args, &config, keys, &limit);
    }
    match virtual_clock {
        Some(clock) => limiting(args, &config, keys, limit, clock),
        None => limiting(args, &config, keys, limit, PreciseClock::new()),
    }
}

fn limiting<C: Clock + Clone>(
    args: &Args,
    config: &Config,
    keys: &Keys,
    limit: Limit,
    clock: C,
) -> anyhow::Result<(Report, Run, ExitStatus)> {
    let ceiling = floor::measure(config, keys).map_err(anyhow::Error::from_boxed)?;
    // A fifth of room: keys spread over the shards of the store by chance.
    let room = usize::try_from(args.keys + args.keys / 5 + 1).context("too many keys for this machine")?;
    let store = Memory::builder().clock(clock.clone()).max_keys(room).build()?;
    let workload = Limiting::new(RateLimiter::new(store, limit), keys.clone(), clock);
    let limiter = workload.limiter();
    let measured = args.run.measure("rate-limiter", env!("CARGO_PKG_VERSION"), config, workload, |report| {
        args.describe(limiter.limit(), report);
        report.ceilings.push(ceiling);
        let stats = limiter.store().stats();
        report.facts.push(Fact { name: "keys remembered".to_owned(), value: stats.keys.to_string() });
        report.facts.push(Fact { name: "keys crowded out".to_owned(), value: stats.crowded_out.to_string() });
    });
    measured.map_err(anyhow::Error::from_boxed)
}
