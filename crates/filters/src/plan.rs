//! How large a filter is to be.

use backends::{Error, ErrorKind, Result};

/// For how many keys a filter is made, and how many bits it has for each.
///
/// ```
/// use filters::Plan;
///
/// # fn main() -> backends::Result<()> {
/// let by_rate = Plan::for_rate(10_000_000, 0.01)?; // 9.59 bits a key, 7 positions
/// let by_bits = Plan::for_bits(10_000_000, 10.0)?.with_positions(7)?;
/// assert_eq!(by_rate.positions(), by_bits.positions());
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Plan {
    items: u64,
    bits: f64,
    positions: u32,
    rate: Option<f64>,
}

/// The most positions of a key: at 46 bits a key, where a 64-bit hash ends for more than a few keys.
pub const MAX_POSITIONS: u32 = 32;
/// The most bits of a key.
pub const MAX_BITS: f64 = 64.0;

impl Plan {
    /// The plan whose false-positive rate is `rate` once `items` keys are in: `log2(1/rate) / ln 2` bits a key (Bloom,
    /// 1970), and as many positions as serve it best.
    ///
    /// # Errors
    ///
    /// `Invalid` for no items, a rate outside of 0 to 1, and one that hashes of 64 bits cannot keep: two of `items`
    /// keys and a stranger's have the same hash at a rate of `items / 2^64`.
    pub fn for_rate(items: u64, rate: f64) -> Result<Self> {
        if !(rate > 0.0 && rate < 1.0) {
            return Err(invalid(format!("a false-positive rate lies between 0 and 1, not at {rate}")));
        }
        let floor = items as f64 / 2f64.powi(64);
        if rate < floor * 16.0 {
            return Err(invalid(format!(
                "a rate of {rate:e} for {items} keys: hashes of 64 bits collide at {floor:e} alone"
            )));
        }
        let bits = -rate.log2() / std::f64::consts::LN_2;
        let plan = Self::for_bits(items, bits.max(1.0))?;
        let plan = Self { rate: Some(rate), ..plan };
        plan.with_positions((-rate.log2()).round().clamp(1.0, f64::from(MAX_POSITIONS)) as u32)
    }

    /// The plan with `bits` bits a key, and as many positions as serve it best.
    ///
    /// # Errors
    ///
    /// `Invalid` for no items, and for less than 1 or more than [`MAX_BITS`] bits a key.
    pub fn for_bits(items: u64, bits: f64) -> Result<Self> {
        if items == 0 {
            return Err(invalid("a filter is planned for one key at least".to_owned()));
        }
        if !(1.0..=MAX_BITS).contains(&bits) {
            return Err(invalid(format!("1 to {MAX_BITS} bits a key, not {bits}")));
        }
        if items as f64 * bits > 2f64.powi(48) {
            return Err(invalid(format!("{items} keys of {bits} bits: more than 2^48 bits")));
        }
        let positions = (bits * std::f64::consts::LN_2).round().clamp(1.0, f64::from(MAX_POSITIONS)) as u32;
        Ok(Self { items, bits, positions, rate: None })
    }

    /// The same with other positions.
    ///
    /// # Errors
    ///
    /// `Invalid` for none, and for more than [`MAX_POSITIONS`].
    pub fn with_positions(self, positions: u32) -> Result<Self> {
        if !(1..=MAX_POSITIONS).contains(&positions) {
            return Err(invalid(format!("1 to {MAX_POSITIONS} positions a key, not {positions}")));
        }
        Ok(Self { positions, ..self })
    }

    /// For how many keys.
    #[must_use]
    pub const fn items(&self) -> u64 {
        self.items
    }

    /// Bits a key.
    #[must_use]
    pub const fn bits(&self) -> f64 {
        self.bits
    }

    /// Positions of a key: how many bits a Bloom filter sets for it.
    #[must_use]
    pub const fn positions(&self) -> u32 {
        self.positions
    }

    /// The rate it was made for, if it was made for one.
    pub(crate) const fn rate(&self) -> Option<f64> {
        self.rate
    }

    /// All bits.
    #[must_use]
    pub fn total_bits(&self) -> u64 {
        (self.items as f64 * self.bits).ceil() as u64
    }
}

pub(crate) fn invalid(message: String) -> Error {
    Error::new(ErrorKind::Invalid, "memory", "plan", message)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plans_that_cannot_work_are_refused() {
        for rate in [0.0, 1.0, -0.5, f64::NAN, 1e-12] {
            assert!(Plan::for_rate(10_000_000, rate).is_err(), "{rate}");
        }
        assert!(Plan::for_rate(0, 0.01).is_err() && Plan::for_bits(u64::MAX, 10.0).is_err());
        for bits in [0.5, 65.0, f64::NAN, f64::INFINITY] {
            assert!(Plan::for_bits(100, bits).is_err(), "{bits}");
        }
        let plan = Plan::for_bits(100, 10.0).unwrap();
        assert!(plan.with_positions(0).is_err() && plan.with_positions(33).is_err());
    }

    #[test]
    fn a_rate_gives_the_usual_size() {
        let plan = Plan::for_rate(1_000_000, 0.01).unwrap();
        assert!((plan.bits() - 9.585).abs() < 0.01, "{}", plan.bits());
        assert_eq!(plan.positions(), 7);
    }
}
