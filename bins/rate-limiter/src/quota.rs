//! A quota under which about half of the requests are admitted, so that both paths are measured.

use std::time::Duration;

use bench::{Amount, Config, KeyDistribution, Pacing};
use rate_limiter::{Algorithm, Quota};

/// The part of the grants that flows in during the run: little, so that a machine of another speed still admits
/// between 40 and 60 %.
const INFLOW: f64 = 0.2;

/// Every algorithm counts a burst of this size.
const MOST_GRANTS: f64 = 1e9;

/// A window that is longer than a run of ten million decisions, so that a slow machine admits as much.
const WINDOW: Duration = Duration::from_secs(10);

/// Finds the quota for `keys` drawn from `distribution`, where a closed loop makes `closed_loop_rate` decisions a
/// second.
pub(crate) fn admitting_half(
    config: &Config,
    keys: u64,
    distribution: KeyDistribution,
    algorithm: Algorithm,
    closed_loop_rate: f64,
) -> Quota {
    let rate = match &config.pacing {
        Pacing::Closed => closed_loop_rate,
        Pacing::Open { plan, .. } | Pacing::Virtual { plan, .. } => plan.rate,
    };
    let (requests, seconds) = match config.amount {
        Amount::Requests(requests) => (requests as f64, requests as f64 / rate),
        Amount::Duration(duration) => (duration.as_secs_f64() * rate, duration.as_secs_f64()),
    };
    // More than that cannot be counted exactly, nor be used up.
    let grants = grants_for_half(&expected(keys, distribution), requests).min(MOST_GRANTS);
    if algorithm.is_windowed() {
        // A run that is longer than a window gets its grants in several.
        let grants = grants * (WINDOW.as_secs_f64() / seconds).min(1.0);
        let quota = Quota::new(grants.ceil().max(1.0) as u64, WINDOW);
        return quota.unwrap_or_else(|error| unreachable!("at least one token in a bounded window: {error}"));
    }
    let burst = (grants * (1.0 - INFLOW)).ceil().max(1.0) as u64;
    let per_second = (grants * INFLOW / seconds.max(1e-3)).min(1e9);
    // Slow inflow is written per hour, so that it is not rounded away.
    let quota = if per_second >= 1.0 {
        Quota::per_second(per_second.round() as u64)
    } else {
        Quota::new((per_second * 3600.0).ceil().max(1.0) as u64, Duration::from_secs(3600))
    };
    let valid = quota.and_then(|quota| quota.with_burst(burst));
    valid.unwrap_or_else(|error| unreachable!("rate and burst are at least 1 and bounded: {error}"))
}

/// Groups of keys that are drawn alike: how many keys, and the share of the requests that each gets.
fn expected(keys: u64, distribution: KeyDistribution) -> Vec<(f64, f64)> {
    let count = keys as f64;
    match distribution {
        KeyDistribution::Uniform => vec![(count, 1.0 / count)],
        KeyDistribution::Hotspot { fraction, share } => {
            let hot = (count * fraction).ceil().clamp(1.0, count);
            vec![(hot, share / hot), (count - hot, (1.0 - share) / (count - hot).max(1.0))]
        }
        KeyDistribution::Zipf { exponent } => {
            let groups = rank_groups(keys);
            let weight = |(first, keys): (f64, f64)| (first + keys / 2.0).powf(-exponent);
            let sum: f64 = groups.iter().map(|group| group.1 * weight(*group)).sum();
            groups.iter().map(|group| (group.1, weight(*group) / sum)).collect()
        }
    }
}

/// Ranks in groups that widen with the rank: (the rank before the group + 0.5, its size).
fn rank_groups(keys: u64) -> Vec<(f64, f64)> {
    let mut groups = Vec::new();
    let mut first = 1;
    while first <= keys {
        let size = (first / 64).max(1).min(keys - first + 1);
        groups.push((first as f64 - 0.5, size as f64));
        first += size;
    }
    groups
}

/// Grants a key under which the keys together get half of `requests`.
fn grants_for_half(groups: &[(f64, f64)], requests: f64) -> f64 {
    let granted = |grants: f64| -> f64 {
        groups.iter().map(|(keys, share)| keys * (share * requests).min(grants)).sum()
    };
    let (mut low, mut high) = (0.0, requests);
    for _ in 0..100 {
        let middle = f64::midpoint(low, high);
        if granted(middle) < requests / 2.0 { low = middle } else { high = middle }
    }
    high
}
