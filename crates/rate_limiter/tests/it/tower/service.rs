//! The layer as a tower service.

use std::{
    convert::Infallible,
    future::{Pending, pending},
    sync::{Arc, atomic::Ordering},
    task::{Context, Poll, Waker},
    time::Duration,
};

use http::{Request, Response, StatusCode};
use rate_limiter::{
    Algorithm, DynStore, ErrorKind, Limit, Memory, RateLimiter,
    tower::{Denial, OnNoKey, OnStoreError, OverStore, RateLimitLayer, ResponseFuture, SendFields},
};
use tower_layer::Layer as _;
use tower_service::Service;

use super::{Mock, call, limit, limiter, now, request, text, user};

#[test]
fn clones_and_services_of_one_layer_share_the_quota() {
    let (limiter, _clock) = limiter::<String>(limit("1/h burst 3"));
    let layer = RateLimitLayer::builder(limiter, user).build().unwrap();
    let mut first = layer.layer(Mock::default());
    let mut second = layer.clone().layer(Mock::default());
    let mut third = first.clone();
    for service in [&mut first, &mut second, &mut third] {
        assert_eq!(call(service, request("alice")).status(), 201);
    }
    for service in [&mut first, &mut second, &mut third] {
        assert_eq!(call(service, request("alice")).status(), 429);
        assert_eq!(call(service, request("bob")).status(), 201);
    }
    assert_eq!(layer.counts().denied, 3);
}

#[test]
fn what_is_refused_never_reaches_the_service() {
    let (limiter, _clock) = limiter::<String>(limit("1/h burst 2"));
    let mock = Mock::default();
    let layer = RateLimitLayer::builder(limiter, user).cost(|request: &Request<()>| {
        request.headers().get("x-cost").map_or(1, |cost| cost.to_str().unwrap().parse().unwrap())
    });
    let layer = layer.build().unwrap();
    let mut service = layer.layer(mock.clone());
    let costing =
        |cost: u32| Request::builder().header("x-user", "alice").header("x-cost", cost).body(()).unwrap();

    let response = call(&mut service, costing(3));
    assert_eq!(response.status(), StatusCode::PAYLOAD_TOO_LARGE);
    assert_eq!(text(response.headers(), "retry-after"), None);
    assert_eq!(text(response.headers(), "ratelimit"), None);
    assert!(response.body().contains("costs 3; at most 2"), "{}", response.body());

    let response = call(&mut service, Request::new(()));
    assert_eq!(response.status(), StatusCode::FORBIDDEN);
    assert_eq!(mock.calls(), 0);

    assert_eq!(call(&mut service, costing(2)).status(), 201, "nothing was taken before");
    assert_eq!(call(&mut service, costing(1)).status(), 429);
    assert_eq!(mock.calls(), 1);

    let response = call(&mut service, costing(0));
    assert_eq!(response.status(), 201, "what costs nothing goes ahead");
    assert!(text(response.headers(), "ratelimit-policy").is_some());
    assert_eq!(text(response.headers(), "ratelimit"), None);
    let counts = layer.counts();
    assert_eq!((counts.denied, counts.never_fits, counts.no_key, counts.store_failed), (1, 1, 1, 0));
}

#[test]
fn requests_without_a_key_may_pass() {
    let (limiter, _clock) = limiter::<String>(limit("1/h burst 1"));
    let layer = RateLimitLayer::builder(limiter, user).on_no_key(OnNoKey::Pass).build().unwrap();
    let mut service = layer.layer(Mock::default());
    for _ in 0..3 {
        let response = call(&mut service, Request::new(()));
        assert_eq!(response.status(), 201);
        assert_eq!(text(response.headers(), "ratelimit-policy"), None);
    }
    assert_eq!(layer.counts().no_key, 0);
}

#[test]
fn each_tier_has_its_own_quota_and_policy() {
    let (free, _clock) = limiter::<String>(limit("1/h burst 1"));
    let (gold, _clock) = limiter::<String>(limit("1/h burst 3"));
    let layer = RateLimitLayer::builder(free, user).policy("free").tier("gold", gold).tier_by(
        |request: &Request<()>| match request.headers().get("x-user")?.to_str().ok()? {
            "midas" => Some("gold"),
            "nobody" => Some("there is no such tier"),
            _ => None,
        },
    );
    let mut service = layer.build().unwrap().layer(Mock::default());
    let mut allowed = |user: &str| {
        let responses: Vec<_> = (0..5).map(|_| call(&mut service, request(user))).collect();
        let policy = text(responses[4].headers(), "ratelimit-policy").unwrap().to_owned();
        (responses.iter().filter(|response| response.status() == 201).count(), policy)
    };
    assert_eq!(allowed("alice"), (1, "\"free\";q=1;w=3600".to_owned()));
    assert_eq!(allowed("nobody"), (1, "\"free\";q=1;w=3600".to_owned()));
    assert_eq!(allowed("midas"), (3, "\"gold\";q=1;w=3600".to_owned()));
}

#[test]
fn responses_and_errors_of_the_service_pass() {
    let (one, _clock) = limiter::<String>(limit("1/h burst 9"));
    let layer = RateLimitLayer::builder(one, user).build().unwrap();
    let response = call(&mut layer.layer(Mock::default()), request("alice"));
    assert_eq!(text(response.headers(), "x-own"), Some("kept"));
    assert_eq!(response.body(), "served");
    let mut failing = layer.layer(Mock { fails: true, ..Mock::default() });
    assert_eq!(now(failing.call(request("alice"))).unwrap_err(), "broken");

    let (other, _clock) = limiter::<String>(limit("1/h burst 9"));
    let outer = RateLimitLayer::builder(other, user).policy("outer").build().unwrap();
    let response = call(&mut outer.layer(layer.layer(Mock::default())), request("alice"));
    assert_eq!(response.headers().get_all("ratelimit").iter().count(), 2, "both limits are told");
    assert_eq!(super::items(response.headers(), "ratelimit").len(), 2);
}

#[test]
fn a_service_that_is_not_ready_takes_no_token() {
    let (limiter, _clock) = limiter::<String>(limit("1/h burst 1"));
    let layer = RateLimitLayer::builder(limiter, user).build().unwrap();
    let mock = Mock::default();
    let mut service = layer.layer(mock.clone());
    let mut context = Context::from_waker(Waker::noop());
    mock.is_busy.store(true, Ordering::SeqCst);
    assert!(service.poll_ready(&mut context).is_pending());
    mock.is_busy.store(false, Ordering::SeqCst);
    assert!(service.poll_ready(&mut context).is_ready());
    assert_eq!(call(&mut service, request("alice")).status(), 201);
}

#[test]
fn a_dropped_future_keeps_its_token() {
    let (limiter, _clock) = limiter::<String>(limit("1/h burst 1"));
    let mut service = RateLimitLayer::builder(limiter, user).build().unwrap().layer(Mock::default());
    drop(service.call(request("alice")));
    assert_eq!(call(&mut service, request("alice")).status(), 429);
}

#[test]
fn the_future_is_the_service_s_without_a_box() {
    struct Large([u8; 4_096]);
    impl Future for Large {
        type Output = Result<Response<String>, Infallible>;
        fn poll(self: std::pin::Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Self::Output> {
            Poll::Ready(Ok(Response::new(format!("{}", self.0[0]))))
        }
    }
    let size = size_of::<ResponseFuture<Large, String, Infallible>>();
    assert!((4_096..4_096 + 256).contains(&size), "{size}");
}

#[test]
fn shadow_mode_lets_everything_through_and_counts() {
    let (limiter, _clock) = limiter::<String>(limit("1/h burst 2"));
    let limiter = Arc::new(limiter.shadow());
    let layer = RateLimitLayer::builder(Arc::clone(&limiter), user).build().unwrap();
    let mut service = layer.layer(Mock::default());
    for left in [1, 0, 0, 0] {
        let response = call(&mut service, request("alice"));
        assert_eq!(response.status(), 201);
        assert_eq!(super::items(response.headers(), "ratelimit")[0].1[0], ("r".to_owned(), left));
    }
    assert_eq!(limiter.shadow_denied(), 2);
    assert_eq!(layer.counts().denied, 0);
}

#[test]
fn what_happens_when_the_store_fails_is_the_caller_s_choice() {
    for (choice, status) in [(OnStoreError::Allow, 201), (OnStoreError::Deny, 503)] {
        let limiter = RateLimiter::new(Memory::<Vec<u8>>::default(), limit("1/h burst 1"));
        now(limiter.close()).unwrap();
        let builder = RateLimitLayer::over_store(OverStore::from(limiter), user);
        let layer = builder.on_store_error(choice).build().unwrap();
        let mut service = layer.layer(Mock::default());
        let response = call(&mut service, request("alice"));
        assert_eq!(response.status(), status);
        assert_eq!(text(response.headers(), "retry-after"), None);
        assert_eq!(text(response.headers(), "ratelimit"), None);
        assert_eq!(layer.counts().store_failed, 1);
        assert!(!response.body().contains("closed"), "the error is nobody's business");
    }
    assert_eq!(OnStoreError::default(), OnStoreError::Allow);
}

#[test]
fn a_store_behind_a_pointer_decides_the_same() {
    let store: Arc<dyn DynStore> = Arc::new(Memory::<Vec<u8>>::default());
    let limiter = RateLimiter::new(store, limit("1/h burst 2"));
    let layer = RateLimitLayer::over_store(OverStore::from(limiter), user).build().unwrap();
    let mock = Mock::default();
    let mut service = layer.layer(mock.clone());
    let statuses = [(); 3].map(|()| call(&mut service, request("alice")).status().as_u16());
    assert_eq!(statuses, [201, 201, 429]);
    assert_eq!(mock.calls(), 2);
    assert_eq!(call(&mut service.clone(), request("alice")).status(), 429);

    let limiter = RateLimiter::new(Memory::<Vec<u8>>::default(), limit("1/h burst 5"));
    let builder = RateLimitLayer::over_store(OverStore::from(limiter), user);
    let mut service = builder.cost(|_: &Request<()>| 3).build().unwrap().layer(mock);
    let statuses = [(); 2].map(|()| call(&mut service, request("alice")).status().as_u16());
    assert_eq!(statuses, [201, 429], "the cost is the same, too");
}

#[tokio::test(start_paused = true)]
async fn a_queue_delays_the_call_of_the_service() {
    let limit = Limit::new(Algorithm::LeakyBucketQueue, "10/s burst 3".parse().unwrap()).unwrap();
    let (limiter, _clock) = limiter::<String>(limit);
    let mock = Mock::default();
    let mut service = RateLimitLayer::builder(limiter, user).build().unwrap().layer(mock.clone());
    let start = tokio::time::Instant::now();
    let first = service.call(request("alice"));
    let second = service.call(request("alice"));
    let dropped = service.call(request("alice"));
    assert_eq!(mock.calls(), 1, "only the first is called at once");
    drop(dropped);
    assert_eq!(call(&mut service, request("alice")).status(), 429, "what was dropped keeps its place");
    first.await.unwrap();
    assert_eq!(start.elapsed(), Duration::ZERO);
    assert_eq!(second.await.unwrap().status(), 201);
    assert_eq!(mock.calls(), 2);
    let waited = start.elapsed();
    assert!((100..=102).contains(&waited.as_millis()), "{waited:?}");
}

#[test]
fn a_denial_may_be_answered_otherwise() {
    let (limiter, _clock) = limiter::<String>(limit("1/h burst 1"));
    let builder = RateLimitLayer::builder(limiter, user).on_denied(|denial: &Denial<'_>| {
        let text = match denial {
            Denial::Denied { policy, .. } => format!("{policy} is used up"),
            _ => "no".to_owned(),
        };
        Response::builder().status(420).header("retry-after", "7").body(text).unwrap()
    });
    let mut service = builder.build().unwrap().layer(Mock::default());
    call(&mut service, request("alice"));
    let response = call(&mut service, request("alice"));
    assert_eq!((response.status().as_u16(), response.body().as_str()), (420, "default is used up"));
    assert_eq!(text(response.headers(), "retry-after"), Some("7"));
    assert!(text(response.headers(), "ratelimit").is_some());
}

#[test]
fn a_service_that_never_answers_holds_nothing_up() {
    #[derive(Clone)]
    struct Stuck;
    impl Service<Request<()>> for Stuck {
        type Response = Response<String>;
        type Error = Infallible;
        type Future = Pending<Result<Response<String>, Infallible>>;
        fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
            Poll::Ready(Ok(()))
        }
        fn call(&mut self, _: Request<()>) -> Self::Future {
            pending()
        }
    }
    let (limiter, _clock) = limiter::<String>(limit("1/h burst 1"));
    let mut service = RateLimitLayer::builder(limiter, user).build().unwrap().layer(Stuck);
    let mut stuck = std::pin::pin!(service.call(request("alice")));
    assert!(stuck.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
    assert_eq!(call(&mut service, request("alice")).status(), 429);
}

#[test]
fn policies_that_cannot_be_named() {
    let build = |names: [&str; 2]| {
        let (one, other) = (limiter::<String>(limit("1/s")).0, limiter(limit("2/s")).0);
        RateLimitLayer::builder(one, user).policy(names[0]).tier(names[1], other).build()
    };
    for names in [["", "b"], ["a", "é"], ["a", "a\n"], ["a", "a"], ["a", &"x".repeat(65)]] {
        let error = build(names).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Config, "{names:?}");
    }
    build(["a \"b\" \\", &"\"".repeat(64)]).unwrap();
}

#[test]
fn fields_may_be_kept_for_refusals() {
    let (limiter, _clock) = limiter::<String>(limit("1/h burst 1"));
    let builder = RateLimitLayer::builder(limiter, user).send_fields(SendFields::WhenRefused);
    let mut service = builder.build().unwrap().layer(Mock::default());
    for has_fields in [false, true] {
        let response = call(&mut service, request("alice"));
        assert_eq!(text(response.headers(), "ratelimit-policy").is_some(), has_fields);
        assert_eq!(text(response.headers(), "ratelimit").is_some(), has_fields);
    }
}

/// A service that may only be called by who has asked whether it is ready: a clone has not.
#[derive(Debug, Default)]
struct Reserved {
    is_ready: bool,
}

impl Clone for Reserved {
    fn clone(&self) -> Self {
        Self::default()
    }
}

impl Service<Request<()>> for Reserved {
    type Response = Response<String>;
    type Error = Infallible;
    type Future = std::future::Ready<Result<Response<String>, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.is_ready = true;
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Request<()>) -> Self::Future {
        assert!(std::mem::take(&mut self.is_ready), "called without having been asked");
        std::future::ready(Ok(Response::default()))
    }
}

#[test]
fn the_service_that_was_ready_is_the_one_that_is_called() {
    let over_store = RateLimiter::new(Memory::<Vec<u8>>::default(), limit("1/h burst 2"));
    let over_store = RateLimitLayer::over_store(OverStore::from(over_store), user).build().unwrap();
    let (in_memory, _clock) = limiter::<String>(limit("1/h burst 2"));
    let in_memory = RateLimitLayer::builder(in_memory, user).build().unwrap();
    let mut context = Context::from_waker(Waker::noop());
    let mut service = over_store.layer(Reserved::default());
    for status in [200, 200, 429] {
        assert!(service.poll_ready(&mut context).is_ready());
        assert_eq!(call(&mut service, request("alice")).status(), status);
    }
    let mut service = in_memory.layer(Reserved::default());
    for status in [200, 200, 429] {
        assert!(service.poll_ready(&mut context).is_ready());
        assert_eq!(call(&mut service, request("alice")).status(), status);
    }
    assert_eq!(call(&mut service, request("bob")).status(), 200, "a refusal leaves it ready");
}
