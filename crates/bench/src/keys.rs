use std::{error, fmt, str::FromStr};

use crate::{Rng, zipf::Zipf};

/// How keys are chosen, as a flag says it: `uniform`, `zipf:0.99`, `hotspot:0.1:0.9`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum KeyDistribution {
    /// Every key alike.
    Uniform,
    /// The key of rank r with a probability proportional to 1 / r^exponent.
    Zipf {
        /// 0.99 in the Yahoo! Cloud Serving Benchmark (Cooper et al., SoCC 2010).
        exponent: f64,
    },
    /// `share` of the operations go to the first `fraction` of the keys, evenly.
    Hotspot {
        /// The fraction of the keys that is hot, from 0 to 1.
        fraction: f64,
        /// The share of the operations that they get, from 0 to 1.
        share: f64,
    },
}

/// Chooses keys from 0 to `count - 1`; the lower the number, the hotter the key.
#[derive(Clone, Debug)]
pub struct Keys {
    count: u64,
    chooser: Chooser,
}

#[derive(Clone, Debug)]
enum Chooser {
    Uniform,
    Zipf(Zipf),
    Hotspot { hot: u64, share: f64 },
}

impl Keys {
    /// Chooses among `count` keys.
    ///
    /// # Errors
    ///
    /// When `count` is zero or above 2^40.
    pub fn new(count: u64, distribution: KeyDistribution) -> Result<Self, KeysError> {
        if count == 0 || count > 1 << 40 {
            return Err(KeysError(format!("{count} keys; use from 1 to 2^40")));
        }
        let chooser = match distribution {
            KeyDistribution::Uniform => Chooser::Uniform,
            KeyDistribution::Zipf { exponent } => Chooser::Zipf(Zipf::new(count, exponent)),
            KeyDistribution::Hotspot { fraction, share } => {
                let hot = (count as f64 * fraction).ceil().clamp(1.0, count as f64) as u64;
                Chooser::Hotspot { hot, share }
            }
        };
        Ok(Self { count, chooser })
    }

    /// How many keys there are.
    #[must_use]
    pub const fn count(&self) -> u64 {
        self.count
    }

    /// The next key.
    #[inline]
    pub fn choose(&self, rng: &mut Rng) -> u64 {
        match &self.chooser {
            Chooser::Uniform => rng.below(self.count),
            Chooser::Zipf(zipf) => zipf.sample(rng) - 1,
            Chooser::Hotspot { hot, share } => {
                let cold = self.count - hot;
                if cold == 0 || rng.unit() < *share { rng.below(*hot) } else { hot + rng.below(cold) }
            }
        }
    }
}

impl FromStr for KeyDistribution {
    type Err = KeysError;

    fn from_str(text: &str) -> Result<Self, KeysError> {
        let mut parts = text.split(':');
        let name = parts.next().unwrap_or_default();
        let numbers: Vec<f64> = parts.map(|part| part.parse().unwrap_or(f64::NAN)).collect();
        let within = |value: f64, range: std::ops::RangeInclusive<f64>| range.contains(&value);
        match (name, numbers.as_slice()) {
            ("uniform", []) => Ok(Self::Uniform),
            ("zipf", []) => Ok(Self::Zipf { exponent: 0.99 }),
            ("zipf", &[exponent]) if within(exponent, 0.0..=10.0) => Ok(Self::Zipf { exponent }),
            ("hotspot", []) => Ok(Self::Hotspot { fraction: 0.1, share: 0.9 }),
            ("hotspot", &[fraction, share]) if within(fraction, 0.0..=1.0) && within(share, 0.0..=1.0) => {
                Ok(Self::Hotspot { fraction, share })
            }
            _ => Err(KeysError(format!(
                "{text:?} is not a key distribution; use uniform, zipf:EXPONENT (0 to 10) or hotspot:FRACTION:SHARE (0 to 1 each)"
            ))),
        }
    }
}

impl fmt::Display for KeyDistribution {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Uniform => f.write_str("uniform"),
            Self::Zipf { exponent } => write!(f, "zipf:{exponent}"),
            Self::Hotspot { fraction, share } => write!(f, "hotspot:{fraction}:{share}"),
        }
    }
}

/// Why keys cannot be chosen so.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeysError(String);

impl fmt::Display for KeysError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl error::Error for KeysError {}

#[cfg(test)]
mod tests {
    use super::*;

    fn counts(distribution: &str, keys: u64, draws: u64) -> Vec<u64> {
        let keys = Keys::new(keys, distribution.parse().unwrap()).unwrap();
        let mut counts = vec![0; usize::try_from(keys.count()).unwrap()];
        for index in 0..draws {
            counts[usize::try_from(keys.choose(&mut Rng::new(7, index))).unwrap()] += 1;
        }
        counts
    }

    #[test]
    fn uniform_gives_every_key_its_share() {
        for count in counts("uniform", 10, 100_000) {
            assert!((9_500..10_500).contains(&count), "{count}");
        }
    }

    #[test]
    fn zipf_follows_the_ranks() {
        let counts = counts("zipf:1", 1_000, 1_000_000);
        // 1 / H(1000) of the draws, and half of that for the second key.
        assert!((132_000..135_500).contains(&counts[0]), "{}", counts[0]);
        assert!((65_500..68_500).contains(&counts[1]), "{}", counts[1]);
    }

    #[test]
    fn hotspot_heats_a_tenth() {
        let hot: u64 = counts("hotspot:0.1:0.9", 100, 100_000)[..10].iter().sum();
        assert!((89_000..91_000).contains(&hot), "{hot}");
    }

    #[test]
    fn nonsense_is_refused_with_what_is_known() {
        for text in ["zipf:-1", "zipf:x", "hotspot:2:0.5", "hot", "", "uniform:1", "zipf:nan"] {
            let error = text.parse::<KeyDistribution>().unwrap_err();
            assert!(error.to_string().contains("uniform, zipf"), "{error}");
        }
        assert!(Keys::new(0, KeyDistribution::Uniform).is_err());
    }
}
