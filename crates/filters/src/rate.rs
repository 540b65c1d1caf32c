//! False-positive rates: by theory, and as observed.

/// The rate of a Bloom filter of `bits` bits in which `items` keys set `positions` each: `(1 - e^(-kn/m))^k`.
///
/// The approximation is below the exact value by a part in `m` (Bose et al., 2008).
#[must_use]
pub fn bloom(bits: u64, items: u64, positions: u32) -> f64 {
    let positions = f64::from(positions);
    (-(-positions * items as f64 / bits as f64).exp_m1()).powf(positions)
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
    fn intervals_are_those_of_wilson() {
        let (low, high) = Observed { positives: 10, trials: 100 }.interval();
        assert!((low - 0.0552).abs() < 1e-4 && (high - 0.1744).abs() < 1e-4, "{low} {high}");
        let (low, high) = Observed { positives: 0, trials: 1_000_000 }.interval();
        assert!(low < 1e-12 && high > 0.0 && high < 4e-6, "{low} {high}");
        assert_eq!(Observed::default().interval(), (0.0, 1.0));
    }
}
