//! Every interleaving of threads that take from one word, or from the table of words of a keyed store:
//! `RUSTFLAGS="--cfg patterns_loom" cargo test --release -p rate_limiter --test loom`.
#![cfg(patterns_loom)]

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use clock::{Clock, ManualClock, Time};
use loom::thread;
use rate_limiter::{Algorithm, Ask, Decision, Direct, Limit, Memory};

/// Asks once in each of three threads for `cost`; gives what was allowed.
fn allowed<C: Clock>(limiter: Direct<C>, cost: u32) -> usize {
    let limiter = Arc::new(limiter);
    let ask = |limiter: Arc<Direct<C>>| move || limiter.try_acquire(cost).unwrap();
    let others = [thread::spawn(ask(Arc::clone(&limiter))), thread::spawn(ask(Arc::clone(&limiter)))];
    let own = ask(limiter)();
    let others = others.map(|other| other.join().unwrap());
    others.into_iter().chain([own]).filter(Decision::is_allowed).count()
}

fn token_bucket(quota: &str) -> Limit {
    Limit::token_bucket(quota.parse().unwrap()).unwrap()
}

#[test]
fn what_is_there_is_taken_exactly() {
    loom::model(|| {
        assert_eq!(allowed(Direct::with_clock(token_bucket("2/h"), ManualClock::new()), 1), 2);
    });
    loom::model(|| {
        assert_eq!(allowed(Direct::with_clock(token_bucket("5/h"), ManualClock::new()), 2), 2);
    });
}

/// Each reading is a tick later than the one before, in the order in which threads read.
#[derive(Debug)]
struct Ticking {
    ticks: AtomicU64,
    /// Nanoseconds.
    tick: u64,
}

impl Clock for Ticking {
    fn now(&self) -> Time {
        // Where threads read, the model may switch; which reading they get is then its choice, too.
        thread::yield_now();
        Time::from_nanos(self.tick * self.ticks.fetch_add(1, Ordering::Relaxed))
    }
}

/// Each reading is a millisecond later.
fn ticking() -> Ticking {
    Ticking { ticks: AtomicU64::new(0), tick: 1_000_000 }
}

#[test]
fn threads_that_overtake_each_other_are_admitted_neither_too_often_nor_too_rarely() {
    loom::model(|| {
        // Three readings, 1 ms and one token apart: all may pass, however they overtake.
        let count = allowed(Direct::with_clock(token_bucket("1000/s burst 1"), ticking()), 1);
        assert!((1..=3).contains(&count), "{count}");
    });
    loom::model(|| {
        // Half a token flows in between: 1 + 2 / 2 at most.
        let count = allowed(Direct::with_clock(token_bucket("500/s burst 1"), ticking()), 1);
        assert!((1..=2).contains(&count), "{count}");
    });
}

/// Each reading is three times as much later than the one before as it takes to fill the bucket.
fn leaping() -> Ticking {
    Ticking { ticks: AtomicU64::new(0), tick: 6_000_000 }
}

/// Decided upon in a word, and under a lock.
fn word_and_lock() -> [fn() -> Limit; 2] {
    [
        || token_bucket("1000/s burst 2"),
        || Limit::new(Algorithm::FixedWindow, "2/2ms".parse().unwrap()).unwrap(),
    ]
}

#[test]
fn nobody_is_denied_for_having_been_overtaken() {
    for limit in word_and_lock() {
        loom::model(move || assert_eq!(allowed(Direct::with_clock(limit(), leaping()), 2), 3));
        model(move || {
            let store = Arc::new(Memory::builder().clock(leaping()).max_keys(1).build().unwrap());
            let take = move |store: &Memory<u64, Limit, Ticking>| {
                let decision = store.try_acquire(&1, &limit(), 2).unwrap();
                decision.is_allowed() && store.try_allow(&1, &limit()).unwrap()
            };
            assert_eq!(beside(&store, take, take), (true, true));
        });
    }
}

#[test]
fn a_word_from_before_the_clock_was_set_back_is_mended_once() {
    loom::model(|| {
        let clock = ManualClock::new();
        clock.set(Time::from_nanos(86_400_000_000_000));
        let limiter = Direct::with_clock(token_bucket("2/s"), clock.clone());
        assert!(limiter.try_acquire(2).unwrap().is_allowed());
        clock.set(Time::ZERO);
        assert_eq!(allowed(limiter, 1), 0, "the bucket is empty now");
    });
}

type Keyed = Memory<u64, Limit, ManualClock>;

/// Every interleaving with up to three preemptions: more threads than a slot has, and more than found any
/// mistake that was put in.
fn model(test: impl Fn() + Sync + Send + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(3);
    builder.check(test);
}

fn keyed(max_keys: usize) -> (Arc<Keyed>, ManualClock) {
    let clock = ManualClock::new();
    (Arc::new(Memory::builder().clock(clock.clone()).max_keys(max_keys).build().unwrap()), clock)
}

fn takes(store: &Keyed, key: u64, limit: &Limit) -> bool {
    store.try_acquire(&key, limit, 1).unwrap().is_allowed()
}

/// What `ours` and `theirs` give, one beside the other.
fn beside<S: Send + Sync + 'static, A, B: 'static>(
    store: &Arc<S>,
    ours: impl FnOnce(&S) -> A,
    theirs: impl FnOnce(&S) -> B + 'static,
) -> (A, B) {
    let other = thread::spawn({
        let store = Arc::clone(store);
        move || theirs(&store)
    });
    (ours(store), other.join().unwrap())
}

#[test]
fn a_known_key_is_taken_from_exactly() {
    model(|| {
        let (store, _clock) = keyed(1);
        assert!(takes(&store, 1, &token_bucket("2/h")));
        let (a, b) = beside(
            &store,
            |store| takes(store, 1, &token_bucket("2/h")),
            |store| takes(store, 1, &token_bucket("2/h")),
        );
        assert!(a != b, "one token was left: {a} {b}");
    });
}

#[test]
fn a_new_key_is_taken_from_exactly() {
    model(|| {
        let (store, _clock) = keyed(2);
        let (a, b) = beside(
            &store,
            |store| takes(store, 1, &token_bucket("1/h")),
            |store| takes(store, 1, &token_bucket("1/h")),
        );
        assert!(a != b, "there was one token: {a} {b}");
    });
}

/// Some of these are looked for in the place of key 1, others elsewhere.
const OTHERS: std::ops::RangeInclusive<u64> = 2..=17;

#[test]
fn the_place_of_a_key_goes_to_one_of_two() {
    for other in OTHERS {
        model(move || {
            let (store, clock) = keyed(1);
            let limit = token_bucket("1/h");
            assert!(takes(&store, 1, &limit));
            // Its quota is whole again: it may stay, or make room.
            clock.advance(std::time::Duration::from_secs(3_600));
            let take = |key| move |store: &Keyed| takes(store, key, &token_bucket("1/h"));
            let (a, b) = beside(&store, take(1), take(other));
            assert!(a != b, "there is one place: {a} {b}");
            assert!(!takes(&store, 1, &limit) && !takes(&store, other, &limit), "it was taken from nobody");
        });
    }
}

#[test]
fn what_a_key_takes_is_never_taken_from_the_next_one_in_its_place() {
    for other in OTHERS {
        model(move || {
            let (store, clock) = keyed(1);
            assert!(takes(&store, 1, &token_bucket("1/h")));
            clock.advance(std::time::Duration::from_secs(3_600));
            let (a, ()) = beside(
                &store,
                |store| takes(store, 1, &token_bucket("1/h")),
                move |store| {
                    // Given back, it leaves the very state that key 1 had.
                    if takes(store, other, &token_bucket("1/h")) {
                        store.try_refund(&other, &token_bucket("1/h"), 1, 3_600_000_000).unwrap();
                    }
                },
            );
            let peek = |key| store.try_ask(&key, &token_bucket("1/h"), Ask::Peek(1)).unwrap().decision;
            assert!(peek(other).is_allowed(), "it was given back");
            assert!(a != peek(1).is_allowed(), "it was taken from another key");
        });
    }
}

#[test]
fn a_key_keeps_its_state_while_the_table_grows() {
    model(|| {
        let (store, _clock) = keyed(10);
        let limit = token_bucket("2/h");
        // The ring is full up to where it grows.
        for key in 1..=5 {
            assert!(takes(&store, key, &limit));
        }
        let (a, b) = beside(
            &store,
            |store| [takes(store, 1, &token_bucket("2/h")), takes(store, 1, &token_bucket("2/h"))],
            |store| [takes(store, 6, &token_bucket("2/h")), true],
        );
        assert_eq!((a, b), ([true, false], [true, true]));
        assert!(!takes(&store, 1, &limit) && takes(&store, 5, &limit));
    });
}

#[test]
fn a_state_that_outgrows_its_word_is_not_lost() {
    model(|| {
        let (store, _clock) = keyed(2);
        assert!(takes(&store, 1, &token_bucket("10000/s burst 4")));
        // Of so many tokens in a tick the remainder does not fit in the word.
        let (a, b) = beside(
            &store,
            |store| takes(store, 1, &token_bucket("10000/s burst 4")),
            |store| takes(store, 1, &token_bucket("10007/s burst 4")),
        );
        assert!(a && b);
        let more = (0..4).filter(|_| takes(&store, 1, &token_bucket("10000/s burst 4"))).count();
        assert!(more <= 1, "three were taken, and {more} more");
    });
}

#[test]
fn what_is_given_back_is_there_for_one() {
    model(|| {
        let (store, _clock) = keyed(1);
        let limit = token_bucket("1/h");
        assert!(takes(&store, 1, &limit));
        let (a, ()) = {
            let other = thread::spawn({
                let store = Arc::clone(&store);
                move || store.try_refund(&1, &token_bucket("1/h"), 1, 0).unwrap()
            });
            (takes(&store, 1, &limit), other.join().unwrap())
        };
        assert!(a != takes(&store, 1, &limit), "it is given to one");
    });
}
