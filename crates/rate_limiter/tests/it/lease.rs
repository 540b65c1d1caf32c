//! Permits that are leased are taken from the quota first, used once, and given back when they are not.

use std::{sync::Arc, time::Duration};

use clock::ManualClock;
use rate_limiter::{
    Ask, Decision, ErrorKind, Limit, Memory, Store,
    lease::{LeaseBuilder, Leased},
};

type Source = Arc<dyn rate_limiter::DynStore>;

fn limit(quota: &str) -> Limit {
    Limit::token_bucket(quota.parse().unwrap()).unwrap()
}

/// Two processes that lease from one store.
fn processes(
    configure: impl Fn(LeaseBuilder) -> LeaseBuilder,
) -> (Source, [Leased<Source, ManualClock>; 2], ManualClock) {
    let clock = ManualClock::new();
    let source: Source = Arc::new(Memory::builder().clock(clock.clone()).build::<Vec<u8>, Limit>().unwrap());
    let leased = || configure(Leased::builder()).clock(clock.clone()).build(Arc::clone(&source)).unwrap();
    let processes = [leased(), leased()];
    (source, processes, clock)
}

async fn left(source: &Source, limit: &Limit) -> u32 {
    let clock_stands_still = source.ask(b"k", limit, Ask::TakeUpTo(u32::MAX)).await.unwrap();
    Store::refund(source, b"k", limit, clock_stands_still.taken.max(1), clock_stands_still.at).await.unwrap();
    clock_stands_still.taken
}

async fn allows(process: &Leased<Source, ManualClock>, limit: &Limit, cost: u32) -> bool {
    process.ask(b"k", limit, Ask::Take(cost)).await.unwrap().decision.is_allowed()
}

#[tokio::test]
async fn processes_admit_the_quota_together_and_no_more() {
    let limit = limit("10000/s burst 1000");
    let (source, processes, clock) = processes(|builder| builder);
    let mut admitted = 0_u64;
    for _ in 0..2_000 {
        for process in &processes {
            for _ in 0..10 {
                admitted += u64::from(allows(process, &limit, 1).await);
            }
        }
        clock.advance(Duration::from_micros(500));
    }
    // A second has passed, and twice the quota was asked for.
    assert!(admitted <= 11_000, "{admitted}");
    let most_missing = 2 * 100 + 20;
    assert!(admitted + u64::from(left(&source, &limit).await) >= 11_000 - most_missing, "{admitted}");
    for process in &processes {
        // The source, which they share, is closed by the first.
        let _ = process.close().await;
    }
    let stats = processes.iter().map(Leased::stats).fold((0, 0), |sum, stats| {
        (sum.0 + stats.leased + stats.direct - stats.given_back - stats.lost, sum.1 + stats.trips)
    });
    assert_eq!(stats.0, admitted, "each permit is used once or given back");
    assert!(stats.1 < admitted / 5, "{} trips for {admitted} permits", stats.1);
}

#[tokio::test]
async fn a_lot_that_is_not_used_is_given_back_when_its_lease_ends() {
    let limit = limit("1000/s burst 1000");
    let (source, [process, _], clock) = processes(|builder| builder.lasts(Duration::from_millis(100)));
    let mut used = 0;
    while process.stats().leased < 50 {
        assert!(allows(&process, &limit, 1).await);
        used += 1;
    }
    let held = process.stats().leased - used;
    assert!(held > 0);
    clock.advance(Duration::from_millis(100));
    assert!(allows(&process, &limit, 1).await, "a new lease");
    assert_eq!(process.stats().given_back, held);
    assert!(left(&source, &limit).await > 900);
}

#[tokio::test]
async fn what_is_used_up_is_denied_here_until_a_lot_has_flowed_in() {
    let limit = limit("100/s burst 5");
    let (_, [process, _], clock) = processes(|builder| builder);
    for _ in 0..5 {
        assert!(allows(&process, &limit, 1).await);
    }
    assert!(!allows(&process, &limit, 1).await);
    let trips = process.stats().trips;
    let Some(Decision::Denied { retry_after }) = process.try_acquire(b"k", &limit, 1).unwrap() else {
        panic!("it is known to be used up")
    };
    for _ in 0..1_000 {
        assert!(!allows(&process, &limit, 1).await);
    }
    assert_eq!(process.stats().trips, trips, "no trip is made for what is not there");
    clock.advance(retry_after);
    assert!(allows(&process, &limit, 1).await);
}

#[tokio::test]
async fn a_cost_above_a_lot_is_taken_from_the_source() {
    let limit = limit("1000/s burst 1000");
    let (source, [process, _], _clock) = processes(|builder| builder);
    assert!(allows(&process, &limit, 900).await);
    assert_eq!(left(&source, &limit).await, 100);
    let never = process.ask(b"k", &limit, Ask::Take(2_000)).await.unwrap().decision;
    assert_eq!(never, Decision::NeverFits { burst: 1_000 });
}

#[tokio::test]
async fn what_is_refunded_is_given_out_again() {
    let limit = limit("1000/s burst 10");
    let (_, [process, _], _clock) = processes(|builder| builder);
    let mut taken = Vec::new();
    for _ in 0..10 {
        taken.push(process.ask(b"k", &limit, Ask::Take(1)).await.unwrap());
    }
    assert!(!allows(&process, &limit, 1).await);
    process.refund(b"k", &limit, 1, taken[9].at).await.unwrap();
    assert!(allows(&process, &limit, 1).await);
    assert!(!allows(&process, &limit, 1).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn dropped_requests_lose_no_permits() {
    let limit = limit("100000/day burst 100000");
    let (_, [process, _], _clock) = processes(|builder| builder.most(1_000));
    let process = Arc::new(process);
    let mut admitted = 0;
    for turn in 0..10_000_u32 {
        let mut ask = Box::pin(process.ask(b"k", &limit, Ask::Take(1)));
        // Polled once, and dropped where it would have waited.
        let polled = std::future::poll_fn(|context| std::task::Poll::Ready(ask.as_mut().poll(context))).await;
        if let std::task::Poll::Ready(answer) = polled {
            admitted += u64::from(answer.unwrap().decision.is_allowed());
        }
        if turn % 16 == 0 {
            tokio::task::yield_now().await;
        }
    }
    process.close().await.unwrap();
    let stats = process.stats();
    assert_eq!(stats.leased + stats.direct - stats.given_back - stats.lost, admitted);
}

#[tokio::test]
async fn bad_input_is_refused_and_a_closed_lease_says_so() {
    let (_, [process, _], _clock) = processes(|builder| builder);
    let limit = limit("1/s");
    let kind = |result: rate_limiter::Result<_>| result.map(|_: rate_limiter::Answer| ()).unwrap_err().kind();
    assert_eq!(kind(process.ask(b"k", &limit, Ask::Take(0)).await), ErrorKind::Invalid);
    process.close().await.unwrap();
    assert_eq!(kind(process.ask(b"k", &limit, Ask::Take(1)).await), ErrorKind::Closed);
    let source = || Memory::<Vec<u8>>::default();
    assert_eq!(Leased::builder().most(0).build(source()).unwrap_err().kind(), ErrorKind::Config);
    assert_eq!(
        Leased::builder().lasts(Duration::ZERO).build(source()).unwrap_err().kind(),
        ErrorKind::Config
    );
}
