//! Measures the runner itself, compares reports, and renders them.

use std::{path::PathBuf, process::ExitCode, time::Duration};

use bench::{ExitStatus, RunArgs, Usage};
use clap::{Parser, Subcommand};

mod reports;
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
    Noop(Box<NoopArgs>),
    /// Measure what the runner itself costs on this machine
    Calibrate,
    /// Hold reports against each other, with significance; exits with 4 when B is worse
    Compare(CompareArgs),
    /// Render a JSON report as one HTML page
    Render {
        /// The report
        json: PathBuf,
        /// The page
        html: PathBuf,
    },
}

#[derive(clap::Args)]
struct CompareArgs {
    /// JSON reports: A B, or A B A B ... of runs taken in turn
    #[arg(required = true, num_args = 2.., value_name = "REPORT")]
    reports: Vec<PathBuf>,
    /// A difference smaller than this share is never called one
    #[arg(long, value_name = "SHARE", default_value_t = 0.02)]
    noise: f64,
    /// The chance of calling two runs of the same thing different
    #[arg(long, value_name = "CHANCE", default_value_t = 0.005)]
    alpha: f64,
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
    let args: Args = match bench::parse(std::env::args_os()) {
        Ok(args) => args,
        Err(status) => return status.into(),
    };
    let result = match args.command {
        Command::Noop(args) => noop(&args),
        Command::Calibrate => reports::calibrate(),
        Command::Compare(args) => reports::compare(&args.reports, args.noise, args.alpha),
        Command::Render { json, html } => reports::render(&json, &html),
    };
    match result {
        Ok(status) => status.into(),
        Err(error) => {
            bench::complain(&format!("bench: {error:#}"));
            let status = if error.is::<Usage>() { ExitStatus::Usage } else { ExitStatus::Failed };
            status.into()
        }
    }
}

fn noop(args: &NoopArgs) -> anyhow::Result<ExitStatus> {
    args.run.check().map_err(Usage)?;
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
