use std::fmt;

use crate::Decision;

/// The latest time that rules tell from later ones, in microseconds: 1,141 years, and whatever 64 bits of
/// nanoseconds can say.
pub(crate) const LATEST: u64 = (1 << 55) - 1;

/// A time span in microseconds, short enough to be added to any time of a clock.
#[cfg(any(feature = "lease", feature = "fallback"))]
pub(crate) fn span(micros: u128) -> u64 {
    micros.min(u128::from(u64::MAX >> 1)) as u64
}

/// A rule that decides: a pure function of the state of a key, the time and the cost.
///
/// Times are whole microseconds on the clock of the store, up to 2^55; costs are tokens and at least 1. Rules neither
/// read a clock nor wait.
pub trait Rule: fmt::Debug + Clone + Send + Sync + 'static {
    /// What is remembered of a key. The default is a key that was never asked for.
    type State: State;

    /// Takes `cost` tokens, or nothing.
    fn take(&self, state: &mut Self::State, now: u64, cost: u32) -> Decision;

    /// [`take`](Rule::take) on a [packed](State::pack) state: the state afterwards and the decision; `None` where that
    /// state cannot be packed, or the one before [is ahead](Rule::is_ahead).
    #[inline(always)]
    fn take_packed(&self, word: u64, now: u64, cost: u32) -> Option<(u64, Decision)> {
        take_unpacked(self, word, now, cost)
    }

    /// [`take_packed`](Rule::take_packed) of one token, where only the outcome is of interest.
    #[inline(always)]
    fn allow_packed(&self, word: u64, now: u64) -> Option<(u64, bool)> {
        outcome(self.take_packed(word, now, 1))
    }

    /// What [`take`](Rule::take) would answer.
    fn peek(&self, state: &Self::State, now: u64, cost: u32) -> Decision {
        self.take(&mut state.clone(), now, cost)
    }

    /// How many tokens could be taken at once.
    fn available(&self, state: &Self::State, now: u64) -> u64;

    /// Gives back `cost` tokens that were taken at `taken_at`. Whatever has flowed back by itself
    /// meanwhile is not given twice.
    fn refund(&self, state: &mut Self::State, now: u64, taken_at: u64, cost: u32);

    /// Makes a state from before the clock was set back, which would not be fresh for as long as it was
    /// set back, one of `now`.
    fn mend(&self, state: &mut Self::State, now: u64);

    /// Whether a [packed](State::pack) state is further ahead than any that could be made at `now`: then it was made
    /// later, by a thread that read the clock later but came first, or before the clock was set back, or under
    /// another quota.
    ///
    /// A rule cannot tell these apart, and denies. A store that changes packed states without a lock reads the clock
    /// again, and calls [`take`](Rule::take).
    #[inline(always)]
    fn is_ahead(&self, word: u64, now: u64) -> bool {
        let _ = (word, now);
        false
    }
}

/// [`Rule::take_packed`] by way of the state.
#[inline(always)]
pub(crate) fn take_unpacked<R: Rule>(rule: &R, word: u64, now: u64, cost: u32) -> Option<(u64, Decision)> {
    if rule.is_ahead(word, now) {
        return None;
    }
    let mut state = R::State::unpack(word);
    let decision = rule.take(&mut state, now, cost);
    Some((state.pack()?, decision))
}

/// [`Rule::allow_packed`], from what [`Rule::take_packed`] gave.
#[inline(always)]
pub(crate) fn outcome(taken: Option<(u64, Decision)>) -> Option<(u64, bool)> {
    let (word, decision) = taken?;
    Some((word, decision.is_allowed()))
}

/// Takes as many tokens as there are, at most `most`: the decision, and for how many it was asked.
pub(crate) fn take_up_to<R: Rule>(rule: &R, state: &mut R::State, now: u64, most: u32) -> (Decision, u32) {
    // At least one token is asked for, so that there is a time to come back.
    let there = u32::try_from(rule.available(state, now)).unwrap_or(u32::MAX);
    let cost = there.clamp(1, most);
    (rule.take(state, now, cost), cost)
}

/// What a rule remembers of a key.
pub trait State: fmt::Debug + Default + Clone + PartialEq + Send + 'static {
    /// From when on the state is as good as none, so that the key may be forgotten: microseconds.
    fn fresh_at(&self) -> u64;

    /// The state in one word below 2^63 - 1, if it fits: a store may then decide by compare-and-swap.
    ///
    /// [`unpack`](State::unpack) gives it back, and equal states have equal words.
    fn pack(&self) -> Option<u64> {
        None
    }

    /// The state that [`pack`](State::pack) made `word` of.
    #[must_use]
    fn unpack(word: u64) -> Self {
        let _ = word;
        Self::default()
    }

    /// [`fresh_at`](State::fresh_at) of the state that [`pack`](State::pack) made `word` of.
    #[must_use]
    fn packed_fresh_at(word: u64) -> u64 {
        Self::unpack(word).fresh_at()
    }
}
