//! A limiter that only watches.

use rate_limiter::{Limit, Memory, RateLimiter};

#[test]
fn a_shadow_denies_nothing_and_counts_what_it_would_have() {
    let limit = Limit::token_bucket("1/h burst 2".parse().unwrap()).unwrap();
    let limiter = RateLimiter::<Memory<String>>::in_memory(limit).shadow();
    assert!((0..10).all(|_| limiter.try_allow("k").unwrap()));
    assert!(limiter.try_acquire("k", 3).unwrap().is_allowed());
    assert_eq!(limiter.shadow_denied(), 9);
}
