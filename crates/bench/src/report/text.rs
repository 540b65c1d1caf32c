use std::fmt::{self, Display, Formatter};

use super::{Ceiling, ClassReport, Harness, Latency, Report, Summary};
use crate::{
    ClassKind,
    format::{bytes, grouped, nanos, quantity},
};

/// The report as people read it in a terminal.
impl Display for Report {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        writeln!(f, "{} {}", self.benchmark, self.version)?;
        for (name, value) in &self.config {
            writeln!(f, "  {name:<16} {value}")?;
        }
        section(f, "summary")?;
        summary(f, &self.summary)?;
        section(f, "outcomes")?;
        for class in &self.classes {
            outcome(f, class, self.summary.operations)?;
        }
        latencies(f, self)?;
        harness(f, &self.harness, self.service.as_ref())?;
        if !self.ceilings.is_empty() {
            section(f, "ceilings, measured in this run")?;
            for ceiling in &self.ceilings {
                write_ceiling(f, ceiling, self.summary.ops_per_s)?;
            }
        }
        if !self.facts.is_empty() {
            section(f, "facts")?;
            for fact in &self.facts {
                writeln!(f, "  {:<28} {}", fact.name, fact.value)?;
            }
        }
        section(f, "invariants")?;
        for invariant in &self.invariants {
            let mark = if invariant.held { "held  " } else { "BROKEN" };
            writeln!(f, "  {mark}  {}: {}", invariant.name, invariant.detail)?;
        }
        if self.invariants.is_empty() {
            writeln!(f, "  none")?;
        }
        for threshold in &self.thresholds {
            let mark = if threshold.kept { "kept   " } else { "CROSSED" };
            let found = threshold
                .found
                .map_or_else(|| "no such figure in this run".to_owned(), |found| format!("found {found}"));
            writeln!(f, "  {mark} {}: {found}", threshold.text)?;
        }
        write!(f, "\nverdict: {}", self.verdict.text)
    }
}

fn section(f: &mut Formatter<'_>, title: &str) -> fmt::Result {
    writeln!(f, "\n{title}")
}

fn summary(f: &mut Formatter<'_>, summary: &Summary) -> fmt::Result {
    let Summary { operations, elapsed_s, ops_per_s, .. } = summary;
    writeln!(f, "  {} operations in {elapsed_s:.3} s: {}/s", grouped(*operations), quantity(*ops_per_s))?;
    if let Some(offered) = summary.offered_per_s {
        write!(f, "  offered {}/s", quantity(offered))?;
        if let (Some(planned), Some(on_schedule)) = (summary.planned, summary.on_schedule) {
            let started = operations + summary.dropped;
            write!(f, ": {} planned, {:.2} % started on schedule", grouped(planned), 100.0 * on_schedule)?;
            write!(
                f,
                ", {} dropped, {} never started",
                grouped(summary.dropped),
                grouped(planned.saturating_sub(started))
            )?;
        }
        writeln!(f)?;
    }
    write!(f, "  client: {:.2} s of processor time", summary.cpu_s)?;
    if let Some(rss) = summary.peak_rss_bytes {
        write!(f, ", {} of memory at its peak", bytes(rss))?;
    }
    writeln!(f)?;
    if let Some(digest) = &summary.input_digest {
        writeln!(f, "  digest of all inputs: {digest}")?;
    }
    Ok(())
}

fn outcome(f: &mut Formatter<'_>, class: &ClassReport, operations: u64) -> fmt::Result {
    let share = 100.0 * class.count as f64 / operations.max(1) as f64;
    let kind = if class.kind == ClassKind::Error { "  (error)" } else { "" };
    writeln!(f, "  {:<16} {:>14}  {share:>6.2} %{kind}", class.name, grouped(class.count))?;
    for message in &class.messages {
        writeln!(f, "    {message}")?;
    }
    Ok(())
}

fn latencies(f: &mut Formatter<'_>, report: &Report) -> fmt::Result {
    let open = report.response.is_some();
    section(f, if open { "latency" } else { "latency (closed loop: service time only)" })?;
    let mut columns: Vec<(String, &Latency)> = Vec::new();
    if let Some(response) = &report.response {
        columns.push(("response".to_owned(), response));
    }
    if let Some(service) = &report.service {
        columns.push((if open { "service" } else { "all" }.to_owned(), service));
    }
    for class in
        report.classes.iter().filter(|_| report.classes.iter().filter(|class| class.count > 0).count() > 1)
    {
        if let Some(latency) = class.response.as_ref().or(class.service.as_ref()) {
            columns.push((class.name.clone(), latency));
        }
    }
    let Some((_, first)) = columns.first() else {
        return writeln!(f, "  none was timed");
    };
    write!(f, "  {:<9}", "")?;
    for (name, _) in &columns {
        write!(f, "{name:>14}")?;
    }
    writeln!(f)?;
    for (row, point) in first.percentiles.iter().enumerate() {
        write!(f, "  {:<9}", quantile_name(point.quantile))?;
        for (_, latency) in &columns {
            write!(f, "{:>14}", nanos(latency.percentiles[row].ns as f64))?;
        }
        writeln!(f)?;
    }
    write!(f, "  {:<9}", "mean")?;
    for (_, latency) in &columns {
        write!(f, "{:>14}", nanos(latency.mean_ns))?;
    }
    writeln!(f)
}

/// `p99.9`, `min`, `max`.
fn quantile_name(quantile: f64) -> String {
    if quantile <= 0.0 {
        "min".to_owned()
    } else if quantile >= 1.0 {
        "max".to_owned()
    } else {
        // Five decimals hold the longest of the ladder, and hide the binary fraction.
        let percent = format!("{:.5}", 100.0 * quantile);
        format!("p{}", percent.trim_end_matches('0').trim_end_matches('.'))
    }
}

fn harness(f: &mut Formatter<'_>, harness: &Harness, service: Option<&Latency>) -> fmt::Result {
    if harness.noop_ns <= 0.0 {
        return Ok(());
    }
    section(f, "harness")?;
    writeln!(
        f,
        "  {} for an operation that does nothing, timed and recorded; {} of every service time is the clock reading",
        nanos(harness.noop_ns),
        nanos(harness.clock_ns)
    )?;
    if let Some(service) = service {
        let net = (service.mean_ns - harness.clock_ns).max(0.0);
        writeln!(f, "  mean service time {} gross, {} net of it", nanos(service.mean_ns), nanos(net))?;
    }
    if let Some(share) = harness.share {
        writeln!(
            f,
            "  {:.0} % of the workers' time went to making inputs, recording and checking",
            100.0 * share
        )?;
    }
    Ok(())
}

fn write_ceiling(f: &mut Formatter<'_>, ceiling: &Ceiling, ops_per_s: f64) -> fmt::Result {
    let ratio = ops_per_s / ceiling.ops_per_s;
    writeln!(
        f,
        "  {:<40} {:>10}/s  this run reached {ratio:.2} of it",
        ceiling.name,
        quantity(ceiling.ops_per_s)
    )
}
