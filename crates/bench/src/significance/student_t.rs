//! Student's t distribution.

use std::f64::consts::PI;

/// The chance that the absolute value of t, with `freedom` degrees of freedom, is `t` or more.
pub(super) fn two_sided_p(t: f64, freedom: f64) -> f64 {
    regularized_beta(freedom / 2.0, 0.5, freedom / (freedom + t * t))
}

/// The `t` whose [`two_sided_p`] is `alpha`.
pub(super) fn critical_value(alpha: f64, freedom: f64) -> f64 {
    let mut high = 1.0;
    while two_sided_p(high, freedom) > alpha && high < f64::MAX / 4.0 {
        high *= 2.0;
    }
    let mut low = 0.0;
    // Halves the bracket down to about the last digit.
    for _ in 0..50 {
        let middle = f64::midpoint(low, high);
        if two_sided_p(middle, freedom) > alpha { low = middle } else { high = middle }
    }
    high
}

/// The regularized incomplete beta function, by the continued fraction of the NIST Handbook of Mathematical
/// Functions, 8.17.22, on the side where it converges fast.
fn regularized_beta(a: f64, b: f64, x: f64) -> f64 {
    if x <= 0.0 {
        return 0.0;
    }
    if x >= 1.0 {
        return 1.0;
    }
    if x > (a + 1.0) / (a + b + 2.0) {
        return 1.0 - regularized_beta(b, a, 1.0 - x);
    }
    let log_factor = a * x.ln() + b * (-x).ln_1p() + ln_gamma(a + b) - ln_gamma(a) - ln_gamma(b);
    log_factor.exp() / (a * fraction(a, b, x))
}

/// `1 + d1 / (1 + d2 / (1 + ..))`, evaluated by Lentz's method.
fn fraction(a: f64, b: f64, x: f64) -> f64 {
    const TINY: f64 = 1e-300;
    let (mut value, mut c, mut d) = (1.0, 1.0, 0.0);
    for i in 1..1000 {
        let m = f64::from(i / 2);
        let term = if i % 2 == 0 {
            m * (b - m) * x / ((a + 2.0 * m - 1.0) * (a + 2.0 * m))
        } else {
            -(a + m) * (a + b + m) * x / ((a + 2.0 * m) * (a + 2.0 * m + 1.0))
        };
        d = 1.0 + term * d;
        d = if d == 0.0 { 1.0 / TINY } else { 1.0 / d };
        c = 1.0 + term / c;
        if c == 0.0 {
            c = TINY;
        }
        value *= c * d;
        if (c * d - 1.0).abs() < 1e-15 {
            break;
        }
    }
    value
}

/// The logarithm of the gamma function of a positive number: Stirling's series, after the recurrence has
/// moved the argument to where it is exact.
fn ln_gamma(x: f64) -> f64 {
    let mut shift = 0.0;
    let mut x = x;
    while x < 10.0 {
        shift += x.ln();
        x += 1.0;
    }
    let inverse = 1.0 / x;
    let square = inverse * inverse;
    let series = inverse * (1.0 / 12.0 - square * (1.0 / 360.0 - square * (1.0 / 1260.0 - square / 1680.0)));
    (x - 0.5) * x.ln() - x + 0.5 * (2.0 * PI).ln() + series - shift
}

#[cfg(test)]
mod tests {
    use super::{critical_value, two_sided_p};

    /// Figures of the usual printed tables.
    #[test]
    fn critical_values_are_those_of_the_tables() {
        for (alpha, freedom, expected) in [
            (0.05, 1.0, 12.706_205),
            (0.05, 5.0, 2.570_582),
            (0.01, 2.0, 9.924_843),
            (0.01, 10.0, 3.169_273),
            (0.01, 30.0, 2.749_996),
            (0.001, 7.0, 5.407_883),
            (0.05, 1e6, 1.959_966),
        ] {
            let found = critical_value(alpha, freedom);
            assert!((found - expected).abs() < 2e-6, "alpha {alpha}, freedom {freedom}: {found}");
        }
    }

    #[test]
    fn chance_is_one_at_zero_and_falls_to_zero() {
        for freedom in [1.0, 2.5, 19.0, 1e4] {
            assert!((two_sided_p(0.0, freedom) - 1.0).abs() < 1e-12);
            assert!((two_sided_p(1.0, freedom) - two_sided_p(-1.0, freedom)).abs() < 1e-15);
            assert!(two_sided_p(1e200, freedom) < 1e-12);
            assert!((1..100).all(|t| {
                let t = f64::from(t) / 10.0;
                two_sided_p(t, freedom) > two_sided_p(t + 0.1, freedom)
            }));
        }
        // With one degree of freedom it is the Cauchy distribution.
        assert!((two_sided_p(1.0, 1.0) - 0.5).abs() < 1e-12);
    }
}
