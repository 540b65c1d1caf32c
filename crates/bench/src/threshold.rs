use std::{error, fmt, str::FromStr};

use crate::{ExitStatus, Report, ThresholdResult, Verdict, format::parse_duration};

/// A bound that a run must keep, as `--fail-on` takes it: `p99<5ms`, `error_rate<0.001`, `rate>=0.99`.
#[derive(Clone, Debug, PartialEq)]
pub struct Threshold {
    text: String,
    metric: Metric,
    comparison: Comparison,
    bound: f64,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Metric {
    /// Nanoseconds at a quantile of the ladder.
    Quantile(f64),
    Mean,
    ErrorRate,
    /// The share of operations that started when they were due.
    Rate,
    Throughput,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Comparison {
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

/// The names that a threshold may use.
const METRICS: [(&str, Metric); 11] = [
    ("p50", Metric::Quantile(0.5)),
    ("p75", Metric::Quantile(0.75)),
    ("p90", Metric::Quantile(0.9)),
    ("p95", Metric::Quantile(0.95)),
    ("p99", Metric::Quantile(0.99)),
    ("p99.9", Metric::Quantile(0.999)),
    ("p99.99", Metric::Quantile(0.9999)),
    ("max", Metric::Quantile(1.0)),
    ("mean", Metric::Mean),
    ("error_rate", Metric::ErrorRate),
    ("rate", Metric::Rate),
];
const THROUGHPUT: &str = "throughput";

impl Threshold {
    /// The plan was kept: at least this share of the operations started when they were due.
    #[must_use]
    pub fn rate_held(share: f64) -> Self {
        Self {
            text: format!("rate>={share}"),
            metric: Metric::Rate,
            comparison: Comparison::GreaterOrEqual,
            bound: share,
        }
    }

    /// Whether it is about the plan of an open loop.
    pub(crate) fn is_rate(&self) -> bool {
        self.metric == Metric::Rate
    }

    fn found(&self, report: &Report) -> Option<f64> {
        match self.metric {
            Metric::Quantile(quantile) => Some(report.latency()?.at(quantile)? as f64),
            Metric::Mean => Some(report.latency()?.mean_ns),
            Metric::ErrorRate => Some(report.summary.error_rate),
            Metric::Rate => report.summary.on_schedule,
            Metric::Throughput => Some(report.summary.ops_per_s),
        }
    }

    fn judge(&self, report: &Report) -> ThresholdResult {
        let found = self.found(report);
        let kept = found.is_some_and(|found| match self.comparison {
            Comparison::Less => found < self.bound,
            Comparison::LessOrEqual => found <= self.bound,
            Comparison::Greater => found > self.bound,
            Comparison::GreaterOrEqual => found >= self.bound,
        });
        ThresholdResult { text: self.text.clone(), kept, found }
    }
}

impl Report {
    /// Holds the run against its invariants and `thresholds`, and gives the verdict: a broken
    /// invariant outweighs all, since it makes the figures worthless.
    pub fn judge(&mut self, thresholds: &[Threshold]) -> ExitStatus {
        self.thresholds = thresholds.iter().map(|threshold| threshold.judge(self)).collect();
        let broken = self.invariants.iter().find(|invariant| !invariant.held);
        let crossed = |rate: bool| {
            let of_kind =
                |(threshold, _): &(&Threshold, &ThresholdResult)| (threshold.metric == Metric::Rate) == rate;
            let pairs = thresholds.iter().zip(&self.thresholds);
            pairs.filter(of_kind).find(|(_, result)| !result.kept).map(|(_, result)| result.text.clone())
        };
        let (status, text) = if let Some(invariant) = broken {
            (ExitStatus::Invariant, format!("invariant broken: {}", invariant.name))
        } else if self.summary.interrupted {
            (ExitStatus::Interrupted, "interrupted: the figures are of a part of the run".to_owned())
        } else if let Some(text) = crossed(true) {
            (ExitStatus::Rate, format!("the offered rate was not sustained: {text} does not hold"))
        } else if let Some(text) = crossed(false) {
            (ExitStatus::Threshold, format!("threshold crossed: {text} does not hold"))
        } else {
            (ExitStatus::Ok, "ok".to_owned())
        };
        self.verdict = Verdict { exit_code: status.code(), text };
        status
    }
}

impl FromStr for Threshold {
    type Err = ThresholdError;

    fn from_str(text: &str) -> Result<Self, ThresholdError> {
        let text = text.trim();
        let wrong = |why: &str| ThresholdError(format!("{text:?}: {why}"));
        let at = text.find(['<', '>']).ok_or_else(|| wrong("no < or > in it; write it like p99<5ms"))?;
        let (name, rest) = text.split_at(at);
        let (comparison, bound) = match (&rest[..1], rest[1..].strip_prefix('=')) {
            ("<", Some(bound)) => (Comparison::LessOrEqual, bound),
            ("<", None) => (Comparison::Less, &rest[1..]),
            (_, Some(bound)) => (Comparison::GreaterOrEqual, bound),
            (_, None) => (Comparison::Greater, &rest[1..]),
        };
        let metric = if name.trim() == THROUGHPUT {
            Metric::Throughput
        } else {
            let known = METRICS.iter().find(|(known, _)| *known == name.trim());
            known
                .ok_or_else(|| {
                    wrong(&format!(
                        "unknown metric; known: {}, {THROUGHPUT}",
                        METRICS.map(|m| m.0).join(", ")
                    ))
                })?
                .1
        };
        let bound = match metric {
            Metric::Quantile(_) | Metric::Mean => parse_duration(bound)
                .map(|duration| duration.as_secs_f64() * 1e9)
                .map_err(|error| wrong(&error))?,
            Metric::ErrorRate | Metric::Rate => {
                let share = bound.trim().parse().ok().filter(|share| (0.0..=1.0).contains(share));
                share.ok_or_else(|| wrong("the bound is not a share from 0 to 1"))?
            }
            Metric::Throughput => crate::format::parse_count(bound).map_err(|error| wrong(&error))? as f64,
        };
        Ok(Self { text: text.to_owned(), metric, comparison, bound })
    }
}

/// Why a text is no threshold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ThresholdError(String);

impl fmt::Display for ThresholdError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl error::Error for ThresholdError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_help_shows() {
        for text in ["p99<5ms", "p99.9 <= 1s", "error_rate<0.001", "rate>=0.99", "throughput>1M", "max<2us"] {
            text.parse::<Threshold>().unwrap();
        }
    }

    #[test]
    fn says_what_is_wrong() {
        for (text, why) in [
            ("p99", "no < or >"),
            ("p98<5ms", "unknown metric; known: p50"),
            ("p99<5", "unit"),
            ("rate>=2", "from 0 to 1"),
            ("throughput>fast", "not a number"),
            ("<5ms", "unknown metric"),
        ] {
            let error = text.parse::<Threshold>().unwrap_err().to_string();
            assert!(error.contains(why), "{error}");
        }
    }
}
