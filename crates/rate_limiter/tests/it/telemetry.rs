//! What the `metrics` facade is told.

use std::collections::BTreeMap;

use metrics_util::debugging::{DebugValue, DebuggingRecorder, Snapshotter};
use rate_limiter::{Limit, Memory, RateLimiter};

/// By how much counters have risen since the last look, by name and labels.
fn counts(snapshotter: &Snapshotter) -> BTreeMap<String, DebugValue> {
    (snapshotter.snapshot().into_vec().into_iter())
        .map(|(key, _, _, value)| {
            let labels = key.key().labels().map(|label| format!("{}={}", label.key(), label.value()));
            (format!("{} {}", key.key().name(), labels.collect::<Vec<_>>().join(" ")), value)
        })
        .collect()
}

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
    let of = |outcome| format!("patterns.rate_limiter.decisions backend=memory op=acquire outcome={outcome}");
    let expected = [("allowed", 2), ("denied", 3), ("invalid", 1), ("never_fits", 1)];
    assert_eq!(
        counts(&snapshotter),
        expected.map(|(outcome, count)| (of(outcome), DebugValue::Counter(count))).into()
    );
}

#[cfg(feature = "fallback")]
mod without_the_store {
    use std::sync::atomic::{AtomicBool, Ordering};

    use rate_limiter::{
        Answer, Ask, Capability, Error, ErrorKind, Store,
        fallback::{Fallback, OnStoreError},
    };

    use super::*;

    /// Out of reach, from when it is told so.
    #[derive(Debug, Default)]
    struct Fragile {
        memory: Memory<Vec<u8>>,
        is_down: AtomicBool,
    }

    impl Store for Fragile {
        fn capability(&self) -> Capability {
            Capability::new("fragile")
        }

        async fn ask(&self, key: &[u8], limit: &Limit, ask: Ask) -> Result<Answer, Error> {
            if self.is_down.load(Ordering::Relaxed) {
                return Err(Error::new(ErrorKind::Unavailable, "fragile", "acquire", "it is down"));
            }
            self.memory.ask(key, limit, ask).await
        }

        async fn refund(&self, key: &[u8], limit: &Limit, cost: u32, taken_at: u64) -> Result<(), Error> {
            self.memory.refund(key, limit, cost, taken_at).await
        }

        async fn health(&self) -> Result<(), Error> {
            Ok(())
        }

        async fn close(&self) -> Result<(), Error> {
            Ok(())
        }
    }

    #[test]
    fn decisions_without_the_store_are_counted_by_policy() {
        for (policy, name, allowed) in [
            (OnStoreError::Allow, "allow", 20),
            (OnStoreError::Deny, "deny", 0),
            (OnStoreError::Local { fraction: 0.5 }, "local", 3),
        ] {
            let recorder = DebuggingRecorder::new();
            let snapshotter = recorder.snapshotter();
            let store = Fallback::builder(policy).clock(clock::ManualClock::new());
            let store = store.build(Fragile::default()).unwrap();
            let limiter =
                RateLimiter::new(store, Limit::token_bucket("1/h burst 6".parse().unwrap()).unwrap());
            let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
            let ask = |times| {
                metrics::with_local_recorder(&recorder, || {
                    runtime.block_on(async {
                        for _ in 0..times {
                            limiter.allow("k").await.unwrap();
                        }
                    });
                });
                counts(&snapshotter)
            };
            let here = format!("patterns.rate_limiter.decided_here backend=fragile op=acquire policy={name}");
            let errors = "patterns.rate_limiter.store_errors backend=fragile";
            assert_eq!(ask(2).keys().filter(|key| !key.contains(".decisions ")).count(), 0, "{name}");
            limiter.store().store().is_down.store(true, Ordering::Relaxed);
            let counts = ask(20);
            // The first finds out; the clock stands, so nobody tries again.
            assert_eq!(counts.get(errors), Some(&DebugValue::Counter(1)), "{name}: {counts:?}");
            assert_eq!(counts.get(&here), Some(&DebugValue::Counter(20)), "{name}: {counts:?}");
            assert_eq!(limiter.store().stats().decided_here, 20);
            let of = |outcome| {
                let decisions = "patterns.rate_limiter.decisions backend=fragile op=acquire outcome=";
                match counts.get(&format!("{decisions}{outcome}")) {
                    Some(DebugValue::Counter(count)) => *count,
                    _ => 0,
                }
            };
            assert_eq!((of("allowed"), of("denied")), (allowed, 20 - allowed), "{name}: {counts:?}");
        }
    }
}
