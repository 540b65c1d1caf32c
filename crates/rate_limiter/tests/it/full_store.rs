//! The in-memory store holds no more keys than it may, and never gives a key a fresh quota early.

use std::time::Duration;

use clock::ManualClock;
use rate_limiter::{Algorithm, Decision, Limit, Memory, OnFull, RateLimiter};

fn limiter(max_keys: usize, quota: &str) -> (RateLimiter<Memory<u64, Limit, ManualClock>>, ManualClock) {
    let clock = ManualClock::new();
    let store = Memory::builder().clock(clock.clone()).max_keys(max_keys).build().unwrap();
    (RateLimiter::new(store, Limit::token_bucket(quota.parse().unwrap()).unwrap()), clock)
}

#[test]
fn a_flood_of_keys_resets_nobody() {
    let (limiter, _clock) = limiter(1_000, "1/h burst 2");
    assert!(limiter.try_allow(&0).unwrap() && limiter.try_allow(&0).unwrap());
    let admitted = (1..1_000_000_u64).filter(|key| limiter.try_allow(key).unwrap()).count();
    assert_eq!(admitted, 999);
    assert!(!limiter.try_allow(&0).unwrap(), "a key in use was forgotten");
    let stats = limiter.store().stats();
    assert_eq!((stats.keys, stats.crowded_out, stats.evicted), (1_000, 999_000, 0));
}

#[test]
fn a_key_that_is_crowded_out_is_told_when_to_come_back() {
    let (limiter, clock) = limiter(10, "1/s burst 3");
    for key in 0..10 {
        assert!(limiter.try_allow(&key).unwrap());
        clock.advance(Duration::from_millis(10));
    }
    let Decision::Denied { retry_after } = limiter.try_acquire(&99, 1).unwrap() else {
        panic!("expected a denial")
    };
    assert_eq!(retry_after, Duration::from_millis(900));
    clock.advance(retry_after);
    assert!(limiter.try_allow(&99).unwrap());
    assert_eq!(limiter.store().stats().evicted, 1);
}

#[test]
fn memory_stays_within_the_bound_while_keys_come_and_go() {
    let (limiter, clock) = limiter(10_000, "1000/s burst 1");
    for key in 0..1_000_000_u64 {
        assert!(limiter.try_allow(&key).unwrap());
        clock.advance(Duration::from_micros(1));
    }
    let stats = limiter.store().stats();
    assert!(stats.keys <= 10_000, "{stats:?}");
    assert_eq!(stats.crowded_out, 0);
}

#[test]
fn crowded_keys_may_share_one_quota() {
    let clock = ManualClock::new();
    let store =
        Memory::builder().clock(clock.clone()).max_keys(10).on_full(OnFull::SharedBucket).build().unwrap();
    let limiter = RateLimiter::new(store, Limit::token_bucket("1/s burst 3".parse().unwrap()).unwrap());
    assert!((0..10_u64).all(|key| limiter.try_allow(&key).unwrap()));
    let admitted = (10..1_000_u64).filter(|key| limiter.try_allow(key).unwrap()).count();
    assert_eq!(admitted, 3);
    assert_eq!(limiter.store().stats().crowded_out, 990);
    assert!(limiter.try_allow(&0).unwrap(), "a key in use keeps its own");
}

#[test]
fn a_key_is_forgotten_only_when_that_changes_nothing() {
    for algorithm in Algorithm::ALL {
        let clock = ManualClock::new();
        let store = Memory::builder().clock(clock.clone()).max_keys(1).build().unwrap();
        let limiter = RateLimiter::new(store, Limit::new(algorithm, "4/s".parse().unwrap()).unwrap());
        // One key holds the only place; another asks over and over while the first becomes whole.
        for _ in 0..4 {
            assert!(limiter.try_allow(&0_u64).unwrap());
        }
        let mut waited = Duration::ZERO;
        while !limiter.try_allow(&1).unwrap() {
            clock.advance(Duration::from_millis(10));
            waited += Duration::from_millis(10);
            assert!(waited < Duration::from_secs(5), "{algorithm}");
        }
        let least = if algorithm == Algorithm::FixedWindow { 10 } else { 990 };
        assert!(waited >= Duration::from_millis(least), "{algorithm}: forgotten after {waited:?}");
    }
}

#[test]
fn a_clock_set_back_does_not_keep_new_keys_out() {
    for algorithm in Algorithm::ALL {
        let clock = ManualClock::at(clock::Time::ZERO + Duration::from_secs(7_200));
        let store = Memory::builder().clock(clock.clone()).max_keys(2).build().unwrap();
        let limiter = RateLimiter::new(store, Limit::new(algorithm, "1/s".parse().unwrap()).unwrap());
        assert!(limiter.try_allow(&1_u64).unwrap() && limiter.try_allow(&2).unwrap());
        clock.set(clock::Time::ZERO + Duration::from_secs(3_600));
        let wait = limiter.try_acquire(&3, 1).unwrap().retry_after().unwrap_or_default();
        assert!(wait <= Duration::from_secs(3), "{algorithm}: told to come back after {wait:?}");
        clock.advance(wait);
        assert!(limiter.try_allow(&3).unwrap(), "{algorithm}");
    }
}

#[test]
fn a_place_is_free_as_soon_as_another_quota_makes_its_key_whole() {
    let (limiter, clock) = limiter(1, "1/h burst 1");
    let quick = Limit::token_bucket("1000/s burst 1".parse().unwrap()).unwrap();
    assert!(limiter.try_allow(&1).unwrap());
    assert!(!limiter.try_allow(&2).unwrap());
    clock.advance(Duration::from_secs(3_600));
    assert!(limiter.store().try_acquire(&1, &quick, 1).unwrap().is_allowed());
    clock.advance(Duration::from_millis(1));
    assert!(limiter.try_allow(&2).unwrap());
}

#[test]
fn a_key_is_not_forgotten_a_moment_too_early() {
    let (limiter, clock) = limiter(1, "1/s burst 2");
    assert!(limiter.try_acquire(&1, 2).unwrap().is_allowed());
    let wait = limiter.try_acquire(&2, 1).unwrap().retry_after().unwrap();
    assert_eq!(wait, Duration::from_secs(2));
    clock.advance(wait - Duration::from_micros(1));
    assert!(!limiter.try_allow(&2).unwrap());
    clock.advance(Duration::from_micros(1));
    assert!(limiter.try_allow(&2).unwrap());
}

#[test]
fn what_never_fits_takes_no_place() {
    let (limiter, _clock) = limiter(10, "1/s burst 2");
    for key in 0..100 {
        assert!(!limiter.try_acquire(&key, 3).unwrap().is_allowed());
    }
    assert!(limiter.try_acquire(&1, 2).unwrap().is_allowed());
    assert!(!limiter.try_allow(&1).unwrap());
    let stats = limiter.store().stats();
    assert_eq!((stats.keys, stats.crowded_out), (1, 0));
}

#[test]
fn every_key_has_a_quota_of_its_own() {
    let store = Memory::builder().clock(ManualClock::new()).build::<String, Limit>().unwrap();
    let limiter = RateLimiter::new(store, Limit::token_bucket("1/h".parse().unwrap()).unwrap());
    let keys: Vec<String> = (0..500_000).map(|key| format!("tenant-7:user-{key:08}")).collect();
    assert!(keys.iter().all(|key| limiter.try_allow(key).unwrap()));
    assert!(!keys.iter().any(|key| limiter.try_allow(key).unwrap()));
    assert_eq!(limiter.store().stats().keys, keys.len());
}

#[test]
fn a_quota_changes_for_a_key_that_is_kept_in_a_word_and_back() {
    let (limiter, clock) = limiter(1_000, "10000/s burst 10");
    // Of so many tokens in a tick the remainder does not fit in the word.
    let prime = Limit::token_bucket("10007/s burst 10".parse().unwrap()).unwrap();
    for key in 0..1_000 {
        assert!(limiter.try_acquire(&key, 4).unwrap().is_allowed());
        assert!(limiter.store().try_acquire(&key, &prime, 4).unwrap().is_allowed());
        assert!(!limiter.try_acquire(&key, 3).unwrap().is_allowed(), "eight of ten were taken");
        assert!(limiter.try_acquire(&key, 1).unwrap().is_allowed());
    }
    let stats = limiter.store().stats();
    assert_eq!((stats.keys, stats.evicted), (1_000, 0));
    clock.advance(Duration::from_secs(1));
    assert!((1_000..2_000).all(|key| limiter.try_allow(&key).unwrap()));
    let stats = limiter.store().stats();
    assert_eq!((stats.keys, stats.evicted), (1_000, 1_000));
}
