//! False-positive rates: by theory, and as observed.

/// The rate of a Bloom filter of `bits` bits in which `items` keys set `positions` each: `(1 - e^(-kn/m))^k`.
///
/// The approximation is below the exact value by a part in `m` (Bose et al., 2008).
#[must_use]
pub fn bloom(bits: u64, items: u64, positions: u32) -> f64 {
    let positions = f64::from(positions);
    (-(-positions * items as f64 / bits as f64).exp_m1()).powf(positions)
}

/// The rate of a blocked Bloom filter of `blocks` blocks of 512 bits, in one of which each of `items` keys sets
/// `positions` bits: that of one block with `i` keys, `i` as Poisson's distribution has it (Putze et al., 2007).
///
/// That of one block is `E[(X/512)^k]`, where `X` bits are set: by the mean of `X`, and its variance to second order.
#[must_use]
pub fn blocked(blocks: u64, items: u64, positions: u32) -> f64 {
    const BITS: f64 = 512.0;
    let (mean, positions) = (items as f64 / blocks as f64, f64::from(positions));
    let of_block = |keys: f64| {
        let throws = keys * positions;
        let one = (throws * (-1.0 / BITS).ln_1p()).exp();
        let two = (throws * (-2.0 / BITS).ln_1p()).exp();
        let full = 1.0 - one;
        let variance = (1.0 - 1.0 / BITS) * two + one / BITS - one * one;
        let bend = positions * (positions - 1.0) / 2.0 * full.powf(positions - 2.0);
        full.powf(positions) + bend * variance.max(0.0)
    };
    if mean * positions > 64.0 * BITS {
        // A bit is left in one of e^64.
        return 1.0;
    }
    // Ten standard deviations to both sides; the probabilities by their logarithms, as e^-mean may be 0.
    let spread = 10.0 * mean.sqrt() + 10.0;
    let mut keys = (mean - spread).floor().max(1.0);
    let mut log_factorial: f64 = (2..=keys as u64).map(|number| (number as f64).ln()).sum();
    let mut rate = 0.0;
    while keys <= mean + spread {
        rate += (keys * mean.ln() - mean - log_factorial).exp() * of_block(keys);
        keys += 1.0;
        log_factorial += keys.ln();
    }
    rate.min(1.0)
}

/// How often strangers were taken for keys.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Observed {
    /// Strangers that were taken for keys.
    pub positives: u64,
    /// Strangers that were asked for.
    pub trials: u64,
}

impl Observed {
    /// The rate; 0 without trials.
    #[must_use]
    pub fn rate(self) -> f64 {
        if self.trials == 0 { 0.0 } else { self.positives as f64 / self.trials as f64 }
    }

    /// The interval that holds the true rate in 95 of 100 such series (Wilson, 1927); 0 to 1 without trials.
    #[must_use]
    pub fn interval(self) -> (f64, f64) {
        if self.trials == 0 {
            return (0.0, 1.0);
        }
        let (trials, rate) = (self.trials as f64, self.rate());
        let z = 1.959_963_984_540_054_f64;
        let scale = 1.0 + z * z / trials;
        let centre = (rate + z * z / (2.0 * trials)) / scale;
        let half = z / scale * (rate * (1.0 - rate) / trials + z * z / (4.0 * trials * trials)).sqrt();
        ((centre - half).max(0.0), (centre + half).min(1.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn theory_gives_the_textbook_figure() {
        assert!((bloom(10_000_000, 1_000_000, 7) - 0.008_194).abs() < 1e-6);
    }

    #[test]
    fn blocks_cost_what_their_uneven_load_does() {
        // As simulated over 100M strangers (0.9664 %, 0.0884 %), and without keys.
        assert!((blocked(19_532, 1_000_000, 7) - 0.009_684).abs() < 1e-6);
        assert!((blocked(93_750, 3_000_000, 11) - 0.000_885_3).abs() < 1e-7);
        assert!(blocked(10, 0, 7).abs() < f64::EPSILON && blocked(1, 10_000_000, 7) > 0.999);
        assert!(blocked(1, u64::MAX, 32) > 0.999 && blocked(1, 1_500, 20) > 0.99);
    }

    #[test]
    fn intervals_are_those_of_wilson() {
        let (low, high) = Observed { positives: 10, trials: 100 }.interval();
        assert!((low - 0.0552).abs() < 1e-4 && (high - 0.1744).abs() < 1e-4, "{low} {high}");
        let (low, high) = Observed { positives: 0, trials: 1_000_000 }.interval();
        assert!(low < 1e-12 && high > 0.0 && high < 4e-6, "{low} {high}");
        assert_eq!(Observed::default().interval(), (0.0, 1.0));
    }
}
