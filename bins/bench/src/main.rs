//! Measures the runner itself, compares reports, and renders them.

use std::{process::ExitCode, time::Duration};

use bench::{ExitStatus, RunArgs};
use clap::{Parser, Subcommand};

mod stall;

/// Measures the runner itself, compares reports, and renders them
#[derive(Parser)]
#[command(name = "bench", version, after_help = ExitStatus::HELP)]
struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run operations that do nothing: what remains is the runner
    Noop(NoopArgs),
}

#[derive(clap::Args)]
struct NoopArgs {
    #[command(flatten)]
    run: RunArgs,
    /// Let one operation stall this long
    #[arg(long, value_name = "TIME", value_parser = bench::format::parse_duration)]
    stall: Option<Duration>,
    /// Which operation stalls
    #[arg(long, value_name = "INDEX", default_value = "5000", value_parser = bench::format::parse_count, requires = "stall")]
    stall_at: u64,
}

fn main() -> ExitCode {
    let args = Args::parse();
    let result = match args.command {
        Command::Noop(args) => noop(&args),
    };
    match result {
        Ok(status) => status.into(),
        Err(error) => {
            bench::complain(&format!("bench: {error:#}"));
            ExitStatus::Failed.into()
        }
    }
}

fn noop(args: &NoopArgs) -> anyhow::Result<ExitStatus> {
    let config = args.run.config(args.run.virtual_clock());
    let version = env!("CARGO_PKG_VERSION");
    let status = match args.stall {
        None => args.run.drive("noop", version, &config, bench::calibrate::Noop, |_| ()),
        Some(stall) => {
            let workload = stall::Stall { at: args.stall_at, length: stall };
            args.run.drive("noop", version, &config, workload, |_| ())
        }
    };
    status.map_err(anyhow::Error::from_boxed)
}
