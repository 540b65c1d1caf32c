//! A clock that is set back neither panics nor grants more than the burst, and every limiter recovers
//! within a period or two.

use std::time::Duration;

use clock::{ManualClock, Time};
use rate_limiter::{Algorithm, Direct, Limit, Memory, Quota, RateLimiter};

const HOUR: Duration = Duration::from_secs(3_600);

fn limit(algorithm: Algorithm, quota: &str) -> Limit {
    Limit::new(algorithm, quota.parse::<Quota>().unwrap()).unwrap()
}

/// Keyed and unkeyed alike.
fn limiters(limit: Limit, clock: &ManualClock) -> [Box<dyn Fn() -> bool>; 2] {
    let keyed =
        RateLimiter::new(Memory::builder().clock(clock.clone()).build::<String, _>().unwrap(), limit.clone());
    let direct = Direct::with_clock(limit, clock.clone());
    [Box::new(move || keyed.try_allow("k").unwrap()), Box::new(move || direct.try_allow())]
}

fn drain(allow: &dyn Fn() -> bool) -> u32 {
    (0..1_000).map(|_| u32::from(allow())).sum()
}

#[test]
fn an_hour_back_and_forth_grants_at_most_the_burst_each_time() {
    for algorithm in Algorithm::ALL {
        let clock = ManualClock::new();
        for allow in limiters(limit(algorithm, "20/2s"), &clock) {
            clock.set(Time::ZERO + 10 * HOUR);
            assert_eq!(drain(&allow), 20, "{algorithm}");
            clock.set(Time::ZERO + 9 * HOUR);
            assert_eq!(drain(&allow), 0, "{algorithm}");
            clock.advance(Duration::from_secs(4));
            assert_eq!(drain(&allow), 20, "{algorithm}: the quota flows from where the clock is now");
            clock.set(Time::ZERO + 10 * HOUR);
            assert!(drain(&allow) <= 20, "{algorithm}");
            clock.set(Time::ZERO);
            assert_eq!(drain(&allow), 0, "{algorithm}");
            clock.advance(Duration::from_secs(4));
            assert_eq!(drain(&allow), 20, "{algorithm}");
        }
    }
}

#[test]
fn a_moment_back_is_not_inflow() {
    for algorithm in Algorithm::ALL {
        let clock = ManualClock::new();
        for allow in limiters(limit(algorithm, "1/ms"), &clock) {
            clock.set(Time::ZERO + HOUR);
            let mut granted = 0;
            // Two threads whose readings overtake each other by 0.3 ms, over and over, for 10 ms.
            for step in 0..100_u32 {
                let now = Time::ZERO + HOUR + step * Duration::from_micros(100);
                clock.set(now);
                granted += drain(&allow);
                clock.set(Time::from_nanos(now.as_nanos() - 300_000));
                granted += drain(&allow);
            }
            assert!((5..=11).contains(&granted), "{algorithm}: {granted}");
        }
    }
}

#[test]
fn a_clock_at_its_end_does_not_overflow() {
    for algorithm in Algorithm::ALL {
        for quota in ["1/365day", "1000/us", "999983/s"] {
            let clock = ManualClock::at(Time::from_nanos(u64::MAX));
            for allow in limiters(limit(algorithm, quota), &clock) {
                assert!(allow(), "{algorithm}");
                allow();
                clock.set(Time::ZERO);
                allow();
                clock.set(Time::from_nanos(u64::MAX));
                allow();
            }
        }
    }
}
