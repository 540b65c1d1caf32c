use std::{collections::BTreeMap, ffi::OsString, io::IsTerminal, time::Duration};

use clap::{Args, Parser};
use clock::{ManualClock, PreciseClock};

use crate::{
    Amount, Arrivals, BoxError, Config, ExitStatus, Late, Output, Pacing, Plan, Progress, Report, Run, Shape,
    Threshold, Workload, calibrate,
    format::{parse_count, parse_duration},
    interrupt,
    process::Machine,
    run,
};

/// How to run: flags that every binary has.
#[expect(clippy::doc_markdown, reason = "shown as help, where backticks would be noise")]
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Run", allow_negative_numbers = true)]
pub struct RunArgs {
    /// Operations to run, like 250k or 10M
    #[arg(long, value_name = "N", default_value = "10M", value_parser = positive_count)]
    pub requests: u64,
    /// Run this long, like 30s, instead of a number of operations
    #[arg(long, value_name = "TIME", value_parser = positive_duration, conflicts_with = "requests")]
    pub duration: Option<Duration>,
    /// Workers, each with one operation in flight [default: one for each processor]
    #[arg(long, value_name = "N", value_parser = concurrency)]
    pub concurrency: Option<usize>,
    /// Run this long before measuring
    #[arg(long, value_name = "TIME", value_parser = positive_duration)]
    pub warmup: Option<Duration>,
    /// Decides all inputs and arrivals
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub seed: u64,
    /// Time every Nth operation only
    #[arg(long, value_name = "N", default_value = "1", value_parser = positive_count)]
    pub sample_every: u64,
    /// Offer this many operations a second: an open loop, in which latency counts from when an
    /// operation was due
    #[arg(long, value_name = "PER_SECOND", value_parser = rate)]
    pub rate: Option<f64>,
    /// Spacing of the offered operations: constant or poisson
    #[arg(long, value_name = "SPACING", default_value = "constant", requires = "rate")]
    pub arrivals: Arrivals,
    /// How the rate moves: flat, ramp:SECONDS or sine:SWING:SECONDS
    #[arg(long, value_name = "SHAPE", default_value = "flat", requires = "rate")]
    pub rate_shape: Shape,
    /// Drop operations that cannot start within 1 ms of when they are due, instead of queueing them
    #[arg(long, requires = "rate", conflicts_with = "virtual_time")]
    pub drop_late: bool,
    /// Exit with 5 unless this share of the operations started within 10 ms of when they were due
    #[arg(long, value_name = "SHARE", num_args = 0..=1, default_missing_value = "0.99", value_parser = share, requires = "rate", conflicts_with = "virtual_time")]
    pub hold_rate: Option<f64>,
    /// Run one operation after the other on a simulated clock, at --rate or 10M a second: the same
    /// seed gives the same outcomes
    #[arg(long)]
    pub virtual_time: bool,
    /// Exit with 3 unless these hold: p99<5ms,error_rate<0.001,throughput>1M
    #[arg(long, value_name = "BOUNDS", value_delimiter = ',')]
    pub fail_on: Vec<Threshold>,
    /// Show no progress
    #[arg(long)]
    pub quiet: bool,
    /// Where the report goes.
    #[command(flatten)]
    pub output: Output,
}

/// Reads the flags of a binary, which end it with one line when they make no sense.
///
/// # Errors
///
/// The status to end with: ok after `--help` and `--version`.
pub fn parse<A: Parser>(arguments: impl IntoIterator<Item = OsString>) -> Result<A, ExitStatus> {
    A::try_parse_from(arguments).map_err(|error| {
        if !error.use_stderr() {
            // A closed pipe is a clean end.
            let _ = error.print();
            return ExitStatus::Ok;
        }
        let text = error.to_string();
        let what =
            text.split("\n\nUsage:").next().unwrap_or(&text).split("\n\nFor more").next().unwrap_or(&text);
        let line: Vec<&str> = what.split_whitespace().collect();
        crate::complain(&format!("{}; see --help", line.join(" ")));
        ExitStatus::Usage
    })
}

/// In virtual time without a rate.
const VIRTUAL_RATE: f64 = 10_000_000.0;

impl RunArgs {
    /// The simulated clock, which the workload must then read too.
    #[must_use]
    pub fn virtual_clock(&self) -> Option<ManualClock> {
        self.virtual_time.then(ManualClock::new)
    }

    /// Says what makes no sense together.
    ///
    /// # Errors
    ///
    /// One line for the user.
    pub fn check(&self) -> Result<(), String> {
        if self.fail_on.iter().any(Threshold::is_rate) && (self.rate.is_none() || self.virtual_time) {
            return Err("--fail-on rate: only an open loop has a rate to hold; add --rate".to_owned());
        }
        self.output.check()
    }

    /// How to run; `virtual_clock` is that of [`RunArgs::virtual_clock`].
    #[must_use]
    pub fn config(&self, virtual_clock: Option<ManualClock>) -> Config {
        interrupt::listen();
        let plan = |rate| Plan { rate, arrivals: self.arrivals, shape: self.rate_shape };
        let late = if self.drop_late { Late::Drop } else { Late::Queue };
        let pacing = match (virtual_clock, self.rate) {
            (Some(clock), rate) => Pacing::Virtual { plan: plan(rate.unwrap_or(VIRTUAL_RATE)), clock },
            (None, Some(rate)) => Pacing::Open { plan: plan(rate), late },
            (None, None) => Pacing::Closed,
        };
        let progress = match (self.quiet, std::io::stderr().is_terminal()) {
            (true, _) => Progress::Quiet,
            (false, true) => Progress::Terminal,
            (false, false) => Progress::Lines,
        };
        Config {
            pacing,
            amount: self.duration.map_or(Amount::Requests(self.requests), Amount::Duration),
            warmup: self.warmup.map(Amount::Duration),
            concurrency: self
                .concurrency
                .unwrap_or_else(|| std::thread::available_parallelism().map_or(1, usize::from)),
            seed: self.seed,
            sample_every: self.sample_every,
            digest: self.virtual_time,
            progress,
            clock: PreciseClock::new(),
        }
    }

    /// Runs `workload`, lets `complete` add to the report what the pattern knows, and judges,
    /// prints and writes it.
    ///
    /// # Errors
    ///
    /// When the run cannot be started or its report not be written.
    pub fn drive<W: Workload>(
        &self,
        benchmark: &str,
        version: &str,
        config: &Config,
        workload: W,
        complete: impl FnOnce(&mut Report),
    ) -> Result<ExitStatus, BoxError> {
        let (report, run, status) = self.measure(benchmark, version, config, workload, complete)?;
        self.output.write(&report, &run)?;
        Ok(status)
    }

    /// Likewise, but leaves it to the caller to show the report.
    ///
    /// # Errors
    ///
    /// When the run cannot be started.
    pub fn measure<W: Workload>(
        &self,
        benchmark: &str,
        version: &str,
        config: &Config,
        workload: W,
        complete: impl FnOnce(&mut Report),
    ) -> Result<(Report, Run, ExitStatus), BoxError> {
        let machine = Machine::this();
        let classes = workload.classes();
        let harness = calibrate::calibrate(config)?;
        let run: Run = run(workload, config)?;
        let mut report = Report::new(benchmark, version, classes, config, &run, machine);
        report.harness = harness.with_run(config, &run);
        report.config = self.describe(config);
        complete(&mut report);
        let held = self.hold_rate.map(Threshold::rate_held);
        let thresholds: Vec<Threshold> = self.fail_on.iter().cloned().chain(held).collect();
        let status = report.judge(&thresholds);
        Ok((report, run, status))
    }

    /// Every flag that decides what is measured.
    fn describe(&self, config: &Config) -> BTreeMap<String, String> {
        let mut flags = BTreeMap::new();
        let mut flag = |name: &str, value: String| flags.insert(name.to_owned(), value);
        match config.amount {
            Amount::Requests(requests) => flag("requests", requests.to_string()),
            Amount::Duration(duration) => flag("duration", format!("{}s", duration.as_secs_f64())),
        };
        flag("concurrency", config.concurrency.to_string());
        flag("seed", config.seed.to_string());
        flag(
            "loop",
            match &config.pacing {
                Pacing::Closed => "closed".to_owned(),
                Pacing::Open { plan, late: Late::Queue } => format!("open, {plan}"),
                Pacing::Open { plan, late: Late::Drop } => format!("open, {plan}, late dropped"),
                Pacing::Virtual { plan, .. } => format!("virtual time, {plan}"),
            },
        );
        if config.sample_every > 1 {
            flag("sample-every", config.sample_every.to_string());
        }
        if let Some(warmup) = self.warmup {
            flag("warmup", format!("{}s", warmup.as_secs_f64()));
        }
        flags
    }
}

fn positive_count(text: &str) -> Result<u64, String> {
    match parse_count(text)? {
        0 => Err("zero makes no sense here; use at least 1".to_owned()),
        count => Ok(count),
    }
}

fn concurrency(text: &str) -> Result<usize, String> {
    const MOST: u64 = 1_000_000;
    let count = positive_count(text)?;
    let fits = usize::try_from(count).ok().filter(|_| count <= MOST);
    fits.ok_or_else(|| format!("{count} workers are too many; the most is {MOST}"))
}

fn positive_duration(text: &str) -> Result<Duration, String> {
    const LONGEST: Duration = Duration::from_secs(30 * 24 * 3600);
    match parse_duration(text)? {
        Duration::ZERO => Err("zero makes no sense here".to_owned()),
        duration if duration > LONGEST => Err("longer than 30 days makes no sense here".to_owned()),
        duration => Ok(duration),
    }
}

fn rate(text: &str) -> Result<f64, String> {
    let rate = text.parse::<f64>().or_else(|_| parse_count(text).map(|count| count as f64))?;
    if rate.is_finite() && (0.001..=1e9).contains(&rate) {
        Ok(rate)
    } else {
        Err(format!("{text:?} is not a rate from 0.001 to 1,000,000,000 a second"))
    }
}

fn share(text: &str) -> Result<f64, String> {
    let share = text.parse().ok().filter(|share| (0.0..=1.0).contains(share));
    share.ok_or_else(|| format!("{text:?} is not a share from 0 to 1"))
}
