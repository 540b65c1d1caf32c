//! An HTTP API with a quota for each caller, by tier: anonymous callers by their address, others by their key.
//!
//! `cargo run -p rate_limiter --features tower --example axum_api -- 8090`, then
//! `curl -i http://127.0.0.1:8090/` more than five times.

use std::{error::Error, net::SocketAddr};

use axum::{Router, body::Body, extract::ConnectInfo, http::Request, routing::get};
use rate_limiter::{
    Limit, Memory, RateLimiter,
    tower::{ClientIp, RateLimitLayer},
};
use tokio::net::TcpListener;

/// What a service would look up: the tier of an API key.
fn tier(request: &Request<Body>) -> Option<&'static str> {
    match request.headers().get("x-api-key")?.to_str().ok()? {
        "gold-1" | "gold-2" => Some("gold"),
        _ => None,
    }
}

/// The routes, behind the limits.
pub(crate) fn router() -> Result<Router, Box<dyn Error>> {
    let limiter = |limit: &str| -> Result<_, Box<dyn Error>> {
        Ok(RateLimiter::<Memory<String>>::in_memory(Limit::token_bucket(limit.parse()?)?))
    };
    // A proxy on this machine may say whom it serves; nobody else is believed.
    let ip = ClientIp::trusting(["127.0.0.0/8", "::1"])?
        .peer(|extensions| Some(extensions.get::<ConnectInfo<SocketAddr>>()?.0.ip()));
    let caller = move |request: &Request<Body>| match tier(request) {
        // Only a key that is known: with an unknown one anybody could have a new quota at any time.
        Some(_) => Some(format!("key:{}", request.headers().get("x-api-key")?.to_str().ok()?)),
        None => Some(format!("ip:{}", ip.of(request)?)),
    };
    let layer = RateLimitLayer::builder(limiter("5/min")?, caller)
        .policy("free")
        .tier("gold", limiter("100/s burst 200")?)
        .tier_by(tier)
        .cost(|request: &Request<Body>| if request.uri().path() == "/report" { 10 } else { 1 })
        .build()?;
    Ok(Router::new()
        .route("/", get(|| async { "hello\n" }))
        .route("/report", get(|| async { "a long report\n" }))
        .layer(layer)
        // Outside of the layer: whoever watches the service has no quota.
        .route("/health", get(|| async { "ok\n" })))
}

#[tokio::main]
#[expect(clippy::print_stdout, reason = "an example")]
async fn main() -> Result<(), Box<dyn Error>> {
    let port = std::env::args().nth(1).map_or(Ok(8090), |port| port.parse::<u16>())?;
    let listener = TcpListener::bind(("127.0.0.1", port)).await?;
    println!("listening on http://{}", listener.local_addr()?);
    let service = router()?.into_make_service_with_connect_info::<SocketAddr>();
    axum::serve(listener, service)
        .with_graceful_shutdown(async {
            let _ = tokio::signal::ctrl_c().await;
        })
        .await?;
    Ok(())
}
