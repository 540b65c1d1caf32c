use std::time::Duration;

use super::{Case, Fixture, kind_of, limit};
use crate::{Capability, Decision, ErrorKind, Result};

/// Lists each function as a case of the same name.
macro_rules! cases {
    ($($name:ident $(needs $need:expr)?),+ $(,)?) => {
        vec![$(Case {
            name: stringify!($name),
            needs: (|_: &Capability| Ok(())) as fn(&Capability) -> Result<(), &'static str>,
            $(needs: $need,)?
            run: |fixture| Box::pin($name(fixture)),
        }),+]
    };
}

pub(super) fn all() -> Vec<Case> {
    cases![
        a_new_key_has_its_whole_burst,
        a_denial_takes_nothing,
        a_cost_is_taken_whole_or_not_at_all,
        a_cost_above_the_burst_never_fits,
        a_cost_equal_to_the_burst_fits_once,
        a_cost_of_zero_is_invalid,
        remaining_counts_down_to_zero,
        tokens_come_back_at_the_rate,
        a_bucket_never_holds_more_than_its_burst,
        retry_after_is_exact,
        retry_after_covers_the_cost_that_was_asked,
        reset_after_is_when_the_bucket_is_full,
        fractions_of_a_token_are_not_lost,
        a_slow_quota_is_counted_exactly,
        a_fast_quota_is_counted_exactly,
        keys_do_not_share_their_quota,
        keys_may_be_any_bytes,
        a_changed_quota_grants_no_more_than_the_new_burst,
        concurrent_callers_share_one_quota_exactly,
        health_answers,
        a_closed_store_says_so,
    ]
}

async fn a_new_key_has_its_whole_burst(f: Fixture) {
    assert_eq!(f.drain("k", &limit("10/s")).await, 10);
    assert_eq!(f.drain("other", &limit("10/s burst 3")).await, 3);
}

async fn a_denial_takes_nothing(f: Fixture) {
    let limit = limit("1/s burst 5");
    assert!(f.take("k", &limit, 4).await.is_allowed());
    for _ in 0..100 {
        assert!(!f.take("k", &limit, 2).await.is_allowed());
    }
    assert!(f.take("k", &limit, 1).await.is_allowed());
}

async fn a_cost_is_taken_whole_or_not_at_all(f: Fixture) {
    let limit = limit("1/min burst 10");
    assert!(f.take("k", &limit, 7).await.is_allowed());
    assert!(!f.take("k", &limit, 4).await.is_allowed());
    assert!(f.take("k", &limit, 3).await.is_allowed());
    assert_eq!(f.drain("k", &limit).await, 0);
}

async fn a_cost_above_the_burst_never_fits(f: Fixture) {
    let limit = limit("100/s burst 10");
    assert_eq!(f.take("k", &limit, 11).await, Decision::NeverFits { burst: 10 });
    assert_eq!(f.take("k", &limit, u32::MAX).await, Decision::NeverFits { burst: 10 });
    assert_eq!(f.drain("k", &limit).await, 10, "a request that never fits must take nothing");
}

async fn a_cost_equal_to_the_burst_fits_once(f: Fixture) {
    let limit = limit("1/s burst 1000000");
    assert!(f.take("k", &limit, 1_000_000).await.is_allowed());
    assert!(!f.take("k", &limit, 1).await.is_allowed());
}

async fn a_cost_of_zero_is_invalid(f: Fixture) {
    assert_eq!(kind_of(f.try_take("k", &limit("1/s"), 0).await), ErrorKind::Invalid);
}

async fn remaining_counts_down_to_zero(f: Fixture) {
    let limit = limit("1/h burst 4");
    for expected in [3, 2, 1, 0] {
        match f.take("k", &limit, 1).await {
            Decision::Allowed { remaining, .. } => assert_eq!(remaining, expected),
            other => panic!("{other:?}"),
        }
    }
}

async fn tokens_come_back_at_the_rate(f: Fixture) {
    let limit = limit("10/s");
    assert_eq!(f.drain("k", &limit).await, 10);
    f.advance(Duration::from_millis(99)).await;
    assert_eq!(f.drain("k", &limit).await, 0);
    f.advance(Duration::from_millis(1)).await;
    assert_eq!(f.drain("k", &limit).await, 1);
    f.advance(Duration::from_millis(350)).await;
    assert_eq!(f.drain("k", &limit).await, 3);
}

async fn a_bucket_never_holds_more_than_its_burst(f: Fixture) {
    let limit = limit("10/s burst 15");
    for idle in [Duration::from_secs(15), Duration::from_secs(17), Duration::from_secs(86_400)] {
        f.drain("k", &limit).await;
        f.advance(idle).await;
        assert_eq!(f.drain("k", &limit).await, 15, "after {idle:?}");
    }
}

async fn retry_after_is_exact(f: Fixture) {
    let limit = limit("3/s");
    f.drain("k", &limit).await;
    let Decision::Denied { retry_after } = f.take("k", &limit, 1).await else { panic!("expected a denial") };
    assert_eq!(retry_after, Duration::from_micros(333_334));
    f.advance(retry_after - Duration::from_micros(1)).await;
    assert!(!f.take("k", &limit, 1).await.is_allowed());
    f.advance(Duration::from_micros(1)).await;
    assert!(f.take("k", &limit, 1).await.is_allowed());
}

async fn retry_after_covers_the_cost_that_was_asked(f: Fixture) {
    let limit = limit("7/s burst 20");
    f.drain("k", &limit).await;
    let retry_after = f.take("k", &limit, 13).await.retry_after();
    f.advance(retry_after.unwrap_or_default()).await;
    assert!(f.take("k", &limit, 13).await.is_allowed());
}

async fn reset_after_is_when_the_bucket_is_full(f: Fixture) {
    let limit = limit("4/s burst 8");
    let Decision::Allowed { reset_after, .. } = f.take("k", &limit, 3).await else {
        panic!("expected a grant")
    };
    assert_eq!(reset_after, Duration::from_millis(750));
    f.advance(reset_after).await;
    assert_eq!(f.drain("k", &limit).await, 8);
}

async fn fractions_of_a_token_are_not_lost(f: Fixture) {
    // Room for two, so that the bucket is never full and nothing may spill.
    let limit = limit("1/h burst 2");
    f.drain("k", &limit).await;
    let mut granted = 0;
    // Asked every 7 s for 20 hours: a limiter that rounds at each call grants far less than 20.
    for _ in 0..10_286 {
        f.advance(Duration::from_secs(7)).await;
        granted += u64::from(f.take("k", &limit, 1).await.is_allowed());
    }
    assert_eq!(granted, 20);
}

async fn a_slow_quota_is_counted_exactly(f: Fixture) {
    let limit = limit("1/30day burst 1000000");
    assert!(f.take("k", &limit, 1_000_000).await.is_allowed());
    let day = Duration::from_secs(86_400);
    let Decision::Denied { retry_after } = f.take("k", &limit, 1).await else { panic!("expected a denial") };
    // One part in a million of 30 days is 2.6 s.
    assert!(retry_after.abs_diff(30 * day) <= Duration::from_micros(2_592_000), "{retry_after:?}");
    f.advance(retry_after).await;
    assert!(f.take("k", &limit, 1).await.is_allowed());
    assert!(!f.take("k", &limit, 1).await.is_allowed());
}

async fn a_fast_quota_is_counted_exactly(f: Fixture) {
    for (quota, micros, expected) in [
        ("700000000/s burst 1000", 1, 700),
        ("60000000/s burst 1000", 10, 600),
        ("1000000000/s burst 5000", 3, 3_000),
    ] {
        let limit = limit(quota);
        let burst = u32::try_from(limit.quota().burst()).unwrap_or(u32::MAX);
        assert!(f.take(quota, &limit, burst).await.is_allowed());
        f.advance(Duration::from_micros(micros)).await;
        assert!(!f.take(quota, &limit, expected + 1).await.is_allowed(), "{quota}");
        assert!(f.take(quota, &limit, expected).await.is_allowed(), "{quota}");
    }
}

async fn keys_do_not_share_their_quota(f: Fixture) {
    let limit = limit("1/s burst 2");
    for key in ["a", "b", "aa", "", "a:b", "{a}", "{a}b"] {
        assert_eq!(f.drain(key, &limit).await, 2, "{key:?}");
    }
}

async fn keys_may_be_any_bytes(f: Fixture) {
    let limit = limit("1/s burst 2");
    for key in ["\0", "\r\n", "{", "}{", "{}", "ключ", &"k".repeat(10_000), "* $1"] {
        assert_eq!(f.drain(key, &limit).await, 2, "{key:?}");
        f.advance(Duration::from_secs(1)).await;
        assert_eq!(f.drain(key, &limit).await, 1, "{key:?}");
    }
}

async fn a_changed_quota_grants_no_more_than_the_new_burst(f: Fixture) {
    let (small, large) = (limit("1/s burst 10"), limit("1000/s burst 100"));
    assert_eq!(f.drain("up", &small).await, 10);
    assert!(f.drain("up", &large).await <= 100);
    assert_eq!(f.drain("down", &large).await, 100);
    assert!(f.drain("down", &small).await <= 10);
    f.advance(Duration::from_secs(3_600)).await;
    assert_eq!(f.drain("down", &small).await, 10);
}

async fn concurrent_callers_share_one_quota_exactly(f: Fixture) {
    let limit = limit("1/day burst 1000");
    let callers = (0..64).map(|_| {
        let f = f.clone();
        tokio::spawn(async move {
            let mut granted = 0;
            for _ in 0..50 {
                granted += u64::from(f.take("k", &limit, 1).await.is_allowed());
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

async fn health_answers(f: Fixture) {
    f.store.health().await.unwrap_or_else(|error| panic!("{error}"));
}

async fn a_closed_store_says_so(f: Fixture) {
    let limit = limit("1/s");
    for _ in 0..2 {
        f.store.close().await.unwrap_or_else(|error| panic!("{error}"));
    }
    assert_eq!(kind_of(f.try_take("k", &limit, 1).await), ErrorKind::Closed);
    assert_eq!(kind_of(f.store.health().await), ErrorKind::Closed);
}
