//! What holds for every algorithm.

use std::time::Duration;

use super::{Case, Fixture, retry_after};
use crate::{Algorithm, Answer, Ask, Decision};

/// Each function as a case for each algorithm.
macro_rules! for_every_algorithm {
    ($($name:ident),+ $(,)?) => {
        vec![$(
            case!($name, "token_bucket", TokenBucket),
            case!($name, "gcra", Gcra),
            case!($name, "leaky_bucket", LeakyBucket),
            case!($name, "leaky_bucket_queue", LeakyBucketQueue),
            case!($name, "fixed_window", FixedWindow),
            case!($name, "sliding_window_counter", SlidingWindowCounter),
            case!($name, "sliding_window_log", SlidingWindowLog),
        )+]
    };
}

macro_rules! case {
    ($name:ident, $prefix:literal, $algorithm:ident) => {
        Case::new(concat!($prefix, "::", stringify!($name)), Algorithm::$algorithm, |f| Box::pin($name(f)))
    };
}

pub(super) fn cases() -> Vec<Case> {
    for_every_algorithm![
        a_new_key_has_its_whole_quota,
        a_denial_takes_nothing,
        a_cost_is_taken_whole_or_not_at_all,
        a_cost_above_the_burst_never_fits,
        remaining_counts_down_to_zero,
        retry_after_is_exact,
        retry_after_covers_the_cost_that_was_asked,
        reset_after_is_when_the_quota_is_whole,
        an_idle_key_has_its_whole_quota_and_no_more,
        peeking_takes_nothing_and_foretells,
        up_to_takes_what_is_there,
        a_refund_is_given_back_once,
        a_refund_is_no_more_than_the_quota,
        a_changed_quota_grants_no_more_than_its_burst,
        the_bound_holds_in_every_trailing_window,
        greedy_demand_gets_its_due,
        concurrent_callers_share_one_quota_exactly,
    ]
}

async fn a_new_key_has_its_whole_quota(f: Fixture) {
    assert_eq!(f.drain("k", &f.limit("10/s")).await, 10);
    assert_eq!(f.drain("other", &f.limit("3/min")).await, 3);
}

async fn a_denial_takes_nothing(f: Fixture) {
    let limit = f.limit("5/s");
    assert!(f.allows("k", &limit, 4).await);
    for _ in 0..100 {
        assert!(!f.allows("k", &limit, 2).await);
    }
    assert!(f.allows("k", &limit, 1).await);
}

async fn a_cost_is_taken_whole_or_not_at_all(f: Fixture) {
    let limit = f.limit("10/min");
    assert!(f.allows("k", &limit, 7).await);
    assert!(!f.allows("k", &limit, 4).await);
    assert!(f.allows("k", &limit, 3).await);
    assert_eq!(f.drain("k", &limit).await, 0);
}

async fn a_cost_above_the_burst_never_fits(f: Fixture) {
    let limit = f.limit("10/s");
    assert_eq!(f.take("k", &limit, 11).await, Decision::NeverFits { burst: 10 });
    assert_eq!(f.take("k", &limit, u32::MAX).await, Decision::NeverFits { burst: 10 });
    assert!(f.allows("k", &limit, 10).await, "a request that never fits must take nothing");
    assert_eq!(f.take("k", &limit, 11).await, Decision::NeverFits { burst: 10 });
}

async fn remaining_counts_down_to_zero(f: Fixture) {
    let limit = f.limit("4/h");
    for expected in [3, 2, 1, 0] {
        match f.take("k", &limit, 1).await {
            Decision::Allowed { remaining, .. } => assert_eq!(remaining, expected),
            other => panic!("{other:?}"),
        }
    }
}

async fn retry_after_is_exact(f: Fixture) {
    for quota in ["3/s", "7/13ms", "1/min", "1000/h"] {
        let limit = f.limit(quota);
        for _ in 0..5 {
            f.drain(quota, &limit).await;
            let wait = retry_after(f.take(quota, &limit, 1).await);
            f.advance(wait - Duration::from_micros(1)).await;
            assert!(!f.allows(quota, &limit, 1).await, "{quota}: earlier than told");
            f.advance(Duration::from_micros(1)).await;
            assert!(f.allows(quota, &limit, 1).await, "{quota}: later than told");
        }
    }
}

async fn retry_after_covers_the_cost_that_was_asked(f: Fixture) {
    let limit = f.limit("20/3s");
    for cost in [1, 13, 20, 7] {
        f.drain("k", &limit).await;
        f.advance(Duration::from_millis(700)).await;
        f.drain("k", &limit).await;
        let wait = retry_after(f.take("k", &limit, cost).await);
        f.advance(wait - Duration::from_micros(1)).await;
        assert!(!f.allows("k", &limit, cost).await, "cost {cost}: earlier than told");
        f.advance(Duration::from_micros(1)).await;
        assert!(f.allows("k", &limit, cost).await, "cost {cost}: later than told");
    }
}

async fn reset_after_is_when_the_quota_is_whole(f: Fixture) {
    let limit = f.limit("8/2s");
    for cost in [1, 3, 8] {
        let Decision::Allowed { reset_after, .. } = f.take("k", &limit, cost).await else {
            panic!("expected a grant")
        };
        assert!(reset_after <= Duration::from_secs(4), "{reset_after:?}");
        f.advance(reset_after).await;
        assert!(f.allows("k", &limit, 8).await, "after cost {cost}");
        f.advance(Duration::from_secs(60)).await;
    }
}

async fn an_idle_key_has_its_whole_quota_and_no_more(f: Fixture) {
    let limit = f.limit("15/s");
    for idle in [Duration::from_secs(15), Duration::from_millis(17_321), Duration::from_secs(86_400)] {
        f.drain("k", &limit).await;
        f.advance(idle).await;
        assert_eq!(f.drain("k", &limit).await, 15, "after {idle:?}");
    }
}

async fn peeking_takes_nothing_and_foretells(f: Fixture) {
    let limit = f.limit("6/s");
    for cost in [1, 2, 3, 4, 6, 7, 1, 1] {
        let foretold = f.ask("k", &limit, Ask::Peek(cost)).await;
        assert_eq!(foretold.taken, 0);
        assert_eq!(f.ask("k", &limit, Ask::Peek(cost)).await.decision, foretold.decision);
        let told = f.take("k", &limit, cost).await;
        match (foretold.decision, told) {
            (Decision::Allowed { remaining: a, .. }, Decision::Allowed { remaining: b, .. }) => {
                assert_eq!(a, b);
            }
            (a, b) => assert_eq!(a, b),
        }
        f.advance(Duration::from_millis(150)).await;
    }
}

async fn up_to_takes_what_is_there(f: Fixture) {
    let limit = f.limit("10/h");
    assert_eq!(f.ask("k", &limit, Ask::TakeUpTo(4)).await.taken, 4);
    assert_eq!(f.ask("k", &limit, Ask::TakeUpTo(u32::MAX)).await.taken, 6);
    let Answer { decision, taken, .. } = f.ask("k", &limit, Ask::TakeUpTo(5)).await;
    assert_eq!(taken, 0);
    f.advance(retry_after(decision)).await;
    assert!(f.ask("k", &limit, Ask::TakeUpTo(5)).await.taken >= 1);
}

async fn a_refund_is_given_back_once(f: Fixture) {
    let limit = f.limit("10/h");
    assert!(f.allows("k", &limit, 4).await);
    let answer = f.ask("k", &limit, Ask::Take(6)).await;
    assert_eq!(f.drain("k", &limit).await, 0);
    f.refund("k", &limit, 5, answer.at).await;
    assert_eq!(f.drain("k", &limit).await, 5);
}

async fn a_refund_is_no_more_than_the_quota(f: Fixture) {
    let limit = f.limit("10/s");
    let answer = f.ask("k", &limit, Ask::Take(6)).await;
    // Long after, all has flowed back by itself.
    f.advance(Duration::from_secs(3_600)).await;
    f.refund("k", &limit, 6, answer.at).await;
    assert_eq!(f.drain("k", &limit).await, 10);
    f.refund("never asked for", &limit, 6, answer.at).await;
    assert_eq!(f.drain("never asked for", &limit).await, 10);
}

async fn a_changed_quota_grants_no_more_than_its_burst(f: Fixture) {
    let (small, large) = (f.limit("10/s"), f.limit("100/s"));
    assert_eq!(f.drain("up", &small).await, 10);
    assert!(f.drain("up", &large).await <= 100);
    assert_eq!(f.drain("down", &large).await, 100);
    assert!(f.drain("down", &small).await <= 10);
    f.advance(Duration::from_secs(3_600)).await;
    assert_eq!(f.drain("down", &small).await, 10);
    let slow = f.limit("3/day");
    f.drain("slower", &small).await;
    assert!(f.drain("slower", &slow).await <= 3);
    f.advance(Duration::from_secs(2 * 86_400)).await;
    assert_eq!(f.drain("slower", &slow).await, 3);
}

/// Demand that comes in bursts around the edges of windows, where loose rules admit the most.
async fn the_bound_holds_in_every_trailing_window(f: Fixture) {
    const TOKENS: u64 = 12;
    let limit = f.limit("12/100ms");
    let period = 100_000;
    let mut admitted: Vec<(u64, u64)> = Vec::new();
    let (mut now, mut random) = (0_u64, 7_u64);
    for _ in 0..1_500 {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let step = [1, 500, 3_000, 20_000, 49_999, 100_000 - now % 100_000][(random >> 33) as usize % 6];
        let cost = 1 + (random >> 40) as u32 % 12;
        f.advance(Duration::from_micros(step)).await;
        now += step;
        if f.allows("k", &limit, cost).await {
            admitted.push((now, u64::from(cost)));
        }
    }
    let within = |end: u64| -> u64 {
        admitted.iter().filter(|(at, _)| *at <= end && at + period > end).map(|(_, cost)| cost).sum()
    };
    let most = admitted.iter().map(|(at, _)| within(*at)).max().unwrap_or(0);
    let bound = if f.algorithm == Algorithm::SlidingWindowLog { TOKENS } else { 2 * TOKENS };
    assert!(most <= bound, "{most} admitted in a trailing window, at most {bound}");
    assert!(most >= TOKENS, "the demand was not enough to test the bound");
}

async fn greedy_demand_gets_its_due(f: Fixture) {
    let limit = f.limit("10/100ms");
    let mut admitted = 0;
    for _ in 0..1_000 {
        admitted += f.drain("k", &limit).await;
        f.advance(Duration::from_millis(1)).await;
    }
    // One second. A sliding counter takes what came early in a window for spread over it.
    let due = if f.algorithm == Algorithm::SlidingWindowCounter { 80 } else { 99 };
    assert!((due..=110).contains(&admitted), "{admitted} admitted");
}

async fn concurrent_callers_share_one_quota_exactly(f: Fixture) {
    let limit = f.limit("1000/day");
    let callers = (0..64).map(|_| {
        let (f, limit) = (f.clone(), limit.clone());
        tokio::spawn(async move {
            let mut granted = 0;
            for _ in 0..50 {
                granted += u64::from(f.allows("k", &limit, 1).await);
                tokio::task::yield_now().await;
            }
            granted
        })
    });
    let mut granted = 0;
    for caller in callers.collect::<Vec<_>>() {
        granted += caller.await.unwrap_or_else(|error| panic!("{error}"));
    }
    assert_eq!(granted, 1_000);
}
