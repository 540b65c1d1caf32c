//! Whether two runs differ: the statistics behind `compare A.json B.json`.
//!
//! # The data
//!
//! A run gives a few hundred to a few thousand samples, one an interval. Three things make the textbook
//! t-test on them wrong. Samples that follow each other are alike, so that `n` of them tell less than `n`
//! independent ones. A neighbour on the machine takes the processor for a second and a burst of samples is
//! far off. And the level itself wanders.
//!
//! # The method
//!
//! 1. The samples, in order, are cut into 32 *batches*, each represented by its weighted mean. Batches are
//!    longer than most of what connects samples, and 10 to 30 of them are known to be about as good as any
//!    finer choice (Schmeiser, *Batch size effects in the analysis of simulation output*, Operations
//!    Research 30, 1982).
//! 2. The level of a run is the 20 % *trimmed mean* of its batches, and its variance comes from the
//!    winsorized ones (Yuen, *The two-sample trimmed t for unequal population variances*, Biometrika 61,
//!    1974). Bursts that hit up to a fifth of the run do not count. What happens more often than once a
//!    batch, such as a pause each 100 ms, is in every batch and does count.
//! 3. What correlation is left between batches widens the variance by `(1 + r) / (1 - r)` and takes degrees
//!    of freedom away in proportion, with `r` the lag-1 autocorrelation corrected for its bias of `-1/n`,
//!    never below 0 (the effective sample size of an AR(1) process: Bayley and Hammersley, *The "effective"
//!    number of independent observations in an autocorrelated time series*, JRSS Supplement 8, 1946).
//! 4. The logarithm of the ratio of the two levels is compared with its standard error by Student's t, the
//!    degrees of freedom after Welch and Satterthwaite.
//!
//! # What it was chosen over
//!
//! 47 recordings of 20 or 60 s, of five workloads on two cores shared with builds, each as throughput, as
//! operations by processor time and as mean latency, gave pairs by moving-block bootstrap:
//!
//! * This method calls 0.38 % of them different at an `alpha` of 0.005 (0.74 % at 0.01), on average, and
//!   1.5 % (2.2 %) in the worst recording.
//! * On a dozen of them, at 0.01: the same batches without the correction for correlation gave up to 12 %
//!   of false differences; merging batches until their lag-1 correlation vanishes, up to 6 %; Newey and
//!   West's variance with Andrews' automatic lag, up to 34 %, as that lag is too short where the level
//!   wanders.
//! * Plain means instead of trimmed ones give as few false differences, and find more where noise is even
//!   (93 instead of 77 % of differences of 5 % in one recording). But one burst can undo the comparison (22
//!   instead of 80 % in another). Medians and 90th percentiles of batches mostly scatter more.
//!
//! # What it cannot do
//!
//! A difference of 5 % is found in 95 % of the pairs where [`Estimate::standard_error`] is about 0.009 or
//! less. It falls with the square root of the run's length as long as noise comes and goes within the run.
//! Of the recordings committed in `tests/series`, with runs drawn from blocks of 1 or 2 s:
//!
//! | workload, two threads | measure | run | standard error | 5 % found |
//! |---|---|---|---|---|
//! | histogram loop | operations by processor time | 20 s | 0.006 | 99 % |
//! | histogram loop | throughput | 20 s | 0.013 | 70 % |
//! | map of 64 shards | operations by processor time | 20 s | 0.009 | 96 % |
//! | map of 64 shards | throughput | 20 s | 0.011 | 87 % |
//! | map of 64 shards | throughput | 60 s | 0.006 | 100 % |
//! | Redis GET, one in flight | throughput | 20 s | 0.029 | 11 % |
//! | map behind one mutex | throughput | 20 s | 0.13 | 1 % |
//!
//! So on a shared machine, longer runs and a measure by processor time find what throughput hides, and a
//! lock that two threads fight for wanders too much for small differences. The answer is then
//! [`Finding::Unclear`].
//!
//! One run knows only the noise within it; what changes from run to run is a difference like any other. Of
//! nine runs of the histogram loop, some left about one of the two cores and some nearly both, 8 of the 36
//! pairs differed in throughput, by a factor of 2, and none in operations by processor time. With Redis,
//! 7 and 6 of 36 did. So compare runs taken in turn, A B A B, and under the same load.
//!
//! A disturbance that belongs to the program but hits less than a fifth of the run, all of it at once, is
//! trimmed away: look at the high percentiles too.

mod student_t;

use student_t::{critical_value, two_sided_p};

/// Batches a run is cut into; fewer where it has fewer samples.
const BATCHES: usize = 32;

/// Samples below which no answer is given.
const MIN_SAMPLES: usize = 8;

/// Share of the batches cut off at either end.
const TRIM: f64 = 0.2;

/// Correlation of batches beyond which the correction would rest on nothing.
const MAX_CORRELATION: f64 = 0.9;

/// Samples of one run, in the order in which they were taken.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Samples {
    /// What is compared: operations a second, or the mean latency, of an interval. Not negative.
    pub value: Vec<f64>,
    /// How much each counts: the length of the interval, or its number of operations. A sample of weight 0 is
    /// left out, whatever its value: an interval without operations has no latency.
    pub weight: Vec<f64>,
}

/// When a difference is called one.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Criterion {
    /// The chance that two runs of the same thing are called different; the interval covers `1 - alpha`.
    pub alpha: f64,
    /// A ratio this near to 1 is never called a difference, however certain it is.
    pub noise: f64,
}

impl Default for Criterion {
    /// `alpha` is 0.005, half of what may be wrong: recorded noise is worse than the theory's.
    fn default() -> Self {
        Self { alpha: 0.005, noise: 0.02 }
    }
}

/// The answer of [`difference`].
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Difference {
    /// What may be said.
    pub finding: Finding,
    /// The figures, unless the finding is [`Finding::CannotTell`].
    pub estimate: Option<Estimate>,
}

/// The second series relative to the first.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Estimate {
    /// Level of the second series over that of the first.
    pub ratio: f64,
    /// Lower end of the interval for the ratio.
    pub ci_low: f64,
    /// Upper end of the interval for the ratio.
    pub ci_high: f64,
    /// The chance of a ratio at least as far from 1 if both runs had the same level.
    pub p_value: f64,
    /// Standard error of the ratio's logarithm: about 0.01 or less is needed to find a difference of 5 %.
    pub standard_error: f64,
}

/// What may be said of two runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Finding {
    /// The second is lower: significant, and beyond the noise band.
    Lower,
    /// The second is higher: significant, and beyond the noise band.
    Higher,
    /// The whole interval lies within the noise band.
    Similar,
    /// No difference was shown, and none ruled out: the interval reaches beyond the noise band.
    Unclear,
    /// The data do not allow an answer.
    CannotTell(Reason),
}

/// Why there is no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Reason {
    /// A series has fewer than 8 samples with a weight.
    TooFewSamples,
    /// A series has not as many weights as values.
    LengthMismatch,
    /// A value or weight is negative, infinite or not a number.
    InvalidSample,
    /// The level of a series is 0: there is no ratio.
    ZeroLevel,
    /// `alpha` is not between 0 and 1, or `noise` not between 0 and infinity.
    InvalidCriterion,
}

/// Compares series `b` with series `a`. The same input always gives the same answer.
#[must_use]
pub fn difference(a: &Samples, b: &Samples, criterion: &Criterion) -> Difference {
    match estimate(a, b, criterion) {
        Ok(estimate) => Difference { finding: finding(&estimate, criterion), estimate: Some(estimate) },
        Err(reason) => Difference { finding: Finding::CannotTell(reason), estimate: None },
    }
}

/// Compares runs taken in turn: each pair is a level of `a` and the level of `b` that was measured next
/// to it, so that what changes slowly on the machine changes both. At least 8 pairs give an answer.
///
/// Student's t on the trimmed mean of the pairs' log ratios.
#[must_use]
pub fn paired_difference(pairs: &[(f64, f64)], criterion: &Criterion) -> Difference {
    match paired_estimate(pairs, criterion) {
        Ok(estimate) => Difference { finding: finding(&estimate, criterion), estimate: Some(estimate) },
        Err(reason) => Difference { finding: Finding::CannotTell(reason), estimate: None },
    }
}

fn paired_estimate(pairs: &[(f64, f64)], criterion: &Criterion) -> Result<Estimate, Reason> {
    criterion.check()?;
    if pairs.len() < MIN_SAMPLES {
        return Err(Reason::TooFewSamples);
    }
    if pairs.iter().any(|(a, b)| *a == 0.0 || *b == 0.0) {
        return Err(Reason::ZeroLevel);
    }
    let mut ratios: Vec<f64> = pairs.iter().map(|(a, b)| (b / a).ln()).collect();
    if !ratios.iter().all(|ratio| ratio.is_finite()) {
        return Err(Reason::InvalidSample);
    }
    let (mean, kept) = winsorize(&mut ratios);
    let center = average(&ratios);
    let squares: f64 = ratios.iter().map(|ratio| (ratio - center) * (ratio - center)).sum();
    Ok(test(mean, squares / (kept * (kept - 1.0)), kept - 1.0, criterion.alpha))
}

/// The trimmed mean of `values` and how many were kept for it; what was cut then counts as the nearest
/// that was kept.
fn winsorize(values: &mut [f64]) -> (f64, f64) {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let cut = (sorted.len() as f64 * TRIM) as usize;
    let kept = &sorted[cut..sorted.len() - cut];
    let (low, high) = (kept[0], kept[kept.len() - 1]);
    for value in values {
        *value = value.clamp(low, high);
    }
    (average(kept), kept.len() as f64)
}

/// Student's t for a log ratio of known variance.
fn test(log_ratio: f64, variance: f64, freedom: f64, alpha: f64) -> Estimate {
    let standard_error = variance.sqrt();
    // Without any scatter, any difference is certain.
    let (p_value, reach) = if variance == 0.0 {
        (if log_ratio == 0.0 { 1.0 } else { 0.0 }, 0.0)
    } else {
        (two_sided_p(log_ratio / standard_error, freedom), critical_value(alpha, freedom) * standard_error)
    };
    Estimate {
        ratio: log_ratio.exp(),
        ci_low: (log_ratio - reach).exp(),
        ci_high: (log_ratio + reach).exp(),
        p_value,
        standard_error,
    }
}

impl Criterion {
    fn check(&self) -> Result<(), Reason> {
        let valid = self.alpha > 0.0 && self.alpha < 1.0 && self.noise >= 0.0 && self.noise.is_finite();
        if valid { Ok(()) } else { Err(Reason::InvalidCriterion) }
    }
}

fn finding(estimate: &Estimate, criterion: &Criterion) -> Finding {
    let (low, high) = (1.0 - criterion.noise, 1.0 + criterion.noise);
    let significant = estimate.p_value < criterion.alpha;
    if significant && estimate.ratio < low {
        Finding::Lower
    } else if significant && estimate.ratio > high {
        Finding::Higher
    } else if estimate.ci_low >= low && estimate.ci_high <= high {
        Finding::Similar
    } else {
        Finding::Unclear
    }
}

fn estimate(a: &Samples, b: &Samples, criterion: &Criterion) -> Result<Estimate, Reason> {
    criterion.check()?;
    let (a, b) = (Level::of(a)?, Level::of(b)?);
    let variance = a.variance + b.variance;
    let log_ratio = (b.mean / a.mean).ln();
    if !(log_ratio.is_finite() && variance.is_finite()) {
        return Err(Reason::InvalidSample);
    }
    let freedom = if variance == 0.0 {
        1.0
    } else {
        let share = a.variance / variance;
        1.0 / (share * share / a.freedom + (1.0 - share) * (1.0 - share) / b.freedom)
    };
    Ok(test(log_ratio, variance, freedom, criterion.alpha))
}

/// Where a series lies, and how well that is known.
struct Level {
    mean: f64,
    /// Variance of the mean's logarithm.
    variance: f64,
    /// Degrees of freedom of the variance.
    freedom: f64,
}

impl Level {
    fn of(series: &Samples) -> Result<Self, Reason> {
        let mut batches = batch_means(series)?;
        let count = batches.len();
        let (mean, kept) = winsorize(&mut batches);
        if mean == 0.0 {
            return Err(Reason::ZeroLevel);
        }
        let center = average(&batches);
        let deviation: Vec<f64> = batches.iter().map(|batch| (batch - center) / mean).collect();
        let squares: f64 = deviation.iter().map(|d| d * d).sum();
        let products: f64 = deviation.windows(2).map(|pair| pair[0] * pair[1]).sum();
        let correlation = if squares > 0.0 { products / squares + 1.0 / count as f64 } else { 0.0 };
        let correlation = correlation.clamp(0.0, MAX_CORRELATION);
        let widening = (1.0 + correlation) / (1.0 - correlation);

        Ok(Self {
            mean,
            variance: squares / (kept * (kept - 1.0)) * widening,
            freedom: ((kept - 1.0) / widening).max(1.0),
        })
    }
}

/// Weighted means of consecutive samples, as nearly as can be the same number of samples in each.
fn batch_means(series: &Samples) -> Result<Vec<f64>, Reason> {
    if series.value.len() != series.weight.len() {
        return Err(Reason::LengthMismatch);
    }
    let samples = series.value.iter().zip(&series.weight).filter(|&(_, &weight)| weight != 0.0);
    let samples: Vec<(f64, f64)> = samples.map(|(&value, &weight)| (value, weight)).collect();
    let is_valid = |x: f64| x.is_finite() && x >= 0.0;
    if !samples.iter().all(|&(value, weight)| is_valid(value) && is_valid(weight)) {
        return Err(Reason::InvalidSample);
    }
    if samples.len() < MIN_SAMPLES {
        return Err(Reason::TooFewSamples);
    }
    let count = samples.len().min(BATCHES);
    let bound = |batch: usize| batch * samples.len() / count;
    let means: Vec<f64> = (0..count)
        .map(|batch| {
            let samples = &samples[bound(batch)..bound(batch + 1)];
            let total: f64 = samples.iter().map(|(_, weight)| weight).sum();
            samples.iter().map(|(value, weight)| value * weight).sum::<f64>() / total
        })
        .collect();
    // Sums of enormous numbers.
    if means.iter().all(|mean| mean.is_finite()) { Ok(means) } else { Err(Reason::InvalidSample) }
}

fn average(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len() as f64
}
