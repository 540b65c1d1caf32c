//! How operations ended.

use super::{
    plot::Style,
    text::{NONE, latency, number, percent, share, shortened},
};
use crate::{ClassKind, ClassReport, Report, format::grouped};

/// A row for each class, its messages below it.
pub(super) fn section(report: &Report) -> String {
    if report.classes.is_empty() {
        return String::new();
    }
    let open = report.response.is_some();
    let styles = Style::of_classes(&report.classes);
    let whole = report.summary.operations;
    // Many messages are shown shorter, so that a page has a bounded size.
    let messages: usize = report.classes.iter().map(|class| class.messages.len()).sum();
    let most = (24_000 / messages.max(1)).clamp(80, 400);
    let rows: String = report
        .classes
        .iter()
        .zip(&styles)
        .map(|(class, style)| row(class, style, whole, open, most))
        .collect();
    let kind = if open { "response" } else { "service" };
    format!(
        "<section>\n<h2>Outcomes</h2>\n<p>A rejection is a correct &#8220;no&#8221; and no error.</p>\n\
         <div class=\"scroll\" role=\"region\" aria-label=\"Outcomes\" tabindex=\"0\">\n<table class=\"outcomes\">\n\
         <thead><tr><th scope=\"col\">outcome</th><th scope=\"col\">counts as</th><th scope=\"col\">operations</th>\
         <th scope=\"col\">share</th><td class=\"bar\"></td><th scope=\"col\">p50 {kind}</th><th scope=\"col\">p99 {kind}</th></tr></thead>\n\
         <tbody>\n{rows}</tbody>\n</table>\n</div>\n</section>\n"
    )
}

fn row(class: &ClassReport, style: &Style, whole: u64, open: bool, most: usize) -> String {
    let timed = if open { &class.response } else { &class.service };
    let at = |quantile| {
        let ns = timed.as_ref().and_then(|timed| timed.at(quantile));
        ns.map_or_else(|| NONE.to_owned(), |ns| latency(number(ns)))
    };
    let part = share(class.count, whole).min(1.0);
    let messages: String =
        class.messages.iter().map(|message| format!("<li>{}</li>", shortened(message, most))).collect();
    let messages = if messages.is_empty() {
        messages
    } else {
        format!(
            "<tr class=\"messages\"><td colspan=\"7\"><ul aria-label=\"first messages\">{messages}</ul></td></tr>\n"
        )
    };
    format!(
        "<tr{faint}><th scope=\"row\">{name}</th><td class=\"text\">{kind}</td><td>{count}</td>\
         <td class=\"share\">{percent}</td><td class=\"bar\"><svg viewBox=\"0 0 100 8\" preserveAspectRatio=\"none\" \
         aria-hidden=\"true\"><path class=\"track\" d=\"M0 0H100V8H0z\"/><path class=\"{css} area\" d=\"M0 0H{width:.2}V8H0z\"/></svg></td>\
         <td>{p50}</td><td>{p99}</td></tr>\n{messages}",
        faint = if class.count == 0 { " class=\"faint\"" } else { "" },
        name = style.with_name(&shortened(&class.name, 120)),
        kind = match class.kind {
            ClassKind::Success => "success",
            ClassKind::Rejected => "rejection",
            ClassKind::Error => "error",
        },
        count = grouped(class.count),
        percent = percent(share(class.count, whole)),
        css = style.css,
        width = 100.0 * part,
        p50 = at(0.5),
        p99 = at(0.99),
    )
}
