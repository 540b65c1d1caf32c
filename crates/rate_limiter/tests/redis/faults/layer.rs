//! The HTTP layer, over limits that a server keeps.

use std::{
    future::{Ready, ready},
    task::{Context, Poll},
};

use http::{Request, Response};
use rate_limiter::{
    RateLimiter,
    tower::{OverStore, RateLimitLayer},
};
use testkit::RedisServer;
use tower_layer::Layer as _;
use tower_service::Service;

use super::load::{Outcome, connect, limit};

#[derive(Clone)]
struct Hello;

impl Service<Request<()>> for Hello {
    type Response = Response<String>;
    type Error = std::convert::Infallible;
    type Future = Ready<Result<Response<String>, Self::Error>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Request<()>) -> Self::Future {
        ready(Ok(Response::new("hello".to_owned())))
    }
}

fn user(request: &Request<()>) -> Option<String> {
    Some(request.headers().get("x-user")?.to_str().ok()?.to_owned())
}

pub(crate) async fn limits(server: &mut RedisServer) -> Outcome {
    // As two processes would: each with a connection and a layer of its own.
    let mut services = Vec::new();
    for _ in 0..2 {
        let limiter = RateLimiter::new(connect(&server.url()).await?, limit("4/h"));
        let layer = RateLimitLayer::over_store(OverStore::from(limiter), user).policy("api").build()?;
        services.push((layer.layer(Hello), layer));
    }
    let request = |user: &str| Request::builder().header("x-user", user).body(());
    let text = |response: &Response<String>, name: &str| {
        response.headers().get(name).and_then(|value| value.to_str().ok()).map(str::to_owned)
    };
    for turn in 0..6 {
        let response = services[turn % 2].0.call(request("alice")?).await?;
        assert_eq!(text(&response, "ratelimit-policy").as_deref(), Some("\"api\";q=4;w=3600"));
        let told = text(&response, "ratelimit").unwrap_or_default();
        let remaining = 3_usize.saturating_sub(turn);
        assert!(told.starts_with(&format!("\"api\";r={remaining};t=")), "{turn}: {told}");
        let retry_after: Option<u64> =
            text(&response, "retry-after").and_then(|seconds| seconds.parse().ok());
        if turn < 4 {
            assert_eq!((response.status().as_u16(), retry_after), (200, None), "{turn}");
            assert_eq!(response.body(), "hello");
        } else {
            assert_eq!(response.status(), 429, "{turn}");
            assert!(retry_after.is_some_and(|seconds| (1..=900).contains(&seconds)), "{retry_after:?}");
            assert_eq!(text(&response, "content-type").as_deref(), Some("application/problem+json"));
        }
    }
    assert_eq!(services[0].0.call(request("bob")?).await?.status(), 200, "a key of its own");
    assert_eq!(services.iter().map(|(_, layer)| layer.counts().denied).sum::<u64>(), 2);
    // Without its server, the layer lets requests pass, and says so.
    server.kill()?;
    assert_eq!(services[0].0.call(request("alice")?).await?.status(), 200);
    assert_eq!(services[0].1.counts().store_failed, 1);
    Ok(())
}
