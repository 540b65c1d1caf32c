//! The sliding window log: the time and cost of every request that a trailing window covers.
//!
//! The only rule that is exact for trailing windows, and the only one whose state grows with the quota:
//! 8 bytes for each microsecond in which something was taken, at most `tokens` of them a key.
//!
//! **Bound.** At most `tokens` in every window of one period, wherever it begins. Greedy demand from an
//! empty start gets all of them.

use std::{collections::VecDeque, time::Duration};

use crate::{Decision, Quota, QuotaError, Rule, State, rule::LATEST};

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
    /// Oldest first.
    entries: VecDeque<Entry>,
    /// The sum of the tokens.
    taken: u64,
    /// When the last entry leaves: microseconds.
    fresh_at: u64,
}

/// When some tokens were taken, and how many: half the memory of two numbers, and half its misses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Entry(u64);

impl Entry {
    const COST_BITS: u32 = 9;
    /// The most tokens of one entry; more take several.
    const MOST: u32 = 1 << Self::COST_BITS;

    /// `cost` is from 1 to `MOST`. Microseconds made of 64 bits of nanoseconds leave nine bits free.
    const fn new(at: u64, cost: u32) -> Self {
        Self(at << Self::COST_BITS | (cost - 1) as u64)
    }

    const fn at(self) -> u64 {
        self.0 >> Self::COST_BITS
    }

    const fn cost(self) -> u32 {
        (self.0 & (Self::MOST as u64 - 1)) as u32 + 1
    }
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

    /// What the Lua mirror counts with.
    #[cfg(feature = "redis")]
    pub(crate) const fn numbers(&self) -> [u64; 2] {
        [self.tokens, self.period]
    }

    /// Whether an entry of `at` is still covered by the window that ends at `now`. One from further ahead
    /// than a period is from before the clock was set back.
    fn covers(&self, at: u64, now: u64) -> bool {
        at + self.period > now
    }

    fn forget_old(&self, state: &mut LogState, now: u64) {
        while let Some(entry) = state.entries.front() {
            if self.covers(entry.at(), now) {
                break;
            }
            state.taken -= u64::from(entry.cost());
            state.entries.pop_front();
        }
    }

    fn is_set_back(&self, state: &LogState, now: u64) -> bool {
        state.entries.back().is_some_and(|entry| entry.at() > now + self.period)
    }

    /// After the clock was set back, what was taken counts from now on.
    fn set_back(&self, state: &mut LogState, now: u64) {
        if self.is_set_back(state, now) {
            for entry in &mut state.entries {
                *entry = Entry::new(entry.at().min(now), entry.cost());
            }
            state.fresh_at = now + self.period;
        }
    }

    /// Tokens that the window ending at `now` covers.
    fn covered(&self, state: &LogState, now: u64) -> u64 {
        let old = state.entries.iter().take_while(|entry| !self.covers(entry.at(), now));
        state.taken - old.map(|entry| u64::from(entry.cost())).sum::<u64>()
    }

    fn refuse(&self, state: &LogState, covered: u64, now: u64, cost: u64) -> Decision {
        let mut excess = (covered + cost).saturating_sub(self.tokens);
        let mut leaves = now;
        for entry in state.entries.iter().filter(|entry| self.covers(entry.at(), now)) {
            if excess == 0 {
                break;
            }
            leaves = entry.at() + self.period;
            excess = excess.saturating_sub(u64::from(entry.cost()));
        }
        Decision::Denied { retry_after: Duration::from_micros(leaves - now) }
    }
}

#[cfg(feature = "scylla")]
impl LogState {
    /// The log with these entries, oldest first; `None` where no log has them.
    pub(crate) fn from_entries(fresh_at: u64, entries: Vec<(u64, u32)>) -> Option<Self> {
        let is_in_order = entries.is_sorted_by_key(|(at, _)| *at);
        let is_sane = entries.iter().all(|(at, cost)| *at <= LATEST && (1..=Entry::MOST).contains(cost));
        let taken = entries.iter().map(|(_, cost)| u64::from(*cost)).sum();
        let entries = entries.into_iter().map(|(at, cost)| Entry::new(at, cost)).collect();
        (is_in_order && is_sane).then_some(Self { entries, taken, fresh_at })
    }
}

impl LogState {
    /// When tokens were taken, in microseconds on the clock of the store, and how many: oldest first.
    pub fn entries(&self) -> impl Iterator<Item = (u64, u32)> {
        self.entries.iter().map(|entry| (entry.at(), entry.cost()))
    }

    /// Adds to the last entry what it has room for, if it is of the same time, and new ones for the rest.
    fn push(&mut self, at: u64, mut cost: u32) {
        if let Some(last) = self.entries.back_mut().filter(|last| last.at() == at) {
            let more = cost.min(Entry::MOST - last.cost());
            *last = Entry::new(at, last.cost() + more);
            cost -= more;
        }
        while cost > 0 {
            let part = cost.min(Entry::MOST);
            self.entries.push_back(Entry::new(at, part));
            cost -= part;
        }
    }
}

impl Rule for SlidingWindowLog {
    type State = LogState;

    fn take(&self, state: &mut LogState, now: u64, cost: u32) -> Decision {
        let (now, wanted) = (now.min(LATEST), u64::from(cost));
        if wanted > self.tokens {
            return Decision::NeverFits { burst: self.tokens };
        }
        self.set_back(state, now);
        self.forget_old(state, now);
        if state.taken + wanted > self.tokens {
            return self.refuse(state, state.taken, now, wanted);
        }
        state.taken += wanted;
        // A thread that read the clock earlier but came later is counted with the last entry, so that
        // the log stays in order.
        let at = state.entries.back().map_or(now, |last| now.max(last.at()));
        state.push(at, cost);
        state.fresh_at = at + self.period;
        Decision::allowed(self.tokens - state.taken, Duration::from_micros(state.fresh_at - now))
    }

    fn peek(&self, state: &LogState, now: u64, cost: u32) -> Decision {
        let (now, wanted) = (now.min(LATEST), u64::from(cost));
        if wanted > self.tokens {
            return Decision::NeverFits { burst: self.tokens };
        }
        if self.is_set_back(state, now) {
            return self.take(&mut state.clone(), now, cost);
        }
        let covered = self.covered(state, now);
        if covered + wanted > self.tokens {
            return self.refuse(state, covered, now, wanted);
        }
        let at = state.entries.back().map_or(now, |last| now.max(last.at()));
        Decision::allowed(self.tokens - covered - wanted, Duration::from_micros(at + self.period - now))
    }

    fn available(&self, state: &LogState, now: u64) -> u64 {
        self.tokens.saturating_sub(self.covered(state, now.min(LATEST)))
    }

    fn refund(&self, state: &mut LogState, now: u64, taken_at: u64, cost: u32) {
        // What the window covers no longer has been given back already.
        if !self.covers(taken_at.min(LATEST), now.min(LATEST)) {
            return;
        }
        // The entries that hold it: its own, or the later ones it was counted with.
        let mut left = cost;
        let place = state.entries.partition_point(|entry| entry.at() < taken_at);
        while let Some(entry) = state.entries.get_mut(place).filter(|_| left > 0) {
            let given = left.min(entry.cost());
            left -= given;
            state.taken -= u64::from(given);
            if given < entry.cost() {
                *entry = Entry::new(entry.at(), entry.cost() - given);
            } else {
                state.entries.remove(place);
            }
        }
    }

    fn mend(&self, state: &mut LogState, now: u64) {
        self.set_back(state, now.min(LATEST));
    }
}

impl State for LogState {
    fn fresh_at(&self) -> u64 {
        self.fresh_at
    }
}
