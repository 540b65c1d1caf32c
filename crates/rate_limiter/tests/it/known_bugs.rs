//! Mistakes that rate limiters in use have made, each as a test that they would fail.

use std::{
    sync::{
        Barrier,
        atomic::{AtomicU64, Ordering},
    },
    thread,
    time::Duration,
};

use clock::ManualClock;
use rate_limiter::{Algorithm, Ask, Decision, Limit, Memory, Quota, RateLimiter};

type Limiter = RateLimiter<Memory<String, Limit, ManualClock>>;

fn limiter(algorithm: Algorithm, quota: &str) -> (Limiter, ManualClock) {
    let clock = ManualClock::new();
    let store = Memory::builder().clock(clock.clone()).build().unwrap();
    (RateLimiter::new(store, Limit::new(algorithm, quota.parse().unwrap()).unwrap()), clock)
}

fn grants(limiter: &Limiter, attempts: u32) -> u32 {
    (0..attempts).map(|_| u32::from(limiter.try_allow("k").unwrap())).sum()
}

/// An emission interval in whole nanoseconds makes 700 million a second 43 % too many, one in whole
/// milliseconds makes 700 a second a thousand.
#[test]
fn the_interval_between_tokens_is_not_truncated() {
    for (quota, micros) in
        [("700000000/s burst 1400", 1), ("300000000/s burst 600", 1), ("700/s burst 1400", 1_000_000)]
    {
        let (limiter, clock) = limiter(Algorithm::TokenBucket, quota);
        let burst = limiter.limit().parts().next().unwrap().quota().burst();
        assert_eq!(u64::from(grants(&limiter, 5_000)), burst);
        clock.advance(Duration::from_micros(micros));
        assert_eq!(grants(&limiter, 5_000), u32::try_from(burst / 2).unwrap(), "{quota}");
    }
}

/// The burst times the interval in 64 bits of nanoseconds wraps for one a day with a burst of 300,000:
/// 86,496 are admitted instead.
#[test]
fn a_large_burst_at_a_low_rate_does_not_wrap() {
    for algorithm in
        [Algorithm::TokenBucket, Algorithm::Gcra, Algorithm::LeakyBucket, Algorithm::LeakyBucketQueue]
    {
        let (limiter, _clock) = limiter(algorithm, "1/day burst 300000");
        assert_eq!(grants(&limiter, 400_000), 300_000, "{algorithm}");
    }
}

/// A rate above a thousand a second, in milliseconds, gave an interval and an expiry of zero, an error,
/// and with it no limit at all.
#[test]
fn a_rate_above_the_resolution_of_the_clock_still_limits() {
    for algorithm in Algorithm::ALL {
        let (limiter, _clock) = limiter(algorithm, "5000000/s");
        let answer = limiter.store().try_ask("k", limiter.limit(), Ask::TakeUpTo(u32::MAX)).unwrap();
        assert_eq!(answer.taken, 5_000_000, "{algorithm}");
        assert!(!limiter.try_allow("k").unwrap(), "{algorithm}");
    }
}

/// A theoretical arrival time that is clamped to now minus the tolerance, instead of to now, admits 15 of a
/// burst of 10 after 15 idle seconds.
#[test]
fn idleness_beyond_the_burst_is_not_saved_up() {
    for idle in [5, 10, 15, 17, 18, 3_600] {
        let (limiter, clock) = limiter(Algorithm::Gcra, "1/s burst 10");
        assert_eq!(grants(&limiter, 100), 10);
        clock.advance(Duration::from_secs(idle));
        assert_eq!(u64::from(grants(&limiter, 100)), idle.min(10), "after {idle} s");
    }
}

/// Rounding what has flowed in at each call, but moving the time forward, loses half of one an hour when
/// it is asked for every 7 ms.
#[test]
fn asking_often_does_not_slow_the_inflow() {
    let (limiter, clock) = limiter(Algorithm::TokenBucket, "10/s burst 3");
    grants(&limiter, 10);
    let mut granted = 0;
    for _ in 0..100_000 {
        clock.advance(Duration::from_micros(37));
        granted += grants(&limiter, 1);
    }
    // 3.7 s.
    assert_eq!(granted, 37);
}

/// Counting up first and comparing then leaves the counter at 109 of 10 after a denial of 100.
#[test]
fn a_denied_cost_is_not_counted() {
    for algorithm in Algorithm::ALL {
        let (limiter, clock) = limiter(algorithm, "100/s");
        assert!(limiter.try_acquire("k", 90).unwrap().is_allowed());
        for _ in 0..1_000 {
            assert!(!limiter.try_acquire("k", 50).unwrap().is_allowed(), "{algorithm}");
        }
        assert!(limiter.try_acquire("k", 10).unwrap().is_allowed(), "{algorithm}");
        // Nor does it postpone what comes back.
        clock.advance(Duration::from_secs(2));
        assert!(limiter.try_acquire("k", 100).unwrap().is_allowed(), "{algorithm}");
    }
}

/// A finite pause for a cost that can never fit sends callers into an endless loop.
#[test]
fn what_can_never_fit_is_not_told_to_come_back() {
    for algorithm in Algorithm::ALL {
        let (limiter, _clock) = limiter(algorithm, "10/s");
        let decision = limiter.try_acquire("k", 11).unwrap();
        assert_eq!(
            (decision, decision.retry_after()),
            (Decision::NeverFits { burst: 10 }, None),
            "{algorithm}"
        );
    }
}

/// In floating point, the tenth of ten at one instant was denied 200 times out of 200.
#[test]
fn the_whole_burst_fits_into_one_instant() {
    for micros in (0..2_000).map(|i| 1_700_000_000_000_000 + i * 7_919) {
        let (limiter, clock) = limiter(Algorithm::Gcra, "10/s");
        clock.advance(Duration::from_micros(micros));
        assert_eq!(grants(&limiter, 20), 10);
    }
}

/// Checking and then counting, in two steps, admits one too many in one of thirty runs.
#[test]
fn threads_do_not_slip_through_between_check_and_count() {
    for algorithm in Algorithm::ALL {
        for _ in 0..20 {
            let (limiter, _clock) = limiter(algorithm, "200/day");
            let (granted, start) = (AtomicU64::new(0), Barrier::new(8));
            thread::scope(|scope| {
                for _ in 0..8 {
                    scope.spawn(|| {
                        start.wait();
                        granted.fetch_add(u64::from(grants(&limiter, 50)), Ordering::Relaxed);
                    });
                }
            });
            assert_eq!(granted.into_inner(), 200, "{algorithm}");
        }
    }
}

/// Requests in one microsecond that share a place in the log would count as one.
#[test]
fn requests_at_one_instant_are_all_logged() {
    let (limiter, clock) = limiter(Algorithm::SlidingWindowLog, "5000/s");
    assert_eq!(grants(&limiter, 10_000), 5_000);
    clock.advance(Duration::from_secs(1));
    assert_eq!(grants(&limiter, 10_000), 5_000);
}

/// `remaining` once came back as what had been used: 1, 2, 3.
#[test]
fn remaining_is_what_remains() {
    for algorithm in Algorithm::ALL {
        let (limiter, _clock) = limiter(algorithm, "1000/h");
        for taken in 1..=1_000 {
            let Decision::Allowed { remaining, .. } = limiter.try_acquire("k", 1).unwrap() else {
                panic!("{algorithm}")
            };
            assert_eq!(remaining, 1_000 - taken, "{algorithm}");
        }
    }
}

/// Above a million a second, whole microseconds made `remaining` and the pauses garbage.
#[test]
fn remaining_and_pauses_are_right_above_a_million_a_second() {
    let (limiter, _clock) = limiter(Algorithm::TokenBucket, "6000000/s burst 6000000");
    let Decision::Allowed { remaining, reset_after, .. } = limiter.try_acquire("k", 6_000).unwrap() else {
        panic!("expected a grant")
    };
    assert_eq!((remaining, reset_after), (5_994_000, Duration::from_millis(1)));
}

/// Keys that come and are never seen again must not stay for ever.
#[test]
fn forgotten_keys_leave_the_store() {
    let clock = ManualClock::new();
    let store = Memory::builder().clock(clock.clone()).max_keys(1_000).build::<u64, _>().unwrap();
    let limit = Limit::token_bucket(Quota::per_second(1_000).unwrap()).unwrap();
    for key in 0..100_000 {
        clock.advance(Duration::from_millis(1));
        assert!(store.try_acquire(&key, &limit, 1).unwrap().is_allowed());
    }
    assert!(store.stats().keys <= 1_000);
    assert_eq!(store.stats().crowded_out, 0);
}
