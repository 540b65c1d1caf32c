//! What may be done to the state of a key, by a thread that may have to do it over when another comes first.

use std::cell::Cell;

use clock::Clock;

use crate::{
    Decision, Rule, State,
    rule::{outcome, take_up_to},
};

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

    /// Reads the clock: as late as can be, since whoever comes in between with a later reading may have left a
    /// state that is ahead of this one.
    fn read_clock(&self);

    /// What the clock said when it was last read: microseconds.
    fn now(&self) -> u64;
}

/// The time of a change.
pub(super) struct Moment<'a, C> {
    clock: &'a C,
    /// Microseconds.
    now: Cell<u64>,
}

impl<'a, C: Clock> Moment<'a, C> {
    /// To be read.
    #[inline(always)]
    pub(super) const fn on(clock: &'a C) -> Self {
        Self { clock, now: Cell::new(0) }
    }

    #[inline(always)]
    fn read(&self) {
        self.now.set(self.clock.now().as_micros());
    }

    #[inline(always)]
    const fn now(&self) -> u64 {
        self.now.get()
    }
}

pub(super) struct Take<'a, R, C> {
    pub(super) rule: &'a R,
    pub(super) at: Moment<'a, C>,
    pub(super) cost: u32,
}

/// A `Take` of one of which only the outcome is of interest.
pub(super) struct Allow<'a, R, C> {
    pub(super) rule: &'a R,
    pub(super) at: Moment<'a, C>,
}

pub(super) struct TakeUpTo<'a, R, C> {
    pub(super) rule: &'a R,
    pub(super) at: Moment<'a, C>,
    pub(super) most: u32,
    /// How many were asked for in the end.
    pub(super) taken: &'a Cell<u32>,
}

pub(super) struct Peek<'a, R, C> {
    pub(super) rule: &'a R,
    pub(super) at: Moment<'a, C>,
    pub(super) cost: u32,
}

pub(super) struct Refund<'a, R, C> {
    pub(super) rule: &'a R,
    pub(super) at: Moment<'a, C>,
    pub(super) taken_at: u64,
    pub(super) cost: u32,
}

/// Takes from a packed state that was ahead of the time at which it was denied. The clock is read after the
/// state was: if that is still ahead, the clock was set back. The time is given back by value, so that the quick
/// path keeps its own in a register.
#[cold]
#[inline(never)]
fn take_again<R: Rule, C: Clock>(
    rule: &R,
    clock: &C,
    word: u64,
    cost: u32,
) -> (u64, Option<(u64, Decision)>) {
    let now = clock.now().as_micros();
    (now, rule.take_packed(word, now, cost))
}

macro_rules! change {
    (
        $change:ident, $result:ty,
        |$own:ident, $state:ident| $apply:expr
        $(, |$packed:ident, $word:ident| $apply_packed:expr)?
    ) => {
        impl<R: Rule, C: Clock> Change<R> for $change<'_, R, C> {
            type Result = $result;

            #[inline(always)]
            fn apply(&self, $state: &mut R::State) -> $result {
                if self.rule.is_ahead($state, self.now()) {
                    self.read_clock();
                }
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
            fn read_clock(&self) {
                self.at.read();
            }

            #[inline(always)]
            fn now(&self) -> u64 {
                self.at.now()
            }
        }
    };
}

change!(Take, Decision, |own, state| own.rule.take(state, own.now(), own.cost), |own, word| {
    let taken = own.rule.take_packed(word, own.now(), own.cost)?;
    // A bucket that is ahead never allows, so that only a denial has to look.
    if !matches!(taken.1, Decision::Denied { .. }) || !own.rule.is_packed_ahead(word, own.now()) {
        return Some(taken);
    }
    let (now, taken) = take_again(own.rule, own.at.clock, word, own.cost);
    own.at.now.set(now);
    taken
});
change!(Allow, bool, |own, state| own.rule.take(state, own.now(), 1).is_allowed(), |own, word| {
    let (next, allowed) = own.rule.allow_packed(word, own.now())?;
    if allowed || !own.rule.is_packed_ahead(word, own.now()) {
        return Some((next, allowed));
    }
    let (now, taken) = take_again(own.rule, own.at.clock, word, 1);
    own.at.now.set(now);
    outcome(taken)
});
change!(Peek, Decision, |own, state| own.rule.peek(state, own.now(), own.cost));
change!(Refund, (), |own, state| own.rule.refund(state, own.now(), own.taken_at, own.cost));
change!(TakeUpTo, Decision, |own, state| {
    let (decision, cost) = take_up_to(own.rule, state, own.now(), own.most);
    own.taken.set(cost);
    decision
});
