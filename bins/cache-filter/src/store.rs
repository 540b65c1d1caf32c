//! The store of the cache, timed.

use std::time::Duration;

use bench::{BoxError, Fact, Stage};
use bytes::Bytes;
use cache::{Ack, Acks, Capability, Entry, Fill, Filled, Floor, Leased, Result, Store, Token, Wish};

use crate::asked::Seen;

/// A store whose calls are timed.
#[derive(Debug)]
pub(crate) struct Watched<T> {
    inner: T,
    pub(crate) reads: Stage,
    pub(crate) fills: Stage,
    invalidations: Stage,
}

impl<T> Watched<T> {
    /// Times every nth call.
    pub(crate) fn new(inner: T, every: u64) -> Result<Self, BoxError> {
        let stage = || Stage::new(every);
        Ok(Self { inner, reads: stage()?, fills: stage()?, invalidations: stage()? })
    }

    pub(crate) fn facts(&self) -> impl Iterator<Item = Fact> {
        let stages = [
            ("store: reads", &self.reads),
            ("store: leases and fills", &self.fills),
            ("store: invalidations", &self.invalidations),
        ];
        stages.into_iter().filter_map(|(name, stage)| stage.fact(name))
    }
}

impl<T: Store<u64, Bytes>> Store<u64, Bytes> for Watched<T> {
    fn capability(&self) -> Capability {
        self.inner.capability()
    }

    async fn get(&self, key: &u64) -> Result<Option<Entry<Bytes>>> {
        let found = self.reads.time(self.inner.get(key)).await;
        if let Ok(Some(_)) = &found {
            Seen::hit();
        }
        found
    }

    async fn get_many(&self, keys: &[u64]) -> Vec<Result<Option<Entry<Bytes>>>> {
        self.reads.time(self.inner.get_many(keys)).await
    }

    async fn lease(&self, key: &u64, wish: Wish) -> Result<Leased<Entry<Bytes>>> {
        self.fills.time(self.inner.lease(key, wish)).await
    }

    async fn fill(&self, key: &u64, token: Token, fill: Fill<Bytes>) -> Result<Filled> {
        self.fills.time(self.inner.fill(key, token, fill)).await
    }

    async fn release(&self, key: &u64, token: Token) -> Result<()> {
        self.inner.release(key, token).await
    }

    async fn invalidate(&self, key: &u64, floor: Floor, keep: Duration, ack: Ack) -> Result<Acks> {
        self.invalidations.time(self.inner.invalidate(key, floor, keep, ack)).await
    }

    async fn put(&self, key: &u64, fill: Fill<Bytes>) -> Result<()> {
        self.inner.put(key, fill).await
    }

    async fn remove(&self, key: &u64) -> Result<()> {
        self.inner.remove(key).await
    }

    async fn health(&self) -> Result<()> {
        self.inner.health().await
    }

    async fn close(&self) -> Result<()> {
        self.inner.close().await
    }
}
