//! A clock that is set back neither panics nor grants more than the burst, and the limiter recovers
//! within a period.

use std::time::Duration;

use clock::{ManualClock, Time};
use rate_limiter::{Limit, Memory, RateLimiter};

const HOUR: Duration = Duration::from_secs(3_600);

fn drain(limiter: &RateLimiter<Memory<String, ManualClock>>) -> u32 {
    (0..1_000).map(|_| u32::from(limiter.try_allow("k").unwrap())).sum()
}

#[test]
fn an_hour_back_and_forth_grants_at_most_the_burst_each_time() {
    let clock = ManualClock::at(Time::ZERO + 10 * HOUR);
    let limit = Limit::token_bucket("10/s burst 20".parse().unwrap()).unwrap();
    let limiter = RateLimiter::new(Memory::builder().clock(clock.clone()).build().unwrap(), limit);
    assert_eq!(drain(&limiter), 20);

    clock.set(Time::ZERO + 9 * HOUR);
    assert_eq!(drain(&limiter), 0);
    clock.advance(Duration::from_secs(1));
    assert_eq!(drain(&limiter), 10, "the inflow goes on from where the clock is now");

    clock.set(Time::ZERO + 10 * HOUR);
    assert!(drain(&limiter) <= 20);
    clock.set(Time::ZERO);
    assert_eq!(drain(&limiter), 0);
    clock.advance(Duration::from_secs(2));
    assert_eq!(drain(&limiter), 20);
}

#[test]
fn a_moment_back_is_not_inflow() {
    let clock = ManualClock::at(Time::ZERO + HOUR);
    let limit = Limit::token_bucket("1000/s burst 1".parse().unwrap()).unwrap();
    let limiter = RateLimiter::new(Memory::builder().clock(clock.clone()).build::<String>().unwrap(), limit);
    let mut granted = 0;
    // Two threads whose readings overtake each other by 0.3 ms, over and over, for 10 ms.
    for step in 0..100_u32 {
        let now = Time::ZERO + HOUR + step * Duration::from_micros(100);
        clock.set(now);
        granted += drain(&limiter);
        clock.set(Time::from_nanos(now.as_nanos() - 300_000));
        granted += drain(&limiter);
    }
    assert!((9..=11).contains(&granted), "{granted}");
}
