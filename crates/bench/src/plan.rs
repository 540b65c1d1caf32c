use std::{error, f64::consts::TAU, fmt, str::FromStr};

use crate::Rng;

/// When operations are due, decided before the run: an open loop.
///
/// Late answers do not slow the plan down, as users do not wait for each other. Latency is counted from
/// the time an operation was due, so a stall shows in every operation that it held up (G. Tene, "How
/// not to measure latency", 2013: coordinated omission).
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Plan {
    /// Operations a second.
    pub rate: f64,
    /// How they are spaced.
    pub arrivals: Arrivals,
    /// How the rate moves over the run.
    pub shape: Shape,
}

/// How arrivals are spaced.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Arrivals {
    /// Evenly.
    #[default]
    Constant,
    /// As independent users come: exponential gaps.
    Poisson,
}

/// How the rate moves over the run.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub enum Shape {
    /// Not at all.
    #[default]
    Flat,
    /// From zero to the rate over this many seconds, then flat.
    Ramp {
        /// Seconds until the rate is reached.
        seconds: f64,
    },
    /// Around the rate like a sine.
    Sine {
        /// How far it swings, as a fraction of the rate, from 0 to just below 1.
        swing: f64,
        /// Seconds from crest to crest.
        period: f64,
    },
}

/// The due times of a [`Plan`], one after the other: nanoseconds from the start.
#[derive(Clone, Debug)]
pub struct Schedule {
    plan: Plan,
    rng: Rng,
    index: u64,
    /// Operations due so far in the ideal, continuous plan; also the exponential sum.
    mass: f64,
}

impl Plan {
    /// The due times under `seed`, without end.
    #[must_use]
    pub const fn schedule(&self, seed: u64) -> Schedule {
        Schedule { plan: *self, rng: Rng::new(seed, u64::MAX), index: 0, mass: 0.0 }
    }

    /// The time at which the plan has asked for `mass` operations: the inverse of the integral of the
    /// rate, in seconds.
    fn time_of(&self, mass: f64) -> f64 {
        match self.shape {
            Shape::Flat => mass / self.rate,
            Shape::Ramp { seconds } => {
                let in_ramp = self.rate * seconds / 2.0;
                if mass <= in_ramp {
                    (2.0 * mass * seconds / self.rate).sqrt()
                } else {
                    seconds + (mass - in_ramp) / self.rate
                }
            }
            Shape::Sine { swing, period } => {
                // mass(t) = rate * (t + swing * period / TAU * (1 - cos(TAU * t / period))) rises
                // strictly and stays within one swing of its mean line: bisect there.
                let mass_at =
                    |t: f64| self.rate * (t + swing * period / TAU * (1.0 - (TAU * t / period).cos()));
                let mean = mass / self.rate;
                let (mut low, mut high) = ((mean - 2.0 * swing * period / TAU).max(0.0), mean);
                for _ in 0..64 {
                    let middle = f64::midpoint(low, high);
                    if mass_at(middle) < mass { low = middle } else { high = middle }
                }
                high
            }
        }
    }
}

impl Iterator for Schedule {
    type Item = u64;

    fn next(&mut self) -> Option<u64> {
        let mass = match self.plan.arrivals {
            Arrivals::Constant => self.index as f64,
            Arrivals::Poisson => {
                self.mass -= (1.0 - self.rng.unit()).ln();
                self.mass
            }
        };
        self.index += 1;
        Some((self.plan.time_of(mass) * 1e9) as u64)
    }
}

impl FromStr for Arrivals {
    type Err = PlanError;

    fn from_str(text: &str) -> Result<Self, PlanError> {
        match text {
            "constant" => Ok(Self::Constant),
            "poisson" => Ok(Self::Poisson),
            _ => Err(PlanError(format!("{text:?} is no spacing of arrivals; use constant or poisson"))),
        }
    }
}

impl FromStr for Shape {
    type Err = PlanError;

    fn from_str(text: &str) -> Result<Self, PlanError> {
        let mut parts = text.split(':');
        let name = parts.next().unwrap_or_default();
        let numbers: Vec<f64> = parts.map(|part| part.parse().unwrap_or(f64::NAN)).collect();
        match (name, numbers.as_slice()) {
            ("flat", []) => Ok(Self::Flat),
            ("ramp", &[seconds]) if seconds > 0.0 && seconds.is_finite() => Ok(Self::Ramp { seconds }),
            ("sine", &[swing, period])
                if (0.0..1.0).contains(&swing) && period > 0.0 && period.is_finite() =>
            {
                Ok(Self::Sine { swing, period })
            }
            _ => Err(PlanError(format!(
                "{text:?} is no shape of a rate; use flat, ramp:SECONDS or sine:SWING:SECONDS (swing from 0 to below 1)"
            ))),
        }
    }
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let arrivals = match self.arrivals {
            Arrivals::Constant => "constant",
            Arrivals::Poisson => "poisson",
        };
        write!(f, "{}/s {arrivals}", self.rate)?;
        match self.shape {
            Shape::Flat => Ok(()),
            Shape::Ramp { seconds } => write!(f, " ramp:{seconds}"),
            Shape::Sine { swing, period } => write!(f, " sine:{swing}:{period}"),
        }
    }
}

/// Why a text describes no plan.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlanError(String);

impl fmt::Display for PlanError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl error::Error for PlanError {}

#[cfg(test)]
mod tests {
    use super::*;

    fn due(arrivals: Arrivals, shape: &str, count: usize) -> Vec<u64> {
        let plan = Plan { rate: 1_000.0, arrivals, shape: shape.parse().unwrap() };
        plan.schedule(1).take(count).collect()
    }

    #[test]
    fn constant_arrivals_do_not_drift() {
        let due = due(Arrivals::Constant, "flat", 1_000_001);
        assert_eq!(due[..3], [0, 1_000_000, 2_000_000]);
        assert_eq!(due[1_000_000], 1_000_000_000_000);
    }

    #[test]
    fn poisson_gaps_have_the_mean_and_the_spread_of_an_exponential() {
        let due = due(Arrivals::Poisson, "flat", 200_000);
        let gaps: Vec<f64> = due.windows(2).map(|pair| (pair[1] - pair[0]) as f64 / 1e6).collect();
        let mean = gaps.iter().sum::<f64>() / gaps.len() as f64;
        let variance = gaps.iter().map(|gap| (gap - mean).powi(2)).sum::<f64>() / gaps.len() as f64;
        assert!((mean - 1.0).abs() < 0.01, "{mean}");
        assert!((variance - 1.0).abs() < 0.03, "{variance}");
    }

    #[test]
    fn shapes_follow_their_integral() {
        // Half of ten seconds at 1,000/s come in a ramp of ten seconds.
        assert_eq!(due(Arrivals::Constant, "ramp:10", 5_001)[5_000], 10_000_000_000);
        // Whole periods of a sine give the mean rate.
        let after_two = due(Arrivals::Constant, "sine:0.5:1", 2_001)[2_000];
        assert!(after_two.abs_diff(2_000_000_000) < 10_000, "{after_two}");
    }

    #[test]
    fn due_times_never_go_back() {
        for shape in ["flat", "ramp:3", "sine:0.99:2"] {
            for arrivals in [Arrivals::Constant, Arrivals::Poisson] {
                assert!(due(arrivals, shape, 20_000).is_sorted(), "{shape} {arrivals:?}");
            }
        }
    }
}
