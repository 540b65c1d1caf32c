//! A flood of keys that never come again, through a bounded store: what it does to memory and to pauses.

use std::{fs, process::ExitCode};

use bench::{BoxError, ExitStatus, Machine, format};
use clap::Parser;
use clock::{Clock, PreciseClock};
use hdrhistogram::Histogram;
use rate_limiter::{Limit, Memory, OnFull, Quota, Stats};

mod watched;

use watched::{Watched, was_rebuilt};

/// Floods a bounded store with distinct keys, and checks its memory, its pauses and a key in use
#[derive(Parser)]
#[command(
    after_help = "Exit codes: 0 all bars met, 1 failed, 2 usage, 3 a bar was missed, 6 an invariant broke"
)]
struct Args {
    /// Distinct keys of each flood
    #[arg(long, default_value = "50M", value_parser = format::parse_count)]
    requests: u64,
    /// The most keys that are remembered
    #[arg(long, default_value = "1M", value_parser = format::parse_count)]
    max_keys: u64,
    /// What each key may do: how soon it is as good as new, and its place free again [may be repeated]
    #[arg(long, default_values = ["1000/s", "1/s", "1/10s", "1/h"])]
    quota: Vec<Quota>,
}

/// The bars.
const REBUILD_P99_NANOS: u64 = 50_000;
const BYTES_PER_KEY: u64 = 128;
const GROWTH_ALLOWED: f64 = 1.02;

/// Asked for again and again during the flood; its quota is used up.
const IN_USE: u64 = u64::MAX;
const ASKED_EVERY: u64 = 1 << 12;

struct Pauses {
    all: Histogram<u64>,
    rebuilds: Histogram<u64>,
}

struct Flood {
    pauses: Pauses,
    /// Bytes held after 10, 50 and 100 % of the requests, beyond those before the first.
    held: [u64; 3],
    stats: Stats,
    nanos: f64,
}

fn main() -> ExitCode {
    match run(&Args::parse()) {
        Ok(true) => ExitStatus::Ok.into(),
        Ok(false) => ExitStatus::Threshold.into(),
        Err(error) => {
            bench::complain(&format!("rate_limiter_flood: {error}"));
            if error.is::<Broken>() { ExitStatus::Invariant } else { ExitStatus::Failed }.into()
        }
    }
}

fn run(args: &Args) -> Result<bool, BoxError> {
    let load = Machine::this().load.unwrap_or(f64::NAN);
    let most = args.max_keys * BYTES_PER_KEY;
    bench::print(&format!(
        "{} distinct keys through {} places; load average {load:.1}\n\
         bars: rebuilds p99 < 50 us; memory at most {} MiB, and flat from 10 % of the requests on\n\n\
         | quota | when full | ns a request | evicted | crowded out | MiB at 10, 50, 100 % | rebuilds | p50, p99, p99.9, max us | all p99, p99.9, p99.99, max us | |\n\
         |---|---|---|---|---|---|---|---|---|---|\n",
        args.requests,
        args.max_keys,
        most >> 20,
    ))?;
    let mut met = true;
    for quota in &args.quota {
        for on_full in [OnFull::Deny, OnFull::SharedBucket] {
            let flood = flood(args, *quota, on_full)?;
            let flat = flood.held[2] as f64 <= flood.held[0] as f64 * GROWTH_ALLOWED;
            let small = flood.held.iter().all(|held| *held <= most);
            let kept = flood.pauses.rebuilds.value_at_quantile(0.99) < REBUILD_P99_NANOS && flat && small;
            bench::print(&row(*quota, on_full, &flood, kept))?;
            met &= kept;
        }
    }
    Ok(met)
}

fn flood(args: &Args, quota: Quota, on_full: OnFull) -> Result<Flood, BoxError> {
    let clock = PreciseClock::new();
    let (rule, used_up) =
        (Watched(Limit::token_bucket(quota)?), Watched(Limit::token_bucket("1/day".parse()?)?));
    let before = rss()?;
    let max_keys = usize::try_from(args.max_keys)?;
    let store = Memory::builder().max_keys(max_keys).on_full(on_full).build::<u64, Watched>()?;
    store.try_acquire(&IN_USE, &used_up, 1)?;
    let histogram = || Histogram::new_with_max(60_000_000_000, 3);
    let mut pauses = Pauses { all: histogram()?, rebuilds: histogram()? };
    let mut held = [0; 3];
    was_rebuilt();
    let start = clock.now();
    for request in 0..args.requests {
        let from = clock.now();
        let decision = store.try_acquire(&request, &rule, 1);
        let nanos = u64::try_from(clock.now().since(from).as_nanos())?;
        decision?;
        pauses.all.record(nanos)?;
        if was_rebuilt() {
            pauses.rebuilds.record(nanos)?;
        }
        if request % ASKED_EVERY == 0 {
            if store.try_acquire(&IN_USE, &used_up, 1)?.is_allowed() {
                return Err(Broken("a key in use was forgotten").into());
            }
            was_rebuilt();
        }
        for (place, share) in [10, 50, 100].into_iter().enumerate() {
            if request + 1 == args.requests * share / 100 {
                held[place] = rss()?.saturating_sub(before);
            }
        }
    }
    let nanos = clock.now().since(start).as_nanos() as f64 / args.requests as f64;
    let stats = store.stats();
    if stats.keys > max_keys {
        return Err(Broken("more keys are remembered than there are places").into());
    }
    Ok(Flood { pauses, held, stats, nanos })
}

fn row(quota: Quota, on_full: OnFull, flood: &Flood, kept: bool) -> String {
    let Flood { pauses, held, stats, nanos } = flood;
    let micros = |histogram: &Histogram<u64>, quantiles: &[f64]| {
        let at = |quantile: &f64| format!("{:.1}", histogram.value_at_quantile(*quantile) as f64 / 1e3);
        quantiles.iter().map(at).collect::<Vec<_>>().join(", ")
    };
    let held = held.map(|held| (held >> 20).to_string()).join(", ");
    let verdict = if kept { "met" } else { "MISSED" };
    format!(
        "| {quota} | {on_full:?} | {nanos:.0} | {} | {} | {held} | {} | {} | {} | {verdict} |\n",
        stats.evicted,
        stats.crowded_out,
        pauses.rebuilds.len(),
        micros(&pauses.rebuilds, &[0.5, 0.99, 0.999, 1.0]),
        micros(&pauses.all, &[0.99, 0.999, 0.9999, 1.0]),
    )
}

/// Bytes that this process holds now.
fn rss() -> Result<u64, BoxError> {
    let status = fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib = line.and_then(|line| line.trim().strip_suffix("kB")).ok_or("no VmRSS in /proc/self/status")?;
    Ok(kib.trim().parse::<u64>()? * 1024)
}

/// An invariant does not hold.
#[derive(Debug)]
struct Broken(&'static str);

impl std::fmt::Display for Broken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.0)
    }
}

impl std::error::Error for Broken {}
