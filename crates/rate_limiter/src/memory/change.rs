//! What may be done to the state of a key, by a thread that may have to do it over when another comes first.

use std::cell::Cell;

use clock::Clock;

use crate::{Decision, Rule, State, rule::take_up_to};

/// A change of a state. It may be applied to several states in turn, and at several times; the last is the one that
/// counts. Times are microseconds.
///
/// A trait and not a closure, so that it can be said that the result stays in registers: copied through memory, a
/// decision costs more than the search for its key.
pub(super) trait Change<R: Rule> {
    type Result;

    fn apply(&self, state: &mut R::State, now: u64) -> Self::Result;

    /// The same on a packed state; `None` where the new one cannot be packed, or the state is
    /// [ahead](Rule::is_ahead).
    #[inline(always)]
    fn apply_packed(&self, word: u64, now: u64) -> Option<(u64, Self::Result)> {
        if self.rule().is_ahead(word, now) { None } else { self.apply_unpacked(word, now) }
    }

    /// The same wherever the state is; `None` where the new one cannot be packed.
    #[inline(always)]
    fn apply_unpacked(&self, word: u64, now: u64) -> Option<(u64, Self::Result)> {
        let mut state = R::State::unpack(word);
        let result = self.apply(&mut state, now);
        Some((state.pack()?, result))
    }

    fn rule(&self) -> &R;

    /// To be called as late as can be: whoever comes in between with a later reading may leave a state that is ahead
    /// of this one.
    fn read_clock(&self) -> u64;
}

pub(super) struct Take<'a, R, C> {
    pub(super) rule: &'a R,
    pub(super) clock: &'a C,
    pub(super) cost: u32,
}

/// A `Take` of one of which only the outcome is of interest.
pub(super) struct Allow<'a, R, C> {
    pub(super) rule: &'a R,
    pub(super) clock: &'a C,
}

pub(super) struct TakeUpTo<'a, R, C> {
    pub(super) rule: &'a R,
    pub(super) clock: &'a C,
    pub(super) most: u32,
    /// How many were asked for in the end.
    pub(super) taken: &'a Cell<u32>,
}

pub(super) struct Peek<'a, R, C> {
    pub(super) rule: &'a R,
    pub(super) clock: &'a C,
    pub(super) cost: u32,
}

pub(super) struct Refund<'a, R, C> {
    pub(super) rule: &'a R,
    pub(super) clock: &'a C,
    pub(super) taken_at: u64,
    pub(super) cost: u32,
}

/// A change of which it is of interest, too, when it was made.
pub(super) struct Timed<'a, T> {
    pub(super) change: T,
    pub(super) at: &'a Cell<u64>,
}

macro_rules! change {
    (
        $change:ident, $result:ty,
        |$own:ident, $state:ident, $now:ident| $apply:expr
        $(, |$packed:ident, $word:ident, $packed_now:ident| $apply_packed:expr)?
    ) => {
        impl<R: Rule, C: Clock> Change<R> for $change<'_, R, C> {
            type Result = $result;

            #[inline(always)]
            fn apply(&self, $state: &mut R::State, $now: u64) -> $result {
                let $own = self;
                $apply
            }

            $(
                #[inline(always)]
                fn apply_packed(&self, $word: u64, $packed_now: u64) -> Option<(u64, $result)> {
                    let $packed = self;
                    $apply_packed
                }
            )?

            fn rule(&self) -> &R {
                self.rule
            }

            #[inline(always)]
            fn read_clock(&self) -> u64 {
                self.clock.now().as_micros()
            }
        }
    };
}

change!(Take, Decision, |own, state, now| own.rule.take(state, now, own.cost), |own, word, now| own
    .rule
    .take_packed(word, now, own.cost));
change!(Allow, bool, |own, state, now| own.rule.take(state, now, 1).is_allowed(), |own, word, now| own
    .rule
    .allow_packed(word, now));
change!(Peek, Decision, |own, state, now| own.rule.peek(state, now, own.cost));
change!(Refund, (), |own, state, now| own.rule.refund(state, now, own.taken_at, own.cost));
change!(TakeUpTo, Decision, |own, state, now| {
    let (decision, cost) = take_up_to(own.rule, state, now, own.most);
    own.taken.set(cost);
    decision
});

impl<R: Rule, T: Change<R>> Change<R> for Timed<'_, T> {
    type Result = T::Result;

    #[inline(always)]
    fn apply(&self, state: &mut R::State, now: u64) -> T::Result {
        self.at.set(now);
        self.change.apply(state, now)
    }

    #[inline(always)]
    fn apply_packed(&self, word: u64, now: u64) -> Option<(u64, T::Result)> {
        self.at.set(now);
        self.change.apply_packed(word, now)
    }

    fn rule(&self) -> &R {
        self.change.rule()
    }

    #[inline(always)]
    fn read_clock(&self) -> u64 {
        self.change.read_clock()
    }
}
