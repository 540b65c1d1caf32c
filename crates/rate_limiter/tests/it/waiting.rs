//! Waiting for tokens, on tokio's paused clock.

use std::{sync::Arc, time::Duration};

use clock::{Clock, Time};
use rate_limiter::{Decision, Limit, Memory, RateLimiter};
use tokio::{sync::mpsc, time::Instant};

/// The clock that `tokio::time::pause` stops and that waiting moves.
#[derive(Debug)]
struct Paused(Instant);

impl Clock for Paused {
    fn now(&self) -> Time {
        Time::ZERO + self.0.elapsed()
    }
}

const LONG: Duration = Duration::from_secs(3_600);

fn limiter(quota: &str) -> Arc<RateLimiter<Memory<Vec<u8>, Limit, Paused>>> {
    let store = Memory::builder().clock(Paused(Instant::now())).build().unwrap();
    Arc::new(RateLimiter::new(store, Limit::token_bucket(quota.parse().unwrap()).unwrap()))
}

#[tokio::test(start_paused = true)]
async fn those_who_wait_are_served_in_order() {
    let limiter = limiter("10/s burst 1");
    let (served, mut order) = mpsc::channel(16);
    let start = Instant::now();
    for place in 0..10 {
        let (limiter, served) = (Arc::clone(&limiter), served.clone());
        tokio::spawn(async move {
            assert!(limiter.wait("k", 1, LONG).await.unwrap().is_allowed());
            served.send((place, start.elapsed())).await.unwrap();
        });
        tokio::task::yield_now().await;
    }
    for place in 0..10 {
        let (next, after) = order.recv().await.unwrap();
        assert_eq!(next, place);
        // Tokio's timers are a millisecond coarse.
        let due = place * Duration::from_millis(100);
        assert!(after >= due && after <= due + Duration::from_millis(20), "{place} after {after:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_large_cost_is_not_starved_by_small_ones() {
    let limiter = limiter("10/s burst 10");
    assert!(limiter.acquire("k", 10).await.unwrap().is_allowed());
    let large = tokio::spawn({
        let limiter = Arc::clone(&limiter);
        async move { limiter.wait("k", 10, LONG).await.unwrap() }
    });
    tokio::task::yield_now().await;
    let small = tokio::spawn({
        let limiter = Arc::clone(&limiter);
        async move { limiter.wait("k", 1, LONG).await.unwrap() }
    });
    let start = Instant::now();
    assert!(large.await.unwrap().is_allowed());
    assert!(start.elapsed() < Duration::from_millis(1_100));
    assert!(small.await.unwrap().is_allowed());
}

#[tokio::test(start_paused = true)]
async fn whoever_gives_up_leaves_the_queue_and_takes_nothing() {
    let limiter = limiter("1/s burst 1");
    assert!(limiter.allow("k").await.unwrap());
    for _ in 0..300 {
        let gave_up = tokio::time::timeout(Duration::from_millis(1), limiter.wait("k", 1, LONG)).await;
        assert!(gave_up.is_err());
    }
    // Most of the second has passed, and nobody has taken its token.
    let start = Instant::now();
    assert!(limiter.wait("k", 1, LONG).await.unwrap().is_allowed());
    assert!(start.elapsed() < Duration::from_millis(750), "{:?}", start.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_wait_that_would_be_too_long_is_denied_at_once() {
    let limiter = limiter("1/min burst 1");
    assert!(limiter.allow("k").await.unwrap());
    let start = Instant::now();
    let decision = limiter.wait("k", 1, Duration::from_secs(10)).await.unwrap();
    assert!(matches!(decision, Decision::Denied { .. }), "{decision:?}");
    assert!(start.elapsed() < Duration::from_millis(10));
    assert_eq!(limiter.wait("k", 2, LONG).await.unwrap(), Decision::NeverFits { burst: 1 });
}

#[tokio::test(start_paused = true)]
async fn a_queue_that_is_too_long_is_left_in_time() {
    let limiter = limiter("1/min burst 1");
    assert!(limiter.allow("k").await.unwrap());
    let first = tokio::spawn({
        let limiter = Arc::clone(&limiter);
        async move { limiter.wait("k", 1, LONG).await.unwrap() }
    });
    tokio::task::yield_now().await;
    let start = Instant::now();
    let decision = limiter.wait("k", 1, Duration::from_secs(10)).await.unwrap();
    assert!(decision.retry_after().is_some(), "{decision:?}");
    assert!(start.elapsed() <= Duration::from_millis(10_010), "{:?}", start.elapsed());
    assert!(first.await.unwrap().is_allowed());
}
