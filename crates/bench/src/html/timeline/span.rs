//! Samples as spans of time, few enough for a plot.

use crate::{Sample, html::text::number};

/// More would be thinner than a pixel on most screens.
const MOST: f64 = 200.0;

/// What happened from one time to another.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Span {
    pub(super) from: f64,
    pub(super) to: f64,
    pub(super) ops_per_s: f64,
    /// Of each class.
    counts: Vec<f64>,
    pub(super) p50: u64,
    pub(super) p99: u64,
    pub(super) max: u64,
}

impl Span {
    pub(super) fn seconds(&self) -> f64 {
        self.to - self.from
    }

    /// The share of a class among the operations that ended.
    pub(super) fn share(&self, class: usize) -> f64 {
        let all: f64 = self.counts.iter().sum();
        self.counts.get(class).map_or(0.0, |count| count / all.max(1.0))
    }

    pub(super) fn is_timed(&self) -> bool {
        self.max > 0
    }

    /// Takes in the span behind this one.
    fn extend(&mut self, next: &Self) {
        let [operations, more] = [&*self, next].map(|span| span.ops_per_s * span.seconds());
        self.to = next.to;
        self.ops_per_s = (operations + more) / self.seconds();
        let weight = match (self.is_timed(), next.is_timed()) {
            (true, true) => more / (operations + more).max(f64::MIN_POSITIVE),
            (true, false) => 0.0,
            (false, _) => 1.0,
        };
        self.p50 = (number(self.p50) + weight * (number(next.p50) - number(self.p50))).round() as u64;
        self.p99 = self.p99.max(next.p99);
        self.max = self.max.max(next.max);
        self.counts.resize(self.counts.len().max(next.counts.len()), 0.0);
        for (count, more) in self.counts.iter_mut().zip(&next.counts) {
            *count += more;
        }
    }
}

/// The samples with their start, neighbours merged where there are too many, and the pauses among
/// them, the longest first. Samples that do not follow in time are left out.
pub(super) fn spans(timeline: &[Sample]) -> (Vec<Span>, Vec<Span>) {
    let mut before = 0.0;
    let all = timeline.iter().filter(|sample| sample.at_s.is_finite() && sample.ops_per_s.is_finite());
    let all: Vec<Span> = all
        .filter_map(|sample| {
            let from = before;
            (sample.at_s > from).then(|| {
                before = sample.at_s;
                Span {
                    from,
                    to: sample.at_s,
                    ops_per_s: sample.ops_per_s.max(0.0),
                    counts: sample.counts.iter().copied().map(number).collect(),
                    p50: sample.p50_ns,
                    p99: sample.p99_ns,
                    max: sample.max_ns,
                }
            })
        })
        .collect();
    (merged(&all, before / MOST), pauses(&all))
}

fn merged(all: &[Span], shortest: f64) -> Vec<Span> {
    let mut spans: Vec<Span> = Vec::new();
    for next in all {
        match spans.last_mut() {
            Some(span) if span.seconds() < shortest => span.extend(next),
            _ => spans.push(next.clone()),
        }
    }
    spans
}

/// When no operation ended for ten times as long as it usually takes until the next one does: the
/// longest of them.
fn pauses(all: &[Span]) -> Vec<Span> {
    const SHOWN: usize = 20;
    let seconds = all.last().map_or(0.0, |span| span.to);
    let operations: f64 = all.iter().map(|span| span.ops_per_s * span.seconds()).sum();
    let mut pauses: Vec<Span> = Vec::new();
    for span in all.iter().filter(|span| span.ops_per_s <= 0.0) {
        match pauses.last_mut() {
            Some(pause) if pause.to == span.from => pause.to = span.to,
            _ => pauses.push(span.clone()),
        }
    }
    pauses.retain(|pause| operations > 0.0 && pause.seconds() * operations >= 10.0 * seconds);
    pauses.sort_by(|a, b| b.seconds().total_cmp(&a.seconds()));
    pauses.truncate(SHOWN);
    pauses
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(at_s: f64, ops: f64, p50_ns: u64, max_ns: u64) -> Sample {
        Sample { at_s, ops_per_s: ops, counts: vec![ops as u64], p50_ns, p99_ns: max_ns, max_ns }
    }

    #[test]
    fn a_long_timeline_is_merged_and_keeps_operations_and_peaks() {
        let peak = |second| if second == 777 { 9_000 } else { 20 };
        let timeline: Vec<Sample> = (1..=10_000)
            .map(|second| sample(f64::from(second), f64::from(second % 7), 10, peak(second)))
            .collect();
        let operations: f64 = timeline.iter().map(|sample| sample.ops_per_s).sum();
        let (spans, _) = spans(&timeline);
        assert!((150..=200).contains(&spans.len()), "{}", spans.len());
        let kept: f64 = spans.iter().map(|span| span.ops_per_s * span.seconds()).sum();
        assert!((kept - operations).abs() < 1e-3, "{kept} of {operations}");
        assert_eq!(spans.iter().map(|span| span.max).max(), Some(9_000));
        assert!(spans.iter().all(|span| span.p50 == 10));
        assert!(spans.windows(2).all(|pair| pair[0].to == pair[1].from));
    }

    #[test]
    fn a_short_pause_in_a_long_run_is_still_seen() {
        let timeline: Vec<Sample> = (1..=10_000)
            .map(|second| sample(f64::from(second), if second == 500 { 0.0 } else { 50.0 }, 1, 1))
            .collect();
        let (_, pauses) = spans(&timeline);
        assert_eq!(pauses.iter().map(|pause| (pause.from, pause.to)).collect::<Vec<_>>(), [(499.0, 500.0)]);
    }

    #[test]
    fn waiting_for_the_next_of_few_operations_is_no_pause() {
        let timeline: Vec<Sample> = (1..=1_000)
            .map(|tenth| sample(f64::from(tenth) / 10.0, if tenth % 10 == 0 { 10.0 } else { 0.0 }, 1, 1))
            .collect();
        assert_eq!(spans(&timeline).1, []);
    }

    #[test]
    fn samples_that_make_no_sense_are_left_out() {
        let timeline = [1.0, 2.0, f64::NAN, 0.5].map(|at_s| sample(at_s, 5.0, 1, 1));
        let ends: Vec<_> = spans(&timeline).0.iter().map(|span| (span.from, span.to)).collect();
        assert_eq!(ends, [(0.0, 1.0), (1.0, 2.0)]);
    }
}
