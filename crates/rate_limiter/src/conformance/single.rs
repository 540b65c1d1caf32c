//! What holds for one algorithm, or for the store whatever the algorithm.

use std::time::Duration;

use super::{Case, Fixture, kind_of, retry_after};
use crate::{Algorithm, Ask, Decision, ErrorKind, Limit};

/// Each function as a case.
macro_rules! cases {
    ($($algorithm:ident: $name:ident),+ $(,)?) => {
        vec![$(Case::new(stringify!($name), Algorithm::$algorithm, |f| Box::pin($name(f)))),+]
    };
}

pub(super) fn cases() -> Vec<Case> {
    cases![
        TokenBucket: tokens_come_back_at_the_rate,
        TokenBucket: a_burst_may_exceed_the_tokens_of_a_period,
        TokenBucket: fractions_of_a_token_are_not_lost,
        TokenBucket: a_slow_quota_is_counted_exactly,
        TokenBucket: a_fast_quota_is_counted_exactly,
        LeakyBucketQueue: a_queue_spaces_a_burst_evenly,
        FixedWindow: windows_begin_with_the_clock,
        SlidingWindowCounter: the_earlier_window_counts_by_the_part_still_covered,
        SlidingWindowLog: each_entry_leaves_a_period_after_it_came,
        TokenBucket: several_quotas_take_from_all_or_none,
        TokenBucket: several_quotas_refund_to_all,
        TokenBucket: what_has_flowed_back_is_not_given_back,
        TokenBucket: a_cost_of_zero_is_invalid,
        TokenBucket: keys_do_not_share_their_quota,
        TokenBucket: keys_may_be_any_bytes,
        TokenBucket: health_answers,
        TokenBucket: a_closed_store_says_so,
    ]
}

async fn tokens_come_back_at_the_rate(f: Fixture) {
    let limit = f.limit("10/s");
    assert_eq!(f.drain("k", &limit).await, 10);
    f.advance(Duration::from_millis(99)).await;
    assert_eq!(f.drain("k", &limit).await, 0);
    f.advance(Duration::from_millis(1)).await;
    assert_eq!(f.drain("k", &limit).await, 1);
    f.advance(Duration::from_millis(350)).await;
    assert_eq!(f.drain("k", &limit).await, 3);
}

async fn a_burst_may_exceed_the_tokens_of_a_period(f: Fixture) {
    let limit = f.limit("1/s burst 1000000");
    assert!(f.allows("k", &limit, 1_000_000).await);
    assert!(!f.allows("k", &limit, 1).await);
    f.advance(Duration::from_secs(3)).await;
    assert_eq!(f.drain("k", &limit).await, 3);
}

async fn fractions_of_a_token_are_not_lost(f: Fixture) {
    // Room for two, so that the bucket is never full and nothing may spill.
    let limit = f.limit("1/h burst 2");
    f.drain("k", &limit).await;
    let mut granted = 0;
    // Asked every 7 s for 20 hours: a limiter that rounds at each call grants far less than 20.
    for _ in 0..10_286 {
        f.advance(Duration::from_secs(7)).await;
        granted += u64::from(f.allows("k", &limit, 1).await);
    }
    assert_eq!(granted, 20);
}

async fn a_slow_quota_is_counted_exactly(f: Fixture) {
    let limit = f.limit("1/30day burst 1000000");
    assert!(f.allows("k", &limit, 1_000_000).await);
    let wait = retry_after(f.take("k", &limit, 1).await);
    // One part in a million of 30 days is 2.6 s.
    let month = Duration::from_secs(30 * 86_400);
    assert!(wait.abs_diff(month) <= Duration::from_micros(2_592_000), "{wait:?}");
    f.advance(wait).await;
    assert!(f.allows("k", &limit, 1).await);
    assert!(!f.allows("k", &limit, 1).await);
}

async fn a_fast_quota_is_counted_exactly(f: Fixture) {
    for (quota, burst, micros, expected) in [
        ("700000000/s burst 1000", 1_000, 1, 700),
        ("60000000/s burst 1000", 1_000, 10, 600),
        ("1000000000/s burst 5000", 5_000, 3, 3_000),
    ] {
        let limit = f.limit(quota);
        assert!(f.allows(quota, &limit, burst).await);
        f.advance(Duration::from_micros(micros)).await;
        assert!(!f.allows(quota, &limit, expected + 1).await, "{quota}");
        assert!(f.allows(quota, &limit, expected).await, "{quota}");
    }
}

async fn a_queue_spaces_a_burst_evenly(f: Fixture) {
    let limit = f.limit("10/s");
    for place in 0..10 {
        let Decision::Allowed { delay, .. } = f.take("k", &limit, 1).await else {
            panic!("expected a grant")
        };
        assert_eq!(delay, place * Duration::from_millis(100));
    }
    assert_eq!(retry_after(f.take("k", &limit, 1).await), Duration::from_millis(100));
    f.advance(Duration::from_millis(250)).await;
    let Decision::Allowed { delay, .. } = f.take("k", &limit, 2).await else { panic!("expected a grant") };
    assert_eq!(delay, Duration::from_millis(750));
}

async fn windows_begin_with_the_clock(f: Fixture) {
    let limit = f.limit("5/s");
    f.drain("k", &limit).await;
    // To just before the next window, whatever the clock shows.
    let wait = retry_after(f.take("k", &limit, 1).await);
    f.advance(wait - Duration::from_micros(1)).await;
    assert_eq!(f.drain("k", &limit).await, 0);
    assert_eq!(f.drain("another", &limit).await, 5);
    f.advance(Duration::from_micros(1)).await;
    assert_eq!(f.drain("k", &limit).await, 5);
    assert_eq!(f.drain("another", &limit).await, 5);
}

async fn the_earlier_window_counts_by_the_part_still_covered(f: Fixture) {
    let limit = f.limit("100/s");
    f.drain("k", &limit).await;
    // The window after the next, so that a new window has just begun.
    let Decision::Denied { retry_after } = f.take("k", &limit, 100).await else {
        panic!("expected a denial")
    };
    f.advance(retry_after).await;
    assert_eq!(f.drain("k", &limit).await, 100);
    f.advance(Duration::from_secs(1)).await;
    assert_eq!(f.drain("k", &limit).await, 0);
    f.advance(Duration::from_millis(250)).await;
    assert_eq!(f.drain("k", &limit).await, 25);
    f.advance(Duration::from_millis(500)).await;
    assert_eq!(f.drain("k", &limit).await, 50);
}

async fn each_entry_leaves_a_period_after_it_came(f: Fixture) {
    let limit = f.limit("6/s");
    for cost in [1, 2, 3] {
        assert!(f.allows("k", &limit, cost).await);
        f.advance(Duration::from_millis(200)).await;
    }
    f.advance(Duration::from_micros(399_999)).await;
    assert_eq!(f.drain("k", &limit).await, 0);
    f.advance(Duration::from_micros(1)).await;
    assert_eq!(f.drain("k", &limit).await, 1);
    f.advance(Duration::from_millis(200)).await;
    assert_eq!(f.drain("k", &limit).await, 2);
    f.advance(Duration::from_millis(200)).await;
    assert_eq!(f.drain("k", &limit).await, 3);
}

fn several(f: &Fixture) -> Limit {
    let log = "7/h".parse().map(|quota| Limit::new(Algorithm::SlidingWindowLog, quota));
    let log = log.unwrap_or_else(|error| panic!("{error}")).unwrap_or_else(|error| panic!("{error}"));
    Limit::all_of([f.limit("3/s"), log]).unwrap_or_else(|error| panic!("{error}"))
}

async fn several_quotas_take_from_all_or_none(f: Fixture) {
    let limit = several(&f);
    assert_eq!(f.drain("k", &limit).await, 3);
    for _ in 0..50 {
        assert!(!f.allows("k", &limit, 1).await);
    }
    f.advance(Duration::from_secs(1)).await;
    assert_eq!(f.drain("k", &limit).await, 3, "denials by one quota took from the other");
    f.advance(Duration::from_secs(1)).await;
    assert_eq!(f.drain("k", &limit).await, 1);
    // The hour is what is left to wait for; the log began two seconds ago.
    assert_eq!(retry_after(f.take("k", &limit, 1).await), Duration::from_secs(3_598));
    assert_eq!(f.take("k", &limit, 4).await, Decision::NeverFits { burst: 3 });
}

async fn several_quotas_refund_to_all(f: Fixture) {
    let limit = several(&f);
    let answer = f.ask("k", &limit, Ask::Take(3)).await;
    f.refund("k", &limit, 3, answer.at).await;
    for expected in [3, 3, 1, 0] {
        assert_eq!(f.drain("k", &limit).await, expected);
        f.advance(Duration::from_secs(1)).await;
    }
}

async fn what_has_flowed_back_is_not_given_back(f: Fixture) {
    let limit = f.limit("1/s burst 10");
    let early = f.ask("k", &limit, Ask::Take(6)).await;
    f.advance(Duration::from_secs(4)).await;
    assert!(f.allows("k", &limit, 8).await, "four of the six have flowed back");
    f.refund("k", &limit, 6, early.at).await;
    assert_eq!(f.drain("k", &limit).await, 2);
}

async fn a_cost_of_zero_is_invalid(f: Fixture) {
    let limit = f.limit("1/s");
    for ask in [Ask::Take(0), Ask::TakeUpTo(0), Ask::Peek(0)] {
        assert_eq!(kind_of(f.try_ask("k", &limit, ask).await), ErrorKind::Invalid);
    }
}

async fn keys_do_not_share_their_quota(f: Fixture) {
    let limit = f.limit("1/s burst 2");
    for key in ["a", "b", "aa", "", "a:b", "{a}", "{a}b"] {
        assert_eq!(f.drain(key, &limit).await, 2, "{key:?}");
    }
}

async fn keys_may_be_any_bytes(f: Fixture) {
    let limit = f.limit("1/s burst 2");
    for key in ["\0", "\r\n", "{", "}{", "{}", "ключ", &"k".repeat(10_000), "* $1"] {
        assert_eq!(f.drain(key, &limit).await, 2, "{key:?}");
        f.advance(Duration::from_secs(1)).await;
        assert_eq!(f.drain(key, &limit).await, 1, "{key:?}");
    }
}

async fn health_answers(f: Fixture) {
    f.store.health().await.unwrap_or_else(|error| panic!("{error}"));
}

async fn a_closed_store_says_so(f: Fixture) {
    let limit = f.limit("1/s");
    for _ in 0..2 {
        f.store.close().await.unwrap_or_else(|error| panic!("{error}"));
    }
    assert_eq!(kind_of(f.try_ask("k", &limit, Ask::Take(1)).await), ErrorKind::Closed);
    assert_eq!(kind_of(f.store.refund(b"k", &limit, 1, 0).await), ErrorKind::Closed);
    assert_eq!(kind_of(f.store.health().await), ErrorKind::Closed);
}
