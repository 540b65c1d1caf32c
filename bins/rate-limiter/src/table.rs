//! Every algorithm on the same requests, in one table.

use std::str::FromStr;

use bench::{
    ClassReport, ExitStatus, Report, Run,
    format::{grouped, nanos, quantity},
};
use rate_limiter::{Algorithm, UnknownAlgorithm};

/// What `--algorithm` names.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Algorithms {
    One(Algorithm),
    All,
}

impl FromStr for Algorithms {
    type Err = UnknownAlgorithm;

    fn from_str(name: &str) -> Result<Self, UnknownAlgorithm> {
        if name == "all" { Ok(Self::All) } else { name.parse().map(Self::One) }
    }
}

/// Runs each algorithm with `measure`; the status is the worst of all.
pub(crate) fn show(
    mut measure: impl FnMut(Algorithm) -> anyhow::Result<(Report, Run, ExitStatus)>,
) -> anyhow::Result<ExitStatus> {
    bench::print(&format!(
        "{:<24}{:>14}{:>10}{:>10}{:>12}{:>12}{:>12}{:>12}  {:<24}  invariants\n",
        "algorithm",
        "decisions",
        "per s",
        "admitted",
        "allow p50",
        "allow p99",
        "deny p50",
        "deny p99",
        "quota"
    ))?;
    let mut worst = ExitStatus::Ok;
    for algorithm in Algorithm::ALL {
        let (report, _, status) = measure(algorithm)?;
        worst = worst.max(status);
        bench::print(&row(algorithm, &report))?;
        if status == ExitStatus::Interrupted {
            break;
        }
    }
    Ok(worst)
}

fn row(algorithm: Algorithm, report: &Report) -> String {
    let operations = report.summary.operations;
    let class = |name: &str| report.classes.iter().find(|class| class.name == name);
    let at =
        |name, quantile| class(name).and_then(|class| latency(class, quantile)).map_or("-".to_owned(), nanos);
    let admitted = class("allowed").map_or(0, |class| class.count) as f64 / operations.max(1) as f64;
    let verdict = if report.verdict.exit_code == 0 { "held" } else { &report.verdict.text };
    format!(
        "{:<24}{:>14}{:>10}{:>8.1} %{:>12}{:>12}{:>12}{:>12}  {:<24}  {verdict}\n",
        algorithm,
        grouped(operations),
        quantity(report.summary.ops_per_s),
        100.0 * admitted,
        at("allowed", 0.5),
        at("allowed", 0.99),
        at("denied", 0.5),
        at("denied", 0.99),
        report.config.get("quota").map_or("", String::as_str),
    )
}

fn latency(class: &ClassReport, quantile: f64) -> Option<f64> {
    let latency = class.response.as_ref().or(class.service.as_ref())?;
    latency.at(quantile).map(|ns| ns as f64)
}
