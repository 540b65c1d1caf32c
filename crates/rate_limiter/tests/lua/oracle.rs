//! What the rules in Rust say, and what a script is to have stored.

#![expect(clippy::unwrap_used, reason = "a test fails by a panic")]

use std::{collections::VecDeque, time::Duration};

use rate_limiter::{
    Algorithm, Answer, Ask, BucketState, Decision, Limit, LimitState, Part, Rule,
    fixed_window::{FixedWindow, WindowState},
    leaky_bucket::LeakyBucketQueue,
    redis::script::Request,
    sliding_window_counter::{CounterState, SlidingWindowCounter},
    sliding_window_log::{LogState, SlidingWindowLog},
    token_bucket::TokenBucket,
};

/// What the value of a key says.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Stored {
    One(State),
    All(Vec<Option<State>>),
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) enum State {
    Bucket(BucketState),
    Window(WindowState),
    Counter { end: u64, before: u32, taken: u32 },
    Log(Log),
}

/// The state of a log twice: as the rule has it, and entry by entry, as a script has it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Log {
    rule: LogState,
    pub(crate) entries: VecDeque<(u64, u32)>,
}

impl PartialEq for Log {
    fn eq(&self, other: &Self) -> bool {
        self.entries == other.entries
    }
}

impl Log {
    pub(crate) fn read(entries: VecDeque<(u64, u32)>) -> State {
        State::Log(Self { rule: LogState::default(), entries })
    }

    /// Both say the same.
    fn check(&self) {
        let merged = |entries: &mut dyn Iterator<Item = (u64, u32)>| {
            let mut merged: Vec<(u64, u64)> = Vec::new();
            for (at, cost) in entries {
                match merged.last_mut().filter(|last| last.0 == at) {
                    Some(last) => last.1 += u64::from(cost),
                    None => merged.push((at, u64::from(cost))),
                }
            }
            merged
        };
        assert_eq!(merged(&mut self.entries.iter().copied()), merged(&mut self.rule.entries()));
    }
}

/// The rule of a part, and its state of before.
enum Own {
    Bucket(TokenBucket, BucketState),
    Queue(LeakyBucketQueue, BucketState),
    Window(FixedWindow, WindowState),
    Counter(SlidingWindowCounter, CounterState),
    Log(SlidingWindowLog, Log, u64),
}

macro_rules! with_rule {
    ($own:expr, |$rule:ident, $state:ident| $call:expr) => {
        match $own {
            Own::Bucket($rule, $state) => $call,
            Own::Queue($rule, $state) => $call,
            Own::Window($rule, $state) => $call,
            Own::Counter($rule, $state) => $call,
            Own::Log($rule, log, _) => {
                let $state = &mut log.rule;
                $call
            }
        }
    };
}

/// Entries that a denial passes over without forgetting them.
const PASSED: usize = 64;

impl Own {
    /// The state is that of `stored`, if it is of this kind; says whether it was.
    fn new(part: &Part, stored: Option<&State>) -> (Self, bool) {
        let quota = part.quota();
        let period = quota.period().as_micros() as u64;
        let own = match (part.algorithm(), stored) {
            (Algorithm::LeakyBucketQueue, Some(State::Bucket(state))) => {
                Self::Queue(LeakyBucketQueue::new(quota).unwrap(), *state)
            }
            (Algorithm::FixedWindow, Some(State::Window(state))) => {
                Self::Window(FixedWindow::new(quota).unwrap(), *state)
            }
            (Algorithm::SlidingWindowCounter, Some(&State::Counter { end, before, taken })) => {
                let state = CounterState { end, before, taken, period_log2: 0 };
                Self::Counter(SlidingWindowCounter::new(quota).unwrap(), state)
            }
            (Algorithm::SlidingWindowLog, Some(State::Log(log))) => {
                Self::Log(SlidingWindowLog::new(quota).unwrap(), log.clone(), period)
            }
            (
                Algorithm::TokenBucket | Algorithm::Gcra | Algorithm::LeakyBucket,
                Some(State::Bucket(state)),
            ) => Self::Bucket(TokenBucket::new(quota).unwrap(), *state),
            (algorithm, stored) => {
                let fresh = match algorithm {
                    Algorithm::FixedWindow => State::Window(WindowState::default()),
                    Algorithm::SlidingWindowCounter => State::Counter { end: 0, before: 0, taken: 0 },
                    Algorithm::SlidingWindowLog => State::Log(Log::default()),
                    _ => State::Bucket(BucketState::default()),
                };
                assert!(stored.is_none_or(|stored| {
                    std::mem::discriminant(stored) != std::mem::discriminant(&fresh)
                }));
                return (Self::new(part, Some(&fresh)).0, false);
            }
        };
        (own, true)
    }

    fn state(&self) -> State {
        match self {
            Self::Bucket(_, state) | Self::Queue(_, state) => State::Bucket(*state),
            Self::Window(_, state) => State::Window(*state),
            Self::Counter(_, state) => {
                State::Counter { end: state.end, before: state.before, taken: state.taken }
            }
            Self::Log(_, log, _) => {
                log.check();
                State::Log(log.clone())
            }
        }
    }

    fn available(&mut self, now: u64) -> u64 {
        with_rule!(self, |rule, state| rule.available(state, now))
    }

    fn peek(&mut self, now: u64, cost: u32) -> Decision {
        with_rule!(self, |rule, state| rule.peek(state, now, cost))
    }

    fn take(&mut self, now: u64, cost: u32) {
        self.mend(now);
        let decision = with_rule!(self, |rule, state| rule.take(state, now, cost));
        assert!(decision.is_allowed());
        if let Self::Log(_, log, period) = self {
            log.entries.retain(|(at, _)| at + *period > now);
            let at = log.entries.back().map_or(now, |last| last.0.max(now));
            let mut left = cost;
            while left > 0 {
                let part = left.min(1 << 16);
                log.entries.push_back((at, part));
                left -= part;
            }
        }
    }

    /// What a denial changes: nothing, but that a state from before the clock was set back becomes one of now, and
    /// that a long log forgets what it would else pass over again. Says whether it did.
    fn deny(&mut self, now: u64, cost: u32) -> bool {
        let old = match self {
            Self::Log(_, log, period) => {
                let set_back = log.entries.back().is_some_and(|last| last.0 > now + *period);
                let old = log.entries.iter().take_while(|(at, _)| at + *period <= now).count();
                if set_back { 0 } else { old }
            }
            _ => 0,
        };
        self.mend(now);
        if old >= PASSED {
            let _ = with_rule!(self, |rule, state| rule.take(state, now, cost));
            let Self::Log(_, log, _) = self else { unreachable!() };
            log.entries.drain(..old);
        }
        old >= PASSED
    }

    fn mend(&mut self, now: u64) {
        with_rule!(self, |rule, state| rule.mend(state, now));
        if let Self::Log(_, log, period) = self
            && log.entries.back().is_some_and(|last| last.0 > now + *period)
        {
            log.entries.iter_mut().for_each(|(at, _)| *at = now.min(*at));
        }
    }

    /// Says whether the state is still worth keeping.
    fn refund(&mut self, now: u64, taken_at: u64, cost: u32) -> bool {
        with_rule!(self, |rule, state| rule.refund(state, now, taken_at, cost));
        match self {
            Self::Bucket(_, state) | Self::Queue(_, state) => state.whole_at > now,
            Self::Window(..) | Self::Counter(..) => true,
            Self::Log(_, log, period) => {
                let mut due = if taken_at + *period > now { cost } else { 0 };
                for (at, held) in &mut log.entries {
                    let given = if *at < taken_at { 0 } else { due.min(*held) };
                    (due, *held) = (due - given, *held - given);
                }
                let changed = due < cost && taken_at + *period > now;
                log.entries.retain(|(_, held)| *held > 0);
                !changed || log.entries.back().is_some_and(|last| last.0 + *period > now)
            }
        }
    }

    /// How long an allowed take keeps the state: microseconds.
    fn fresh_in(&self, now: u64) -> u64 {
        match self {
            Self::Bucket(_, state) | Self::Queue(_, state) => state.whole_at - now,
            Self::Window(_, state) => state.end - now,
            Self::Counter(rule, state) => {
                let Decision::Allowed { reset_after, .. } =
                    rule.peek(&CounterState { taken: 0, before: 0, ..*state }, now, 1)
                else {
                    panic!("a window of nothing has room")
                };
                reset_after.as_micros() as u64
            }
            Self::Log(_, log, period) => log.entries.back().map_or(0, |last| last.0 + *period - now),
        }
    }
}

/// A key.
#[derive(Default)]
pub(crate) struct Key {
    pub(crate) stored: Option<Stored>,
    /// For how long it was last kept, where that is known: microseconds.
    fresh_in: Option<u64>,
    /// The same as one limit has it, as long as nothing was forgotten that it remembers.
    limit: Option<LimitState>,
}

/// What a call is to reply, and for how long the key is kept, by it or still.
pub(crate) struct Expected {
    pub(crate) answer: Option<Answer>,
    pub(crate) fresh_in: Option<u64>,
}

impl Key {
    pub(crate) fn new() -> Self {
        Self { limit: Some(LimitState::default()), ..Self::default() }
    }

    pub(crate) fn call(&mut self, limit: &Limit, request: Request, now: u64) -> Expected {
        let count = limit.parts().len();
        let before: Vec<Option<State>> = match &self.stored {
            Some(Stored::One(state)) if count == 1 => vec![Some(state.clone())],
            Some(Stored::All(states)) if count == states.len() => states.clone(),
            _ => vec![None; count],
        };
        let (mut own, known): (Vec<_>, Vec<_>) =
            limit.parts().zip(&before).map(|(part, state)| Own::new(part, state.as_ref())).unzip();
        let ask = match request {
            Request::Ask(ask) => ask,
            Request::Refund { cost, taken_at } => {
                if known.contains(&true) {
                    if known.contains(&false) {
                        // The limit makes states of another algorithm those of this one, and fresh.
                        self.limit = None;
                    } else if let Some(state) = &mut self.limit {
                        limit.refund(state, now, taken_at, cost);
                    }
                    let mut after = before;
                    for ((own, known), after) in own.iter_mut().zip(known).zip(&mut after) {
                        if known {
                            *after = own.refund(now, taken_at, cost).then(|| own.state());
                            if after.is_none() {
                                // A set-back clock would find it remembered.
                                self.limit = None;
                            }
                        }
                    }
                    self.store(after);
                    if count == 1 || self.stored.is_none() {
                        self.fresh_in = None;
                    }
                }
                return Expected { answer: None, fresh_in: self.fresh_in };
            }
        };
        let cost = match ask {
            Ask::Take(cost) | Ask::Peek(cost) => cost,
            Ask::TakeUpTo(most) => {
                let available = own.iter_mut().map(|own| own.available(now)).min().unwrap_or(0);
                if let Some(state) = &self.limit {
                    assert_eq!(limit.available(state, now), available);
                }
                u32::try_from(available).unwrap_or(u32::MAX).clamp(1, most)
            }
        };
        let decisions: Vec<_> = own.iter_mut().map(|own| own.peek(now, cost)).collect();
        let decision = decisions.iter().copied().reduce(strictest).unwrap();
        self.compare(limit, ask, now, cost, decision);
        let mut taken = 0;
        match (ask, decision) {
            (Ask::Peek(_), _) | (_, Decision::NeverFits { .. }) => {}
            (_, Decision::Allowed { .. }) => {
                own.iter_mut().for_each(|own| own.take(now, cost));
                taken = cost;
                self.fresh_in = own.iter().map(|own| own.fresh_in(now)).max();
                self.store(own.iter().map(|own| Some(own.state())).collect());
            }
            (_, Decision::Denied { .. }) if known.contains(&true) => {
                let (mut after, mut forgot) = (before.clone(), false);
                for (((own, known), after), decision) in
                    own.iter_mut().zip(known).zip(&mut after).zip(decisions)
                {
                    if known {
                        if decision.is_allowed() {
                            own.mend(now);
                        } else if own.deny(now, cost) {
                            (self.limit, forgot) = (None, true);
                        }
                        *after = Some(own.state());
                    }
                }
                if count == 1 && after != before && !forgot {
                    self.fresh_in = Some(own[0].fresh_in(now));
                }
                self.store(after);
            }
            (_, Decision::Denied { .. }) => {}
        }
        Expected {
            answer: Some(Answer { decision: told(decision), taken, at: now }),
            fresh_in: self.fresh_in,
        }
    }

    /// The limit as a whole says the same as its parts.
    fn compare(&mut self, limit: &Limit, ask: Ask, now: u64, cost: u32, decision: Decision) {
        let Some(state) = &mut self.limit else { return };
        assert_eq!(limit.peek(state, now, cost), decision);
        if let Ask::Peek(_) = ask {
            return;
        }
        let before = state.clone();
        assert_eq!(limit.take(state, now, cost), decision);
        if !decision.is_allowed() {
            *state = before;
            if let Decision::Denied { .. } = decision {
                limit.mend(state, now);
            }
        }
    }

    fn store(&mut self, mut states: Vec<Option<State>>) {
        self.stored = match states.len() {
            1 => states.remove(0).map(Stored::One),
            _ if states.iter().all(Option::is_none) => None,
            _ => Some(Stored::All(states)),
        };
    }
}

/// Waits as a script tells them: at most 2^53 microseconds.
fn told(decision: Decision) -> Decision {
    let cut = |wait: Duration| wait.min(Duration::from_micros(1 << 53));
    match decision {
        Decision::Denied { retry_after } => Decision::Denied { retry_after: cut(retry_after) },
        Decision::Allowed { delay, remaining, reset_after } => {
            Decision::Allowed { delay: cut(delay), remaining, reset_after: cut(reset_after) }
        }
        never @ Decision::NeverFits { .. } => never,
    }
}

fn strictest(a: Decision, b: Decision) -> Decision {
    use Decision::{Allowed, Denied, NeverFits};
    match (a, b) {
        (NeverFits { burst: a }, NeverFits { burst: b }) => NeverFits { burst: a.min(b) },
        (NeverFits { .. }, _) => a,
        (_, NeverFits { .. }) => b,
        (Denied { retry_after: a }, Denied { retry_after: b }) => Denied { retry_after: a.max(b) },
        (Denied { .. }, _) => a,
        (_, Denied { .. }) => b,
        (
            Allowed { delay, remaining, reset_after },
            Allowed { delay: delay_b, remaining: remaining_b, reset_after: reset_b },
        ) => Allowed {
            delay: delay.max(delay_b),
            remaining: remaining.min(remaining_b),
            reset_after: reset_after.max(reset_b),
        },
    }
}
