//! A limiter without keys decides as one with a single key does.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    thread,
    time::Duration,
};

use clock::ManualClock;
use proptest::prelude::*;
use rate_limiter::{Algorithm, Direct, ErrorKind, Limit, Memory, Quota};

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]

    #[test]
    fn decides_as_a_single_key(
        tokens in 1_u64..5_000,
        micros in prop_oneof![Just(1_000_000_u64), 1_000_u64..10_000_000],
        requests in prop::collection::vec((0_u64..3_000_000, 1_u32..6_000), 1..100),
        algorithm in prop::sample::select(Algorithm::ALL.to_vec()),
    ) {
        let quota = Quota::new(tokens, Duration::from_micros(micros)).unwrap();
        let limit = Limit::new(algorithm, quota).unwrap();
        let clock = ManualClock::new();
        let direct = Direct::with_clock(limit.clone(), clock.clone());
        let keyed = Memory::builder().clock(clock.clone()).build::<u64, _>().unwrap();
        for (pause, cost) in requests {
            clock.advance(Duration::from_micros(pause));
            prop_assert_eq!(direct.try_acquire(cost).unwrap(), keyed.try_acquire(&0, &limit, cost).unwrap());
        }
    }
}

#[test]
fn threads_share_one_quota_exactly() {
    for algorithm in Algorithm::ALL {
        let limit = Limit::new(algorithm, "10000/day".parse().unwrap()).unwrap();
        let (limiter, granted) = (Direct::new(limit), AtomicU64::new(0));
        thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..5_000 {
                        granted.fetch_add(u64::from(limiter.try_allow()), Ordering::Relaxed);
                    }
                });
            }
        });
        assert_eq!(granted.into_inner(), 10_000, "{algorithm}");
    }
}

#[test]
fn a_cost_of_zero_is_invalid() {
    let limiter = Direct::new(Limit::token_bucket("1/s".parse().unwrap()).unwrap());
    assert_eq!(limiter.try_acquire(0).unwrap_err().kind(), ErrorKind::Invalid);
}
