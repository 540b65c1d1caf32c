//! The sliding window log: the time and cost of every request that a trailing window covers.
//!
//! The only rule that is exact for trailing windows, and the only one whose state grows with the quota:
//! 16 bytes for each microsecond in which something was taken, at most `tokens` of them a key.
//!
//! **Bound.** At most `tokens` in every window of one period, wherever it begins. Greedy demand from an
//! empty start gets all of them.

use std::{collections::VecDeque, time::Duration};

use crate::{Decision, Quota, QuotaError, Rule, State};

/// A [`Quota`] enforced by a sliding window log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SlidingWindowLog {
    tokens: u64,
    /// Microseconds.
    period: u64,
}

/// What was taken within the last period.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LogState {
    /// Time in microseconds and tokens, oldest first.
    entries: VecDeque<(u64, u32)>,
    /// The sum of the tokens.
    taken: u64,
    /// When the last entry leaves: microseconds.
    fresh_at: u64,
}

impl SlidingWindowLog {
    /// Makes `quota` ready for counting.
    ///
    /// # Errors
    ///
    /// [`QuotaError::BurstInWindow`] when the burst is not the tokens of a period.
    pub fn new(quota: &Quota) -> Result<Self, QuotaError> {
        let (tokens, period) = quota.window()?;
        Ok(Self { tokens, period })
    }

    /// Whether an entry of `at` is still covered by the window that ends at `now`. One from further ahead
    /// than a period is from before the clock was set back.
    fn covers(&self, at: u64, now: u64) -> bool {
        at + self.period > now
    }

    fn forget_old(&self, state: &mut LogState, now: u64) {
        while let Some((at, cost)) = state.entries.front().copied() {
            if self.covers(at, now) {
                break;
            }
            state.entries.pop_front();
            state.taken -= u64::from(cost);
        }
    }

    /// After the clock was set back, what was taken counts from now on.
    fn mend(&self, state: &mut LogState, now: u64) {
        if state.entries.back().is_some_and(|(at, _)| *at > now + self.period) {
            for (at, _) in &mut state.entries {
                *at = (*at).min(now);
            }
            state.fresh_at = now + self.period;
        }
    }

    /// Tokens that the window ending at `now` covers.
    fn covered(&self, state: &LogState, now: u64) -> u64 {
        let old = state.entries.iter().take_while(|(at, _)| !self.covers(*at, now));
        state.taken - old.map(|(_, cost)| u64::from(*cost)).sum::<u64>()
    }

    fn refuse(&self, state: &LogState, covered: u64, now: u64, cost: u64) -> Decision {
        let mut excess = (covered + cost).saturating_sub(self.tokens);
        let mut leaves = now;
        for (at, cost) in state.entries.iter().filter(|(at, _)| self.covers(*at, now)) {
            if excess == 0 {
                break;
            }
            leaves = at + self.period;
            excess = excess.saturating_sub(u64::from(*cost));
        }
        Decision::Denied { retry_after: Duration::from_micros(leaves - now) }
    }
}

impl Rule for SlidingWindowLog {
    type State = LogState;

    fn take(&self, state: &mut LogState, now: u64, cost: u32) -> Decision {
        let wanted = u64::from(cost);
        if wanted > self.tokens {
            return Decision::NeverFits { burst: self.tokens };
        }
        self.mend(state, now);
        self.forget_old(state, now);
        if state.taken + wanted > self.tokens {
            return self.refuse(state, state.taken, now, wanted);
        }
        state.taken += wanted;
        // A thread that read the clock earlier but came later is counted with the last entry, so that
        // the log stays in order.
        let at = state.entries.back().map_or(now, |(last, _)| now.max(*last));
        match state.entries.back_mut() {
            Some((last, sum)) if *last == at => *sum += cost,
            _ => state.entries.push_back((at, cost)),
        }
        state.fresh_at = at + self.period;
        Decision::allowed(self.tokens - state.taken, Duration::from_micros(state.fresh_at - now))
    }

    fn peek(&self, state: &LogState, now: u64, cost: u32) -> Decision {
        let wanted = u64::from(cost);
        if wanted > self.tokens {
            return Decision::NeverFits { burst: self.tokens };
        }
        let covered = self.covered(state, now);
        if covered + wanted > self.tokens {
            return self.refuse(state, covered, now, wanted);
        }
        Decision::allowed(self.tokens - covered - wanted, Duration::from_micros(self.period))
    }

    fn available(&self, state: &LogState, now: u64) -> u64 {
        self.tokens.saturating_sub(self.covered(state, now))
    }

    fn refund(&self, state: &mut LogState, _now: u64, taken_at: u64, cost: u32) {
        // The entry that holds it: its own, or the later one it was counted with.
        let place = state.entries.partition_point(|(at, _)| *at < taken_at);
        if let Some((_, sum)) = state.entries.get_mut(place) {
            let given = cost.min(*sum);
            *sum -= given;
            state.taken -= u64::from(given);
            if *sum == 0 {
                state.entries.remove(place);
            }
        }
    }
}

impl State for LogState {
    fn fresh_at(&self) -> u64 {
        self.fresh_at
    }
}
