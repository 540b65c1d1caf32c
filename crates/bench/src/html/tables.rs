//! Checks, ceilings, facts, and where and how it ran.

use super::text::{NONE, latency, percent, quantity, shortened};
use crate::{Harness, Invariant, Report, ThresholdResult};

/// No text of a report is shown beyond this many characters.
const LONGEST: usize = 1_000;

/// Invariants and thresholds.
pub(super) fn checks(report: &Report) -> String {
    let invariants: String = report.invariants.iter().map(invariant).collect();
    let invariants = if invariants.is_empty() {
        "<p>None was checked.</p>\n".to_owned()
    } else {
        table("Invariants", ["", "must hold", "figures"], &invariants)
    };
    let mut html = format!(
        "<section>\n<h2>Invariants</h2>\n<p>What must be true of a correct run, checked after its last operation.</p>\n\
         {invariants}</section>\n"
    );
    if !report.thresholds.is_empty() {
        let thresholds: String = report.thresholds.iter().map(threshold).collect();
        html += &format!(
            "<section>\n<h2>Thresholds</h2>\n<p>What was asked for with the run.</p>\n{}</section>\n",
            table("Thresholds", ["", "bound", "found"], &thresholds)
        );
    }
    html
}

fn table(label: &str, heads: [&str; 3], rows: &str) -> String {
    let [first, second, third] = heads;
    let first = if first.is_empty() { "result" } else { first };
    format!(
        "<div class=\"scroll\" role=\"region\" aria-label=\"{label}\" tabindex=\"0\">\n<table class=\"plain\">\n\
         <thead><tr><th scope=\"col\">{first}</th><th scope=\"col\">{second}</th><th scope=\"col\">{third}</th></tr></thead>\n\
         <tbody>\n{rows}</tbody>\n</table>\n</div>\n"
    )
}

fn invariant(invariant: &Invariant) -> String {
    let (tone, word) = if invariant.held { ("good", "held") } else { ("bad", "broken") };
    check(tone, word, &shortened(&invariant.name, LONGEST), &shortened(&invariant.detail, LONGEST))
}

fn check(tone: &str, word: &str, name: &str, detail: &str) -> String {
    format!(
        "<tr><td class=\"badge\"><span class=\"{tone}\">{word}</span></td><th scope=\"row\">{name}</th>\
         <td class=\"text\">{detail}</td></tr>\n"
    )
}

fn threshold(threshold: &ThresholdResult) -> String {
    let (tone, word) = if threshold.kept { ("good", "kept") } else { ("bad", "crossed") };
    let found = match threshold.found {
        Some(found) => found_figure(&threshold.text, found),
        None => "this run has no such figure".to_owned(),
    };
    check(tone, word, &format!("<code>{}</code>", shortened(&threshold.text, LONGEST)), &found)
}

/// The figure in the unit of its bound: the name of the metric comes first in a threshold.
fn found_figure(text: &str, found: f64) -> String {
    let metric = text.split(['<', '>']).next().unwrap_or_default().trim();
    match metric {
        "error_rate" | "rate" => percent(found),
        "throughput" => format!("{}/s", quantity(found)),
        _ => latency(found),
    }
}

/// What the parts can do by themselves, beside what the run did.
pub(super) fn ceilings(report: &Report) -> String {
    if report.ceilings.is_empty() {
        return String::new();
    }
    let own = report.summary.ops_per_s;
    let most = report
        .ceilings
        .iter()
        .map(|ceiling| ceiling.ops_per_s)
        .filter(|rate| rate.is_finite())
        .fold(own, f64::max);
    let row = |name: &str, rate: f64, reached: &str, css: &str| {
        let width = if rate.is_finite() && most > 0.0 { 100.0 * (rate / most).clamp(0.0, 1.0) } else { 0.0 };
        format!(
            "<tr><th scope=\"row\">{name}</th><td>{}/s</td><td class=\"bar\"><svg viewBox=\"0 0 100 8\" \
             preserveAspectRatio=\"none\" aria-hidden=\"true\"><path class=\"track\" d=\"M0 0H100V8H0z\"/>\
             <path class=\"{css}\" d=\"M0 0H{width:.2}V8H0z\"/></svg></td><td>{reached}</td></tr>\n",
            quantity(rate)
        )
    };
    let rows: String = (report.ceilings.iter())
        .map(|ceiling| {
            row(
                &shortened(&ceiling.name, 200),
                ceiling.ops_per_s,
                &ratio(own, ceiling.ops_per_s),
                "rest area",
            )
        })
        .collect();
    format!(
        "<section>\n<h2>Ceilings</h2>\n<p>What the parts do by themselves on this machine, measured in the same run. The \
         ratio travels to other machines better than the absolute figures.</p>\n\
         <div class=\"scroll\" role=\"region\" aria-label=\"Ceilings\" tabindex=\"0\">\n<table class=\"ceilings\">\n\
         <thead><tr><th scope=\"col\">measured</th><th scope=\"col\">operations a second</th><td class=\"bar\"></td>\
         <th scope=\"col\">reached by this run</th></tr></thead>\n<tbody>\n{}{rows}</tbody>\n</table>\n</div>\n</section>\n",
        row("this run", own, "", "own area")
    )
}

fn ratio(own: f64, ceiling: f64) -> String {
    let ratio = own / ceiling;
    if ratio.is_finite() && ratio < 1e6 { format!("{ratio:.2} of it") } else { NONE.to_owned() }
}

/// Figures of the pattern's own.
pub(super) fn facts(report: &Report) -> String {
    let facts = report.facts.iter().map(|fact| (fact.name.as_str(), fact.value.as_str()));
    section("Facts", "Figures of the pattern&#8217;s own.", &pairs(facts))
}

/// What the runner costs, in words.
pub(super) fn harness(report: &Report) -> String {
    let Harness { clock_ns, noop_ns, share } = report.harness;
    if !noop_ns.is_finite() || noop_ns <= 0.0 {
        return String::new();
    }
    let mut text = format!(
        "An operation that does nothing takes the runner {}, timing and recording included. Reading the clock takes {}, \
         which is part of every service time",
        latency(noop_ns),
        latency(clock_ns)
    );
    match &report.service {
        Some(service) => {
            let net = (service.mean_ns - clock_ns).max(0.0);
            text += &format!(": the mean of {} is {} without it.", latency(service.mean_ns), latency(net));
        }
        None => text.push('.'),
    }
    if let Some(share) = share {
        text += &format!(
            " Workers spent {} of their time outside of operations: making inputs, recording, checking.",
            percent(share)
        );
    }
    format!("<section>\n<h2>Cost of measuring</h2>\n<p>{text}</p>\n</section>\n")
}

/// The flags and the machine.
pub(super) fn setting(report: &Report) -> String {
    let machine = &report.machine;
    let summary = &report.summary;
    let (cpus, load) = (
        machine.cpus.to_string(),
        machine.load.filter(|load| load.is_finite()).map(|load| format!("{load:.2}")),
    );
    let mut of_machine = vec![("system", machine.os.as_str()), ("processors", &cpus)];
    of_machine.extend(machine.cpu.as_deref().map(|cpu| ("processor", cpu)));
    of_machine.extend(load.as_deref().map(|load| ("load before the run", load)));
    let config = report.config.iter().map(|(name, value)| (name.as_str(), value.as_str()));
    let digest = summary.input_digest.as_deref().map(|digest| ("digest of all inputs", digest));
    let config =
        section("Configuration", "Every flag that decides what was measured.", &pairs(config.chain(digest)));
    let machine =
        section("Machine", "Reports of different machines do not compare.", &pairs(of_machine.into_iter()));
    format!("<div class=\"columns\">\n{config}{machine}</div>\n")
}

fn section(title: &str, about: &str, list: &str) -> String {
    if list.is_empty() {
        return String::new();
    }
    format!("<section>\n<h2>{title}</h2>\n<p>{about}</p>\n<dl class=\"pairs\">\n{list}</dl>\n</section>\n")
}

fn pairs<'a>(pairs: impl Iterator<Item = (&'a str, &'a str)>) -> String {
    pairs
        .map(|(name, value)| {
            format!("<div><dt>{}</dt><dd>{}</dd></div>\n", shortened(name, 200), shortened(value, LONGEST))
        })
        .collect()
}
