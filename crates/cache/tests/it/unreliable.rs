//! A store that fails when it is told to.

use std::{
    sync::atomic::{AtomicBool, Ordering::Relaxed},
    time::Duration,
};

use cache::{
    Ack, Acks, Capability, Entry, Error, ErrorKind, Fill, Filled, Floor, Leased, Result, Store, Token, Wish,
};

#[derive(Debug)]
pub(crate) struct Unreliable<T> {
    store: T,
    everything: AtomicBool,
    invalidations: AtomicBool,
    fills: AtomicBool,
}

impl<T> Unreliable<T> {
    pub(crate) const fn new(store: T) -> Self {
        Self {
            store,
            everything: AtomicBool::new(false),
            invalidations: AtomicBool::new(false),
            fills: AtomicBool::new(false),
        }
    }

    pub(crate) fn fail_everything(&self, fail: bool) {
        self.everything.store(fail, Relaxed);
    }

    pub(crate) fn fail_invalidations(&self, fail: bool) {
        self.invalidations.store(fail, Relaxed);
    }

    pub(crate) fn fail_fills(&self, fail: bool) {
        self.fills.store(fail, Relaxed);
    }

    fn works(&self) -> Result<()> {
        if self.everything.load(Relaxed) { Err(down()) } else { Ok(()) }
    }
}

fn down() -> Error {
    Error::new(ErrorKind::Unavailable, "unreliable", "call", "down")
}

impl<T: Store<u64, String>> Store<u64, String> for Unreliable<T> {
    fn capability(&self) -> Capability {
        self.store.capability()
    }

    async fn get(&self, key: &u64) -> Result<Option<Entry<String>>> {
        self.works()?;
        self.store.get(key).await
    }

    async fn get_many(&self, keys: &[u64]) -> Vec<Result<Option<Entry<String>>>> {
        if self.works().is_err() {
            return keys.iter().map(|_| Err(down())).collect();
        }
        self.store.get_many(keys).await
    }

    async fn lease(&self, key: &u64, wish: Wish) -> Result<Leased<Entry<String>>> {
        self.works()?;
        self.store.lease(key, wish).await
    }

    async fn fill(&self, key: &u64, token: Token, fill: Fill<String>) -> Result<Filled> {
        self.works()?;
        if self.fills.load(Relaxed) {
            return Err(down());
        }
        self.store.fill(key, token, fill).await
    }

    async fn release(&self, key: &u64, token: Token) -> Result<()> {
        self.works()?;
        self.store.release(key, token).await
    }

    async fn invalidate(&self, key: &u64, floor: Floor, keep: Duration, ack: Ack) -> Result<Acks> {
        self.works()?;
        if self.invalidations.load(Relaxed) {
            return Err(down());
        }
        self.store.invalidate(key, floor, keep, ack).await
    }

    async fn put(&self, key: &u64, fill: Fill<String>) -> Result<()> {
        self.works()?;
        self.store.put(key, fill).await
    }

    async fn remove(&self, key: &u64) -> Result<()> {
        self.works()?;
        self.store.remove(key).await
    }

    async fn health(&self) -> Result<()> {
        self.works()?;
        self.store.health().await
    }

    async fn close(&self) -> Result<()> {
        self.store.close().await
    }
}
