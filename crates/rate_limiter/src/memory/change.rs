//! What may be done to the state of a key, by a thread that may have to do it over when another comes first.

use std::cell::Cell;

use crate::{Decision, Rule, State, rule::take_up_to};

/// A change of a state. It may be applied to several states in turn; the last is the one that counts.
///
/// A trait and not a closure, so that it can be said that the result stays in registers: copied through memory, a
/// decision costs more than the search for its key.
pub(super) trait Change<R: Rule> {
    type Result;

    fn apply(&self, state: &mut R::State) -> Self::Result;

    /// The same on a packed state; `None` where the new one cannot be packed.
    #[inline(always)]
    fn apply_packed(&self, word: u64) -> Option<(u64, Self::Result)> {
        let mut state = R::State::unpack(word);
        let result = self.apply(&mut state);
        Some((state.pack()?, result))
    }

    fn rule(&self) -> &R;

    /// Microseconds.
    fn now(&self) -> u64;
}

pub(super) struct Take<'a, R> {
    pub(super) rule: &'a R,
    pub(super) now: u64,
    pub(super) cost: u32,
}

/// A `Take` of one of which only the outcome is of interest.
pub(super) struct Allow<'a, R> {
    pub(super) rule: &'a R,
    pub(super) now: u64,
}

pub(super) struct TakeUpTo<'a, R> {
    pub(super) rule: &'a R,
    pub(super) now: u64,
    pub(super) most: u32,
    /// How many were asked for in the end.
    pub(super) taken: &'a Cell<u32>,
}

pub(super) struct Peek<'a, R> {
    pub(super) rule: &'a R,
    pub(super) now: u64,
    pub(super) cost: u32,
}

pub(super) struct Refund<'a, R> {
    pub(super) rule: &'a R,
    pub(super) now: u64,
    pub(super) taken_at: u64,
    pub(super) cost: u32,
}

macro_rules! change {
    (
        $change:ident, $result:ty,
        |$own:ident, $state:ident| $apply:expr
        $(, |$packed:ident, $word:ident| $apply_packed:expr)?
    ) => {
        impl<R: Rule> Change<R> for $change<'_, R> {
            type Result = $result;

            #[inline(always)]
            fn apply(&self, $state: &mut R::State) -> $result {
                let $own = self;
                $apply
            }

            $(
                #[inline(always)]
                fn apply_packed(&self, $word: u64) -> Option<(u64, $result)> {
                    let $packed = self;
                    $apply_packed
                }
            )?

            fn rule(&self) -> &R {
                self.rule
            }

            #[inline(always)]
            fn now(&self) -> u64 {
                self.now
            }
        }
    };
}

change!(Take, Decision, |own, state| own.rule.take(state, own.now, own.cost), |own, word| own
    .rule
    .take_packed(word, own.now, own.cost));
change!(Allow, bool, |own, state| own.rule.take(state, own.now, 1).is_allowed(), |own, word| own
    .rule
    .allow_packed(word, own.now));
change!(Peek, Decision, |own, state| own.rule.peek(state, own.now, own.cost));
change!(Refund, (), |own, state| own.rule.refund(state, own.now, own.taken_at, own.cost));
change!(TakeUpTo, Decision, |own, state| {
    let (decision, cost) = take_up_to(own.rule, state, own.now, own.most);
    own.taken.set(cost);
    decision
});
