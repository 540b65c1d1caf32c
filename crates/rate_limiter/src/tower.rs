//! A [`tower`](https://docs.rs/tower) layer that asks a [`RateLimiter`] about each HTTP request.
//!
//! ```
//! use http::{Request, Response, StatusCode};
//! use rate_limiter::{Limit, Memory, RateLimiter, tower::RateLimitLayer};
//! use tower_layer::Layer;
//! use tower_service::Service;
//!
//! # #[derive(Clone)] struct Hello;
//! # impl Service<Request<()>> for Hello {
//! #     type Response = Response<String>;
//! #     type Error = std::convert::Infallible;
//! #     type Future = std::future::Ready<Result<Response<String>, Self::Error>>;
//! #     fn poll_ready(&mut self, _: &mut std::task::Context<'_>) -> std::task::Poll<Result<(), Self::Error>> {
//! #         std::task::Poll::Ready(Ok(()))
//! #     }
//! #     fn call(&mut self, _: Request<()>) -> Self::Future {
//! #         std::future::ready(Ok(Response::new("hello".into())))
//! #     }
//! # }
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let limiter = RateLimiter::<Memory<String>>::in_memory(Limit::token_bucket("2/min".parse()?)?);
//! let user = |request: &Request<()>| Some(request.headers().get("x-user")?.to_str().ok()?.to_owned());
//! let layer = RateLimitLayer::builder(limiter, user).policy("free").build()?;
//!
//! let mut service = layer.layer(Hello); // axum: router.layer(layer)
//! let request = || Request::builder().header("x-user", "alice").body(()).unwrap();
//!
//! let response = service.call(request()).await?;
//! assert_eq!(response.headers()["ratelimit-policy"], "\"free\";q=2;w=60");
//! assert_eq!(response.headers()["ratelimit"], "\"free\";r=1;t=30");
//!
//! service.call(request()).await?;
//! let response = service.call(request()).await?;
//! assert_eq!(response.status(), StatusCode::TOO_MANY_REQUESTS);
//! assert_eq!(response.headers()["ratelimit"], "\"free\";r=0;t=30");
//! assert_eq!(response.headers()["retry-after"], "30");
//! # Ok(())
//! # }
//! ```
//!
//! # Whose quota
//!
//! A [`KeyFn`], or a closure, makes the key of a request; [`ClientIp`] is one for the address of the client,
//! through proxies that are listed. [`cost`](RateLimitBuilder::cost) and
//! [`tier_by`](RateLimitBuilder::tier_by) look at the request, too. Clones of the layer, and all services that
//! it makes, share the limiters: every connection of a server counts.
//!
//! # What is answered
//!
//! | | status | `RateLimit` | `Retry-After` | may be changed by |
//! |---|---|---|---|---|
//! | allowed | of the service | `r` and `t` | | |
//! | denied | 429 | `r=0` and `t` | `t` | `on_denied` |
//! | costs more than the burst | 413 | | | `on_denied` |
//! | no key | 403 | | | [`OnNoKey`] |
//! | the store failed | of the service | | | [`OnStoreError`]: 503 |
//! | costs nothing | of the service | | | |
//!
//! The fields are those of [`DRAFT`]: structured fields (RFC 9651), and problem details (RFC 9457) with the
//! type `quota-exceeded`. Errors of the service pass unchanged.
//!
//! - **`RateLimit-Policy`** has an item for each part of the limit: `q` tokens in `w` seconds. A period that
//!   is not whole seconds is rounded up, with as many tokens as flow in meanwhile. A burst is not told.
//! - **`RateLimit`** has the strictest part. `r` is what remains, and `t` the seconds in which that many
//!   tokens flow in, rounded up, or the rest of the window if that is longer: who spreads `r` requests over `t`
//!   is never denied, as the draft wants the ratio capped. Of several limits the figures are the least of all;
//!   the name is that of the part which explains them best, since a store does not tell one from the other.
//! - **413, not 429,** for what can never fit: clients come back after a 429, with `Retry-After` or without.
//! - [`SendFields`] may spare them for refusals.
//! - The parameter `pk` is not sent: a key may be a secret.
//! - In shadow mode every request is allowed, with `r=0` where it would have been denied;
//!   [`RateLimiter::shadow_denied`] counts those.
//!
//! # What is awaited
//!
//! In memory nothing: the future is that of the service and two header values, without a box. Over another
//! [`Store`] there is one box for each request. A leaky bucket as a queue says when an admitted
//! request may go ahead; the service is called after that delay, by the timer of tokio, in a box as well.
//!
//! `poll_ready` is the service's. A token is taken in `call`, never for a service that is not ready; where a
//! request is refused, the service stays ready for the next one.
//!
//! **Cancel safety.** A future that is dropped has its tokens taken, or over another store perhaps: the
//! service may have done its work, and a client that hangs up would else ask for free. The delay of a queue
//! keeps its place, too.
//!
//! **Upgrades.** A WebSocket is one request: what is sent after the 101 is not counted. So is a stream, and a
//! body of any length: let [`cost`](RateLimitBuilder::cost) look at `Content-Length`, if that is the point.

use std::{fmt, hash::Hash, sync::Arc};

use clock::Clock;
use tower_layer::Layer;

pub use self::{
    builder::RateLimitBuilder,
    client_ip::ClientIp,
    counts::Counts,
    decide::{Decide, Limited, OverStore},
    denial::{Denial, OnDenied, ProblemJson},
    fields::QuotaUnit,
    future::ResponseFuture,
    key::{KeyFn, WithCost, WithTier},
    service::RateLimit,
};
use self::{counts::Counters, fields::Policies};
use crate::{Limit, Memory, RateLimiter, Store};

mod builder;
mod cidr;
mod client_ip;
mod counts;
mod decide;
mod denial;
mod fields;
mod forwarded;
mod future;
mod key;
mod service;

/// The version of the specification that the fields follow. They may change with the next.
pub const DRAFT: &str = "draft-ietf-httpapi-ratelimit-headers-11";

/// What happens to a request that has no key.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnNoKey {
    /// It is refused with 403: else leaving the key out would be a way around the limit.
    #[default]
    Refuse,
    /// It goes ahead, and is not counted.
    Pass,
}

/// What happens to a request that the store cannot decide on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnStoreError {
    /// It goes ahead: a limit protects a service, and should not be what brings it down.
    #[default]
    Allow,
    /// It is answered with 503, without `Retry-After`: nobody knows when.
    Deny,
}

/// Which responses have the fields `RateLimit-Policy` and `RateLimit`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SendFields {
    /// All of them.
    #[default]
    Always,
    /// Those that the layer makes itself, refusing a request. Writing both into a response takes several times
    /// as long as everything else that the layer does.
    WhenRefused,
}

/// Puts a [`RateLimit`] before a service. Clones share all state.
pub struct RateLimitLayer<L, F, R = ProblemJson> {
    shared: Arc<Shared<L, F, R>>,
}

/// What all clones of a service share.
pub(crate) struct Shared<L, F, R> {
    /// Never empty; the first is for requests without a tier of their own.
    tiers: Box<[Tier<L>]>,
    key: F,
    on_denied: R,
    on_no_key: OnNoKey,
    on_store_error: OnStoreError,
    send_fields: SendFields,
    counts: Counters,
}

struct Tier<L> {
    name: Box<str>,
    limiter: Arc<L>,
    policies: Policies,
}

impl<K: Hash + Eq + Clone + Send + 'static, C: Clock, F> RateLimitLayer<RateLimiter<Memory<K, Limit, C>>, F> {
    /// A layer over a limiter in memory, which decides without waiting.
    pub fn builder(
        limiter: impl Into<Arc<RateLimiter<Memory<K, Limit, C>>>>,
        key: F,
    ) -> RateLimitBuilder<RateLimiter<Memory<K, Limit, C>>, F> {
        RateLimitBuilder::new(limiter.into(), key)
    }
}

impl<S: Store, F> RateLimitLayer<OverStore<S>, F> {
    /// A layer over any store, which is asked asynchronously. Keys are bytes.
    pub fn over_store(limiter: impl Into<Arc<OverStore<S>>>, key: F) -> RateLimitBuilder<OverStore<S>, F> {
        RateLimitBuilder::new(limiter.into(), key)
    }
}

impl<L, F, R> RateLimitLayer<L, F, R> {
    /// What has happened so far.
    #[must_use]
    pub fn counts(&self) -> Counts {
        self.shared.counts.read()
    }
}

impl<L, F, R> Shared<L, F, R> {
    #[inline]
    fn tier(&self, name: Option<&str>) -> usize {
        let Some(name) = name else { return 0 };
        self.tiers.iter().position(|tier| *tier.name == *name).unwrap_or(0)
    }
}

impl<S, L, F, R> Layer<S> for RateLimitLayer<L, F, R> {
    type Service = RateLimit<S, L, F, R>;

    fn layer(&self, inner: S) -> Self::Service {
        RateLimit { inner, shared: Arc::clone(&self.shared) }
    }
}

impl<L, F, R> Clone for RateLimitLayer<L, F, R> {
    fn clone(&self) -> Self {
        Self { shared: Arc::clone(&self.shared) }
    }
}

impl<L: fmt::Debug, F, R> fmt::Debug for RateLimitLayer<L, F, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RateLimitLayer").field("shared", &self.shared).finish()
    }
}

impl<L: fmt::Debug, F, R> fmt::Debug for Shared<L, F, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared")
            .field("tiers", &self.tiers)
            .field("on_no_key", &self.on_no_key)
            .field("on_store_error", &self.on_store_error)
            .field("send_fields", &self.send_fields)
            .field("counts", &self.counts)
            .finish_non_exhaustive()
    }
}

impl<L: fmt::Debug> fmt::Debug for Tier<L> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tier")
            .field("name", &self.name)
            .field("limiter", &self.limiter)
            .finish_non_exhaustive()
    }
}
