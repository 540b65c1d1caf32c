//! The cases that every backend of this crate must pass; for whoever writes one.
//!
//! A case gets a [`Fixture`]: a store, and the means to move the time that the store sees. It panics when the store breaks
//! the [contract](crate::Store). A store may forget any key at any time; these cases take it that it does not while they
//! run. All times in them are whole seconds, ten and more where something must not end by itself: a server that ends keys
//! by a clock of its own, too, has time enough.

use std::{fmt, num::NonZeroU64, sync::Arc, time::Duration};

use crate::{
    Ack, BoxFuture, Capability, DynStore, Entry, ErrorKind, Fill, Filled, Floor, Leased, Result, Token,
    Version, Wish,
};

/// Each function as a case.
macro_rules! cases {
    ($($name:ident),+ $(,)?) => {
        vec![$(Case::new(stringify!($name), |f| Box::pin($name(f)))),+]
    };
}

mod fills;
mod floors;
mod leases;
mod reads;
mod whole;
mod writes;

/// Moves the time that a store sees.
pub trait Time: Send + Sync {
    /// Lets `by` pass. The first call may come at any time; time does not pass by itself.
    fn advance(&self, by: Duration) -> BoxFuture<'_, Result<()>>;
}

/// What a case works with.
#[derive(Clone)]
pub struct Fixture {
    store: Arc<dyn DynStore<String, String>>,
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

/// Every case.
#[must_use]
pub fn cases() -> Vec<Case> {
    let all = [reads::cases, leases::cases, fills::cases, floors::cases, writes::cases, whole::cases];
    all.into_iter().flat_map(|cases| cases()).collect()
}

impl Case {
    const fn new(name: &'static str, run: fn(Fixture) -> BoxFuture<'static, ()>) -> Self {
        Self { name, needs: |_| Ok(()), run }
    }

    const fn needs(self, needs: fn(&Capability) -> Result<(), &'static str>) -> Self {
        Self { needs, ..self }
    }

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
    pub fn new(
        store: Arc<dyn DynStore<String, String>>,
        time: Arc<dyn Time>,
        prefix: impl Into<Arc<str>>,
    ) -> Self {
        Self { store, time, prefix: prefix.into() }
    }

    fn key(&self, key: &str) -> String {
        format!("{}{key}", self.prefix)
    }

    async fn advance(&self, by: Duration) {
        self.time.advance(by).await.unwrap_or_else(|error| panic!("the time did not move: {error}"));
    }

    async fn get(&self, key: &str) -> Option<Entry<String>> {
        done(self.store.get(&self.key(key)).await)
    }

    /// The entry, which has to be there.
    async fn entry(&self, key: &str) -> Entry<String> {
        self.get(key).await.unwrap_or_else(|| panic!("nothing is known of {key:?}"))
    }

    async fn value(&self, key: &str) -> Option<String> {
        self.get(key).await.and_then(|entry| entry.value)
    }

    async fn wish(&self, key: &str, number: u64, ttl: Duration, seen: Option<u64>) -> Leased<Entry<String>> {
        done(self.store.lease(&self.key(key), Wish { token: token(number), ttl, seen }).await)
    }

    /// Wishes for a lease of a minute, having seen nothing.
    async fn lease(&self, key: &str, number: u64) -> Leased<Entry<String>> {
        self.wish(key, number, MINUTE, None).await
    }

    async fn fill(&self, key: &str, number: u64, fill: Fill<String>) -> Filled {
        done(self.store.fill(&self.key(key), token(number), fill).await)
    }

    /// Takes a lease, which has to be granted, and fills.
    async fn load(&self, key: &str, fill: Fill<String>) -> Filled {
        let seen = self.get(key).await.map(|entry| entry.fresh_until);
        assert_eq!(self.wish(key, LOADER, MINUTE, seen).await, Leased::Granted);
        self.fill(key, LOADER, fill).await
    }

    async fn release(&self, key: &str, number: u64) {
        done(self.store.release(&self.key(key), token(number)).await);
    }

    async fn invalidate(&self, key: &str, floor: Floor, keep: Duration) {
        let acks = done(self.store.invalidate(&self.key(key), floor, keep, Ack::None).await);
        assert!(acks.satisfy(Ack::None));
    }

    async fn put(&self, key: &str, fill: Fill<String>) {
        done(self.store.put(&self.key(key), fill).await);
    }

    async fn remove(&self, key: &str) {
        done(self.store.remove(&self.key(key)).await);
    }
}

const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);
/// One that no case uses for anything else.
const LOADER: u64 = 1_000_000;

fn done<T>(result: Result<T>) -> T {
    result.unwrap_or_else(|error| panic!("{error}"))
}

fn token(number: u64) -> Token {
    Token(NonZeroU64::new(number).unwrap_or_else(|| panic!("a token is no zero")))
}

fn version(version: u64) -> Version {
    Version::new(version).unwrap_or_else(|| panic!("{version} is no version"))
}

/// A row, fresh for 30 seconds and kept for 60.
fn row(value: &str, of: u64) -> Fill<String> {
    let value = Some(value.to_owned());
    Fill { value, version: version(of), fresh: MINUTE / 2, keep: MINUTE, load_time: Duration::ZERO }
}

/// That there is no row, with the same times.
fn no_row() -> Fill<String> {
    Fill { value: None, version: Version::ABSENT, ..row("", 0) }
}

fn kind_of<T: fmt::Debug>(result: Result<T>) -> ErrorKind {
    match result {
        Ok(value) => panic!("expected an error, got {value:?}"),
        Err(error) => error.kind(),
    }
}
