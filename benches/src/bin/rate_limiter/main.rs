//! The rate limiter side by side with its peers.

use std::{fs, path::PathBuf, process::ExitCode, time::Duration};

use bench::{BoxError, ExitStatus};
use clap::Parser;
use peers::{Effort, Report, WrongOutcome};

mod algorithms;
mod clocks;
mod direct;
mod keyed;
mod quotas;

use clocks::Clocks;

const PEERS: [&str; 5] = ["governor", "leaky-bucket", "ratelimit", "throttlecrab", "foldhash"];

/// Measures the rate limiter side by side with its peers, and says which bars were met
#[derive(Parser)]
#[command(
    after_help = "Exit codes: 0 all bars met, 1 failed, 2 usage, 3 a bar was missed, 6 a wrong outcome"
)]
struct Args {
    /// Fewer and shorter rounds: for a first look
    #[arg(long)]
    quick: bool,
    /// Only the cases whose name contains this
    #[arg(long, value_name = "TEXT", default_value = "")]
    only: String,
    /// Write every round as JSON
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

fn main() -> ExitCode {
    match run(&Args::parse()) {
        Ok(true) => ExitStatus::Ok.into(),
        Ok(false) => ExitStatus::Threshold.into(),
        Err(error) => {
            bench::complain(&format!("rate_limiter: {error}"));
            let wrong = error.is::<WrongOutcome>();
            if wrong { ExitStatus::Invariant } else { ExitStatus::Failed }.into()
        }
    }
}

fn run(args: &Args) -> Result<bool, BoxError> {
    let (rounds, slot, warmup) = if args.quick { (5, 8, 4) } else { (9, 30, 12) };
    let millis = Duration::from_millis;
    let effort = Effort { rounds, slot: millis(slot), warmup: millis(warmup) };
    let mut report = Report::begin(&PEERS, effort);
    let clocks = Clocks::start()?;
    let wanted = |name: &str| name.contains(&args.only);
    direct::cases(&clocks, effort, &wanted, &mut report.cases)?;
    keyed::cases(&clocks, effort, &wanted, &mut report.cases)?;
    algorithms::cases(effort, &wanted, &mut report.cases)?;
    report.end();
    if let Some(path) = &args.json {
        let json = serde_json::to_vec_pretty(&report)?;
        fs::write(path, json).map_err(|error| format!("{}: {error}", path.display()))?;
    }
    bench::print(&report.to_string())?;
    Ok(report.met())
}
