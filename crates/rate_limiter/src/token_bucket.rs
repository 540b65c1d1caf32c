//! The token bucket: tokens flow into a bucket at the rate, up to the burst; a request takes its cost
//! or nothing.
//!
//! J. Turner, "New directions in communications", IEEE Communications Magazine 24(10), 1986. Kept as
//! the instant at which the bucket is full again, as in virtual scheduling (ITU-T I.371), which makes
//! the state two numbers, and a denial a read.
//!
//! **Bound.** Of a key whose clock does not go backwards, the limiter admits in any window of length t
//! at most `burst + rate * t`, so up to `2 * burst` in a trailing window of `burst / rate`. From a full
//! bucket on, greedy demand gets at least `burst + rate * t - 1`.
//!
//! **Arithmetic.** A token is divided into `scale` units, so that a whole number of units flows in every
//! tick: nothing is rounded and no remainder is lost between calls. All values stay below 2^53, the
//! range in which a Lua script counts exactly.

use std::time::Duration;

use crate::{Decision, Quota, QuotaError};

/// Whole numbers up to here are exact in a Lua number (IEEE 754 double precision).
const EXACT: u64 = 1 << 53;

/// The longest time to fill a bucket, in microseconds: 146,000 years, so that no instant overflows.
const LONGEST_FILL: u128 = 1 << 62;

/// A [`Quota`] made ready for counting.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TokenBucket {
    burst: u64,
    /// Units in one token.
    scale: u64,
    /// Units that flow in each tick.
    inflow: u64,
    /// Units in a full bucket: `burst * scale`.
    capacity: u64,
    /// Microseconds in one tick.
    tick: u64,
    /// Ticks in the period of the quota: a clock that is further back than this was set back; less is
    /// threads overtaking each other.
    period: u64,
}

/// What is remembered of a key: when its bucket is full again. The default is a full bucket.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct State {
    /// The first tick at which the bucket is full: microseconds on the clock of the store.
    pub full_at: u64,
    /// Units by which the inflow up to `full_at` exceeds what the bucket misses; less than a tick's.
    pub spare: u64,
}

impl TokenBucket {
    /// Makes `quota` ready for counting.
    ///
    /// The rate is reduced to lowest terms. Where the units of a full bucket would not fit below 2^53,
    /// the tick is made coarser, which changes the rate by at most 1 ppm.
    ///
    /// # Errors
    ///
    /// [`QuotaError::Uncountable`] when no tick counts this quota within 1 ppm (a burst above some
    /// 10^10 tokens with a rate that does not reduce), or an empty bucket takes 146,000 years to fill.
    pub fn new(quota: &Quota) -> Result<Self, QuotaError> {
        let micros = u64::try_from(quota.period().as_micros()).map_err(|_| QuotaError::Period)?;
        let divisor = gcd(quota.tokens(), micros);
        let (inflow, exact_scale) = (quota.tokens() / divisor, micros / divisor);
        let largest_scale = (EXACT / quota.burst()).max(1);
        let tick = exact_scale.div_ceil(largest_scale);
        let scale = (exact_scale + tick / 2) / tick;
        let deviation = u128::from((scale * tick).abs_diff(exact_scale));
        let capacity = quota.burst().checked_mul(scale).filter(|units| *units <= EXACT);
        let countable = |capacity: u64| {
            let micros_to_fill = u128::from(capacity.div_ceil(inflow)) * u128::from(tick);
            deviation * 1_000_000 <= u128::from(exact_scale)
                && inflow <= EXACT - capacity
                && micros_to_fill <= LONGEST_FILL
        };
        match capacity {
            Some(capacity) if countable(capacity) => {
                let period = (micros / tick).max(1);
                Ok(Self { burst: quota.burst(), scale, inflow, capacity, tick, period })
            }
            _ => Err(QuotaError::Uncountable),
        }
    }

    /// Decides on one request of `cost` tokens at `now`, in microseconds on the clock of the store.
    #[must_use]
    #[inline]
    pub fn step(&self, state: State, now: u64, cost: u32) -> (State, Decision) {
        let cost = u64::from(cost);
        if cost > self.burst {
            return (state, Decision::NeverFits { burst: self.burst });
        }
        let tick = self.ticks(now);
        let (missing, state) = self.missing(state, tick);
        // Both at most the capacity, or one period's inflow above it: no overflow.
        let missing = missing + cost * self.scale;
        if missing > self.capacity {
            let wait = (missing - self.capacity).div_ceil(self.inflow);
            return (state, Decision::Denied { retry_after: self.until(tick + wait, now) });
        }
        let fill = missing.div_ceil(self.inflow);
        let state = State { full_at: (tick + fill) * self.tick, spare: fill * self.inflow - missing };
        let remaining = (self.capacity - missing) / self.scale;
        (state, Decision::Allowed { remaining, reset_after: self.until(tick + fill, now) })
    }

    /// The units that the bucket misses at `tick`; and the state, mended where the clock was set back.
    fn missing(&self, state: State, tick: u64) -> (u64, State) {
        let ticks = if self.tick == 1 { state.full_at } else { state.full_at.div_ceil(self.tick) }
            .saturating_sub(tick);
        if ticks == 0 {
            return (0, state);
        }
        let fill = self.capacity.div_ceil(self.inflow);
        if ticks <= fill {
            // A spare from another quota may exceed this one's tick: it is not trusted then.
            let spare = if state.spare < self.inflow { state.spare } else { 0 };
            return ((ticks * self.inflow - spare).min(self.capacity), state);
        }
        // The bucket was emptied in the future. A moment ahead, it was emptied by a thread that read
        // the clock later but came first: nothing flows until then. Further ahead, the clock was set
        // back: the bucket is empty now, instead of for as long as the clock was set back.
        if ticks - fill <= self.period {
            return (self.capacity + (ticks - fill).saturating_mul(self.inflow).min(EXACT), state);
        }
        let full_at = (tick + fill) * self.tick;
        (self.capacity, State { full_at, spare: fill * self.inflow - self.capacity })
    }

    /// From `now`, in microseconds, until the beginning of `tick`.
    fn until(&self, tick: u64, now: u64) -> Duration {
        Duration::from_micros((tick * self.tick).saturating_sub(now))
    }

    fn ticks(&self, micros: u64) -> u64 {
        if self.tick == 1 { micros } else { micros / self.tick }
    }
}

const fn gcd(mut a: u64, mut b: u64) -> u64 {
    while b != 0 {
        (a, b) = (b, a % b);
    }
    a
}
