use std::time::Duration;

use crate::{
    Algorithm, BucketState, Decision, Quota, QuotaError, Rule, State,
    bucket::WordBucket,
    fixed_window::{FixedWindow, WindowState},
    leaky_bucket::LeakyBucketQueue,
    rule::{outcome, take_unpacked},
    sliding_window_counter::{CounterState, SlidingWindowCounter},
    sliding_window_log::{LogState, SlidingWindowLog},
    token_bucket::TokenBucket,
};

/// A quota and the algorithm that enforces it; or several on one key, of which each must allow a request.
///
/// A limit is itself a [`Rule`], chosen at run time.
///
/// ```
/// use rate_limiter::{Algorithm, Limit};
///
/// // At most 10 a second and 1,000 an hour.
/// let limit = Limit::all_of([
///     Limit::token_bucket("10/s".parse()?)?,
///     Limit::new(Algorithm::SlidingWindowLog, "1000/h".parse()?)?,
/// ])?;
/// assert_eq!(limit.parts().count(), 2);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limit(Parts);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Parts {
    One(Part),
    All(Box<[Part]>),
}

/// One quota and its algorithm.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Part {
    quota: Quota,
    rule: AnyRule,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum AnyRule {
    /// Under any of the names that it has.
    Bucket(Algorithm, TokenBucket),
    LeakyBucketQueue(LeakyBucketQueue),
    FixedWindow(FixedWindow),
    SlidingWindowCounter(SlidingWindowCounter),
    SlidingWindowLog(SlidingWindowLog),
}

/// What a [`Limit`] remembers of a key.
///
/// A quota may change while keys are in use: their state is kept. A change of the algorithm starts afresh.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct LimitState(AnyState);

#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) enum AnyState {
    #[default]
    Fresh,
    Bucket(BucketState),
    Window(WindowState),
    Counter(CounterState),
    Log(Box<LogState>),
    All(Box<[AnyState]>),
}

impl Limit {
    /// Enforces `quota` by `algorithm`.
    ///
    /// # Errors
    ///
    /// [`QuotaError::Uncountable`] when the algorithm cannot count this quota within 1 ppm, and
    /// [`QuotaError::BurstInWindow`] when it counts in windows and the burst is not the tokens of one.
    pub fn new(algorithm: Algorithm, quota: Quota) -> Result<Self, QuotaError> {
        let rule = match algorithm {
            Algorithm::TokenBucket | Algorithm::Gcra | Algorithm::LeakyBucket => {
                AnyRule::Bucket(algorithm, TokenBucket::new(&quota)?)
            }
            Algorithm::LeakyBucketQueue => AnyRule::LeakyBucketQueue(LeakyBucketQueue::new(&quota)?),
            Algorithm::FixedWindow => AnyRule::FixedWindow(FixedWindow::new(&quota)?),
            Algorithm::SlidingWindowCounter => {
                AnyRule::SlidingWindowCounter(SlidingWindowCounter::new(&quota)?)
            }
            Algorithm::SlidingWindowLog => AnyRule::SlidingWindowLog(SlidingWindowLog::new(&quota)?),
        };
        Ok(Self(Parts::One(Part { quota, rule })))
    }

    /// Enforces `quota` by a token bucket.
    ///
    /// # Errors
    ///
    /// Those of [`Limit::new`].
    pub fn token_bucket(quota: Quota) -> Result<Self, QuotaError> {
        Self::new(Algorithm::TokenBucket, quota)
    }

    /// Enforces all of `limits` on each key in one decision: a request takes from all of them, or from
    /// none.
    ///
    /// # Errors
    ///
    /// [`QuotaError::Empty`] when there are none.
    pub fn all_of(limits: impl IntoIterator<Item = Self>) -> Result<Self, QuotaError> {
        let parts = limits.into_iter().flat_map(|limit| limit.parts().copied().collect::<Vec<_>>());
        let parts: Box<[Part]> = parts.collect();
        if parts.is_empty() { Err(QuotaError::Empty) } else { Ok(Self(Parts::All(parts))) }
    }

    /// The most tokens that a key which starts whole is granted within `elapsed`: the bound of each
    /// algorithm, as its module states it.
    #[must_use]
    pub fn most_within(&self, elapsed: Duration) -> u128 {
        self.parts().map(|part| part.most_within(elapsed)).min().unwrap_or(0)
    }

    /// The limit in one word, where that is all it needs.
    pub(crate) fn word(&self) -> Option<WordBucket> {
        let Parts::One(part) = &self.0 else { return None };
        match &part.rule {
            AnyRule::Bucket(_, rule) => WordBucket::new(*rule.bucket()),
            _ => None,
        }
    }

    /// Out of line, so that the quick path stays small.
    #[inline(never)]
    fn unpack_and_take(&self, word: u64, now: u64, cost: u32) -> Option<(u64, Decision)> {
        take_unpacked(self, word, now, cost)
    }

    /// The quotas and algorithms that it consists of.
    pub fn parts(&self) -> impl ExactSizeIterator<Item = &Part> {
        match &self.0 {
            Parts::One(part) => std::slice::from_ref(part),
            Parts::All(parts) => parts,
        }
        .iter()
    }
}

impl Part {
    /// The quota.
    #[must_use]
    pub const fn quota(&self) -> &Quota {
        &self.quota
    }

    /// The algorithm.
    #[must_use]
    pub const fn algorithm(&self) -> Algorithm {
        match self.rule {
            AnyRule::Bucket(algorithm, _) => algorithm,
            AnyRule::LeakyBucketQueue(_) => Algorithm::LeakyBucketQueue,
            AnyRule::FixedWindow(_) => Algorithm::FixedWindow,
            AnyRule::SlidingWindowCounter(_) => Algorithm::SlidingWindowCounter,
            AnyRule::SlidingWindowLog(_) => Algorithm::SlidingWindowLog,
        }
    }
}

impl Part {
    /// What the Lua mirror of the rule counts with, and how many of these there are.
    #[cfg(feature = "redis")]
    pub(crate) fn numbers(&self) -> ([u64; 5], usize) {
        fn padded<const N: usize>(own: [u64; N]) -> ([u64; 5], usize) {
            let mut numbers = [0; 5];
            numbers[..N].copy_from_slice(&own);
            (numbers, N)
        }
        match &self.rule {
            AnyRule::Bucket(_, rule) => padded(rule.bucket().numbers()),
            AnyRule::LeakyBucketQueue(rule) => padded(rule.bucket().numbers()),
            AnyRule::FixedWindow(rule) => padded(rule.numbers()),
            AnyRule::SlidingWindowCounter(rule) => padded(rule.numbers()),
            AnyRule::SlidingWindowLog(rule) => padded(rule.numbers()),
        }
    }

    fn most_within(&self, elapsed: Duration) -> u128 {
        let windows = elapsed.as_nanos() / self.quota.period().as_nanos();
        let tokens = u128::from(self.quota.tokens());
        match self.algorithm() {
            Algorithm::TokenBucket
            | Algorithm::Gcra
            | Algorithm::LeakyBucket
            | Algorithm::LeakyBucketQueue => self.quota.most_within(elapsed),
            // Whole windows, and the parts of one before and one after.
            Algorithm::FixedWindow | Algorithm::SlidingWindowCounter => tokens * (windows + 2),
            Algorithm::SlidingWindowLog => tokens * (windows + 1),
        }
    }
}

/// Calls a method of the rule in `$part` with the state of its kind in `$state`, which starts afresh where
/// it is of another kind.
macro_rules! with_state {
    ($part:expr, $state:expr, |$rule:ident, $own:ident| $call:expr) => {
        match &$part.rule {
            AnyRule::Bucket(_, $rule) => {
                let $own = $state.bucket();
                $call
            }
            AnyRule::LeakyBucketQueue($rule) => {
                let $own = $state.bucket();
                $call
            }
            AnyRule::FixedWindow($rule) => {
                let $own = $state.window();
                $call
            }
            AnyRule::SlidingWindowCounter($rule) => {
                let $own = $state.counter();
                $call
            }
            AnyRule::SlidingWindowLog($rule) => {
                let $own = $state.log();
                $call
            }
        }
    };
}

impl Part {
    fn take(&self, state: &mut AnyState, now: u64, cost: u32) -> Decision {
        with_state!(self, state, |rule, own| rule.take(own, now, cost))
    }

    fn peek(&self, state: &AnyState, now: u64, cost: u32) -> Decision {
        match (&self.rule, state) {
            // The one state that is not cheap to copy.
            (AnyRule::SlidingWindowLog(rule), AnyState::Log(log)) => rule.peek(log, now, cost),
            _ => self.take(&mut state.clone(), now, cost),
        }
    }

    fn available(&self, state: &AnyState, now: u64) -> u64 {
        match (&self.rule, state) {
            (AnyRule::SlidingWindowLog(rule), AnyState::Log(log)) => rule.available(log, now),
            _ => {
                let mut state = state.clone();
                with_state!(self, state, |rule, own| rule.available(own, now))
            }
        }
    }

    fn refund(&self, state: &mut AnyState, now: u64, taken_at: u64, cost: u32) {
        with_state!(self, state, |rule, own| rule.refund(own, now, taken_at, cost));
    }

    fn mend(&self, state: &mut AnyState, now: u64) {
        if state.is_of(&self.rule) {
            with_state!(self, state, |rule, own| rule.mend(own, now));
        }
    }
}

impl Rule for Limit {
    type State = LimitState;

    fn take(&self, state: &mut LimitState, now: u64, cost: u32) -> Decision {
        match &self.0 {
            Parts::One(part) => part.take(&mut state.0, now, cost),
            Parts::All(parts) => take_all(parts, state.0.all(parts.len()), now, cost),
        }
    }

    #[inline(always)]
    fn take_packed(&self, word: u64, now: u64, cost: u32) -> Option<(u64, Decision)> {
        // Without a detour by the general state, which would be kept in memory.
        match &self.0 {
            Parts::One(Part { rule: AnyRule::Bucket(_, rule), .. }) => rule.take_packed(word, now, cost),
            _ => self.unpack_and_take(word, now, cost),
        }
    }

    #[inline(always)]
    fn allow_packed(&self, word: u64, now: u64) -> Option<(u64, bool)> {
        match &self.0 {
            Parts::One(Part { rule: AnyRule::Bucket(_, rule), .. }) => rule.allow_packed(word, now),
            _ => outcome(self.unpack_and_take(word, now, 1)),
        }
    }

    fn peek(&self, state: &LimitState, now: u64, cost: u32) -> Decision {
        match &self.0 {
            Parts::One(part) => part.peek(&state.0, now, cost),
            Parts::All(parts) => peek_all(parts, state.0.clone().all(parts.len()), now, cost),
        }
    }

    fn available(&self, state: &LimitState, now: u64) -> u64 {
        match &self.0 {
            Parts::One(part) => part.available(&state.0, now),
            Parts::All(parts) => {
                let mut state = state.0.clone();
                let states = state.all(parts.len());
                parts
                    .iter()
                    .zip(states)
                    .map(|(part, state)| part.available(state, now))
                    .min()
                    .unwrap_or(u64::MAX)
            }
        }
    }

    fn refund(&self, state: &mut LimitState, now: u64, taken_at: u64, cost: u32) {
        match &self.0 {
            Parts::One(part) => part.refund(&mut state.0, now, taken_at, cost),
            Parts::All(parts) => {
                for (part, state) in parts.iter().zip(state.0.all(parts.len())) {
                    part.refund(state, now, taken_at, cost);
                }
            }
        }
    }

    fn mend(&self, state: &mut LimitState, now: u64) {
        match (&self.0, &mut state.0) {
            (Parts::One(part), state) => part.mend(state, now),
            (Parts::All(parts), AnyState::All(states)) if states.len() == parts.len() => {
                for (part, state) in parts.iter().zip(states) {
                    part.mend(state, now);
                }
            }
            (Parts::All(_), _) => {}
        }
    }

    #[inline(always)]
    fn is_ahead(&self, word: u64, now: u64) -> bool {
        match &self.0 {
            Parts::One(Part { rule: AnyRule::Bucket(_, rule), .. }) => rule.is_ahead(word, now),
            Parts::One(Part { rule: AnyRule::LeakyBucketQueue(rule), .. }) => rule.is_ahead(word, now),
            // Another kind of state starts afresh.
            _ => false,
        }
    }
}

fn peek_all(parts: &[Part], states: &[AnyState], now: u64, cost: u32) -> Decision {
    let decisions = parts.iter().zip(states).map(|(part, state)| part.peek(state, now, cost));
    decisions.reduce(strictest).unwrap_or(Decision::NeverFits { burst: 0 })
}

fn take_all(parts: &[Part], states: &mut [AnyState], now: u64, cost: u32) -> Decision {
    let decision = peek_all(parts, states, now, cost);
    for (part, state) in parts.iter().zip(states) {
        match decision {
            Decision::Allowed { .. } => {
                part.take(state, now, cost);
            }
            // Else a clock that was set back would deny until it is where it was.
            Decision::Denied { .. } => part.mend(state, now),
            Decision::NeverFits { .. } => {}
        }
    }
    decision
}

/// What two decisions together say.
fn strictest(a: Decision, b: Decision) -> Decision {
    use Decision::{Allowed, Denied, NeverFits};
    match (a, b) {
        (NeverFits { burst: a }, NeverFits { burst: b }) => NeverFits { burst: a.min(b) },
        (never @ NeverFits { .. }, _) | (_, never @ NeverFits { .. }) => never,
        (Denied { retry_after: a }, Denied { retry_after: b }) => Denied { retry_after: a.max(b) },
        (denied @ Denied { .. }, _) | (_, denied @ Denied { .. }) => denied,
        (
            Allowed { delay: delay_a, remaining: remaining_a, reset_after: reset_a },
            Allowed { delay: delay_b, remaining: remaining_b, reset_after: reset_b },
        ) => Allowed {
            delay: delay_a.max(delay_b),
            remaining: remaining_a.min(remaining_b),
            reset_after: reset_a.max(reset_b),
        },
    }
}

/// One accessor for each kind of state, which makes it that kind.
macro_rules! accessor {
    ($name:ident, $variant:ident, $state:ty) => {
        #[inline]
        fn $name(&mut self) -> &mut $state {
            if !matches!(self, Self::$variant(_)) {
                *self = Self::$variant(Default::default());
            }
            match self {
                Self::$variant(state) => state,
                _ => unreachable!("just made so"),
            }
        }
    };
}

impl AnyState {
    accessor!(bucket, Bucket, BucketState);
    accessor!(window, Window, WindowState);
    accessor!(counter, Counter, CounterState);
    accessor!(log, Log, LogState);

    fn all(&mut self, count: usize) -> &mut [Self] {
        if !matches!(self, Self::All(states) if states.len() == count) {
            *self = Self::All(vec![Self::Fresh; count].into());
        }
        match self {
            Self::All(states) => states,
            _ => unreachable!("just made so"),
        }
    }

    /// Whether it is the kind of state that `rule` keeps.
    const fn is_of(&self, rule: &AnyRule) -> bool {
        match rule {
            AnyRule::Bucket(..) | AnyRule::LeakyBucketQueue(_) => matches!(self, Self::Bucket(_)),
            AnyRule::FixedWindow(_) => matches!(self, Self::Window(_)),
            AnyRule::SlidingWindowCounter(_) => matches!(self, Self::Counter(_)),
            AnyRule::SlidingWindowLog(_) => matches!(self, Self::Log(_)),
        }
    }

    fn fresh_at(&self) -> u64 {
        match self {
            Self::Fresh => 0,
            Self::Bucket(state) => state.fresh_at(),
            Self::Window(state) => state.fresh_at(),
            Self::Counter(state) => state.fresh_at(),
            Self::Log(state) => state.fresh_at(),
            Self::All(states) => states.iter().map(Self::fresh_at).max().unwrap_or(0),
        }
    }
}

#[cfg(feature = "scylla")]
impl LimitState {
    pub(crate) const fn inner(&self) -> &AnyState {
        &self.0
    }

    pub(crate) const fn from_inner(state: AnyState) -> Self {
        Self(state)
    }
}

impl State for LimitState {
    #[inline]
    fn fresh_at(&self) -> u64 {
        self.0.fresh_at()
    }

    #[inline]
    fn pack(&self) -> Option<u64> {
        match &self.0 {
            AnyState::Bucket(state) => state.pack(),
            _ => None,
        }
    }

    #[inline]
    fn unpack(word: u64) -> Self {
        Self(AnyState::Bucket(BucketState::unpack(word)))
    }

    #[inline]
    fn packed_fresh_at(word: u64) -> u64 {
        BucketState::packed_fresh_at(word)
    }
}
