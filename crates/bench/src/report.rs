use std::collections::BTreeMap;

use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};

use crate::{Class, ClassKind, Config, Invariant, Pacing, Run, Sample, Series, process::Machine};

mod text;

/// The version of the JSON form of a [`Report`]; raised when a field changes its meaning or goes.
pub const SCHEMA_VERSION: u32 = 1;

/// Everything that is known about a run.
///
/// Its JSON form is versioned and described by `crates/bench/report.schema.json`. Times end in their
/// unit: `_s` seconds, `_ns` nanoseconds.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// [`SCHEMA_VERSION`].
    pub schema: u32,
    /// The binary: `rate-limiter`.
    pub benchmark: String,
    /// Its version.
    pub version: String,
    /// What was asked for: every flag that decides what is measured, with its value.
    pub config: BTreeMap<String, String>,
    /// Where it ran.
    pub machine: Machine,
    /// The totals.
    pub summary: Summary,
    /// From the start to the end of an operation.
    pub service: Option<Latency>,
    /// From when an operation was due to its end; in an open loop only.
    pub response: Option<Latency>,
    /// The outcomes, by class.
    pub classes: Vec<ClassReport>,
    /// The run over time, for plots.
    pub timeline: Vec<Sample>,
    /// The run in short intervals, for comparing it with another.
    pub series: Series,
    /// What the runner itself costs.
    pub harness: Harness,
    /// What the parts can do by themselves, measured in the same run.
    pub ceilings: Vec<Ceiling>,
    /// What the pattern adds: figures of its own.
    pub facts: Vec<Fact>,
    /// What must hold, and whether it does.
    pub invariants: Vec<Invariant>,
    /// The thresholds of `--fail-on`, and whether they were kept.
    pub thresholds: Vec<ThresholdResult>,
    /// The exit code, and in words.
    pub verdict: Verdict,
}

/// The totals of a run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Summary {
    /// Operations that ran to their end in the measured phase.
    pub operations: u64,
    /// Operations that were to be run; unknown in a closed loop that ends by time.
    pub planned: Option<u64>,
    /// Length of the measured phase.
    pub elapsed_s: f64,
    /// Operations a second.
    pub ops_per_s: f64,
    /// Workers, each with one operation in flight.
    pub concurrency: usize,
    /// The rate that the plan asked for; in an open loop only.
    pub offered_per_s: Option<f64>,
    /// The share of the planned operations that started within 10 ms of when they were due.
    pub on_schedule: Option<f64>,
    /// Operations that were dropped because they were late.
    pub dropped: u64,
    /// Operations in classes that count as errors, as a share of all.
    pub error_rate: f64,
    /// Processor time of this process in the measured phase, user and system.
    pub cpu_s: f64,
    /// The most memory that this process has held.
    pub peak_rss_bytes: Option<u64>,
    /// Whether the run was cut short.
    pub interrupted: bool,
    /// A digest of all inputs, where it was asked for: the same for the same seed, in any order.
    pub input_digest: Option<String>,
}

/// A distribution of latencies.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Latency {
    /// Operations that were timed.
    pub count: u64,
    /// The mean.
    pub mean_ns: f64,
    /// The standard deviation.
    pub stdev_ns: f64,
    /// The least.
    pub min_ns: u64,
    /// The most.
    pub max_ns: u64,
    /// The ladder: quantile from 0 to 1, and the latency that so many operations stayed within.
    pub percentiles: Vec<Quantile>,
    /// The same, finer: for plots.
    pub spectrum: Vec<Quantile>,
}

/// A point of a distribution.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Quantile {
    /// From 0 to 1.
    pub quantile: f64,
    /// The latency.
    pub ns: u64,
}

/// One class of outcomes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ClassReport {
    /// In the words of the pattern.
    pub name: String,
    /// What it counts as.
    pub kind: ClassKind,
    /// How many operations ended so.
    pub count: u64,
    /// See [`Report::service`].
    pub service: Option<Latency>,
    /// See [`Report::response`].
    pub response: Option<Latency>,
    /// The first few messages.
    pub messages: Vec<String>,
}

/// What the runner itself costs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Harness {
    /// One reading of the clock; it is part of every service time.
    pub clock_ns: f64,
    /// One operation that does nothing, from one processor's view: choosing no input, timing and
    /// recording included.
    pub noop_ns: f64,
    /// The share of the workers' time that was spent outside of operations: making inputs, recording,
    /// settling. In an open loop, waiting for the plan is not counted.
    pub share: Option<f64>,
}

/// What a part can do by itself, measured in the same run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Ceiling {
    /// What was measured.
    pub name: String,
    /// Operations a second.
    pub ops_per_s: f64,
}

/// A figure of the pattern's own.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Fact {
    /// What it is.
    pub name: String,
    /// The figure, with its unit.
    pub value: String,
}

/// Whether a threshold was kept.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ThresholdResult {
    /// As it was asked for.
    pub text: String,
    /// Whether it was kept.
    pub kept: bool,
    /// The figure that was found; none where the run has none.
    pub found: Option<f64>,
}

/// How the run ended.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Verdict {
    /// The exit code of the binary.
    pub exit_code: u8,
    /// The same in words.
    pub text: String,
}

impl Report {
    /// A report on `run`; thresholds and verdict are added by [`Report::judge`](crate::Report::judge).
    #[must_use]
    pub fn new(
        benchmark: &str,
        version: &str,
        classes: &[Class],
        config: &Config,
        run: &Run,
        machine: Machine,
    ) -> Self {
        let classes: Vec<ClassReport> = (classes.iter().zip(&run.records.classes))
            .map(|(class, record)| ClassReport {
                name: class.name.to_owned(),
                kind: class.kind,
                count: record.as_ref().map_or(0, |record| record.count),
                service: record.as_ref().and_then(|record| Latency::of(&record.service)),
                response: record.as_ref().and_then(|record| Latency::of(record.response.as_ref()?)),
                messages: record
                    .iter()
                    .flat_map(|record| &record.messages)
                    .map(ToString::to_string)
                    .collect(),
            })
            .collect();
        Self {
            schema: SCHEMA_VERSION,
            benchmark: benchmark.to_owned(),
            version: version.to_owned(),
            config: BTreeMap::new(),
            machine,
            summary: Summary::new(&classes, config, run),
            service: Latency::of(&run.records.service()),
            response: run.records.response().as_ref().and_then(Latency::of),
            classes,
            timeline: run.timeline.clone(),
            series: run.series.clone(),
            harness: Harness::default(),
            ceilings: Vec::new(),
            facts: Vec::new(),
            invariants: run.invariants.clone(),
            thresholds: Vec::new(),
            verdict: Verdict { exit_code: 0, text: "ok".to_owned() },
        }
    }

    /// Response times where there are any, else service times.
    #[must_use]
    pub fn latency(&self) -> Option<&Latency> {
        self.response.as_ref().or(self.service.as_ref())
    }
}

impl Summary {
    fn new(classes: &[ClassReport], config: &Config, run: &Run) -> Self {
        let operations = run.totals.operations;
        let errors: u64 =
            classes.iter().filter(|class| class.kind == ClassKind::Error).map(|class| class.count).sum();
        let elapsed_s = run.elapsed.as_secs_f64();
        let open = match &config.pacing {
            Pacing::Open { plan, .. } => Some(plan),
            Pacing::Closed | Pacing::Virtual { .. } => None,
        };
        Self {
            operations,
            planned: run.planned,
            elapsed_s,
            ops_per_s: run.ops_per_s(),
            concurrency: config.concurrency,
            offered_per_s: open.map(|plan| plan.rate),
            on_schedule: open
                .zip(run.planned)
                .map(|(_, planned)| run.totals.on_schedule as f64 / planned.max(1) as f64),
            dropped: run.totals.dropped,
            error_rate: errors as f64 / operations.max(1) as f64,
            cpu_s: run.cpu_seconds,
            peak_rss_bytes: crate::process::peak_rss(),
            interrupted: run.interrupted,
            input_digest: run.digest.map(|digest| format!("{digest:016x}")),
        }
    }
}

impl Harness {
    /// Adds what this run spent outside of operations; a closed loop alone can tell.
    #[must_use]
    pub fn with_run(self, config: &Config, run: &Run) -> Self {
        let known = matches!(config.pacing, Pacing::Closed) && run.totals.timed > 0;
        let busy = run.totals.service_nanos as f64 / 1e9 * run.totals.operations as f64
            / run.totals.timed.max(1) as f64;
        // As many workers as there are processors run at once, unless operations wait for something.
        let cpus = std::thread::available_parallelism().map_or(1, usize::from);
        let slots = config.concurrency.min(cpus) as f64;
        let share = 1.0 - busy / (run.elapsed.as_secs_f64() * slots).max(f64::MIN_POSITIVE);
        Self { share: (known && share > 0.0).then_some(share), ..self }
    }
}

/// The quantiles of the ladder.
const LADDER: [f64; 10] = [0.0, 0.5, 0.75, 0.9, 0.95, 0.99, 0.999, 0.9999, 0.99999, 1.0];

impl Latency {
    /// The distribution in `histogram`; none when it is empty.
    #[must_use]
    pub fn of(histogram: &Histogram<u64>) -> Option<Self> {
        if histogram.is_empty() {
            return None;
        }
        let at =
            |quantile| Quantile { quantile, ns: histogram.value_at_quantile(quantile).min(histogram.max()) };
        Some(Self {
            count: histogram.len(),
            mean_ns: histogram.mean(),
            stdev_ns: histogram.stdev(),
            min_ns: histogram.min(),
            max_ns: histogram.max(),
            percentiles: LADDER.iter().map(|quantile| at(*quantile)).collect(),
            spectrum: spectrum(histogram.len()).into_iter().map(at).collect(),
        })
    }

    /// The latency at a quantile of the ladder.
    #[must_use]
    pub fn at(&self, quantile: f64) -> Option<u64> {
        self.percentiles.iter().find(|point| (point.quantile - quantile).abs() < 1e-9).map(|point| point.ns)
    }
}

/// Quantiles that lie evenly on an axis of nines, as far as `count` operations reach.
fn spectrum(count: u64) -> Vec<f64> {
    const PER_NINE: i32 = 10;
    let nines = (count as f64).log10().clamp(1.0, 9.0);
    let mut quantiles: Vec<f64> = (0..)
        .map(|step| f64::from(step) / f64::from(PER_NINE))
        .take_while(|nine| *nine <= nines)
        .map(|nine| 1.0 - 10_f64.powf(-nine))
        .collect();
    quantiles.push(1.0);
    quantiles
}
