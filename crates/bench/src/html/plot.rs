//! What both plots are made of.
//!
//! A plot is an SVG as wide as the page without a view box: places on the horizontal axis are percent, those
//! on the vertical one pixels, so that text has the same size on a phone as on a large screen. Lines
//! live in an inner SVG that is 1000 units wide and stretched.

use super::{
    axis::Tick,
    text::{escape, shortened},
};
use crate::{ClassKind, ClassReport};

/// Everything about a plot but its lines.
pub(super) struct Plot {
    /// What it shows, in a few words; for those who do not see it.
    pub(super) label: String,
    /// What can be seen in it, likewise; as HTML.
    pub(super) description: String,
    pub(super) height: f64,
    pub(super) across: Vec<Tick>,
    pub(super) across_title: &'static str,
    pub(super) up: Vec<Tick>,
    pub(super) up_title: &'static str,
    /// Lines and areas, in the stretched space.
    pub(super) lines: String,
    /// Marks and labels above them, in the space of the page.
    pub(super) labels: String,
    pub(super) spots: Vec<Spot>,
}

/// A strip of the plot that tells its figures.
pub(super) struct Spot {
    pub(super) from: f64,
    pub(super) to: f64,
    /// As HTML, a line for each figure.
    pub(super) text: String,
}

impl Plot {
    pub(super) fn render(&self) -> String {
        let Self { height, lines, labels, .. } = self;
        let mut grid = String::new();
        for tick in &self.up {
            grid += &format!(
                "<line class=\"grid\" x1=\"0\" x2=\"100%\" y1=\"{y:.1}\" y2=\"{y:.1}\"/>\
                 <text class=\"tick\" x=\"0\" dx=\"-8\" y=\"{y:.1}\" dy=\".32em\" text-anchor=\"end\">{}</text>\n",
                tick.label,
                y = tick.at,
            );
        }
        for tick in &self.across {
            let minor = if tick.minor { " minor" } else { "" };
            grid += &format!(
                "<line class=\"grid\" x1=\"{x:.2}%\" x2=\"{x:.2}%\" y1=\"0\" y2=\"{height}\"/>\
                 <text class=\"tick{minor}\" x=\"{x:.2}%\" y=\"{below}\" text-anchor=\"middle\">{}</text>\n",
                tick.label,
                x = 100.0 * tick.at,
                below = height + 18.0,
            );
        }
        let spots: String = (self.spots.iter())
            .map(|spot| {
                format!(
                    "<rect x=\"{:.2}%\" width=\"{:.2}%\" height=\"{height}\"><title>{}</title></rect>\n",
                    100.0 * spot.from,
                    100.0 * (spot.to - spot.from).max(0.0),
                    spot.text
                )
            })
            .collect();
        format!(
            "<div class=\"chart\"><svg role=\"img\" aria-label=\"{label}\" height=\"{height}\">\n\
             <desc>{description}</desc>\n{grid}\
             <line class=\"axis\" x1=\"0\" x2=\"100%\" y1=\"{height}\" y2=\"{height}\"/>\n\
             <text class=\"title\" x=\"0\" dx=\"-8\" y=\"-12\">{up}</text>\n\
             <text class=\"title\" x=\"100%\" y=\"{below}\" text-anchor=\"end\">{across}</text>\n\
             <svg class=\"lines\" width=\"100%\" height=\"{height}\" viewBox=\"0 0 1000 {height}\" \
             preserveAspectRatio=\"none\">\n{lines}</svg>\n{labels}<g class=\"spots\">\n{spots}</g>\n</svg></div>\n",
            label = escape(&self.label),
            description = self.description,
            up = self.up_title,
            across = self.across_title,
            below = height + 36.0,
        )
    }
}

/// Points of a line: the share of the width, and pixels from the top.
pub(super) type Point = (f64, f64);

/// A line through `points`.
pub(super) fn line(style: &str, points: &[Point]) -> String {
    path(style, &straight(points))
}

/// A level for each of `spans`, from a share of the width to another; spans that do not touch leave a gap.
pub(super) fn levels(style: &str, spans: &[(f64, f64, f64)]) -> String {
    let mut data = String::new();
    let mut end = None;
    for (from, to, y) in spans {
        let join = if end == Some(*from) { format!("V{y:.1}") } else { format!("M{} {y:.1}", across(*from)) };
        data += &format!("{join}H{}", across(*to));
        end = Some(*to);
    }
    path(style, &data)
}

/// What lies between the levels `top` and `bottom` of each span.
pub(super) fn bands(style: &str, spans: &[(f64, f64, f64, f64)]) -> String {
    let mut data = String::new();
    let mut rest = spans;
    while let Some(first) = rest.first() {
        let length = 1 + rest.windows(2).take_while(|pair| pair[0].1 == pair[1].0).count();
        let (run, behind) = rest.split_at(length);
        rest = behind;
        data += &format!("M{} {:.1}", across(first.0), first.2);
        for (place, (_, to, top, _)) in run.iter().enumerate() {
            if place > 0 {
                data += &format!("V{top:.1}");
            }
            data += &format!("H{}", across(*to));
        }
        for (from, _, _, bottom) in run.iter().rev() {
            data += &format!("V{bottom:.1}H{}", across(*from));
        }
        data.push('z');
    }
    path(style, &data)
}

fn straight(points: &[Point]) -> String {
    let mut data = String::new();
    for (place, (x, y)) in points.iter().enumerate() {
        data += &format!("{}{} {y:.1}", if place == 0 { 'M' } else { 'L' }, across(*x));
    }
    data
}

fn path(style: &str, data: &str) -> String {
    if data.is_empty() { String::new() } else { format!("<path class=\"{style}\" d=\"{data}\"/>\n") }
}

fn across(share: f64) -> String {
    let text = format!("{:.1}", 1000.0 * share);
    text.strip_suffix(".0").unwrap_or(&text).to_owned()
}

/// How a line is drawn and told from others: colour and mark, which only classes have.
#[derive(Clone, Debug)]
pub(super) struct Style {
    pub(super) css: String,
    shape: &'static str,
}

const DOT: &str = "M-4 0a4 4 0 1 0 8 0a4 4 0 1 0-8 0";
const DIAMOND: &str = "M-5 0L0-5 5 0 0 5z";
const TRIANGLE: &str = "M-4.5 4L0-4.5 4.5 4z";

impl Style {
    pub(super) fn named(css: &str) -> Self {
        Self { css: css.to_owned(), shape: "" }
    }

    /// Styles of all classes: a family of colours and a mark for each kind, so that an error looks like one.
    pub(super) fn of_classes(classes: &[ClassReport]) -> Vec<Self> {
        let mut seen = [0_usize; 3];
        let style = |class: &ClassReport| {
            let (kind, family, shape) = match class.kind {
                ClassKind::Success => (0, "success", DOT),
                ClassKind::Rejected => (1, "rejected", DIAMOND),
                ClassKind::Error => (2, "error", TRIANGLE),
            };
            // Only what occurs is drawn, so only that uses up a colour.
            let member = seen[kind];
            seen[kind] += usize::from(class.count > 0);
            let dashed = if member % 6 >= 3 { " dashed" } else { "" };
            Self { css: format!("{family}-{}{dashed}", member % 3), shape }
        };
        classes.iter().map(style).collect()
    }

    /// The mark at a place of the page's space.
    pub(super) fn mark(&self, x: f64, y: f64) -> String {
        if self.shape.is_empty() {
            return String::new();
        }
        format!(
            "<svg class=\"mark\" x=\"{:.2}%\" y=\"{y:.1}\"><path class=\"{} dot\" d=\"{}\"/></svg>\n",
            100.0 * x,
            self.css,
            self.shape
        )
    }

    /// A name with its mark, for tables.
    pub(super) fn with_name(&self, name: &str) -> String {
        if self.shape.is_empty() {
            return name.to_owned();
        }
        format!(
            "<span class=\"named\"><svg class=\"swatch\" viewBox=\"-6 -6 12 12\" aria-hidden=\"true\"><path class=\"{} dot\" d=\"{}\"/></svg>\
             <span>{name}</span></span>",
            self.css, self.shape
        )
    }

    /// An entry of a legend: line and mark.
    pub(super) fn entry(&self, name: &str) -> String {
        format!(
            "<li><svg class=\"key\" viewBox=\"-14 -6 28 12\" aria-hidden=\"true\"><path class=\"{css} line\" d=\"M-14 0H14\"/>\
             <path class=\"{css} dot\" d=\"{}\"/></svg>{}</li>\n",
            self.shape,
            shortened(name, 60),
            css = self.css
        )
    }
}

/// Moves labels apart that would lie on each other: `(place across, pixels from the top, ..)`.
pub(super) fn spread<T>(labels: &mut [(Point, T)], height: f64) {
    const APART: f64 = 15.0;
    const NEAR: f64 = 0.25;
    labels.sort_by(|a, b| a.0.1.total_cmp(&b.0.1));
    for place in 1..labels.len() {
        let (before, rest) = labels.split_at_mut(place);
        let ((x, y), _) = &mut rest[0];
        // Each push goes down to below another label, so that there are at most as many as labels.
        let hidden = |y: f64| {
            let near = before.iter().filter(|((other, _), _)| (*x - other).abs() < NEAR);
            near.map(|((_, other), _)| *other).find(|other| (y - other).abs() < APART - 1e-6)
        };
        while let Some(other) = hidden(*y) {
            *y = other + APART;
        }
    }
    // What was pushed out at the bottom pushes back.
    let mut bottom = height;
    for ((_, y), _) in labels.iter_mut().rev() {
        if *y > bottom {
            *y = bottom;
            bottom -= APART;
        }
    }
}
