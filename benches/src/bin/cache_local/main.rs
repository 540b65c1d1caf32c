//! The cache in the memory of a process side by side with its peers.

use std::{fs, path::PathBuf, process::ExitCode, time::Duration};

use bench::{BoxError, ExitStatus};
use clap::Parser;
use peers::{Effort, Report, WrongOutcome};
use serde::Serialize;

mod hits;
mod rates;

use rates::{OverCapacity, Rates};

const PEERS: [&str; 3] = ["quick_cache", "moka", "foldhash"];

/// Measures the cache in memory side by side with its peers, and says which bars were met
#[derive(Parser)]
#[command(
    after_help = "Exit codes: 0 all bars met, 1 failed, 2 usage, 3 a bar was missed, 6 a wrong outcome"
)]
struct Args {
    /// Fewer and shorter rounds: for a first look
    #[arg(long)]
    quick: bool,
    /// Lengthen each turn to so many milliseconds: where neighbours take the processor often
    #[arg(long, value_name = "MS", default_value_t = 0)]
    slot_ms: u64,
    /// Only the cases whose name contains this
    #[arg(long, value_name = "TEXT", default_value = "")]
    only: String,
    /// Write every round as JSON
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

/// What was measured.
#[derive(Serialize)]
struct Measured {
    times: Report,
    rates: Vec<Rates>,
}

fn main() -> ExitCode {
    match run(&Args::parse()) {
        Ok(true) => ExitStatus::Ok.into(),
        Ok(false) => ExitStatus::Threshold.into(),
        Err(error) => {
            bench::complain(&format!("cache_local: {error}"));
            let wrong = error.is::<WrongOutcome>() || error.is::<OverCapacity>();
            if wrong { ExitStatus::Invariant } else { ExitStatus::Failed }.into()
        }
    }
}

fn run(args: &Args) -> Result<bool, BoxError> {
    let (rounds, slot, warmup, requests) = if args.quick { (5, 8, 4, 1) } else { (9, 30, 12, 4) };
    let millis = Duration::from_millis;
    let effort = Effort { rounds, slot: millis(slot.max(args.slot_ms)), warmup: millis(warmup) };
    let wanted = |name: &str| name.contains(&args.only);
    let mut times = Report::begin(&PEERS, effort);
    hits::cases(effort, &wanted, &mut times.cases)?;
    times.end();
    let rates = rates::measure(requests * 1_000_000, &wanted)?;
    let measured = Measured { times, rates };
    if let Some(path) = &args.json {
        let json = serde_json::to_vec_pretty(&measured)?;
        fs::write(path, json).map_err(|error| format!("{}: {error}", path.display()))?;
    }
    bench::print(&measured.times.to_string())?;
    measured.rates.iter().try_for_each(|rates| bench::print(&rates.to_string()))?;
    Ok(measured.times.met() && measured.rates.iter().all(Rates::met))
}
