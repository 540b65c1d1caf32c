//! The cases that every backend of this crate must pass; for whoever writes one.
//!
//! A case gets a [`Fixture`]: a store, and the means to move the time that the store sees. It panics
//! when the store breaks the [contract](crate::Store).

use std::{fmt, sync::Arc, time::Duration};

use crate::{Algorithm, BoxFuture, Capability, Decision, DynStore, ErrorKind, Limit, Quota, Result};

mod cases;

/// Moves the time that a store sees.
pub trait Time: Send + Sync {
    /// Lets `by` pass. The first call may come at any time; time does not pass by itself.
    fn advance(&self, by: Duration) -> BoxFuture<'_, Result<()>>;
}

/// What a case works with.
#[derive(Clone)]
pub struct Fixture {
    store: Arc<dyn DynStore>,
    time: Arc<dyn Time>,
    /// Keeps the keys of this case apart from those of others on the same server.
    prefix: Arc<str>,
}

/// One thing that every backend does.
pub struct Case {
    /// In snake case.
    pub name: &'static str,
    /// What a backend must be capable of for the case to make sense: an error names what is missing.
    pub needs: fn(&Capability) -> Result<(), &'static str>,
    run: fn(Fixture) -> BoxFuture<'static, ()>,
}

impl Case {
    /// Runs the case; panics when the contract is broken.
    pub async fn run(&self, fixture: Fixture) {
        (self.run)(fixture).await;
    }
}

impl fmt::Debug for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Case").field("name", &self.name).finish_non_exhaustive()
    }
}

/// Every case.
#[must_use]
pub fn cases() -> Vec<Case> {
    cases::all()
}

impl fmt::Debug for Fixture {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Fixture")
            .field("store", &self.store)
            .field("prefix", &self.prefix)
            .finish_non_exhaustive()
    }
}

impl Fixture {
    /// A fixture whose keys begin with `prefix`, which no other fixture on the same server has.
    pub fn new(store: Arc<dyn DynStore>, time: Arc<dyn Time>, prefix: impl Into<Arc<str>>) -> Self {
        Self { store, time, prefix: prefix.into() }
    }

    async fn advance(&self, by: Duration) {
        self.time.advance(by).await.unwrap_or_else(|error| panic!("the time did not move: {error}"));
    }

    async fn try_take(&self, key: &str, limit: &Limit, cost: u32) -> Result<Decision> {
        let key = format!("{}{key}", self.prefix);
        self.store.acquire(key.as_bytes(), limit, cost).await
    }

    async fn take(&self, key: &str, limit: &Limit, cost: u32) -> Decision {
        self.try_take(key, limit, cost).await.unwrap_or_else(|error| panic!("{error}"))
    }

    /// Takes one token at a time until denied; how many were granted.
    async fn drain(&self, key: &str, limit: &Limit) -> u64 {
        let mut granted = 0;
        while self.take(key, limit, 1).await.is_allowed() {
            granted += 1;
            assert!(granted <= 100_000, "the limiter does not limit");
        }
        granted
    }
}

/// A limit for the cases: `quota` in its text form.
fn limit(quota: &str) -> Limit {
    let quota: Quota = quota.parse().unwrap_or_else(|error| panic!("{error}"));
    Limit::new(Algorithm::TokenBucket, quota).unwrap_or_else(|error| panic!("{error}"))
}

fn kind_of<T: fmt::Debug>(result: Result<T>) -> ErrorKind {
    match result {
        Ok(value) => panic!("expected an error, got {value:?}"),
        Err(error) => error.kind(),
    }
}
