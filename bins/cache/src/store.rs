//! The store of the cache, timed, and unreliable when asked to be.

use std::{
    cell::Cell,
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
    time::Duration,
};

use bench::{BoxError, Fact, Rng, Stage};
use cache::{Ack, Acks, Capability, Entry, Fill, Filled, Floor, Leased, Result, Store, Token, Wish};

use crate::row::Value;

tokio::task_local! {
    /// Whether the store had what this operation asked for.
    pub(crate) static HIT: Cell<bool>;
}

/// A store whose calls are timed, and that loses some of the invalidations.
#[derive(Debug)]
pub(crate) struct Watched<T> {
    pub(crate) inner: T,
    reads: Stage,
    fills: Stage,
    invalidations: Stage,
    losses: Losses,
}

/// Invalidations that are taken for delivered, and are not.
#[derive(Debug)]
struct Losses {
    share: f64,
    seed: u64,
    drawn: AtomicU64,
    lost: AtomicU64,
    over: AtomicBool,
}

impl<T> Watched<T> {
    /// Times every nth call, and loses the share `lose` of the invalidations.
    pub(crate) fn new(inner: T, every: u64, lose: f64, seed: u64) -> Result<Self, BoxError> {
        let stage = || Stage::new(every);
        let (drawn, lost, over) = (AtomicU64::new(0), AtomicU64::new(0), AtomicBool::new(false));
        let losses = Losses { share: lose, seed, drawn, lost, over };
        Ok(Self { inner, reads: stage()?, fills: stage()?, invalidations: stage()?, losses })
    }

    pub(crate) fn lost(&self) -> u64 {
        self.losses.lost.load(Ordering::Relaxed)
    }

    /// From now on nothing is lost.
    pub(crate) fn recover(&self) {
        self.losses.over.store(true, Ordering::Relaxed);
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

impl Losses {
    fn draws(&self) -> bool {
        if self.share <= 0.0 || self.over.load(Ordering::Relaxed) {
            return false;
        }
        let draw = self.drawn.fetch_add(1, Ordering::Relaxed);
        let lost = Rng::new(self.seed ^ 0x6c6f_7365, draw).unit() < self.share;
        self.lost.fetch_add(u64::from(lost), Ordering::Relaxed);
        lost
    }
}

impl<T: Store<u64, Value>> Store<u64, Value> for Watched<T> {
    fn capability(&self) -> Capability {
        self.inner.capability()
    }

    async fn get(&self, key: &u64) -> Result<Option<Entry<Value>>> {
        let found = self.reads.time(self.inner.get(key)).await;
        if let Ok(Some(_)) = &found {
            // A refresh in the background is nobody's hit.
            let _ = HIT.try_with(|hit| hit.set(true));
        }
        found
    }

    async fn get_many(&self, keys: &[u64]) -> Vec<Result<Option<Entry<Value>>>> {
        self.reads.time(self.inner.get_many(keys)).await
    }

    async fn lease(&self, key: &u64, wish: Wish) -> Result<Leased<Entry<Value>>> {
        self.fills.time(self.inner.lease(key, wish)).await
    }

    async fn fill(&self, key: &u64, token: Token, fill: Fill<Value>) -> Result<Filled> {
        self.fills.time(self.inner.fill(key, token, fill)).await
    }

    async fn release(&self, key: &u64, token: Token) -> Result<()> {
        self.inner.release(key, token).await
    }

    async fn invalidate(&self, key: &u64, floor: Floor, keep: Duration, ack: Ack) -> Result<Acks> {
        if self.losses.draws() {
            return Ok(Acks::new(u32::MAX, true));
        }
        self.invalidations.time(self.inner.invalidate(key, floor, keep, ack)).await
    }

    async fn put(&self, key: &u64, fill: Fill<Value>) -> Result<()> {
        self.fills.time(self.inner.put(key, fill)).await
    }

    async fn remove(&self, key: &u64) -> Result<()> {
        if self.losses.draws() {
            return Ok(());
        }
        self.invalidations.time(self.inner.remove(key)).await
    }

    async fn health(&self) -> Result<()> {
        self.inner.health().await
    }

    async fn close(&self) -> Result<()> {
        self.inner.close().await
    }
}
