//! Axes: from a figure to a place, and which places are labelled.

use super::text::{NO_BREAK, latency, number, quantity};
use crate::format;

/// A label, and where it stands.
#[derive(Debug, PartialEq)]
pub(super) struct Tick {
    pub(super) at: f64,
    pub(super) label: String,
    /// Left out where there is little room.
    pub(super) minor: bool,
}

/// Latencies on a logarithmic axis, from `height` at the bottom to 0 at the top.
#[derive(Debug)]
pub(super) struct Latencies {
    low: f64,
    high: f64,
    height: f64,
}

impl Latencies {
    /// An axis on which all of `values` lie. What is zero lies at the bottom, since zero has no logarithm.
    pub(super) fn over(values: impl Iterator<Item = u64>, height: f64) -> Self {
        let (mut least, mut most) = (u64::MAX, 0);
        for value in values.filter(|value| *value > 0) {
            least = least.min(value);
            most = most.max(value);
        }
        let (least, most) = if most == 0 { (1, 10) } else { (least, most) };
        let below = steps().rfind(|step| *step <= number(least)).unwrap_or(1.0);
        let above = steps().find(|step| *step >= number(most) && *step >= 4.0 * below).unwrap_or(f64::MAX);
        // Lines do not lie on the edges.
        let margin = 0.03 * (above / below).log10();
        Self { low: below.log10() - margin, high: above.log10() + margin, height }
    }

    /// Pixels from the top.
    pub(super) fn y(&self, ns: u64) -> f64 {
        let share = (number(ns).log10() - self.low) / (self.high - self.low);
        self.height * (1.0 - share.clamp(0.0, 1.0))
    }

    /// Decades; finer where there are few.
    pub(super) fn ticks(&self) -> Vec<Tick> {
        let few = self.high - self.low < 2.6;
        steps()
            .filter(|step| (self.low..=self.high).contains(&step.log10()))
            .filter(|step| few || is_decade(*step))
            .map(|step| Tick {
                at: self.height * (1.0 - (step.log10() - self.low) / (self.high - self.low)),
                label: whole_latency(step),
                minor: false,
            })
            .collect()
    }
}

/// 1, 2, 5, 10, 20 .. nanoseconds, to beyond the largest that a `u64` holds.
fn steps() -> impl DoubleEndedIterator<Item = f64> {
    (0..21).flat_map(|decade| [1.0, 2.0, 5.0].map(|step| step * 10_f64.powi(decade)))
}

fn is_decade(step: f64) -> bool {
    let log = step.log10();
    (log - log.round()).abs() < 1e-9
}

/// `10 us` rather than `10.0 us`.
fn whole_latency(nanos: f64) -> String {
    whole(&latency(nanos))
}

fn whole(figure: &str) -> String {
    let (digits, unit) = figure.split_once(NO_BREAK).unwrap_or((figure, ""));
    let digits =
        if digits.contains('.') { digits.trim_end_matches('0').trim_end_matches('.') } else { digits };
    if unit.is_empty() { digits.to_owned() } else { format!("{digits}{NO_BREAK}{unit}") }
}

/// A linear axis that starts at zero.
#[derive(Debug)]
pub(super) struct Rates {
    top: f64,
    step: f64,
    height: f64,
}

impl Rates {
    pub(super) fn up_to(most: f64, height: f64) -> Self {
        let most = if most.is_finite() && most > 0.0 { most.min(1e300) } else { 1.0 };
        Self { top: 1.05 * most, step: nice(most / 4.0), height }
    }

    /// Pixels from the top.
    pub(super) fn y(&self, rate: f64) -> f64 {
        let share = if rate.is_finite() { rate / self.top } else { 0.0 };
        self.height * (1.0 - share.clamp(0.0, 1.0))
    }

    pub(super) fn ticks(&self) -> Vec<Tick> {
        let steps = (self.top / self.step).floor() as u32;
        (0..=steps)
            .map(|step| f64::from(step) * self.step)
            .map(|rate| Tick { at: self.y(rate), label: whole(&quantity(rate)), minor: false })
            .collect()
    }
}

/// The next of 1, 2, 5, 10, 20 .. that is not below `value`.
fn nice(value: f64) -> f64 {
    let decade = 10_f64.powf(value.log10().floor());
    [1.0, 2.0, 5.0]
        .map(|step| step * decade)
        .into_iter()
        .find(|step| *step >= value * 0.999)
        .unwrap_or(10.0 * decade)
}

/// Labels of a time axis of `seconds`; `at` is the share of its length.
pub(super) fn time_ticks(seconds: f64) -> Vec<Tick> {
    const LONG: [f64; 13] = [
        60.0, 120.0, 300.0, 600.0, 1_800.0, 3_600.0, 7_200.0, 14_400.0, 43_200.0, 86_400.0, 172_800.0,
        432_000.0, 864_000.0,
    ];
    let least = seconds / 10.0;
    let step = if least <= 20.0 {
        nice(least)
    } else if least <= 30.0 {
        30.0
    } else {
        LONG.into_iter().find(|step| *step >= least).unwrap_or_else(|| 86_400.0 * nice(least / 86_400.0))
    };
    let (scale, unit) = match step {
        step if step >= 86_400.0 => (86_400.0, "d"),
        step if step >= 3_600.0 => (3_600.0, "h"),
        step if step >= 60.0 => (60.0, "min"),
        step if step >= 0.1 => (1.0, "s"),
        step if step >= 1e-4 => (1e-3, "ms"),
        _ => (1e-6, "us"),
    };
    (0..=11_u32)
        .map(|place| (place, f64::from(place) * step))
        .take_while(|(_, at)| *at <= seconds * 1.005)
        .map(|(place, at)| Tick {
            at: (at / seconds).min(1.0),
            label: format!("{}{NO_BREAK}{unit}", trimmed(at / scale)),
            minor: place % 2 == 1,
        })
        .collect()
}

fn trimmed(value: f64) -> String {
    let text = format!("{value:.2}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

/// Labels of an axis of nines that is `nines` long; `at` is the share of its length.
pub(super) fn nines_ticks(nines: f64) -> Vec<Tick> {
    let median = Tick { at: 0.5_f64.log10().abs() / nines, label: "p50".to_owned(), minor: nines > 8.0 };
    let nine = |place: u32| Tick {
        at: f64::from(place) / nines,
        label: super::text::quantile_name(1.0 - 10_f64.powi(-(place.cast_signed()))),
        minor: nines > 3.5 && place % 2 == 1,
    };
    std::iter::once(median)
        .chain((1..=9).take_while(|place| f64::from(*place) <= nines + 1e-6).map(nine))
        .collect()
}

/// Bytes and rates in words, for descriptions.
pub(super) fn memory(bytes: Option<u64>) -> String {
    bytes.map_or_else(|| super::text::NONE.to_owned(), format::bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// With `|` for the space.
    fn labels(ticks: &[Tick]) -> Vec<String> {
        ticks.iter().map(|tick| tick.label.replace(NO_BREAK, "|")).collect()
    }

    #[test]
    fn latencies_are_labelled_in_decades_or_finer() {
        let axis = Latencies::over([40, 900_000].into_iter(), 100.0);
        assert_eq!(labels(&axis.ticks()), ["100|ns", "1|us", "10|us", "100|us", "1|ms"]);
        let axis = Latencies::over([1_200_000, 1_300_000].into_iter(), 100.0);
        assert_eq!(labels(&axis.ticks()), ["1|ms", "2|ms", "5|ms"]);
        assert!(axis.y(1_200_000) > axis.y(1_300_000));
    }

    #[test]
    fn every_latency_has_a_place() {
        for values in [vec![], vec![0], vec![1], vec![0, u64::MAX], vec![u64::MAX]] {
            let axis = Latencies::over(values.iter().copied(), 100.0);
            for value in values.into_iter().chain([0, 1, u64::MAX]) {
                assert!((0.0..=100.0).contains(&axis.y(value)), "{axis:?} {value}");
            }
            assert!((2..30).contains(&axis.ticks().len()), "{axis:?}");
        }
    }

    #[test]
    fn rates_have_round_labels() {
        assert_eq!(labels(&Rates::up_to(2_400_000.0, 90.0).ticks()), ["0", "1|M", "2|M"]);
        for most in [0.0, 1e-9, 0.7, 999.0, 1e300, f64::NAN, f64::INFINITY] {
            let axis = Rates::up_to(most, 90.0);
            assert!((2..=5).contains(&axis.ticks().len()), "{axis:?}");
            assert!((0.0..=90.0).contains(&axis.y(most)), "{axis:?}");
        }
    }

    #[test]
    fn times_have_round_labels() {
        assert_eq!(labels(&time_ticks(10.0))[..3], ["0|s", "1|s", "2|s"]);
        assert_eq!(labels(&time_ticks(0.004))[..3], ["0|ms", "0.5|ms", "1|ms"]);
        assert_eq!(labels(&time_ticks(1_000.0))[..3], ["0|min", "2|min", "4|min"]);
        assert_eq!(labels(&time_ticks(86_400.0))[..3], ["0|h", "4|h", "8|h"]);
        for seconds in [1e-6, 0.1, 1.0, 59.0, 61.0, 250.0, 3_601.0, 2.6e6, 1e9] {
            assert!((3..=12).contains(&time_ticks(seconds).len()), "{seconds}");
        }
    }

    #[test]
    fn nines_are_labelled_as_percentiles() {
        assert_eq!(labels(&nines_ticks(4.0)), ["p50", "p90", "p99", "p99.9", "p99.99"]);
        assert_eq!(nines_ticks(9.0).last().unwrap().label, "p99.9999999");
    }
}
