//! The report as one HTML page: no other file, no network, and readable without scripts.

use crate::{ExitStatus, Report};

mod axis;
mod figures;
mod latency_table;
mod outcomes;
mod percentiles;
mod plot;
mod tables;
mod text;
mod timeline;

use text::{escape, percent, shortened};

/// Renders `report` as a page that needs nothing beside itself.
///
/// ```
/// # fn page(report: &bench::Report) {
/// let page = bench::html::render(report);
/// assert!(page.starts_with("<!DOCTYPE html>"));
/// # }
/// ```
#[must_use]
pub fn render(report: &Report) -> String {
    let name = escape(&report.benchmark);
    let body = [
        header(report),
        figures::section(report),
        percentiles::section(report),
        timeline::section(report),
        outcomes::section(report),
        ladder_and_checks(report),
        tables::ceilings(report),
        tables::facts(report),
        tables::setting(report),
        GLOSSARY.to_owned(),
    ]
    .concat();
    format!(
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <meta http-equiv=\"Content-Security-Policy\" content=\"{POLICY}\">\n\
         <meta name=\"color-scheme\" content=\"light dark\">\n<link rel=\"icon\" href=\"data:,\">\n\
         <title>{name}: {verdict}</title>\n<style>\n{STYLE}</style>\n</head>\n\
         <body>\n<main>\n{body}</main>\n\
         <footer>{name} {version}, report schema {schema}</footer>\n\
         <script>\n{READ_OUT}</script>\n</body>\n</html>\n",
        verdict = escape(&report.verdict.text),
        version = escape(&report.version),
        schema = report.schema,
    )
}

const STYLE: &str = include_str!("html/style.css");
/// Shows under a plot what a browser would otherwise show as a tooltip, late and not at all on touch.
const READ_OUT: &str = include_str!("html/read_out.js");
/// What a report quotes from servers must not be able to load anything.
const POLICY: &str =
    "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; img-src data:";

fn header(report: &Report) -> String {
    let (tone, mark) = match report.verdict.exit_code {
        0 => ("good", "\u{2713}"),
        code if code == ExitStatus::Interrupted.code() => ("warn", "!"),
        _ => ("bad", "\u{2717}"),
    };
    let notes: String = notes(report).iter().map(|note| format!("<li>{note}</li>\n")).collect();
    let notes = if notes.is_empty() { notes } else { format!("<ul class=\"notes\">\n{notes}</ul>\n") };
    format!(
        "<header>\n<p class=\"kicker\">Benchmark report</p>\n<h1>{name} <small>{version}</small></h1>\n\
         <p class=\"verdict {tone}\"><span class=\"mark\" aria-hidden=\"true\">{mark}</span>\
         <span><strong>{verdict}</strong> <span class=\"code\">exit code {code}</span></span></p>\n\
         <p class=\"lead\">{lead}</p>\n{notes}</header>\n",
        name = escape(&report.benchmark),
        version = escape(&report.version),
        verdict = shortened(&sentence(&report.verdict.text), 600),
        code = report.verdict.exit_code,
        lead = figures::lead(report),
    )
}

/// With a capital at its start.
fn sentence(text: &str) -> String {
    let mut rest = text.chars();
    rest.next().map_or_else(String::new, |first| first.to_uppercase().chain(rest).collect())
}

/// What a reader must know before believing the figures, as HTML.
fn notes(report: &Report) -> Vec<String> {
    let summary = &report.summary;
    let mut notes = Vec::new();
    if report.invariants.iter().any(|invariant| !invariant.held) {
        notes
            .push("An invariant broke, so the figures below describe a run that was not correct.".to_owned());
    }
    if summary.interrupted {
        notes.push("The run was cut short: every figure below is of the part that ran.".to_owned());
    }
    if let Some(share) = summary.on_schedule.filter(|share| *share < 0.99) {
        notes.push(format!(
            "Only {} of the planned operations started within 10 ms of when they were due: the offered rate was \
             not sustained throughout, and response times include the wait.",
            percent(share)
        ));
    }
    let mean = report.service.as_ref().map_or(0.0, |service| service.mean_ns);
    if report.harness.clock_ns > 0.1 * mean && mean > 0.0 {
        notes.push(format!(
            "Reading the clock takes {} of the mean service time: the operation itself is faster than it looks.",
            percent((report.harness.clock_ns / mean).min(1.0))
        ));
    }
    notes
}

fn ladder_and_checks(report: &Report) -> String {
    let ladder = latency_table::section(report);
    let checks = tables::checks(report) + &tables::harness(report);
    if latency_table::is_narrow(report) && !ladder.is_empty() {
        format!("<div class=\"columns\">\n{ladder}<div>\n{checks}</div>\n</div>\n")
    } else {
        ladder + &checks
    }
}

const GLOSSARY: &str = "<section class=\"glossary\">\n<h2>Words used here</h2>\n<dl>\n\
    <div><dt>Service time</dt><dd>from the start of an operation to its end.</dd></div>\n\
    <div><dt>Response time</dt><dd>from when an operation was due to its end: service time plus the wait before it. \
    This is what a caller feels.</dd></div>\n\
    <div><dt>Closed loop</dt><dd>each worker starts its next operation when its last one has ended. A slow operation \
    holds back those behind it, so their wait is in no figure.</dd></div>\n\
    <div><dt>Open loop</dt><dd>operations are due at times fixed beforehand, whether or not earlier ones have \
    ended. Waiting is counted.</dd></div>\n\
    <div><dt>p99</dt><dd>the 99th percentile: 99 of 100 operations took no longer.</dd></div>\n\
    <div><dt>Ceiling</dt><dd>what a part can do by itself on the same machine, measured in the same run.</dd></div>\n\
    </dl>\n</section>\n";
