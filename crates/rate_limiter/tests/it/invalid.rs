//! What makes no sense is a typed error, never a panic and never "allow".

use std::time::Duration;

use rate_limiter::{Algorithm, ErrorKind, Limit, Memory, Quota, QuotaError, RateLimiter};

#[test]
fn quotas_that_cannot_be() {
    let of = |tokens, period| Quota::new(tokens, period).unwrap_err();
    assert_eq!(of(0, Duration::from_secs(1)), QuotaError::ZeroTokens);
    assert_eq!(of(1, Duration::ZERO), QuotaError::Period);
    assert_eq!(of(1, Duration::from_nanos(1_500)), QuotaError::Period);
    assert_eq!(of(1, Duration::MAX), QuotaError::Period);
    assert_eq!(of(1_000_000_001, Duration::from_secs(1)), QuotaError::TooFast);
    assert_eq!(of(u64::MAX, Duration::from_secs(1)), QuotaError::TooFast);
    assert_eq!(Quota::per_second(1).unwrap().with_burst(0).unwrap_err(), QuotaError::ZeroBurst);
}

#[test]
fn capacities_that_cannot_be_counted() {
    for (rate, burst) in
        [("1/s", u64::MAX), ("999999937/s", 1 << 45), ("1/365day", 1 << 52), ("1/365day", 1_000_000)]
    {
        let quota = rate.parse::<Quota>().unwrap().with_burst(burst).unwrap();
        assert_eq!(Limit::token_bucket(quota).unwrap_err(), QuotaError::Uncountable, "{quota}");
    }
}

#[test]
fn windows_have_no_burst_and_limits_a_quota() {
    for algorithm in Algorithm::ALL {
        let built = Limit::new(algorithm, "10/s burst 5".parse().unwrap());
        assert_eq!(built.err(), algorithm.is_windowed().then_some(QuotaError::BurstInWindow), "{algorithm}");
    }
    assert_eq!(Limit::all_of([]).unwrap_err(), QuotaError::Empty);
}

#[test]
fn texts_that_are_no_quota() {
    for text in [
        "",
        "10",
        "10/",
        "/s",
        "x/s",
        "-1/s",
        "+1/s",
        "1.5/s",
        "10/fortnight",
        "10/s burst",
        "10/s burst x",
        "10/99999999999999999999s",
        "10 / s",
        "1/s1",
    ] {
        let error = text.parse::<Quota>().unwrap_err().to_string();
        assert!(error.contains("write it like 100/s"), "{text:?}: {error}");
    }
    for (text, why) in [
        ("0/s", "zero tokens"),
        ("10/0s", "period"),
        ("10/400day", "period"),
        ("9999999999/s", "1,000,000,000"),
        ("1/s burst 0", "burst of zero"),
        ("1/18446744073709551615day", "period"),
    ] {
        let error = text.parse::<Quota>().unwrap_err().to_string();
        assert!(error.contains(why), "{text:?}: {error}");
    }
}

#[test]
fn quotas_read_back_as_they_are_written() {
    for text in ["100/s", "5/30s", "1/day", "100/s burst 20", "7/13ms", "1/us", "3/7us burst 1", "2/h"] {
        assert_eq!(text.parse::<Quota>().unwrap().to_string(), text);
    }
}

#[test]
fn calls_that_make_no_sense() {
    let limiter =
        RateLimiter::<Memory<String>>::in_memory(Limit::token_bucket("1/s".parse().unwrap()).unwrap());
    assert_eq!(limiter.try_acquire("k", 0).unwrap_err().kind(), ErrorKind::Invalid);
    assert_eq!(Memory::builder().max_keys(0).build::<String, Limit>().unwrap_err().kind(), ErrorKind::Config);
    assert_eq!(
        Memory::builder().max_keys(usize::MAX).build::<String, Limit>().unwrap_err().kind(),
        ErrorKind::Config
    );
    assert!("leaky".parse::<Algorithm>().unwrap_err().to_string().contains("token-bucket"));
}
