//! The percentile ladder.

use super::{
    percentiles::{Curve, curves},
    text::{latency, number, quantile_name, shortened},
};
use crate::{Report, format::grouped};

/// Whether the ladder is so narrow that something fits beside it.
pub(super) fn is_narrow(report: &Report) -> bool {
    curves(report).len() <= 3
}

/// A row for each quantile, a column for each distribution.
pub(super) fn section(report: &Report) -> String {
    let curves = curves(report);
    let Some(first) = curves.first() else {
        return String::new();
    };
    let mut rows = String::new();
    for point in &first.latency.percentiles {
        rows += &row(&quantile_name(point.quantile), &curves, |curve| {
            curve.latency.at(point.quantile).map(|ns| latency(number(ns)))
        });
    }
    rows += &row("mean", &curves, |curve| Some(latency(curve.latency.mean_ns)));
    rows += &row("std. deviation", &curves, |curve| Some(latency(curve.latency.stdev_ns)));
    rows += &row("timed", &curves, |curve| Some(grouped(curve.latency.count)));
    let heads: String = (curves.iter())
        .map(|curve| format!("<th scope=\"col\">{}</th>", curve.style.with_name(&shortened(&curve.name, 40))))
        .collect();
    format!(
        "<section>\n<h2>Latency</h2>\n<p>{}</p>\n<div class=\"scroll\" role=\"region\" aria-label=\"Latency by percentile\" \
         tabindex=\"0\">\n<table class=\"ladder\">\n<thead><tr><th scope=\"col\">percentile</th>{heads}</tr></thead>\n\
         <tbody>\n{rows}</tbody>\n</table>\n</div>\n</section>\n",
        about(report, first.latency.count)
    )
}

fn row(name: &str, curves: &[Curve<'_>], figure: impl Fn(&Curve<'_>) -> Option<String>) -> String {
    let cells: String = (curves.iter())
        .map(|curve| format!("<td>{}</td>", figure(curve).unwrap_or_else(|| super::text::NONE.to_owned())))
        .collect();
    format!("<tr><th scope=\"row\">{name}</th>{cells}</tr>\n")
}

fn about(report: &Report, timed: u64) -> String {
    let kind = if report.response.is_some() {
        "Response time counts from when an operation was due, service time from its start. By outcome: response time."
    } else {
        "Closed loop: service time only."
    };
    let operations = report.summary.operations;
    if timed < operations {
        format!("{kind} {} of {} operations were timed.", grouped(timed), grouped(operations))
    } else {
        kind.to_owned()
    }
}
