//! The sliding window counter: the count of this window, and the part of the last one's that a trailing
//! window would still cover if its requests had come evenly.
//!
//! Two numbers approximate the [log](crate::sliding_window_log). The weighting is Cloudflare's ("How we
//! built rate limiting capable of scaling to millions of domains", 2017), here without rounding.
//!
//! **Bound.** Up to `2 * tokens` in a trailing window of one period, when what the last window admitted
//! came at its very end; at most `tokens` in each window of the clock. Greedy demand from an empty start
//! gets all `tokens` in its first window.

use std::time::Duration;

use crate::{Decision, Quota, QuotaError, Rule, State, rule::LATEST};

/// A [`Quota`] enforced by a sliding window counter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SlidingWindowCounter {
    tokens: u64,
    /// Ticks.
    period: u64,
    /// Microseconds in one tick, so that `tokens * period` is below 2^53.
    tick: u64,
}

/// What has been taken in the last two windows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CounterState {
    /// The end of the later one: microseconds on the clock of the store.
    pub end: u64,
    /// Tokens taken in the earlier one.
    pub before: u32,
    /// Tokens taken in the later one.
    pub taken: u32,
    /// The period is at most two to this power: microseconds.
    pub period_log2: u8,
}

/// Whole numbers up to here are exact in a Lua number.
const EXACT: u64 = 1 << 53;

impl SlidingWindowCounter {
    /// Makes `quota` ready for counting.
    ///
    /// Where `tokens * period` would not fit below 2^53, the tick is made coarser, which changes the
    /// period by at most 1 ppm.
    ///
    /// # Errors
    ///
    /// [`QuotaError::BurstInWindow`] when the burst is not the tokens of a period, and
    /// [`QuotaError::Uncountable`] when no tick counts the quota within 1 ppm.
    pub fn new(quota: &Quota) -> Result<Self, QuotaError> {
        let (tokens, micros) = quota.window()?;
        let longest = EXACT / tokens;
        let tick = if longest == 0 { u64::MAX } else { micros.div_ceil(longest) };
        let period = micros / tick;
        let exact = u128::from(micros - period * tick) * 1_000_000 <= u128::from(micros);
        if period == 0 || !exact || u32::try_from(tokens).is_err() {
            return Err(QuotaError::Uncountable);
        }
        Ok(Self { tokens, period, tick })
    }

    /// What the Lua mirror counts with.
    #[cfg(feature = "redis")]
    pub(crate) const fn numbers(&self) -> [u64; 3] {
        [self.tokens, self.period, self.tick]
    }

    fn period_micros(&self) -> u64 {
        self.period * self.tick
    }

    /// The state at `now`: that of the window which `now` is in, and the one before.
    fn current(&self, state: CounterState, now: u64) -> CounterState {
        debug_assert!(now <= LATEST, "the callers see to it");
        let period = self.period_micros();
        let end = now - now % period + period;
        let period_log2 = (u64::BITS - (period - 1).leading_zeros()) as u8;
        let state = CounterState { period_log2, ..state };
        if now < state.end {
            // As in a fixed window: threads overtaking each other, or a clock that was set back.
            let overtaken = state.end > end && state.end - end <= period;
            let end = if overtaken { state.end } else { end };
            return CounterState { end, ..state };
        }
        let before = if now - state.end < period { state.taken } else { 0 };
        CounterState { end, before, taken: 0, ..state }
    }

    /// Ticks until the end of the window: at most the period, also after an overtaking.
    fn left(&self, current: CounterState, now: u64) -> u64 {
        ((current.end - now).div_ceil(self.tick)).min(self.period)
    }

    /// Tokens times period that are taken, the last window's by the part of it that is still covered.
    fn weighted(&self, current: CounterState, now: u64) -> u64 {
        // Under another quota more may have been taken than this one can multiply.
        let before = u64::from(current.before).saturating_mul(self.left(current, now));
        u64::from(current.taken).saturating_mul(self.period).saturating_add(before)
    }

    /// Until `cost` fits: the earlier window leaves the trailing one tick by tick, then the later.
    fn until_fits(&self, current: CounterState, now: u64, cost: u64) -> Duration {
        // The most ticks of a window of `taken` tokens that may still be covered.
        let covered = |room: u64, taken: u32| {
            if taken == 0 { self.period } else { room * self.period / u64::from(taken) }
        };
        let at = match self.tokens.checked_sub(u64::from(current.taken) + cost) {
            Some(room) => current.end - covered(room, current.before).min(self.period) * self.tick,
            None => {
                let next_end = current.end + self.period_micros();
                next_end - covered(self.tokens - cost, current.taken).min(self.period) * self.tick
            }
        };
        Duration::from_micros(at.saturating_sub(now))
    }
}

impl Rule for SlidingWindowCounter {
    type State = CounterState;

    fn take(&self, state: &mut CounterState, now: u64, cost: u32) -> Decision {
        let (now, wanted) = (now.min(LATEST), u64::from(cost));
        if wanted > self.tokens {
            return Decision::NeverFits { burst: self.tokens };
        }
        let current = self.current(*state, now);
        let weighted = self.weighted(current, now);
        if weighted.saturating_add(wanted * self.period) > self.tokens * self.period {
            if current.end < state.end {
                *state = current;
            }
            return Decision::Denied { retry_after: self.until_fits(current, now, wanted) };
        }
        *state = CounterState { taken: current.taken + cost, ..current };
        let remaining = (self.tokens * self.period - weighted) / self.period - wanted;
        let reset_after = Duration::from_micros(current.end + self.period_micros() - now);
        Decision::allowed(remaining, reset_after)
    }

    fn available(&self, state: &CounterState, now: u64) -> u64 {
        let now = now.min(LATEST);
        let weighted = self.weighted(self.current(*state, now), now);
        (self.tokens * self.period).saturating_sub(weighted) / self.period
    }

    fn refund(&self, state: &mut CounterState, now: u64, taken_at: u64, cost: u32) {
        let mut current = self.current(*state, now.min(LATEST));
        let start = current.end - self.period_micros();
        if taken_at >= start {
            current.taken = current.taken.saturating_sub(cost);
        } else if taken_at.saturating_add(self.period_micros()) >= start {
            current.before = current.before.saturating_sub(cost);
        }
        *state = current;
    }

    fn mend(&self, state: &mut CounterState, now: u64) {
        let current = self.current(*state, now.min(LATEST));
        if current.end < state.end {
            *state = current;
        }
    }
}

impl State for CounterState {
    fn fresh_at(&self) -> u64 {
        if self.end == 0 { 0 } else { self.end.saturating_add(1 << self.period_log2) }
    }
}
