//! Operations a second and latency over time.

use super::{
    axis::{Latencies, Rates, time_ticks},
    plot::{Plot, Spot, Style, bands, levels},
    text::{duration, escape, latency, number, quantity, shortened, shown_classes},
};
use crate::{ClassReport, Report};

mod span;

use span::{Span, spans};

const RATES: f64 = 160.0;
const LATENCIES: f64 = 200.0;

/// Both plots, one above the other, or a sentence if the run was too short for them.
pub(super) fn section(report: &Report) -> String {
    let (spans, pauses) = spans(&report.timeline);
    let Some(seconds) = spans.last().map(|span| span.to) else {
        return "<section>\n<h2>Over time</h2>\n<p>The run was too short for a timeline.</p>\n</section>\n"
            .to_owned();
    };
    let kind = if report.response.is_some() { "response time" } else { "service time" };
    let merged = if spans.len() < report.timeline.len() {
        " Intervals are merged for this plot: p50 is a mean of theirs, p99 and max are their highest."
    } else {
        ""
    };
    let pause = pauses.first().map_or(String::new(), |pause| {
        format!(
            " Shaded: no operation ended, for at least {} from {}.",
            duration(pause.seconds()),
            duration(pause.from)
        )
    });
    format!(
        "<section>\n<figure class=\"timeline\">\n<figcaption>\n<h2>Over time</h2>\n\
         <p>Operations a second by outcome, and below them their {kind}, on one axis of time.{pause}{merged}</p>\n</figcaption>\n\
         {}{}<p class=\"read-out\"></p>\n</figure>\n</section>\n",
        rates(report, &spans, &pauses, seconds),
        latencies(&spans, &pauses, seconds, kind),
    )
}

fn rates(report: &Report, spans: &[Span], pauses: &[Span], seconds: f64) -> String {
    let offered = report.summary.offered_per_s.filter(|rate| rate.is_finite());
    let most = spans.iter().map(|span| span.ops_per_s).fold(offered.unwrap_or(0.0), f64::max);
    let axis = Rates::up_to(most, RATES);
    let styles = Style::of_classes(&report.classes);
    let shown = shown_classes(&report.classes);
    let mut lines = shade(pauses, seconds, RATES);
    // Stacked from the bottom; what has no colour of its own lies on top.
    let mut floor = vec![0.0; spans.len()];
    for place in &shown {
        let areas: Vec<_> = (spans.iter().zip(&mut floor))
            .map(|(span, floor)| {
                let bottom = *floor;
                *floor += span.share(*place) * span.ops_per_s;
                (span.from / seconds, span.to / seconds, axis.y(*floor), axis.y(bottom))
            })
            .collect();
        lines += &bands(&format!("{} area", styles[*place].css), &areas);
    }
    let rest: Vec<_> = (spans.iter().zip(&floor))
        .map(|(span, floor)| (span.from / seconds, span.to / seconds, axis.y(span.ops_per_s), axis.y(*floor)))
        .filter(|(_, _, top, bottom)| bottom - top > 0.05)
        .collect();
    lines += &bands("rest area", &rest);
    let outline: Vec<_> =
        spans.iter().map(|span| (span.from / seconds, span.to / seconds, axis.y(span.ops_per_s))).collect();
    lines += &levels("outline", &outline);
    let mut legend: String =
        shown.iter().map(|place| styles[*place].entry(&report.classes[*place].name)).collect();
    if !rest.is_empty() {
        legend += &Style::named("rest").entry("other outcomes");
    }
    let mut labels = label_of_pause(pauses, seconds, RATES);
    if let Some(offered) = offered {
        let y = axis.y(offered);
        lines += &levels("offered line", &[(0.0, 1.0, y)]);
        labels +=
            &format!("<text class=\"name\" x=\"100%\" dx=\"8\" y=\"{y:.1}\" dy=\".32em\">offered</text>\n");
        legend += &Style::named("offered").entry("offered");
    }
    let plot = Plot {
        label: "Operations a second over time".to_owned(),
        description: describe(report, spans, pauses),
        height: RATES,
        across: time_ticks(seconds),
        across_title: "",
        up: axis.ticks(),
        up_title: "operations a second",
        lines,
        labels,
        spots: spots(spans, seconds, |span| rates_of(span, &report.classes, &shown)),
    };
    format!("<ul class=\"legend\">\n{legend}</ul>\n{}", plot.render())
}

fn latencies(spans: &[Span], pauses: &[Span], seconds: f64, kind: &'static str) -> String {
    let timed: Vec<&Span> = spans.iter().filter(|span| span.is_timed()).collect();
    let axis = Latencies::over(timed.iter().flat_map(|span| [span.p50, span.p99, span.max]), LATENCIES);
    let lay = |figure: Figure| -> Vec<(f64, f64, f64)> {
        timed.iter().map(|span| (span.from / seconds, span.to / seconds, axis.y(figure(span)))).collect()
    };
    let band: Vec<_> = (timed.iter())
        .map(|span| (span.from / seconds, span.to / seconds, axis.y(span.p99), axis.y(span.p50)))
        .collect();
    let series: [(&str, Figure); 3] =
        [("max", |span| span.max), ("p99", |span| span.p99), ("p50", |span| span.p50)];
    let mut lines = shade(pauses, seconds, LATENCIES) + &bands("spread area", &band);
    let mut names = Vec::new();
    for (name, figure) in series {
        let levels_of = lay(figure);
        lines += &levels(&format!("{name} line"), &levels_of);
        names.extend(levels_of.last().map(|(_, _, y)| ((1.0, *y), name)));
    }
    super::plot::spread(&mut names, LATENCIES);
    let labels: String = (names.iter())
        .map(|((_, y), name)| {
            format!("<text class=\"name\" x=\"100%\" dx=\"8\" y=\"{y:.1}\" dy=\".32em\">{name}</text>\n")
        })
        .collect();
    let plot = Plot {
        label: format!("{kind} over time: p50, p99 and maximum"),
        description: describe_latency(spans),
        height: LATENCIES,
        across: time_ticks(seconds),
        across_title: "time since the start",
        up: axis.ticks(),
        up_title: kind,
        lines,
        labels,
        spots: spots(spans, seconds, latencies_of),
    };
    let legend: String = series.iter().rev().map(|(name, _)| Style::named(name).entry(name)).collect();
    format!("<ul class=\"legend\">\n{legend}</ul>\n{}", plot.render())
}

/// One of the figures of a span.
type Figure = fn(&Span) -> u64;

fn shade(pauses: &[Span], seconds: f64, height: f64) -> String {
    let spans: Vec<_> =
        pauses.iter().map(|pause| (pause.from / seconds, pause.to / seconds, 0.0, height)).collect();
    bands("pause", &spans)
}

/// Beside the longest pause, where it is long enough to be looked at.
fn label_of_pause(pauses: &[Span], seconds: f64, height: f64) -> String {
    let Some(pause) = pauses.first().filter(|pause| pause.seconds() > 0.03 * seconds) else {
        return String::new();
    };
    let (x, anchor, dx) =
        if pause.from > 0.25 * seconds { (pause.from, "end", -6) } else { (pause.to, "start", 6) };
    format!(
        "<text class=\"name pause-name\" x=\"{:.2}%\" dx=\"{dx}\" y=\"{:.0}\" text-anchor=\"{anchor}\">nothing ended for at least {}</text>\n",
        100.0 * x / seconds,
        0.3 * height,
        duration(pause.seconds())
    )
}

/// What each span says of itself: when it was, and its `figures`.
fn spots(spans: &[Span], seconds: f64, figures: impl Fn(&Span) -> String) -> Vec<Spot> {
    let spot = |span: &Span| {
        let text = format!("{} to {}{}", duration(span.from), duration(span.to), figures(span));
        Spot { from: span.from / seconds, to: span.to / seconds, text }
    };
    spans.iter().map(spot).collect()
}

fn rates_of(span: &Span, classes: &[ClassReport], shown: &[usize]) -> String {
    let mut text = format!("\n{} operations/s", quantity(span.ops_per_s));
    for place in shown.iter().filter(|_| shown.len() > 1 && span.ops_per_s > 0.0) {
        text += &format!(
            "\n{} {}/s",
            shortened(&classes[*place].name, 24),
            quantity(span.share(*place) * span.ops_per_s)
        );
    }
    text
}

fn latencies_of(span: &Span) -> String {
    if span.is_timed() {
        let [p50, p99, max] = [span.p50, span.p99, span.max].map(|ns| latency(number(ns)));
        format!("\np50 {p50}\np99 {p99}\nmax {max}")
    } else {
        "\nno operation was timed".to_owned()
    }
}

fn describe(report: &Report, spans: &[Span], pauses: &[Span]) -> String {
    let least = spans.iter().map(|span| span.ops_per_s).fold(f64::INFINITY, f64::min);
    let most = spans.iter().map(|span| span.ops_per_s).fold(0.0, f64::max);
    let pauses: String = (pauses.iter().take(5))
        .map(|pause| format!(" No operation ended from {} to {}.", duration(pause.from), duration(pause.to)))
        .collect();
    format!(
        "Between {} and {} operations a second, {} over the whole run of {}.{pauses}",
        quantity(least),
        quantity(most),
        quantity(report.summary.ops_per_s),
        escape(&report.benchmark)
    )
}

fn describe_latency(spans: &[Span]) -> String {
    let worst = spans.iter().max_by_key(|span| span.max).filter(|span| span.is_timed());
    worst.map_or_else(
        || "No operation was timed.".to_owned(),
        |span| {
            let (from, to) = (duration(span.from), duration(span.to));
            format!("The slowest operation, {}, ended between {from} and {to}.", latency(number(span.max)))
        },
    )
}
