//! What the `metrics` facade is told.

use std::collections::BTreeMap;

use metrics_util::debugging::{DebugValue, DebuggingRecorder};
use rate_limiter::{Limit, Memory, RateLimiter};

#[test]
fn decisions_are_counted_by_outcome() {
    let recorder = DebuggingRecorder::new();
    let snapshotter = recorder.snapshotter();
    let limiter = RateLimiter::new(
        Memory::<Vec<u8>>::default(),
        Limit::token_bucket("1/h burst 2".parse().unwrap()).unwrap(),
    );
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    metrics::with_local_recorder(&recorder, || {
        runtime.block_on(async {
            for _ in 0..5 {
                limiter.allow("k").await.unwrap();
            }
            limiter.acquire("k", 3).await.unwrap();
            limiter.acquire("k", 0).await.unwrap_err();
        });
    });
    let counts: BTreeMap<String, DebugValue> = (snapshotter.snapshot().into_vec().into_iter())
        .map(|(key, _, _, value)| {
            let labels = key.key().labels().map(|label| format!("{}={}", label.key(), label.value()));
            (format!("{} {}", key.key().name(), labels.collect::<Vec<_>>().join(" ")), value)
        })
        .collect();
    let of = |outcome| format!("patterns.rate_limiter.decisions backend=memory op=acquire outcome={outcome}");
    let expected = [("allowed", 2), ("denied", 3), ("invalid", 1), ("never_fits", 1)];
    assert_eq!(counts, expected.map(|(outcome, count)| (of(outcome), DebugValue::Counter(count))).into());
}
