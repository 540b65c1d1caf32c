//! Every interleaving of threads that take from one word:
//! `RUSTFLAGS="--cfg patterns_loom" cargo test --release -p rate_limiter --test loom`.
#![cfg(patterns_loom)]

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use clock::{Clock, ManualClock, Time};
use loom::thread;
use rate_limiter::{Decision, Direct, Limit};

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

/// Each reading is a token later than the one before, in the order in which threads read.
#[derive(Debug)]
struct Ticking(AtomicU64);

impl Clock for Ticking {
    fn now(&self) -> Time {
        // Where threads read, the model may switch; which reading they get is then its choice, too.
        thread::yield_now();
        Time::from_nanos(self.0.fetch_add(1_000_000, Ordering::Relaxed))
    }
}

#[test]
fn threads_that_overtake_each_other_are_admitted_neither_too_often_nor_too_rarely() {
    loom::model(|| {
        // Three readings, 1 ms and one token apart: all may pass, however they overtake.
        let count =
            allowed(Direct::with_clock(token_bucket("1000/s burst 1"), Ticking(AtomicU64::new(0))), 1);
        assert!((1..=3).contains(&count), "{count}");
    });
    loom::model(|| {
        // Half a token flows in between: 1 + 2 / 2 at most.
        let count = allowed(Direct::with_clock(token_bucket("500/s burst 1"), Ticking(AtomicU64::new(0))), 1);
        assert!((1..=2).contains(&count), "{count}");
    });
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
