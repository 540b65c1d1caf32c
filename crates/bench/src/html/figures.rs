//! What was run, in a sentence, and the figures that one looks for first.

use super::{
    axis::memory,
    text::{duration, escape, latency, number, percent, plural, quantity},
};
use crate::{ClassKind, Latency, Report, format::grouped};

/// What was run, how much of it, and how fast, as HTML.
pub(super) fn lead(report: &Report) -> String {
    let summary = &report.summary;
    let name = escape(&report.benchmark);
    if summary.operations == 0 {
        return format!("{name} ran, but no operation came to its end.");
    }
    let workers = plural(summary.concurrency as u64, "worker");
    let how = match (is_virtual(report), summary.offered_per_s) {
        (true, _) => "one after the other, on a simulated clock".to_owned(),
        (false, Some(offered)) => {
            format!("offered at {} a second in an open loop to {workers}", quantity(offered))
        }
        (false, None) => format!("with {workers} in a closed loop"),
    };
    format!(
        "{name} ran <strong>{}</strong> in <strong>{}</strong>, {how}: <strong>{} operations a second</strong>.",
        plural(summary.operations, "operation"),
        duration(summary.elapsed_s),
        quantity(summary.ops_per_s),
    )
}

fn is_virtual(report: &Report) -> bool {
    report.config.get("loop").is_some_and(|kind| kind.starts_with("virtual"))
}

struct Figure {
    name: String,
    value: String,
    /// As HTML.
    detail: String,
    bad: bool,
}

/// The key figures.
pub(super) fn section(report: &Report) -> String {
    let mut figures = vec![throughput(report)];
    figures.extend(latencies(report));
    figures.push(errors(report));
    figures.extend(schedule(report));
    figures.extend(invariants(report));
    figures.push(client(report));
    let figures: String = (figures.iter())
        .map(|figure| {
            format!(
                "<div{}><dt>{}</dt><dd><strong>{}</strong><span>{}</span></dd></div>\n",
                if figure.bad { " class=\"bad\"" } else { "" },
                figure.name,
                figure.value,
                figure.detail
            )
        })
        .collect();
    format!("<section aria-label=\"Key figures\">\n<dl class=\"figures\">\n{figures}</dl>\n</section>\n")
}

fn throughput(report: &Report) -> Figure {
    let summary = &report.summary;
    let detail = match summary.offered_per_s {
        Some(offered) => format!("offered {}/s", quantity(offered)),
        None => format!("{} in {}", grouped(summary.operations), duration(summary.elapsed_s)),
    };
    Figure {
        name: "Throughput".to_owned(),
        value: format!("{}/s", quantity(summary.ops_per_s)),
        detail,
        bad: false,
    }
}

fn latencies(report: &Report) -> Vec<Figure> {
    let Some(shown) = report.latency() else {
        return Vec::new();
    };
    let kind = if report.response.is_some() { "response" } else { "service" };
    let value = |latencies: &Latency, quantile| latencies.at(quantile).map(|ns| latency(number(ns)));
    [("p50", 0.5), ("p99", 0.99), ("p99.9", 0.999), ("Slowest", 1.0)]
        .into_iter()
        .filter_map(|(name, quantile)| {
            let service = report.service.as_ref().filter(|_| report.response.is_some());
            Some(Figure {
                name: format!("{name} {kind} time"),
                value: value(shown, quantile)?,
                detail: service.and_then(|service| value(service, quantile)).map_or_else(
                    || {
                        if quantile == 0.5 {
                            "closed loop: service time only".to_owned()
                        } else {
                            String::new()
                        }
                    },
                    |service| format!("service {service}"),
                ),
                bad: false,
            })
        })
        .collect()
}

fn errors(report: &Report) -> Figure {
    let of_kind =
        |kind| report.classes.iter().filter(move |class| class.kind == kind).map(|class| class.count);
    let errors = of_kind(ClassKind::Error).fold(0, u64::saturating_add);
    Figure {
        name: "Error rate".to_owned(),
        value: percent(report.summary.error_rate),
        detail: plural(errors, "error"),
        bad: errors > 0,
    }
}

fn schedule(report: &Report) -> Option<Figure> {
    let summary = &report.summary;
    let share = summary.on_schedule?;
    let ran = summary.operations.saturating_add(summary.dropped);
    let never = summary.planned.unwrap_or(0).saturating_sub(ran);
    let mut detail = vec!["within 10 ms of due".to_owned()];
    if summary.dropped > 0 {
        detail.push(format!("{} dropped", grouped(summary.dropped)));
    }
    if never > 0 {
        detail.push(format!("{} never started", grouped(never)));
    }
    Some(Figure {
        name: "Started on schedule".to_owned(),
        value: percent(share),
        detail: detail.join(", "),
        bad: share < 0.99,
    })
}

fn invariants(report: &Report) -> Option<Figure> {
    let all = report.invariants.len();
    let held = report.invariants.iter().filter(|invariant| invariant.held).count();
    (all > 0).then(|| Figure {
        name: "Invariants".to_owned(),
        value: format!("{held} of {all}"),
        detail: if held == all { "held".to_owned() } else { format!("held, {} broken", all - held) },
        bad: held < all,
    })
}

fn client(report: &Report) -> Figure {
    let (summary, cpus) = (&report.summary, report.machine.cpus.max(1) as u64);
    let busy = summary.cpu_s / (summary.elapsed_s * number(cpus));
    // A short run is not measured finely enough for a share.
    let detail = if summary.elapsed_s > 0.5 && busy.is_finite() {
        format!("client used {} of {}", percent(busy.min(1.0)), plural(cpus, "processor"))
    } else {
        format!("client used {} of processor time", duration(summary.cpu_s))
    };
    Figure { name: "Peak memory".to_owned(), value: memory(summary.peak_rss_bytes), detail, bad: false }
}
