//! Tokens that were reserved come back unless they were used.

use clock::ManualClock;
use rate_limiter::{Algorithm, Ask, ErrorKind, Limit, Memory, RateLimiter, Refusal, Store};

fn limiter(algorithm: Algorithm) -> RateLimiter<Memory<String, Limit, ManualClock>> {
    let store = Memory::builder().clock(ManualClock::new()).build().unwrap();
    RateLimiter::new(store, Limit::new(algorithm, "1000/h".parse().unwrap()).unwrap())
}

fn left(limiter: &RateLimiter<Memory<String, Limit, ManualClock>>) -> u32 {
    limiter.store().try_ask("k", limiter.limit(), Ask::TakeUpTo(u32::MAX)).unwrap().taken
}

#[test]
fn ten_thousand_random_cancels_leave_the_balance_exact() {
    for algorithm in Algorithm::ALL {
        let limiter = limiter(algorithm);
        let (mut random, mut used) = (1_u64, 0);
        let mut held = Vec::new();
        for _ in 0..10_000 {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            let cost = 1 + (random >> 33) as u32 % 100;
            match limiter.try_reserve("k", cost) {
                Ok(reservation) => held.push(reservation),
                Err(Refusal::Denied(_)) => {}
                Err(other) => panic!("{other}"),
            }
            if held.len() > 5 {
                let reservation = held.swap_remove((random >> 50) as usize % held.len());
                // One in 1,000 uses a token.
                if (random >> 20).is_multiple_of(1_000) && used < 900 {
                    used += 1;
                    reservation.commit_part(1);
                }
            }
        }
        drop(held);
        assert_eq!(left(&limiter), 1_000 - used, "{algorithm}");
    }
}

#[test]
fn what_is_committed_stays_taken() {
    let limiter = limiter(Algorithm::TokenBucket);
    let reservation = limiter.try_reserve("k", 300).unwrap();
    assert_eq!(reservation.cost(), 300);
    reservation.commit();
    limiter.try_reserve("k", 200).unwrap().commit_part(u32::MAX);
    drop(limiter.try_reserve("k", 500).unwrap());
    assert_eq!(left(&limiter), 500);
}

#[test]
fn a_refusal_says_why() {
    let limiter = limiter(Algorithm::TokenBucket);
    assert!(matches!(limiter.try_reserve("k", 1_001), Err(Refusal::NeverFits(1_000))));
    let _held = limiter.try_reserve("k", 1_000).unwrap();
    assert!(matches!(limiter.try_reserve("k", 1), Err(Refusal::Denied(_))));
    let failed = limiter.try_reserve("k", 0).unwrap_err();
    assert!(matches!(failed, Refusal::Failed(error) if error.kind() == ErrorKind::Invalid));
}

#[test]
fn a_closed_store_swallows_a_refund() {
    let store = Memory::<Vec<u8>>::default();
    let limiter = RateLimiter::new(store, Limit::token_bucket("1/s".parse().unwrap()).unwrap());
    let reservation = limiter.try_reserve(b"k".as_slice(), 1).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(Store::close(limiter.store())).unwrap();
    drop(reservation);
}

#[test]
fn several_keys_are_reserved_or_none() {
    let limiter = limiter(Algorithm::TokenBucket);
    let held = limiter.try_reserve_each([("a", 600), ("k", 600)]).unwrap();
    let refused = limiter.try_reserve_each([("b", 1_000), ("a", 300), ("k", 500)]);
    assert!(matches!(refused, Err(Refusal::Denied(_))));
    held.into_iter().for_each(rate_limiter::Reservation::commit);
    for (key, expected) in [("a", 400), ("b", 1_000), ("k", 400)] {
        let answer = limiter.store().try_ask(key, limiter.limit(), Ask::TakeUpTo(u32::MAX)).unwrap();
        assert_eq!(answer.taken, expected, "{key}");
    }
}
