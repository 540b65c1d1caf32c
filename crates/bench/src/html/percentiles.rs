//! Latency over percentile, on an axis of nines.

use super::{
    axis::{Latencies, nines_ticks},
    plot::{Plot, Point, Spot, Style, line, spread},
    text::{escape, latency, nines, number, plural, quantile_name, shortened, shown_classes},
};
use crate::{Latency, Report};

const HEIGHT: f64 = 340.0;
/// Labels are kept inside of the margin at the right.
const LABEL: usize = 16;

/// One line of the plot.
pub(super) struct Curve<'a> {
    pub(super) name: String,
    pub(super) latency: &'a Latency,
    pub(super) style: Style,
}

/// What there is to draw: the whole first, then class by class if there are several.
pub(super) fn curves(report: &Report) -> Vec<Curve<'_>> {
    let open = report.response.is_some();
    let mut curves = Vec::new();
    if let Some(latency) = &report.response {
        curves.push(Curve { name: "response, all".to_owned(), latency, style: Style::named("all") });
    }
    if let Some(latency) = &report.service {
        let (name, css) = if open { ("service, all", "service") } else { ("all", "all") };
        curves.push(Curve { name: name.to_owned(), latency, style: Style::named(css) });
    }
    let styles = Style::of_classes(&report.classes);
    let occurring = report.classes.iter().filter(|class| class.count > 0).count();
    for place in shown_classes(&report.classes).into_iter().filter(|_| occurring > 1) {
        let class = &report.classes[place];
        let latency = if open { &class.response } else { &class.service };
        if let Some(latency) = latency {
            curves.push(Curve { name: class.name.clone(), latency, style: styles[place].clone() });
        }
    }
    curves
}

/// The plot with its legend, or a sentence if nothing was timed.
pub(super) fn section(report: &Report) -> String {
    let curves = curves(report);
    let open = report.response.is_some();
    let title = if open { "Response time by percentile" } else { "Service time by percentile" };
    let Some(first) = curves.first() else {
        return format!("<section>\n<h2>{title}</h2>\n<p>No operation was timed.</p>\n</section>\n");
    };
    let what = if open {
        "Open loop: response time counts from when an operation was due, service time from its start. The gap between \
         the two is waiting."
    } else {
        "Closed loop: service time only. Time that an operation would have waited for a free worker is not in it."
    };
    let reach = curves.iter().map(|curve| reach(curve.latency)).fold(1.0, f64::max);
    let points = |curve: &Curve<'_>| curve.latency.spectrum.iter().map(|point| point.ns).collect::<Vec<_>>();
    let axis = Latencies::over(curves.iter().flat_map(points), HEIGHT);
    let mut lines = String::new();
    let mut labels = String::new();
    let mut names = Vec::new();
    for curve in &curves {
        let points = places(curve.latency, &axis, reach);
        lines += &line(&format!("{} line", curve.style.css), &points);
        if let [.., (_, before), (x, y)] = points.as_slice() {
            labels += &curve.style.mark(*x, *y);
            // Beside the last percentile: the slowest operations of all lines are often the same.
            names.push(((*x, *before), shortened(&curve.name, LABEL)));
        }
    }
    spread(&mut names, HEIGHT);
    for ((x, y), name) in names {
        labels += &format!(
            "<text class=\"name\" x=\"{:.2}%\" dx=\"10\" y=\"{y:.1}\" dy=\".32em\">{name}</text>\n",
            100.0 * x
        );
    }
    let plot = Plot {
        label: format!("{title} of {}", report.benchmark),
        description: describe(&curves),
        height: HEIGHT,
        across: nines_ticks(reach),
        across_title: "percentile, each nine ten times rarer",
        up: axis.ticks(),
        up_title: if open { "response time" } else { "service time" },
        lines,
        labels,
        spots: spots(&curves, reach),
    };
    let legend: String = curves.iter().map(|curve| curve.style.entry(&curve.name)).collect();
    format!(
        "<section>\n<figure class=\"percentiles\">\n<figcaption>\n<h2>{title}</h2>\n<p>{what}</p>\n\
         <p class=\"how\">How to read it: at p99, 99 of 100 operations took no longer than the height of the line. \
         The end of a line is the slowest of {}.</p>\n</figcaption>\n<ul class=\"legend\">\n{legend}</ul>\n{}\
         <p class=\"read-out\"></p>\n</figure>\n</section>\n",
        plural(first.latency.count, "operation"),
        plot.render(),
    )
}

/// How many nines a distribution goes: a thousand operations have three.
fn reach(latency: &Latency) -> f64 {
    let last =
        latency.spectrum.iter().map(|point| point.quantile).filter(|quantile| *quantile < 1.0).map(nines);
    last.fold(number(latency.count.max(10)).log10(), f64::max).min(12.0)
}

fn places(latency: &Latency, axis: &Latencies, whole: f64) -> Vec<Point> {
    let end = reach(latency);
    let points = latency.spectrum.iter().filter(|point| point.quantile.is_finite());
    let across = |quantile: f64| if quantile < 1.0 { nines(quantile.max(0.0)).min(end) } else { end };
    points.map(|point| (across(point.quantile) / whole, axis.y(point.ns))).collect()
}

/// The latency that a share of the operations stayed within, as far as there are so many.
fn at(latency: &Latency, quantile: f64) -> Option<u64> {
    let known = quantile >= 1.0 || nines(quantile) <= reach(latency) + 1e-6;
    let mut points = latency.spectrum.iter().filter(|_| known);
    points.find(|point| point.quantile >= quantile - 1e-12).map(|point| point.ns)
}

fn spots(curves: &[Curve<'_>], whole: f64) -> Vec<Spot> {
    let Some(longest) = curves.iter().max_by(|a, b| reach(a.latency).total_cmp(&reach(b.latency))) else {
        return Vec::new();
    };
    let quantiles = longest.latency.spectrum.iter().map(|point| point.quantile);
    let quantiles: Vec<f64> = quantiles.filter(|quantile| quantile.is_finite()).collect();
    let place =
        |quantile: f64| if quantile < 1.0 { nines(quantile.max(0.0)).min(whole) / whole } else { 1.0 };
    let middle = |a: usize, b: usize| f64::midpoint(place(quantiles[a]), place(quantiles[b]));
    let last = quantiles.len().saturating_sub(1);
    let spot = |(index, quantile): (usize, &f64)| {
        let figures: String = (curves.iter())
            .filter_map(|curve| Some((curve, at(curve.latency, *quantile)?)))
            .map(|(curve, ns)| format!("\n{} {}", shortened(&curve.name, LABEL), latency(number(ns))))
            .collect();
        Spot {
            from: if index == 0 { 0.0 } else { middle(index - 1, index) },
            to: if index == last { 1.02 } else { middle(index, index + 1) },
            text: format!("{}{figures}", quantile_name(*quantile)),
        }
    };
    quantiles.iter().enumerate().map(spot).collect()
}

fn describe(curves: &[Curve<'_>]) -> String {
    let figures = |curve: &Curve<'_>| {
        let latency = |quantile| curve.latency.at(quantile).map_or(String::new(), |ns| latency(number(ns)));
        format!(
            "{}: p50 {}, p99 {}, max {}. ",
            escape(&curve.name),
            latency(0.5),
            latency(0.99),
            latency(1.0)
        )
    };
    curves.iter().map(figures).collect()
}
