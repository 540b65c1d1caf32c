//! How often `difference` is wrong, on series recorded on a machine that others were using.

use std::fs;
use std::path::Path;

use bench::significance::{Criterion, Difference, Reason, Samples, Finding, difference};

/// Of 10,000 pairs drawn from the same recording, at most 1 % may be called different.
const PAIRS: usize = 10_000;
const FALSE_DIFFERENCES: f64 = 0.01;
/// Of the pairs in which one side is 5 % off, at least this share must be found where the noise allows it.
const POWER: f64 = 0.95;
/// So many standard errors apart, runs must be told apart as often, whatever the noise.
const RESOLUTION: f64 = 6.0;

#[derive(Clone, Copy, Debug)]
enum Measure {
    /// Operations by wall time.
    Throughput,
    /// Operations by processor time of the process.
    Efficiency,
    /// Mean latency, weighted by operations.
    Latency,
}

/// A recording, what is compared, and whether its noise is small enough for 5 %: a mean standard error of at
/// most 0.009.
const RECORDINGS: [(&str, Measure, bool); 0] = [];

/// Samples of a block, a second or more: beyond what connects samples.
const BLOCK: usize = 100;

#[test]
fn few_pairs_of_one_recording_differ_and_five_percent_is_found() {
    let pairs = PAIRS.div_ceil(RECORDINGS.len());
    let mut false_differences = 0;
    let mut failures = Vec::new();
    println!("recording    measure     false   -5 %   +5 %   error   6 errors");
    for (index, (name, measure, is_calm)) in RECORDINGS.into_iter().enumerate() {
        let series = recorded(name, measure);
        let connected = autocorrelation(&series, BLOCK);
        assert!(connected < 0.3, "{name} {measure:?}: blocks shorter than what connects samples: {connected}");
        let seed = index as u64;
        let [wrong, slower, faster] = found(&series, [1.0, 0.95, 1.05], pairs, seed);
        let error = standard_error(&series, seed);
        let [far] = found(&series, [(RESOLUTION * error).exp()], 250, seed);
        let share = |count: usize| 100.0 * count as f64 / pairs as f64;
        println!(
            "{name:12} {:10} {:6.2} {:6.1} {:6.1} {error:7.4} {:6.1}",
            format!("{measure:?}"),
            share(wrong),
            share(slower),
            share(faster),
            far as f64 / 2.5,
        );
        false_differences += wrong;
        if (far as f64) < 250.0 * POWER {
            failures.push(format!("{name} {measure:?}: {far} of 250 found at {RESOLUTION} standard errors"));
        }
        if is_calm && share(slower.min(faster)) < 100.0 * POWER {
            failures.push(format!("{name} {measure:?}: {slower} and {faster} of {pairs} found at 5 %"));
        }
    }
    let all = pairs * RECORDINGS.len();
    println!("{false_differences} of {all} pairs differ falsely");
    assert!(false_differences as f64 <= all as f64 * FALSE_DIFFERENCES, "{false_differences} of {all} pairs");
    assert!(failures.is_empty(), "{failures:#?}");
}

/// Draws pairs of runs from one recording by moving blocks, scales the second by each factor, and counts how
/// often a difference is found: any at factor 1, else one of the right direction.
fn found<const N: usize>(series: &Samples, factors: [f64; N], pairs: usize, seed: u64) -> [usize; N] {
    let mut random = SplitMix64(seed);
    let mut counts = [0; N];
    for _ in 0..pairs {
        let (a, b) = (resampled(series, &mut random), resampled(series, &mut random));
        for (count, factor) in counts.iter_mut().zip(factors) {
            let finding = difference(&a, &scaled(&b, factor), &Criterion::default()).finding;
            *count += usize::from(match finding {
                Finding::Lower => factor <= 1.0,
                Finding::Higher => factor >= 1.0,
                _ => false,
            });
        }
    }
    counts
}

/// Mean over some pairs.
fn standard_error(series: &Samples, seed: u64) -> f64 {
    let mut random = SplitMix64(seed);
    let mut of_pair = |_| {
        let (a, b) = (resampled(series, &mut random), resampled(series, &mut random));
        difference(&a, &b, &Criterion::default()).estimate.unwrap().standard_error
    };
    (0..200).map(&mut of_pair).sum::<f64>() / 200.0
}

fn resampled(series: &Samples, random: &mut SplitMix64) -> Samples {
    let count = series.value.len();
    let mut drawn = Samples::default();
    while drawn.value.len() < count {
        let start = (random.next() % (count - BLOCK + 1) as u64) as usize;
        let end = start + BLOCK.min(count - drawn.value.len());
        drawn.value.extend_from_slice(&series.value[start..end]);
        drawn.weight.extend_from_slice(&series.weight[start..end]);
    }
    drawn
}

fn scaled(series: &Samples, factor: f64) -> Samples {
    Samples {
        value: series.value.iter().map(|value| value * factor).collect(),
        weight: series.weight.clone(),
    }
}

/// Of the values, `lag` samples apart.
fn autocorrelation(series: &Samples, lag: usize) -> f64 {
    let pairs: Vec<_> = series.value.iter().zip(&series.weight).filter(|(_, weight)| **weight > 0.0).collect();
    let mean = pairs.iter().map(|(value, _)| **value).sum::<f64>() / pairs.len() as f64;
    let off: Vec<f64> = pairs.iter().map(|(value, _)| **value - mean).collect();
    let products: f64 = off.iter().zip(&off[lag..]).map(|(x, y)| x * y).sum();
    products / off.iter().map(|x| x * x).sum::<f64>()
}

/// Reads a recording; its head says what it is.
fn recorded(name: &str, measure: Measure) -> Samples {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/series").join(format!("{name}.csv"));
    let text = fs::read_to_string(&path).unwrap();
    let mut series = Samples::default();
    for line in text.lines().filter(|line| line.starts_with(|c: char| c.is_ascii_digit())) {
        let columns: Vec<f64> = line.split(',').map(|column| column.parse().unwrap()).collect();
        let [interval, operations, latency, processor] = columns[..] else { panic!("{name}: {line}") };
        let (total, weight) = match measure {
            Measure::Throughput => (operations, interval),
            Measure::Efficiency => (operations, processor),
            Measure::Latency => (latency, operations),
        };
        series.value.push(total / weight);
        series.weight.push(weight);
    }
    series
}

struct SplitMix64(u64);

impl SplitMix64 {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// About normal, with mean 0 and deviation 1.
    fn normal(&mut self) -> f64 {
        (0..12).map(|_| self.next() as f64 / u64::MAX as f64).sum::<f64>() - 6.0
    }
}

fn compare(a: &[f64], b: &[f64]) -> Difference {
    let series = |value: &[f64]| Samples { value: value.to_vec(), weight: vec![1.0; value.len()] };
    difference(&series(a), &series(b), &Criterion::default())
}

fn noisy(level: f64, deviation: f64, count: usize, seed: u64) -> Vec<f64> {
    let mut random = SplitMix64(seed);
    (0..count).map(|_| level * (1.0 + deviation * random.normal()).max(0.0)).collect()
}

#[test]
fn findings_follow_ratio_noise_band_and_scatter() {
    for (ratio, deviation, expected) in [
        (1.0, 0.01, Finding::Similar),
        (0.95, 0.01, Finding::Lower),
        (1.05, 0.01, Finding::Higher),
        // Certain, and yet within the noise band.
        (1.01, 0.001, Finding::Similar),
        (0.985, 0.001, Finding::Similar),
        (0.95, 0.5, Finding::Unclear),
        (10.0, 0.5, Finding::Higher),
    ] {
        let answer = compare(&noisy(200.0, deviation, 100, 1), &noisy(200.0 * ratio, deviation, 100, 2));
        assert_eq!(answer.finding, expected, "{ratio} with {deviation}: {answer:?}");
        let estimate = answer.estimate.unwrap();
        assert!(estimate.ci_low < estimate.ratio && estimate.ratio < estimate.ci_high, "{estimate:?}");
        assert!(estimate.ci_low < ratio && ratio < estimate.ci_high, "{ratio}: {estimate:?}");
    }
}

#[test]
fn the_noise_band_is_the_callers() {
    let series = |level, seed| Samples { value: noisy(level, 0.001, 100, seed), weight: vec![1.0; 100] };
    let finding = |noise| {
        difference(&series(100.0, 1), &series(104.0, 2), &Criterion { noise, ..Criterion::default() }).finding
    };
    assert_eq!([0.0, 0.03, 0.05].map(finding), [Finding::Higher, Finding::Higher, Finding::Similar]);
}

#[test]
fn order_of_the_series_inverts_the_ratio() {
    let (a, b) = (noisy(100.0, 0.1, 64, 1), noisy(120.0, 0.2, 200, 2));
    let (there, back) = (compare(&a, &b).estimate.unwrap(), compare(&b, &a).estimate.unwrap());
    assert!((there.ratio * back.ratio - 1.0).abs() < 1e-12);
    assert!((there.ci_low * back.ci_high - 1.0).abs() < 1e-9);
    assert!((there.p_value - back.p_value).abs() < 1e-12);
}

#[test]
fn a_burst_does_not_move_the_level() {
    let calm = noisy(100.0, 0.02, 320, 1);
    let mut disturbed = noisy(100.0, 0.02, 320, 2);
    disturbed[100..150].fill(20.0);
    assert_eq!(compare(&calm, &disturbed).finding, Finding::Similar);
}

#[test]
fn a_pause_in_each_batch_counts() {
    let calm = noisy(100.0, 0.02, 320, 1);
    let mut pausing = noisy(100.0, 0.02, 320, 2);
    pausing.iter_mut().step_by(10).for_each(|value| *value = 0.0);
    assert_eq!(compare(&calm, &pausing).finding, Finding::Lower);
}

/// Samples that wander: as many as these, were they independent, would make any difference certain.
#[test]
fn correlation_widens_the_interval() {
    let wandering = |seed| {
        let mut random = SplitMix64(seed);
        let mut level = 0.0;
        let step = |_| {
            level = 0.99 * level + random.normal();
            100.0 + level
        };
        (0..2000).map(step).collect::<Vec<f64>>()
    };
    let errors = (0..200).map(|i| {
        let answer = compare(&wandering(2 * i), &wandering(2 * i + 1));
        usize::from(answer.estimate.unwrap().p_value < 0.05)
    });
    let wrong: usize = errors.sum();
    assert!(wrong <= 20, "{wrong} of 200 below a p-value of 0.05");
}

#[test]
fn weight_decides_how_much_a_sample_counts() {
    let a = Samples { value: vec![1.0; 64], weight: vec![1.0; 64] };
    let value = [1.0, 3.0].repeat(32);
    let b = Samples { value, weight: [3.0, 1.0].repeat(32) };
    let estimate = difference(&a, &b, &Criterion::default()).estimate.unwrap();
    assert!((estimate.ratio - 1.5).abs() < 1e-12, "{estimate:?}");
}

#[test]
fn samples_without_weight_are_left_out() {
    let a = Samples { value: noisy(100.0, 0.01, 64, 1), weight: vec![1.0; 64] };
    let mut b = a.clone();
    b.value.extend([f64::NAN, f64::INFINITY, 5.0]);
    b.weight.extend([0.0; 3]);
    assert_eq!(difference(&a, &b, &Criterion::default()), difference(&a, &a, &Criterion::default()));
}

#[test]
fn what_cannot_be_told_says_why() {
    let series = |value: f64, count| Samples { value: vec![value; count], weight: vec![1.0; count] };
    let good = series(1.0, 20);
    let unequal = Samples { weight: vec![1.0; 19], ..good.clone() };
    let negative = Samples { weight: vec![-1.0; 20], ..good.clone() };
    for (bad, reason) in [
        (Samples::default(), Reason::TooFewSamples),
        (series(1.0, 7), Reason::TooFewSamples),
        (Samples { weight: vec![0.0; 20], ..good.clone() }, Reason::TooFewSamples),
        (unequal, Reason::LengthMismatch),
        (series(f64::NAN, 20), Reason::InvalidSample),
        (series(f64::INFINITY, 20), Reason::InvalidSample),
        (series(-1.0, 20), Reason::InvalidSample),
        (negative, Reason::InvalidSample),
        (series(0.0, 20), Reason::ZeroLevel),
    ] {
        for (a, b) in [(&good, &bad), (&bad, &good)] {
            let answer = difference(a, b, &Criterion::default());
            assert_eq!(answer, Difference { finding: Finding::CannotTell(reason), estimate: None }, "{bad:?}");
        }
    }
    for (alpha, noise) in [(0.0, 0.1), (1.0, 0.1), (f64::NAN, 0.1), (0.01, -0.1), (0.01, f64::NAN)] {
        let answer = difference(&good, &good, &Criterion { alpha, noise });
        assert_eq!(answer.finding, Finding::CannotTell(Reason::InvalidCriterion), "{alpha} {noise}");
    }
    assert_eq!(difference(&good, &series(1.0, 8), &Criterion::default()).finding, Finding::Similar);
}

#[test]
fn no_input_makes_it_panic_or_answer_with_nan() {
    let odd = [0.0, -0.0, 5e-324, 1e-300, 1.0, 1e300, f64::MAX, f64::INFINITY, f64::NAN, -1.0];
    let mut random = SplitMix64(3);
    for _ in 0..20_000 {
        let mut pick = |count: u64, of: u64| -> Vec<f64> {
            (0..count).map(|_| odd[(random.next() % of) as usize]).collect()
        };
        // Mostly valid values, so that not all end at the first check.
        let series = [9, 33].map(|count| Samples { value: pick(count, 7), weight: pick(count, 8) });
        let answer = difference(&series[0], &series[1], &Criterion::default());
        if let Some(estimate) = answer.estimate {
            let figures = [estimate.ratio, estimate.ci_low, estimate.ci_high, estimate.p_value];
            assert!(figures.iter().all(|figure| !figure.is_nan()), "{answer:?} of {series:?}");
        }
    }
}
