//! A decision on a key that is known allocates nothing.

#![expect(clippy::unwrap_used, reason = "a test panics when something is wrong")]

use std::{hint::black_box, time::Duration};

use allocation_counter::measure;
use clock::ManualClock;
use rate_limiter::{Algorithm, Direct, Limit, Memory, Quota, RateLimiter, Rule, token_bucket::TokenBucket};

const KEYS: u64 = 1_000;
const BURST: u32 = 8;
const DECISIONS: u64 = 100_000;

/// Time between two requests: some of them are denied.
const KEYED: Duration = Duration::from_nanos(500);
const DIRECT: Duration = Duration::from_micros(500);

/// One a millisecond.
fn quota() -> Quota {
    Quota::new(u64::from(BURST), Duration::from_millis(8)).unwrap()
}

fn limits() -> impl Iterator<Item = (String, Limit)> {
    let each = |algorithm: Algorithm| Limit::new(algorithm, quota()).unwrap();
    let all = Limit::all_of(Algorithm::ALL.map(each)).unwrap();
    let single = Algorithm::ALL.into_iter().map(move |algorithm| (algorithm.to_string(), each(algorithm)));
    single.chain([("all at once".to_owned(), all)])
}

/// Warms `decide` up, and counts what it allocates then; it must both allow and deny.
#[track_caller]
fn check(name: &str, clock: &ManualClock, apart: Duration, mut decide: impl FnMut(u64) -> bool) {
    let mut allowed = 0;
    let mut drive = |decisions: u64| {
        for i in 0..decisions {
            clock.advance(apart);
            allowed += u64::from(black_box(decide(i)));
        }
    };
    drive(DECISIONS);
    let info = measure(|| drive(DECISIONS));
    assert_eq!(info.count_total, 0, "{name}: {info:?}");
    let share = allowed as f64 / (2 * DECISIONS) as f64;
    assert!((0.05..0.95).contains(&share), "{name}: {share} allowed, so that one path was hardly taken");
}

#[test]
fn nothing_is_allocated_for_a_key_that_is_known() {
    for (name, limit) in limits() {
        let clock = ManualClock::new();
        let store = Memory::builder().clock(clock.clone()).build::<u64, Limit>().unwrap();
        let limiter = RateLimiter::new(store, limit.clone());
        check(&format!("{name} by u64"), &clock, KEYED, |i| limiter.try_allow(&hot(i)).unwrap());

        let clock = ManualClock::new();
        let store = Memory::builder().clock(clock.clone()).build::<String, Limit>().unwrap();
        let limiter = RateLimiter::new(store, limit);
        let keys: Vec<String> = (0..KEYS).map(|key| format!("tenant-7:user-{key:08}")).collect();
        check(&format!("{name} by String"), &clock, KEYED, |i| {
            limiter.try_allow(keys[hot(i) as usize].as_str()).unwrap()
        });
    }
}

#[test]
fn nothing_is_allocated_for_a_rule_chosen_at_compile_time() {
    let clock = ManualClock::new();
    let store = Memory::builder().clock(clock.clone()).build::<u64, TokenBucket>().unwrap();
    let rule = TokenBucket::new(&quota()).unwrap();
    check("typed", &clock, KEYED, |i| store.try_acquire(&hot(i), &rule, 1).unwrap().is_allowed());
}

#[test]
fn nothing_is_allocated_without_keys() {
    for (name, limit) in limits() {
        let clock = ManualClock::new();
        let direct = Direct::with_clock(limit, clock.clone());
        check(&format!("{name}, direct"), &clock, DIRECT, |_| direct.try_allow());
    }
}

/// A key, every other one of the hottest: each of them asks more than its quota, the others less.
const fn hot(i: u64) -> u64 {
    if i.is_multiple_of(2) { i / 2 % KEYS } else { i / 2 % 16 }
}

#[test]
fn nothing_is_allocated_for_a_new_key_in_a_ring_that_has_room() {
    let store = Memory::builder().max_keys(100_000).build::<u64, Limit>().unwrap();
    let limiter = RateLimiter::new(store, Limit::token_bucket(quota()).unwrap());
    let info = measure(|| {
        for key in 0..KEYS {
            black_box(limiter.try_allow(&key).unwrap());
        }
    });
    assert_eq!(info.count_total, 0, "{info:?}");
}

#[test]
fn what_allocates_is_seen() {
    let limit = Limit::new(Algorithm::SlidingWindowLog, quota()).unwrap();
    let limiter = RateLimiter::<Memory<u64>>::in_memory(limit);
    let info = measure(|| {
        for key in 0..KEYS {
            black_box(limiter.try_allow(&key).unwrap());
        }
    });
    assert!(info.count_total > 0, "logs need memory");
    let rule = TokenBucket::new(&quota()).unwrap();
    let info = measure(|| {
        black_box(rule.take(&mut Default::default(), 0, 1));
    });
    assert_eq!(info.count_total, 0);
}
