//! Membership filters side by side with their peers.

use std::process::ExitCode;

use bench::{BoxError, ExitStatus};
use clap::Parser;

mod measure;
mod subjects;
mod table;

use measure::{FalseNegatives, Inputs};
use subjects::Who;
use table::{rate_bar, table, time_bars};

/// Keys of the filter that fits into a second-level cache.
const SMALL: u64 = 64_000;
const BITS: f64 = 10.0;

/// Measures membership filters side by side with their peers, and says which bars were met
#[derive(Parser)]
#[command(
    after_help = "Exit codes: 0 all bars met, 1 failed, 2 usage, 3 a bar was missed, 6 a key was missed"
)]
struct Args {
    /// Keys of the large filters; 10M, 500k and the like
    #[arg(long, value_parser = count, default_value = "10M")]
    keys: u64,
    /// Turns of each filter; the median counts
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u64).range(1..))]
    rounds: u64,
    /// Strangers that are asked for to measure a rate; three for each key unless given
    #[arg(long, value_parser = count)]
    trials: Option<u64>,
    /// Only kinds and peers whose name contains this, beside fastbloom
    #[arg(long, value_name = "TEXT", default_value = "")]
    only: String,
}

fn count(text: &str) -> Result<u64, String> {
    let (number, unit) = match text.char_indices().last() {
        Some((at, 'k')) => (&text[..at], 1_000),
        Some((at, 'M')) => (&text[..at], 1_000_000),
        _ => (text, 1),
    };
    let number = number.parse::<u64>().map_err(|error| error.to_string())?;
    number.checked_mul(unit).filter(|count| *count > 0).ok_or_else(|| "out of range".to_owned())
}

fn main() -> ExitCode {
    match run(&Args::parse()) {
        Ok(true) => ExitStatus::Ok.into(),
        Ok(false) => ExitStatus::Threshold.into(),
        Err(error) => {
            bench::complain(&format!("filters: {error}"));
            let missed = error.is::<FalseNegatives>();
            if missed { ExitStatus::Invariant } else { ExitStatus::Failed }.into()
        }
    }
}

fn run(args: &Args) -> Result<bool, BoxError> {
    let rounds = args.rounds as usize;
    let trials = args.trials.unwrap_or(args.keys * 3);
    let mut whos = Who::all().to_vec();
    whos.retain(|who| *who == Who::Fastbloom || who.name().contains(&args.only));
    let mut bars = Vec::new();

    let small = Inputs::new(SMALL, SMALL / 2);
    let rows = measure::times(&small, &whos, BITS, rounds, trials.min(2_000_000))?;
    bench::print(&table(&format!("{SMALL} keys, in a cache"), &rows))?;
    bars.extend(time_bars("in a cache", &rows, false));
    drop(small);

    let large = Inputs::new(args.keys, 1_000_000);
    let rows = measure::times(&large, &whos, BITS, rounds, trials)?;
    bench::print(&table(&format!("{} keys", args.keys), &rows))?;
    bench::print("No key was missed: each was asked for, one by one and batched.\n")?;
    bars.extend(time_bars("large", &rows, true));

    for bits in [8.0, 10.0, 12.0, 16.0] {
        let rows = measure::rates(&large, bits, trials)?;
        let peer = rows.iter().find(|row| row.who == Who::Fastbloom).map(rate_bar);
        bars.extend(rows.iter().filter(|row| row.who != Who::Fastbloom).map(rate_bar));
        if let Some(peer) = peer {
            bench::print(&format!("{peer} (no bar)\n"))?;
        }
    }

    bench::print("\n| bar | measured | |\n|---|---|---|\n")?;
    bars.iter().try_for_each(|bar| bench::print(&format!("{bar}\n")))?;
    Ok(bars.iter().all(table::Bar::met))
}
