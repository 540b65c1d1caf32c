#![doc = include_str!("../README.md")]

mod args;
pub mod calibrate;
pub mod compare;
mod config;
mod exit;
pub mod format;
pub mod hgrm;
pub mod html;
mod interrupt;
mod keys;
mod output;
mod plan;
mod process;
mod recorder;
mod report;
pub mod resp;
mod rng;
mod runner;
mod sampler;
pub mod significance;
mod stage;
mod threshold;
mod workload;
mod zipf;

pub use args::{RunArgs, parse};
pub use config::{Amount, Config, Late, Pacing, Progress};
pub use exit::{ExitStatus, Usage};
pub use keys::{KeyDistribution, Keys, KeysError};
pub use output::{Output, complain, print};
pub use plan::{Arrivals, Plan, PlanError, Schedule, Shape};
pub use process::{Machine, resident_bytes};
pub use report::{
    Ceiling, ClassReport, Fact, Harness, Latency, Quantile, Report, SCHEMA_VERSION, Summary, ThresholdResult,
    Verdict,
};
pub use rng::Rng;
pub use runner::{Run, run};
pub use sampler::{Sample, Series};
pub use stage::Stage;
pub use threshold::{Threshold, ThresholdError};
pub use workload::{BoxError, Class, ClassKind, Invariant, Outcome, RunFacts, Workload};
