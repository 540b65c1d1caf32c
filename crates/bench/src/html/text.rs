//! Figures and texts as the page shows them. Whatever is not a number is shown as a dash.

use crate::{ClassReport, format};

/// A space at which no line ends.
pub(super) const NO_BREAK: &str = "\u{a0}";
/// For what is missing.
pub(super) const NONE: &str = "\u{2013}";

/// `text` with the characters that mean something in HTML replaced; control characters become spaces.
pub(super) fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            c if c.is_control() || is_direction(c) => escaped.push(' '),
            c => escaped.push(c),
        }
    }
    escaped
}

/// Characters that would turn the direction of the text behind them.
fn is_direction(c: char) -> bool {
    matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// The first `most` characters of `text`, escaped, so that a page has a bounded size.
pub(super) fn shortened(text: &str, most: usize) -> String {
    match text.char_indices().nth(most) {
        Some((end, _)) => format!("{}\u{2026}", escape(&text[..end])),
        None => escape(text),
    }
}

/// A count as a number to calculate with.
#[expect(clippy::cast_precision_loss, reason = "figures are shown with a few digits")]
pub(super) fn number(count: u64) -> f64 {
    count as f64
}

/// `812 ns`, `1.25 us`.
pub(super) fn latency(nanos: f64) -> String {
    if nanos.is_finite() && nanos >= 0.0 { tame(nanos, format::nanos) } else { NONE.to_owned() }
}

/// `2.38 M`.
pub(super) fn quantity(value: f64) -> String {
    if value.is_finite() && value >= 0.0 { tame(value, format::quantity) } else { NONE.to_owned() }
}

/// Nobody reads a row of thirty digits.
fn tame(value: f64, show: fn(f64) -> String) -> String {
    let text = if value < 1e15 { show(value) } else { format!("{value:.2e}") };
    // A figure and its unit stay on one line.
    text.replace(' ', NO_BREAK)
}

/// `12.3 s`, `4 min 30 s`, `2 h 5 min`.
pub(super) fn duration(seconds: f64) -> String {
    if seconds.is_finite() && (120.0..1e12).contains(&seconds) {
        // Rounded first, so that 60 seconds become a minute.
        let whole = seconds.round();
        let (hours, rest) = ((whole / 3600.0).floor(), whole % 3600.0);
        let (minutes, seconds) = ((rest / 60.0).floor(), rest % 60.0);
        if hours > 0.0 { format!("{hours} h {minutes} min") } else { format!("{minutes} min {seconds} s") }
    } else {
        latency(seconds * 1e9)
    }
}

/// A share as percent with two decimals, where neither something looks like nothing nor less than all
/// like all.
pub(super) fn percent(share: f64) -> String {
    let percent = 100.0 * share;
    if !percent.is_finite() {
        NONE.to_owned()
    } else if percent > 0.0 && percent < 0.005 {
        "&lt; 0.01 %".to_owned()
    } else if (99.995..100.0).contains(&percent) {
        "&gt; 99.99 %".to_owned()
    } else if percent == percent.trunc() {
        format!("{percent:.0} %")
    } else {
        format!("{percent:.2} %")
    }
}

/// `part` as a share of `whole`; nothing of nothing is nothing.
pub(super) fn share(part: u64, whole: u64) -> f64 {
    number(part) / number(whole.max(1))
}

/// `1 worker`, `8 workers`.
pub(super) fn plural(count: u64, one: &str) -> String {
    format!("{} {one}{}", format::grouped(count), if count == 1 { "" } else { "s" })
}

/// `min`, `p99.9`, `max`.
pub(super) fn quantile_name(quantile: f64) -> String {
    if !quantile.is_finite() {
        return NONE.to_owned();
    }
    if quantile <= 0.0 {
        return "min".to_owned();
    }
    if quantile >= 1.0 {
        return "max".to_owned();
    }
    // As many decimals as tell this quantile from its neighbours on an axis of nines.
    let decimals =
        if nines(quantile) <= 2.0 { 1 } else { nines(quantile).ceil().clamp(2.0, 12.0) as usize - 1 };
    let percent = format!("{:.decimals$}", 100.0 * quantile);
    format!("p{}", percent.trim_end_matches('0').trim_end_matches('.'))
}

/// The place of a quantile on an axis of nines: 0.9 is at 1, 0.99 at 2.
pub(super) fn nines(quantile: f64) -> f64 {
    // What decimal fractions lose in binary must not push a quantile over a whole number.
    (-(1.0 - quantile).log10() * 1e6).round() / 1e6
}

/// Classes beyond this many have neither a line nor a column of their own.
pub(super) const MOST_CLASSES: usize = 6;

/// The places of the classes that occurred and are shown by themselves: the most frequent, in the
/// report's order.
pub(super) fn shown_classes(classes: &[ClassReport]) -> Vec<usize> {
    let mut places: Vec<usize> = (0..classes.len()).filter(|place| classes[*place].count > 0).collect();
    places.sort_by_key(|place| std::cmp::Reverse(classes[*place].count));
    places.truncate(MOST_CLASSES);
    places.sort_unstable();
    places
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_that_are_none_are_dashes() {
        for none in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
            assert_eq!([latency(none), quantity(none), percent(none), duration(none)], [NONE; 4]);
        }
        assert_eq!(quantity(1e300), "1.00e300");
    }

    #[test]
    fn a_share_is_never_rounded_to_all_or_nothing() {
        for (share, shown) in [
            (0.0, "0 %"),
            (1e-9, "&lt; 0.01 %"),
            (0.125, "12.50 %"),
            (0.899_97, "90.00 %"),
            (0.999_999, "&gt; 99.99 %"),
            (1.0, "100 %"),
        ] {
            assert_eq!(percent(share), shown);
        }
    }

    #[test]
    fn quantiles_have_the_digits_that_tell_them_apart() {
        for (quantile, name) in [
            (0.0, "min"),
            (0.5, "p50"),
            (0.9, "p90"),
            (0.99, "p99"),
            (0.999_9, "p99.99"),
            (1.0 - 10_f64.powf(-3.5), "p99.968"),
            (0.999_999_999, "p99.9999999"),
            (1.0, "max"),
        ] {
            assert_eq!(quantile_name(quantile), name);
        }
    }

    #[test]
    fn long_durations_are_read_in_minutes_and_hours() {
        for (seconds, text) in [
            (0.25, "250\u{a0}ms"),
            (12.34, "12.3\u{a0}s"),
            (179.9, "3 min 0 s"),
            (7_500.0, "2 h 5 min"),
            (f64::MAX, NONE),
        ] {
            assert_eq!(duration(seconds), text);
        }
    }

    #[test]
    fn text_cannot_leave_its_place() {
        assert_eq!(escape("<a b='c' d=\"e\">&\u{202e}\n"), "&lt;a b=&#39;c&#39; d=&quot;e&quot;&gt;&amp;  ");
        assert_eq!(shortened("\u{e9}\u{e9}\u{e9}", 2), "\u{e9}\u{e9}\u{2026}");
    }
}
