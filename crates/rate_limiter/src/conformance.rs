//! The cases that every backend of this crate must pass; for whoever writes one.
//!
//! A case gets a [`Fixture`]: a store, and the means to move the time that the store sees. It panics
//! when the store breaks the [contract](crate::Store). Cases that hold for every algorithm are run, and
//! named, once for each.

use std::{fmt, sync::Arc, time::Duration};

use crate::{
    Algorithm, Answer, Ask, BoxFuture, Capability, Decision, DynStore, ErrorKind, Limit, Quota, Result,
};

mod every;
mod single;

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
    /// Which algorithm, for cases that hold for every one.
    algorithm: Algorithm,
}

/// One thing that every backend does.
pub struct Case {
    /// In snake case, behind the algorithm where there is one for each.
    pub name: &'static str,
    /// What a backend must be capable of for the case to make sense: an error names what is missing.
    pub needs: fn(&Capability) -> Result<(), &'static str>,
    algorithm: Algorithm,
    run: fn(Fixture) -> BoxFuture<'static, ()>,
}

/// Every case.
#[must_use]
pub fn cases() -> Vec<Case> {
    every::cases().into_iter().chain(single::cases()).collect()
}

impl Case {
    const fn new(
        name: &'static str,
        algorithm: Algorithm,
        run: fn(Fixture) -> BoxFuture<'static, ()>,
    ) -> Self {
        Self { name, needs: |_| Ok(()), algorithm, run }
    }

    /// Runs the case; panics when the contract is broken.
    pub async fn run(&self, fixture: Fixture) {
        (self.run)(Fixture { algorithm: self.algorithm, ..fixture }).await;
    }
}

impl fmt::Debug for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Case").field("name", &self.name).finish_non_exhaustive()
    }
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
        Self { store, time, prefix: prefix.into(), algorithm: Algorithm::TokenBucket }
    }

    /// `quota`, in its text form, enforced by the algorithm of the case.
    fn limit(&self, quota: &str) -> Limit {
        let quota: Quota = quota.parse().unwrap_or_else(|error| panic!("{error}"));
        Limit::new(self.algorithm, quota).unwrap_or_else(|error| panic!("{error}"))
    }

    async fn advance(&self, by: Duration) {
        self.time.advance(by).await.unwrap_or_else(|error| panic!("the time did not move: {error}"));
    }

    async fn try_ask(&self, key: &str, limit: &Limit, ask: Ask) -> Result<Answer> {
        let key = format!("{}{key}", self.prefix);
        self.store.ask(key.as_bytes(), limit, ask).await
    }

    async fn ask(&self, key: &str, limit: &Limit, ask: Ask) -> Answer {
        self.try_ask(key, limit, ask).await.unwrap_or_else(|error| panic!("{error}"))
    }

    async fn take(&self, key: &str, limit: &Limit, cost: u32) -> Decision {
        self.ask(key, limit, Ask::Take(cost)).await.decision
    }

    async fn allows(&self, key: &str, limit: &Limit, cost: u32) -> bool {
        self.take(key, limit, cost).await.is_allowed()
    }

    async fn refund(&self, key: &str, limit: &Limit, cost: u32, taken_at: u64) {
        let key = format!("{}{key}", self.prefix);
        let refunded = self.store.refund(key.as_bytes(), limit, cost, taken_at).await;
        refunded.unwrap_or_else(|error| panic!("{error}"));
    }

    /// Takes one token at a time until denied; how many were granted.
    async fn drain(&self, key: &str, limit: &Limit) -> u64 {
        let mut granted = 0;
        while self.allows(key, limit, 1).await {
            granted += 1;
            assert!(granted <= 100_000, "the limiter does not limit");
        }
        granted
    }
}

/// How long a denied request is to wait.
fn retry_after(decision: Decision) -> Duration {
    decision.retry_after().unwrap_or_else(|| panic!("expected a denial, got {decision:?}"))
}

fn kind_of<T: fmt::Debug>(result: Result<T>) -> ErrorKind {
    match result {
        Ok(value) => panic!("expected an error, got {value:?}"),
        Err(error) => error.kind(),
    }
}
