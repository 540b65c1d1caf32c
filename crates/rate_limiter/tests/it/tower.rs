//! The HTTP layer: what it lets through, what it answers, and what it says in the fields.

mod client_ip;
mod fields;
mod over_http;
mod service;

use std::{
    future::{Ready, ready},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    task::{Context, Poll, Waker},
};

use clock::ManualClock;
use http::{HeaderMap, Request, Response};
use rate_limiter::{Limit, Memory, RateLimiter};
use sfv::{BareItem, List, ListEntry, Parser};
use tower_service::Service;

/// A service that answers at once, unless it is told not to be ready.
#[derive(Clone, Debug, Default)]
struct Mock {
    calls: Arc<AtomicU64>,
    is_busy: Arc<AtomicBool>,
    fails: bool,
}

impl Mock {
    fn calls(&self) -> u64 {
        self.calls.load(Ordering::SeqCst)
    }
}

impl Service<Request<()>> for Mock {
    type Response = Response<String>;
    type Error = String;
    type Future = Ready<Result<Response<String>, String>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), String>> {
        if self.is_busy.load(Ordering::SeqCst) { Poll::Pending } else { Poll::Ready(Ok(())) }
    }

    fn call(&mut self, _: Request<()>) -> Self::Future {
        self.calls.fetch_add(1, Ordering::SeqCst);
        let response = Response::builder().status(201).header("x-own", "kept").body("served".to_owned());
        ready(if self.fails { Err("broken".to_owned()) } else { Ok(response.unwrap()) })
    }
}

fn limit(quota: &str) -> Limit {
    Limit::token_bucket(quota.parse().unwrap()).unwrap()
}

type InMemory<K> = RateLimiter<Memory<K, Limit, ManualClock>>;

fn limiter<K: std::hash::Hash + Eq>(limit: Limit) -> (InMemory<K>, ManualClock) {
    let clock = ManualClock::new();
    (RateLimiter::new(Memory::builder().clock(clock.clone()).build().unwrap(), limit), clock)
}

fn request(user: &str) -> Request<()> {
    Request::builder().header("x-user", user).body(()).unwrap()
}

fn user(request: &Request<()>) -> Option<String> {
    Some(request.headers().get("x-user")?.to_str().ok()?.to_owned())
}

/// The result of a future that has nothing to wait for.
fn now<T>(future: impl Future<Output = T>) -> T {
    match std::pin::pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(result) => result,
        Poll::Pending => panic!("not ready"),
    }
}

fn call<S: Service<Request<()>, Response = Response<String>>>(
    service: &mut S,
    request: Request<()>,
) -> Response<String> {
    now(service.call(request)).unwrap_or_else(|_| panic!("the service failed"))
}

fn text<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    assert!(headers.get_all(name).iter().count() <= 1, "{name} is there twice");
    Some(headers.get(name)?.to_str().unwrap())
}

/// Items of a field as a parser of structured fields reads them: name, then integers by parameter.
fn items(headers: &HeaderMap, name: &str) -> Vec<(String, Vec<(String, i64)>)> {
    let lines: Vec<_> = headers.get_all(name).iter().map(|value| value.to_str().unwrap()).collect();
    let list: List = Parser::new(&lines.join(",")).parse().unwrap();
    let item = |entry: &ListEntry| {
        let ListEntry::Item(item) = entry else { panic!("{name} has an inner list") };
        let BareItem::String(policy) = &item.bare_item else { panic!("{name} has {:?}", item.bare_item) };
        let parameters = item.params.iter().filter_map(|(key, value)| match value {
            BareItem::Integer(integer) => Some((key.as_str().to_owned(), i64::from(*integer))),
            _ => None,
        });
        (policy.as_str().to_owned(), parameters.collect())
    };
    list.iter().map(item).collect()
}
