//! Did it get faster? Two reports, or two series of reports, held against each other.

use std::fmt::{self, Display, Formatter};

use crate::{
    ExitStatus, Report,
    format::{nanos, quantity},
    significance::{
        Criterion, Difference, Estimate, Finding, Reason, Samples, difference, paired_difference,
    },
};

/// The second runs relative to the first.
#[derive(Clone, Debug)]
pub struct Comparison {
    /// What is not the same in both, and may be the reason for a difference.
    pub caveats: Vec<String>,
    /// The measures that were tested.
    pub measures: Vec<MeasureResult>,
    /// Percentiles of the whole runs, from each side's first report; shown, not tested.
    pub percentiles: Vec<Percentile>,
    criterion: Criterion,
}

/// One measure of both sides.
#[derive(Clone, Debug)]
pub struct MeasureResult {
    /// What was measured.
    pub measure: Measure,
    /// The answer of the test.
    pub difference: Difference,
    /// Whether the verdict rests on it: one measure does, since each more is one more chance to err.
    pub decides: bool,
}

/// What can be tested.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Measure {
    /// Operations a second.
    Throughput,
    /// Operations by second of this process' processor time.
    ByProcessorTime,
    /// Mean latency: response time in an open loop, else service time.
    Latency,
}

/// One percentile of both sides.
#[derive(Clone, Copy, Debug)]
pub struct Percentile {
    /// From 0 to 1.
    pub quantile: f64,
    /// Nanoseconds in the first and in the second.
    pub ns: [u64; 2],
}

/// From this many runs a side on, each pair is one sample: only that knows what differs between runs.
const RUNS_AS_SAMPLES: usize = 8;

impl Comparison {
    /// Compares `b` with `a`, which were best run in turn.
    ///
    /// The samples are the intervals within the runs; with eight or more runs a side, the pairs of runs.
    #[must_use]
    pub fn new(a: &[Report], b: &[Report], criterion: Criterion) -> Self {
        let decisive = decisive(&a.iter().chain(b).collect::<Vec<_>>());
        let measures = Measure::ALL.map(|measure| MeasureResult {
            measure,
            difference: measure.difference(a, b, &criterion),
            decides: measure == decisive,
        });
        let open = a.iter().chain(b).any(|report| report.response.is_some());
        Self {
            caveats: caveats(a, b),
            // In an open loop the plan decides the throughput.
            measures: measures.into_iter().filter(|m| !(open && m.measure == Measure::Throughput)).collect(),
            percentiles: percentiles(a.first(), b.first()),
            criterion,
        }
    }

    /// Regression when the second is worse in the measure that decides, else ok.
    #[must_use]
    pub fn status(&self) -> ExitStatus {
        let worse = self.measures.iter().any(|result| result.decides && result.verdict() == Verdict::Worse);
        if worse { ExitStatus::Regression } else { ExitStatus::Ok }
    }
}

/// Processor time decides where operations do nothing but compute, since it wanders least on a machine
/// with neighbours; else throughput, and in an open loop latency.
fn decisive(reports: &[&Report]) -> Measure {
    if reports.iter().any(|report| report.response.is_some()) {
        return Measure::Latency;
    }
    let processors = |report: &Report| report.summary.concurrency.min(report.machine.cpus) as f64;
    let used: f64 = reports.iter().map(|report| report.summary.cpu_s).sum();
    let had: f64 = reports.iter().map(|report| report.summary.elapsed_s * processors(report)).sum();
    if used > 0.5 * had { Measure::ByProcessorTime } else { Measure::Throughput }
}

impl Measure {
    const ALL: [Self; 3] = [Self::ByProcessorTime, Self::Throughput, Self::Latency];

    /// Whether more is better.
    const fn gains(self) -> bool {
        !matches!(self, Self::Latency)
    }

    fn difference(self, a: &[Report], b: &[Report], criterion: &Criterion) -> Difference {
        if a.len().min(b.len()) < RUNS_AS_SAMPLES {
            return difference(&self.samples(a), &self.samples(b), criterion);
        }
        let level = |report| self.level(std::slice::from_ref(report)).unwrap_or(0.0);
        let pairs: Vec<(f64, f64)> = a.iter().zip(b).map(|(a, b)| (level(a), level(b))).collect();
        paired_difference(&pairs, criterion)
    }

    fn samples(self, reports: &[Report]) -> Samples {
        let (value, weight) = reports.iter().flat_map(|report| self.within(report)).unzip();
        Samples { value, weight }
    }

    /// Value and weight of each interval of a run.
    fn within(self, report: &Report) -> Vec<(f64, f64)> {
        let series = &report.series;
        let ratio = |count: u64, by: f64| if by > 0.0 { (count as f64 / by, by) } else { (0.0, 0.0) };
        let operations = series.operations.iter().copied();
        match self {
            Self::Throughput => operations.zip(&series.seconds).map(|(count, s)| ratio(count, *s)).collect(),
            Self::ByProcessorTime => {
                operations.zip(&series.cpu_s).map(|(count, s)| ratio(count, *s)).collect()
            }
            Self::Latency => {
                series.mean_ns.iter().copied().zip(operations.map(|count| count as f64)).collect()
            }
        }
    }

    fn level(self, reports: &[Report]) -> Option<f64> {
        let all: Vec<(f64, f64)> = reports.iter().flat_map(|report| self.within(report)).collect();
        let weight: f64 = all.iter().map(|(_, weight)| weight).sum();
        (weight > 0.0).then(|| all.iter().map(|(value, weight)| value * weight).sum::<f64>() / weight)
    }
}

/// What a difference means to a user.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Significant, beyond the noise band, and for the better.
    Better,
    /// Significant, beyond the noise band, and for the worse.
    Worse,
    /// The same, within the noise band.
    Same,
    /// Neither a difference nor its absence was shown.
    Unclear,
}

impl MeasureResult {
    /// What the difference means to a user.
    #[must_use]
    pub fn verdict(&self) -> Verdict {
        match (self.difference.finding, self.measure.gains()) {
            (Finding::Higher, true) | (Finding::Lower, false) => Verdict::Better,
            (Finding::Higher, false) | (Finding::Lower, true) => Verdict::Worse,
            (Finding::Similar, _) => Verdict::Same,
            (Finding::Unclear | Finding::CannotTell(_), _) => Verdict::Unclear,
        }
    }
}

fn percentiles(a: Option<&Report>, b: Option<&Report>) -> Vec<Percentile> {
    let latencies = a.and_then(Report::latency).zip(b.and_then(Report::latency));
    let Some((a, b)) = latencies else { return Vec::new() };
    let shown = [0.5, 0.9, 0.99, 0.999, 0.9999];
    let both = |quantile| Some(Percentile { quantile, ns: [a.at(quantile)?, b.at(quantile)?] });
    shown.into_iter().filter_map(both).collect()
}

/// Machine, version and flags that are not the same.
fn caveats(a: &[Report], b: &[Report]) -> Vec<String> {
    let mut caveats = Vec::new();
    let Some(first) = a.first() else { return caveats };
    let mut differs = |name: &str, left: &str, right: &str| {
        let caveat = format!("{name} differs: {left} and {right}");
        if left != right && !caveats.contains(&caveat) {
            caveats.push(caveat);
        }
    };
    for other in a.iter().chain(b) {
        differs("benchmark", &first.benchmark, &other.benchmark);
        differs("version", &first.version, &other.version);
        let machine = |report: &Report| {
            let machine = &report.machine;
            format!(
                "{} with {} x {}",
                machine.os,
                machine.cpus,
                machine.cpu.as_deref().unwrap_or("unknown processor")
            )
        };
        differs("machine", &machine(first), &machine(other));
        for flag in first.config.keys().chain(other.config.keys()) {
            let value =
                |report: &Report| report.config.get(flag).map_or("not set", String::as_str).to_owned();
            differs(flag, &value(first), &value(other));
        }
        if other.verdict.exit_code != 0 {
            differs("verdict", "ok", &other.verdict.text);
        }
    }
    caveats
}

/// A comparison and the reports it came from, as text.
#[derive(Debug)]
pub struct Shown<'a> {
    comparison: &'a Comparison,
    a: &'a [Report],
    b: &'a [Report],
}

impl Comparison {
    /// As text, with the levels of both sides.
    #[must_use]
    pub const fn show<'a>(&'a self, a: &'a [Report], b: &'a [Report]) -> Shown<'a> {
        Shown { comparison: self, a, b }
    }
}

impl Display for Shown<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        for caveat in &self.comparison.caveats {
            writeln!(f, "note: {caveat}")?;
        }
        let confidence = 100.0 * (1.0 - self.comparison.criterion.alpha);
        writeln!(f, "  {:<28}{:>12}{:>12}{:>9}   {confidence} % interval", "", "A", "B", "B / A")?;
        for result in &self.comparison.measures {
            self.row(f, result)?;
        }
        for Percentile { quantile, ns: [a, b] } in &self.comparison.percentiles {
            let name = format!("latency p{}", 100.0 * quantile);
            let ratio = *b as f64 / (*a).max(1) as f64;
            writeln!(
                f,
                "  {name:<28}{:>12}{:>12}{ratio:>9.3}   not tested",
                nanos(*a as f64),
                nanos(*b as f64)
            )?;
        }
        let decisive = self.comparison.measures.iter().find(|result| result.decides);
        let Some(result) = decisive else { return writeln!(f, "\nnothing to compare") };
        let words = match (result.verdict(), result.difference.finding) {
            (Verdict::Better, _) => "B is better",
            (Verdict::Worse, _) => "B is worse",
            (Verdict::Same, _) => "no difference beyond the noise band",
            (Verdict::Unclear, Finding::CannotTell(Reason::TooFewSamples)) => {
                "cannot tell: too few samples, run longer"
            }
            (Verdict::Unclear, Finding::CannotTell(_)) => "cannot tell: there is nothing to measure",
            (Verdict::Unclear, _) => {
                "unclear: no difference shown, and none ruled out; run longer, or compare more runs"
            }
        };
        writeln!(
            f,
            "\nby {}, noise band {:.0} %: {words}",
            result.measure,
            100.0 * self.comparison.criterion.noise
        )
    }
}

impl Shown<'_> {
    fn row(&self, f: &mut Formatter<'_>, result: &MeasureResult) -> fmt::Result {
        let level = |reports| match (result.measure.level(reports), result.measure) {
            (None, _) => "-".to_owned(),
            (Some(level), Measure::Latency) => nanos(level),
            (Some(level), _) => format!("{}/s", quantity(level)),
        };
        write!(f, "  {:<28}{:>12}{:>12}", result.measure.to_string(), level(self.a), level(self.b))?;
        match result.difference.estimate {
            None => writeln!(f, "{:>9}   cannot tell", "-"),
            Some(Estimate { ratio, ci_low, ci_high, p_value, .. }) => {
                writeln!(f, "{ratio:>9.3}   {ci_low:.3} to {ci_high:.3}, p = {p_value:.4}")
            }
        }
    }
}

impl Display for Measure {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Throughput => "throughput",
            Self::ByProcessorTime => "operations by processor time",
            Self::Latency => "mean latency",
        })
    }
}
