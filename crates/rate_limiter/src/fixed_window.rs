//! The fixed window: each window of the clock, one after the other, has the whole quota.
//!
//! The cheapest rule to explain, and the loosest: the windows of all keys begin together.
//!
//! **Bound.** At most `tokens` in each window, so up to `2 * tokens` in a trailing window of one period:
//! the end of one and the beginning of the next. Greedy demand gets all `tokens` of every window.

use std::time::Duration;

use crate::{Decision, Quota, QuotaError, Rule, State, rule::LATEST};

/// A [`Quota`] enforced in fixed windows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FixedWindow {
    tokens: u64,
    /// Microseconds.
    period: u64,
}

/// What has been taken in the last window that was asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct WindowState {
    /// The end of that window: microseconds on the clock of the store.
    pub end: u64,
    /// Tokens taken in it.
    pub taken: u64,
}

impl FixedWindow {
    /// Makes `quota` ready for counting.
    ///
    /// # Errors
    ///
    /// [`QuotaError::BurstInWindow`] when the burst is not the tokens of a period: a window has no other.
    pub fn new(quota: &Quota) -> Result<Self, QuotaError> {
        let (tokens, period) = quota.window()?;
        Ok(Self { tokens, period })
    }

    /// What the Lua mirror counts with.
    #[cfg(feature = "redis")]
    pub(crate) const fn numbers(&self) -> [u64; 2] {
        [self.tokens, self.period]
    }

    /// The state at `now`: that of the window which `now` is in.
    fn current(&self, state: WindowState, now: u64) -> WindowState {
        debug_assert!(now <= LATEST, "the callers see to it");
        let end = now - now % self.period + self.period;
        if now < state.end {
            // The same window; or a later one, because a thread with a later reading came first. Further
            // ahead, the clock was set back: what was taken counts for the window of today.
            let overtaken = state.end > end && state.end - end <= self.period;
            let end = if overtaken { state.end } else { end };
            return WindowState { end, ..state };
        }
        WindowState { end, taken: 0 }
    }
}

impl Rule for FixedWindow {
    type State = WindowState;

    fn take(&self, state: &mut WindowState, now: u64, cost: u32) -> Decision {
        let (now, cost) = (now.min(LATEST), u64::from(cost));
        if cost > self.tokens {
            return Decision::NeverFits { burst: self.tokens };
        }
        let current = self.current(*state, now);
        let until_end = Duration::from_micros(current.end - now);
        if current.taken + cost > self.tokens {
            if current.end < state.end {
                *state = current;
            }
            return Decision::Denied { retry_after: until_end };
        }
        *state = WindowState { taken: current.taken + cost, ..current };
        Decision::allowed(self.tokens - state.taken, until_end)
    }

    fn available(&self, state: &WindowState, now: u64) -> u64 {
        self.tokens.saturating_sub(self.current(*state, now.min(LATEST)).taken)
    }

    fn refund(&self, state: &mut WindowState, now: u64, taken_at: u64, cost: u32) {
        let current = self.current(*state, now.min(LATEST));
        // What was taken in an earlier window is forgotten already.
        if taken_at.saturating_add(self.period) >= current.end {
            *state = WindowState { taken: current.taken.saturating_sub(u64::from(cost)), ..current };
        }
    }

    fn mend(&self, state: &mut WindowState, now: u64) {
        let current = self.current(*state, now.min(LATEST));
        if current.end < state.end {
            *state = current;
        }
    }
}

impl State for WindowState {
    fn fresh_at(&self) -> u64 {
        self.end
    }
}
