//! How often `difference` is wrong, on series recorded on a machine that others were using.

use std::fs;
use std::path::Path;
use std::thread;

use bench::significance::{Criterion, Difference, Finding, Reason, Samples, difference};
use testkit::SplitMix64;

/// Of 10,000 pairs drawn from the same recording, at most 1 % may be called different.
const PAIRS: usize = 10_000;
const FALSE_DIFFERENCES: f64 = 0.01;
/// Of the pairs in which one side is 5 % off, at least this share must be found where the noise allows it.
const POWER: f64 = 0.95;
/// Length of each recording. A longer run is drawn from more of its blocks.
const RECORDED_SECONDS: usize = 20;

#[derive(Clone, Copy, Debug)]
enum Measure {
    /// Operations by wall time.
    Throughput,
    /// Operations by processor time of the process.
    Efficiency,
    /// Mean latency, weighted by operations.
    Latency,
}

/// A recording, what is compared, the samples of a block, the seconds of a run, and whether a difference of
/// 5 % must be found. Where not, runs of that length are too noisy for it; the share found is printed.
const RECORDINGS: [(&str, Measure, usize, usize, bool); 10] = [
    ("loop", Measure::Efficiency, 100, 20, true),
    ("loop", Measure::Throughput, 200, 20, false),
    ("loop", Measure::Latency, 200, 20, false),
    ("shards", Measure::Efficiency, 100, 20, true),
    ("shards", Measure::Throughput, 200, 20, false),
    ("shards", Measure::Throughput, 200, 60, true),
    ("shards", Measure::Latency, 200, 60, true),
    ("redis", Measure::Throughput, 100, 20, false),
    ("redis", Measure::Latency, 100, 20, false),
    ("map", Measure::Throughput, 200, 20, false),
];

#[test]
fn few_pairs_of_one_recording_differ_and_five_percent_is_found() {
    let shares: Vec<Shares> = thread::scope(|scope| {
        // Started before any is waited for.
        let threads: Vec<_> = (0..RECORDINGS.len()).map(|index| scope.spawn(move || shares(index))).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    println!("recording measure    seconds  false   -5 %   +5 %   error");
    let mut failures = Vec::new();
    for ((name, measure, _, seconds, is_calm), shares) in RECORDINGS.into_iter().zip(&shares) {
        let Shares { wrong, slower, faster, error } = shares;
        let measure = format!("{measure:?}");
        println!(
            "{name:9} {measure:10} {seconds:7} {:6.2} {:6.1} {:6.1} {error:7.4}",
            100.0 * wrong,
            100.0 * slower,
            100.0 * faster,
        );
        if is_calm && slower.min(*faster) < POWER {
            failures.push((name, measure, seconds));
        }
    }
    let wrong = shares.iter().map(|shares| shares.wrong).sum::<f64>() / shares.len() as f64;
    println!("{:.2} % of {PAIRS} pairs differ falsely", 100.0 * wrong);
    assert!(wrong <= FALSE_DIFFERENCES, "{wrong} of the pairs differ falsely");
    assert!(failures.is_empty(), "fewer found than must be: {failures:#?}");
}

/// Shares of the pairs of one recording.
struct Shares {
    /// Called different though they are of the same recording.
    wrong: f64,
    /// Found lower after the second was made 5 % lower.
    slower: f64,
    /// Found higher after the second was made 5 % higher.
    faster: f64,
    /// Mean standard error of the ratio's logarithm.
    error: f64,
}

fn shares(index: usize) -> Shares {
    let (name, measure, block, seconds, _) = RECORDINGS[index];
    let series = recorded(name, measure);
    let connected = autocorrelation(&series, block);
    assert!(connected < 0.25, "{name} {measure:?}: blocks shorter than what connects samples: {connected}");
    let samples = series.value.len() * seconds / RECORDED_SECONDS;
    let mut source = Source { series, block, samples, random: SplitMix64(index as u64) };
    let [wrong, slower, faster] = source.found([1.0, 0.95, 1.05], PAIRS / RECORDINGS.len());
    let error = source.standard_error();
    Shares { wrong, slower, faster, error }
}

/// Runs drawn from a recording by moving blocks.
struct Source {
    series: Samples,
    block: usize,
    samples: usize,
    random: SplitMix64,
}

impl Source {
    fn run(&mut self) -> Samples {
        let Samples { value, weight } = &self.series;
        let starts = (value.len() - self.block + 1) as u64;
        let mut run = Samples::default();
        while run.value.len() < self.samples {
            let start = (self.random.bits() % starts) as usize;
            let end = start + self.block.min(self.samples - run.value.len());
            run.value.extend_from_slice(&value[start..end]);
            run.weight.extend_from_slice(&weight[start..end]);
        }
        run
    }

    /// Draws pairs, scales the second run by each factor, and gives the share in which a difference is found:
    /// any at factor 1, else one of the right direction.
    fn found<const N: usize>(&mut self, factors: [f64; N], pairs: usize) -> [f64; N] {
        let mut counts = [0_usize; N];
        for _ in 0..pairs {
            let (a, b) = (self.run(), self.run());
            for (count, factor) in counts.iter_mut().zip(factors) {
                let finding = difference(&a, &scaled(&b, factor), &Criterion::default()).finding;
                *count += usize::from(match finding {
                    Finding::Lower => factor <= 1.0,
                    Finding::Higher => factor >= 1.0,
                    _ => false,
                });
            }
        }
        counts.map(|count| count as f64 / pairs as f64)
    }

    /// Mean over some pairs.
    fn standard_error(&mut self) -> f64 {
        let mut of_pair =
            || difference(&self.run(), &self.run(), &Criterion::default()).estimate.unwrap().standard_error;
        (0..100).map(|_| of_pair()).sum::<f64>() / 100.0
    }
}

fn scaled(series: &Samples, factor: f64) -> Samples {
    Samples {
        value: series.value.iter().map(|value| value * factor).collect(),
        weight: series.weight.clone(),
    }
}

/// Of the values, `lag` samples apart.
fn autocorrelation(series: &Samples, lag: usize) -> f64 {
    let pairs: Vec<_> =
        series.value.iter().zip(&series.weight).filter(|(_, weight)| **weight > 0.0).collect();
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

/// About normal, with mean 0 and deviation 1.
fn normal(random: &mut SplitMix64) -> f64 {
    (0..12).map(|_| random.bits() as f64 / u64::MAX as f64).sum::<f64>() - 6.0
}

fn compare(a: &[f64], b: &[f64]) -> Difference {
    let series = |value: &[f64]| Samples { value: value.to_vec(), weight: vec![1.0; value.len()] };
    difference(&series(a), &series(b), &Criterion::default())
}

fn noisy(level: f64, deviation: f64, count: usize, seed: u64) -> Vec<f64> {
    let mut random = SplitMix64(seed);
    (0..count).map(|_| level * (1.0 + deviation * normal(&mut random)).max(0.0)).collect()
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
            level = 0.99 * level + normal(&mut random);
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
            assert_eq!(
                answer,
                Difference { finding: Finding::CannotTell(reason), estimate: None },
                "{bad:?}"
            );
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
            (0..count).map(|_| odd[(random.bits() % of) as usize]).collect()
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
