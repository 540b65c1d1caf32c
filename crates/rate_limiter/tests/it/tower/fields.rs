//! What the fields say, read by a parser of structured fields.

use std::time::Duration;

use http::Request;
use proptest::prelude::*;
use rate_limiter::{
    Algorithm, Limit, Quota,
    tower::{DRAFT, QuotaUnit, RateLimitLayer},
};
use tower_layer::Layer as _;

use super::{Mock, call, items, limit, limiter, request, text, user};

#[test]
fn the_fields_follow_this_draft() {
    assert_eq!(DRAFT, "draft-ietf-httpapi-ratelimit-headers-11");
}

/// Responses to requests of one user, each after a pause in milliseconds.
fn responses(limit: Limit, pauses: &[u64]) -> Vec<http::Response<String>> {
    let (limiter, clock) = limiter::<String>(limit);
    let mut service = RateLimitLayer::builder(limiter, user).build().unwrap().layer(Mock::default());
    let mut after = |pause| {
        clock.advance(Duration::from_millis(pause));
        call(&mut service, request("alice"))
    };
    pauses.iter().map(|pause| after(*pause)).collect()
}

fn fields(limit: Limit, pauses: &[u64]) -> Vec<(u16, String, Option<String>)> {
    let field = |response: &http::Response<String>, name| text(response.headers(), name).map(str::to_owned);
    let line = |response: &http::Response<String>| {
        let limit = field(response, "ratelimit").unwrap();
        (response.status().as_u16(), limit, field(response, "retry-after"))
    };
    responses(limit, pauses).iter().map(line).collect()
}

fn line(status: u16, limit: &str, retry_after: Option<&str>) -> (u16, String, Option<String>) {
    (status, limit.to_owned(), retry_after.map(str::to_owned))
}

#[test]
fn a_bucket_tells_what_remains_and_how_to_pace_it() {
    let expected = [
        line(201, "\"default\";r=2;t=40", None),
        line(201, "\"default\";r=1;t=20", None),
        line(201, "\"default\";r=0;t=20", None),
        line(429, "\"default\";r=0;t=20", Some("20")),
        // 0.9 s are left: rounded up, not down.
        line(429, "\"default\";r=0;t=1", Some("1")),
        // 10.9 s of the 20 until the next.
        line(201, "\"default\";r=0;t=20", None),
        line(429, "\"default\";r=0;t=10", Some("10")),
    ];
    assert_eq!(fields(limit("3/min"), &[0, 0, 0, 0, 19_100, 900 + 100, 10_000]), expected);
}

#[test]
fn a_window_tells_when_it_ends() {
    let window = Limit::new(Algorithm::FixedWindow, "2/min".parse().unwrap()).unwrap();
    let expected = [
        line(201, "\"default\";r=1;t=60", None),
        line(201, "\"default\";r=0;t=31", None),
        line(429, "\"default\";r=0;t=31", Some("31")),
        // A request each 30 s keeps to the rate, though the window ends sooner.
        line(201, "\"default\";r=1;t=60", None),
    ];
    assert_eq!(fields(window, &[0, 29_500, 0, 30_500]), expected);
}

#[test]
fn the_policy_is_in_whole_seconds() {
    for (quota, policy) in [
        ("100/min", "\"default\";q=100;w=60"),
        ("100/s burst 20", "\"default\";q=100;w=1"),
        ("1/100ms", "\"default\";q=10;w=1"),
        ("5/1500ms", "\"default\";q=6;w=2"),
        ("1000/day", "\"default\";q=1000;w=86400"),
        ("1000000000/s", "\"default\";q=1000000000;w=1"),
    ] {
        let response = &responses(limit(quota), &[0])[0];
        assert_eq!(text(response.headers(), "ratelimit-policy"), Some(policy), "{quota}");
    }
}

#[test]
fn every_part_has_a_policy_and_the_strictest_is_told() {
    let all = || Limit::all_of([limit("2/s"), limit("4/h")]).unwrap();
    let responses = responses(all(), &[0, 0, 0, 1_000, 0, 1_000]);
    let policies = text(responses[0].headers(), "ratelimit-policy").unwrap();
    assert_eq!(policies, "\"default-2/s\";q=2;w=1, \"default-4/h\";q=4;w=3600");
    assert_eq!(items(responses[0].headers(), "ratelimit-policy").len(), 2);
    let told: Vec<_> =
        responses.iter().map(|response| text(response.headers(), "ratelimit").unwrap()).collect();
    assert_eq!(
        told,
        [
            "\"default-2/s\";r=1;t=1",
            "\"default-2/s\";r=0;t=1",
            "\"default-2/s\";r=0;t=1",
            "\"default-4/h\";r=1;t=900",
            "\"default-4/h\";r=0;t=900",
            "\"default-4/h\";r=0;t=898",
        ]
    );
    assert_eq!(responses[2].status(), 429);
    assert!(responses[2].body().contains(r#""violated-policies":["default-2/s"]"#));
    assert_eq!(text(responses[5].headers(), "retry-after"), Some("898"));
    assert!(responses[5].body().contains(r#""violated-policies":["default-4/h"]"#));
}

#[test]
fn a_cost_that_exceeds_one_part_names_it() {
    let (limiter, _clock) = limiter::<String>(Limit::all_of([limit("9/s"), limit("4/h")]).unwrap());
    let layer = RateLimitLayer::builder(limiter, user).cost(|_: &Request<()>| 5).build().unwrap();
    let response = call(&mut layer.layer(Mock::default()), request("alice"));
    assert_eq!(response.status(), 413);
    assert!(response.body().contains(r#""violated-policies":["default-4/h"]"#), "{}", response.body());
}

#[test]
fn a_denial_is_problem_details() {
    let (limiter, _clock) = limiter::<String>(limit("1/min"));
    let layer = RateLimitLayer::builder(limiter, user).policy(r#"a "b" \"#).unit(QuotaUnit::ContentBytes);
    let mut service = layer.build().unwrap().layer(Mock::default());
    call(&mut service, request("alice"));
    let response = call(&mut service, request("alice"));
    assert_eq!(text(response.headers(), "content-type"), Some("application/problem+json"));
    let body: serde_json::Value = serde_json::from_str(response.body()).unwrap();
    let expected = serde_json::json!({
        "type": "https://iana.org/assignments/http-problem-types#quota-exceeded",
        "title": "Request cannot be satisfied as assigned quota has been exceeded",
        "status": 429,
        "detail": "retry after 60 s",
        "violated-policies": [r#"a "b" \"#],
    });
    assert_eq!(body, expected);
    assert_eq!(items(response.headers(), "ratelimit")[0].0, r#"a "b" \"#);
    let policy = text(response.headers(), "ratelimit-policy").unwrap();
    assert!(policy.ends_with(r#"";q=1;w=60;qu="content-bytes""#), "{policy}");
    items(response.headers(), "ratelimit-policy");
}

/// Quotas of every size that a limit can be made of, extremes among them.
fn limits() -> impl Strategy<Value = Limit> {
    let micros = prop_oneof![Just(1_u64), 1_u64..3_000_000, 1_u64..31_536_000_000_000];
    let tokens = prop_oneof![1_u64..10, 1_u64..2_000, 1_u64..31_000_000_000_000_000];
    // But a queue, which would call the service later.
    let algorithms = Algorithm::ALL.into_iter().filter(|algorithm| *algorithm != Algorithm::LeakyBucketQueue);
    let algorithm = prop::sample::select(algorithms.collect::<Vec<_>>());
    let part = (tokens, micros, prop::option::of(1_u64..1 << 40), algorithm).prop_filter_map(
        "no such limit",
        |(tokens, micros, burst, algorithm)| {
            // The log keeps the time of each token.
            let tokens = if algorithm == Algorithm::SlidingWindowLog { tokens % 1_000 + 1 } else { tokens };
            let quota = Quota::new(tokens, Duration::from_micros(micros)).ok()?;
            let quota = match burst {
                Some(burst) if !algorithm.is_windowed() => quota.with_burst(burst).ok()?,
                _ => quota,
            };
            Limit::new(algorithm, quota).ok()
        },
    );
    prop_oneof![
        part.clone(),
        prop::collection::vec(part, 1..4).prop_map(|parts| Limit::all_of(parts).unwrap()),
    ]
}

/// Any name that may be one.
fn names() -> impl Strategy<Value = String> {
    "[ -~]{1,64}"
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn the_fields_of_any_decision_can_be_read(
        limit in limits(),
        name in names(),
        requests in prop::collection::vec((0_u64..10_000_000_000, 1_u32..2_000), 1..20),
    ) {
        let (limiter, clock) = limiter::<String>(limit.clone());
        let layer = RateLimitLayer::builder(limiter, user).policy(name.clone()).cost(|request: &Request<()>| {
            request.extensions().get::<u32>().copied().unwrap_or(1)
        });
        let mut service = layer.build().unwrap().layer(Mock::default());
        for (pause, cost) in requests {
            clock.advance(Duration::from_micros(pause));
            let mut request = request("alice");
            request.extensions_mut().insert(cost);
            let response = call(&mut service, request);
            let headers = response.headers();
            let policies = items(headers, "ratelimit-policy");
            prop_assert_eq!(policies.len(), limit.parts().len());
            for (policy, parameters) in &policies {
                prop_assert!(policy.starts_with(&name));
                let [(q, tokens), (w, seconds)] = &parameters[..] else { panic!("{parameters:?}") };
                prop_assert_eq!((q.as_str(), w.as_str()), ("q", "w"));
                prop_assert!(*tokens >= 1 && *seconds >= 1);
            }
            let told = items(headers, "ratelimit");
            prop_assert_eq!(told.len(), usize::from(response.status() != 413));
            for (policy, parameters) in &told {
                prop_assert!(policies.iter().any(|(name, _)| name == policy));
                let [(r, remaining), (t, seconds)] = &parameters[..] else { panic!("{parameters:?}") };
                prop_assert_eq!((r.as_str(), t.as_str()), ("r", "t"));
                prop_assert!(*remaining >= 0 && *seconds >= 1);
                let retry_after = text(headers, "retry-after").map(|text| text.parse::<i64>().unwrap());
                prop_assert_eq!(retry_after.is_some(), response.status() == 429);
                prop_assert!(retry_after.is_none_or(|after| after >= *seconds));
            }
        }
    }

    /// What `Retry-After` says is true: not a second later than need be, and never too early.
    #[test]
    fn coming_back_after_retry_after_succeeds(tokens in 1_u64..50, micros in 1_000_000_u64..100_000_000, pause in 0_u64..3_000) {
        let quota = Quota::new(tokens, Duration::from_micros(micros)).unwrap();
        let (limiter, clock) = limiter::<String>(Limit::token_bucket(quota).unwrap());
        let mut service = RateLimitLayer::builder(limiter, user).build().unwrap().layer(Mock::default());
        let denied = loop {
            clock.advance(Duration::from_micros(pause));
            let response = call(&mut service, request("alice"));
            if response.status() == 429 {
                break response;
            }
        };
        let seconds: u64 = text(denied.headers(), "retry-after").unwrap().parse().unwrap();
        clock.advance(Duration::from_secs(seconds - 1));
        if seconds > 1 {
            prop_assert_eq!(call(&mut service, request("alice")).status(), 429);
        }
        clock.advance(Duration::from_secs(1));
        prop_assert_eq!(call(&mut service, request("alice")).status(), 201);
    }

    /// Whoever spreads what remains over the window is never denied.
    #[test]
    fn pacing_by_the_fields_is_never_denied(tokens in 1_u64..50, seconds in 1_u64..100, burst in 1_u64..100) {
        let quota = Quota::new(tokens, Duration::from_secs(seconds)).unwrap().with_burst(burst).unwrap();
        let (limiter, clock) = limiter::<String>(Limit::token_bucket(quota).unwrap());
        let mut service = RateLimitLayer::builder(limiter, user).build().unwrap().layer(Mock::default());
        for _ in 0..100 {
            let response = call(&mut service, request("alice"));
            prop_assert_eq!(response.status(), 201);
            let (_, parameters) = &items(response.headers(), "ratelimit")[0];
            let (remaining, window) = (parameters[0].1, parameters[1].1);
            let pause = u64::try_from(window * 1_000_000 / remaining.max(1)).unwrap();
            clock.advance(Duration::from_micros(pause));
        }
    }
}
