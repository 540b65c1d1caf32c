//! A thread that read the clock, was held up, and then meets what others have done meanwhile: it is neither denied
//! for it, nor does it take the others' time for a clock that was set back.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use clock::{Clock, ManualClock, Time};
use rate_limiter::{Algorithm, Ask, Direct, Limit, Memory, OnFull};

/// A clock whose next reading was made some time ago.
#[derive(Debug, Default)]
struct Late {
    clock: ManualClock,
    behind: AtomicU64,
    readings: AtomicU64,
}

impl Clock for Late {
    fn now(&self) -> Time {
        self.readings.fetch_add(1, Ordering::Relaxed);
        Time::from_nanos(self.clock.now().as_nanos() - self.behind.swap(0, Ordering::Relaxed))
    }
}

impl Late {
    fn new() -> Arc<Self> {
        let late = Self::default();
        late.clock.set(Time::ZERO + Duration::from_secs(1_000_000));
        Arc::new(late)
    }

    fn hold_up(&self, behind: Duration) {
        self.behind.store(u64::try_from(behind.as_nanos()).unwrap(), Ordering::Relaxed);
    }

    /// How often `ask` reads the clock, and what it gives.
    fn readings<T>(&self, ask: impl FnOnce() -> T) -> (u64, T) {
        let before = self.readings.load(Ordering::Relaxed);
        let answer = ask();
        (self.readings.load(Ordering::Relaxed) - before, answer)
    }
}

type Keyed = Memory<u64, Limit, Arc<Late>>;
type Way = Box<dyn Fn(u32) -> bool>;

fn keyed(clock: &Arc<Late>) -> Keyed {
    Memory::builder().clock(Arc::clone(clock)).max_keys(1_000).build().unwrap()
}

fn limit(algorithm: Algorithm, quota: &str) -> Limit {
    Limit::new(algorithm, quota.parse().unwrap()).unwrap()
}

/// Those of which a key is kept in one word, for whose sake no thread waits: a burst, and the span in which it flows.
/// All others are decided upon under a lock, and under it the clock is read; see `tests/loom.rs`.
fn limits() -> Vec<(Limit, u32, Duration)> {
    let packed =
        [Algorithm::TokenBucket, Algorithm::Gcra, Algorithm::LeakyBucket, Algorithm::LeakyBucketQueue];
    let mut limits = Vec::from(packed.map(|algorithm| (limit(algorithm, "4/s"), 4, Duration::from_secs(1))));
    // Several tokens in a microsecond.
    limits.push((limit(Algorithm::TokenBucket, "3000/ms"), 3_000, Duration::from_millis(1)));
    limits
}

/// Every way to ask for some tokens.
fn ways(limit: &Limit, clock: &Arc<Late>) -> Vec<(&'static str, Way)> {
    let all_taken = |ask: fn(u32) -> Ask| -> Way {
        let (store, limit, clock) = (keyed(clock), limit.clone(), Arc::clone(clock));
        Box::new(move |cost| {
            let answer = store.try_ask(&1, &limit, ask(cost)).unwrap();
            assert_eq!(answer.at, clock.clock.now().as_micros(), "the time that was used");
            answer.taken == cost
        })
    };
    let (acquired, allowed) = (keyed(clock), keyed(clock));
    let (acquired_limit, allowed_limit) = (limit.clone(), limit.clone());
    let direct = || Direct::with_clock(limit.clone(), Arc::clone(clock));
    let (acquired_direct, allowed_direct) = (direct(), direct());
    // Without keys, it takes a lock.
    let is_queue = limit.parts().any(|part| part.algorithm() == Algorithm::LeakyBucketQueue);
    let mut ways: Vec<(&'static str, Way)> = vec![
        ("ask", all_taken(Ask::Take)),
        ("ask up to", all_taken(Ask::TakeUpTo)),
        (
            "acquire",
            Box::new(move |cost| acquired.try_acquire(&1, &acquired_limit, cost).unwrap().is_allowed()),
        ),
        (
            "allow",
            Box::new(move |cost| match cost {
                1 => allowed.try_allow(&1, &allowed_limit).unwrap(),
                cost => allowed.try_acquire(&1, &allowed_limit, cost).unwrap().is_allowed(),
            }),
        ),
    ];
    if !is_queue {
        ways.push((
            "direct acquire",
            Box::new(move |cost| acquired_direct.try_acquire(cost).unwrap().is_allowed()),
        ));
        ways.push((
            "direct allow",
            Box::new(move |cost| match cost {
                1 => allowed_direct.try_allow(),
                cost => allowed_direct.try_acquire(cost).unwrap().is_allowed(),
            }),
        ));
    }
    ways
}

#[test]
fn what_others_did_meanwhile_neither_denies_nor_grants() {
    for (limit, burst, span) in limits() {
        for behind in [span * 3 / 2, 3 * span, 1_000 * span] {
            let clock = Late::new();
            for (name, take) in ways(&limit, &clock) {
                let case = format!("{name}, {behind:?} behind, {limit:?}");
                assert!(take(1), "{case}");
                clock.hold_up(behind);
                assert!(take(1), "{case}: only one was taken");
                clock.hold_up(Duration::ZERO);
                assert!(take(burst - 2) && !take(1), "{case}: two were taken");
                clock.hold_up(behind);
                assert!(!take(1), "{case}: all were taken");
                clock.hold_up(Duration::ZERO);
                assert!(!take(1), "{case}: still");
            }
        }
    }
}

#[test]
fn a_peek_and_a_refund_read_the_clock_again_too() {
    for (limit, burst, span) in limits() {
        for behind in [span * 3 / 2, 3 * span, 1_000 * span] {
            let clock = Late::new();
            let store = keyed(&clock);
            assert!(store.try_acquire(&1, &limit, burst - 1).unwrap().is_allowed());
            let now = clock.clock.now().as_micros();
            clock.hold_up(behind);
            let answer = store.try_ask(&1, &limit, Ask::Peek(1)).unwrap();
            assert!(answer.decision.is_allowed() && answer.at == now, "{limit:?}, {behind:?} behind");
            assert!(store.try_allow(&1, &limit).unwrap());
            clock.hold_up(behind);
            store.try_refund(&1, &limit, 1, now).unwrap();
            clock.hold_up(Duration::ZERO);
            let granted = (0..3).filter(|_| store.try_allow(&1, &limit).unwrap()).count();
            assert_eq!(granted, 1, "{limit:?}, {behind:?} behind");
        }
    }
}

#[test]
fn what_new_keys_share_is_not_ahead_of_them() {
    for algorithm in Algorithm::ALL {
        let (limit, clock) = (limit(algorithm, "4/ms"), Late::new());
        let builder = Memory::builder().clock(Arc::clone(&clock)).max_keys(1).on_full(OnFull::SharedBucket);
        let store: Keyed = builder.build().unwrap();
        assert!(store.try_acquire(&1, &limit, 4).unwrap().is_allowed());
        assert!(store.try_allow(&2, &limit).unwrap());
        clock.hold_up(Duration::from_micros(1_500));
        assert!(store.try_allow(&3, &limit).unwrap(), "{algorithm}");
        clock.hold_up(Duration::ZERO);
        assert!(store.try_acquire(&4, &limit, 2).unwrap().is_allowed(), "{algorithm}");
        assert!(!store.try_allow(&5, &limit).unwrap(), "{algorithm}");
    }
}

#[test]
fn the_clock_is_read_once_unless_the_state_is_ahead() {
    for (limit, burst, span) in limits() {
        let clock = Late::new();
        for (name, take) in ways(&limit, &clock) {
            let case = format!("{name}, {limit:?}");
            for (cost, allowed) in [(burst - 1, true), (1, true), (1, false), (1, false)] {
                assert_eq!(clock.readings(|| take(cost)), (1, allowed), "{case}");
            }
            clock.hold_up(3 * span);
            assert_eq!(clock.readings(|| take(1)), (2, false), "{case}");
            // Set back for good.
            let now = clock.clock.now();
            clock.clock.set(Time::from_nanos(now.as_nanos() - u64::try_from(span.as_nanos()).unwrap() / 2));
            assert!((1..=2).contains(&clock.readings(|| take(1)).0), "{case}");
            clock.clock.set(now);
        }
    }
}
