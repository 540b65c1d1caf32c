//! The hit rate of a cache that always holds the keys that are asked for most.

use bench::KeyDistribution;

/// The share of the reads that go to the `entries` hottest of `rows` keys. What writes and expiry take away is not
/// counted.
pub(crate) fn hit_rate(rows: u64, entries: u64, distribution: KeyDistribution) -> f64 {
    let entries = entries.min(rows);
    let (held, all) = (entries as f64, rows as f64);
    match distribution {
        KeyDistribution::Uniform => held / all,
        KeyDistribution::Hotspot { fraction, share } => {
            let hot = (all * fraction).ceil().clamp(1.0, all);
            if held <= hot {
                share * held / hot
            } else {
                share + (1.0 - share) * (held - hot) / (all - hot).max(1.0)
            }
        }
        KeyDistribution::Zipf { exponent } => weight(entries, exponent) / weight(rows, exponent),
    }
}

/// The sum of rank^-exponent up to `ranks`: exact for the first, which matter most, by the midpoint rule for the rest.
fn weight(ranks: u64, exponent: f64) -> f64 {
    const EXACT: u64 = 100_000;
    let exact: f64 = (1..=ranks.min(EXACT)).map(|rank| (rank as f64).powf(-exponent)).sum();
    if ranks <= EXACT {
        return exact;
    }
    let (from, to) = (EXACT as f64 + 0.5, ranks as f64 + 0.5);
    let rest = if (exponent - 1.0).abs() < 1e-9 {
        (to / from).ln()
    } else {
        (to.powf(1.0 - exponent) - from.powf(1.0 - exponent)) / (1.0 - exponent)
    };
    exact + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hottest_tenth_gets_its_share() {
        let zipf = hit_rate(1_000_000, 100_000, KeyDistribution::Zipf { exponent: 0.99 });
        let exact = |ranks: u32| (1..=ranks).map(|rank| f64::from(rank).powf(-0.99)).sum::<f64>();
        assert!((zipf - exact(100_000) / exact(1_000_000)).abs() < 1e-6, "{zipf}");
        let one = hit_rate(1_000_000, 500_000, KeyDistribution::Zipf { exponent: 1.0 });
        assert!((0.9..0.96).contains(&one), "{one}");
        let is = |rate: f64, expected: f64| assert!((rate - expected).abs() < 1e-9, "{rate}");
        is(hit_rate(1_000, 100, KeyDistribution::Uniform), 0.1);
        is(hit_rate(1_000, 50, KeyDistribution::Hotspot { fraction: 0.1, share: 0.9 }), 0.45);
        is(hit_rate(1_000, 2_000, KeyDistribution::Uniform), 1.0);
    }
}
