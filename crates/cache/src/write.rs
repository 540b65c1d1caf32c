//! The way of a write: the database, then the entry.

use std::{sync::Arc, time::Duration};

use backends::{Error, Retry};
use tokio::runtime::Handle;

use crate::{Ack, Acks, Floor, Key, Protocol, Source, Store, WriteError, cache::Inner, pending::Queued};

/// How long who delivers waits before it tries again: at first, and at most.
const PAUSES: (Duration, Duration) = (Duration::from_millis(10), Duration::from_secs(1));

impl<K: Key, V: Clone + Send + Sync + 'static, S: Source<K, V>, T: Store<K, V>> Inner<K, V, S, T> {
    pub(crate) async fn write(self: &Arc<Self>, key: &K, value: Option<&V>) -> Result<Acks, WriteError> {
        // Nobody would deliver its invalidation.
        self.still_open("write").map_err(WriteError::Closed)?;
        // A row that the filter does not know would never be found. One that is deleted it forgets when it is rebuilt.
        let entered = match value {
            Some(_) if !self.front.is_off() => {
                Some(self.front.announce(key).await.map_err(WriteError::NotAnnounced)?)
            }
            _ => None,
        };
        if self.settings.protocol == Protocol::DeleteFirst {
            // Nothing is written yet.
            self.remove(key).await.map_err(|failed| match failed {
                WriteError::NotInvalidated { error, .. } => WriteError::Source(error),
                failed => failed,
            })?;
        }
        let unfinished = Unfinished { inner: self, key, done: false };
        let stored = self.source.store(key, value).await;
        // What may happen yet stays in doubt.
        let known = stored.as_ref().map_or_else(|failed| failed.error.retry() != Retry::Ambiguous, |_| true);
        if known && let Some(entered) = entered {
            entered.settle();
        }
        let floor = match &stored {
            Ok(floor) => *floor,
            // It may have happened.
            Err(failed) => failed.floor,
        };
        let invalidated = match self.settings.protocol {
            Protocol::Lease => self.invalidate_now(key, floor).await,
            Protocol::DeleteAfter => self.remove(key).await,
            Protocol::DeleteFirst => Ok(Acks::default()),
        };
        unfinished.done();
        match stored {
            Ok(_) => {
                self.counters.writes.one();
                invalidated
            }
            Err(failed) => Err(WriteError::Source(failed.error)),
        }
    }

    pub(crate) async fn invalidate(self: &Arc<Self>, key: &K, floor: Floor) -> Result<Acks, WriteError> {
        self.still_open("invalidate").map_err(WriteError::Closed)?;
        self.invalidate_now(key, floor).await
    }

    async fn invalidate_now(self: &Arc<Self>, key: &K, floor: Floor) -> Result<Acks, WriteError> {
        // Whoever asks from now on gets a load that begins now, or later.
        self.flights.detach(key);
        let want = self.settings.ack;
        match self.store.invalidate(key, floor, self.settings.floor, want).await {
            Ok(got) if got.satisfy(want) => {
                self.counters.invalidations.one();
                Ok(got)
            }
            Ok(got) => {
                self.counters.invalidations_under.one();
                Err(WriteError::Under { got, want })
            }
            Err(error) => Err(self.not_invalidated(key, floor, error)),
        }
    }

    async fn remove(self: &Arc<Self>, key: &K) -> Result<Acks, WriteError> {
        self.flights.detach(key);
        match self.store.remove(key).await {
            Ok(()) => {
                self.counters.invalidations.one();
                Ok(Acks::default())
            }
            Err(error) => Err(self.not_invalidated(key, Floor::UNKNOWN, error)),
        }
    }

    fn not_invalidated(self: &Arc<Self>, key: &K, floor: Floor, error: Error) -> WriteError {
        if !self.was_closed(&error) {
            self.counters.store_errors.one();
        }
        WriteError::NotInvalidated { error, queued: self.queue(key, floor) }
    }

    /// Keeps an invalidation to be tried again; `false` when there is no room, or nobody to deliver it.
    fn queue(self: &Arc<Self>, key: &K, floor: Floor) -> bool {
        if self.is_closed() {
            self.counters.invalidations_dropped.one();
            return false;
        }
        let queued = self.pending.push(key, floor);
        // Who comes from now on knows; who came before is not to be joined.
        self.flights.detach(key);
        if queued == Queued::Full {
            self.counters.invalidations_dropped.one();
            return false;
        }
        self.counters.invalidations_queued.one();
        if queued == Queued::KeptFirst {
            match Handle::try_current() {
                Ok(runtime) => drop(runtime.spawn(deliver(Arc::clone(self)))),
                // The next one to fail has a runtime, or there is none any more.
                Err(_) => self.pending.abandoned(),
            }
        }
        true
    }
}

/// Tries the invalidations that wait, one by one, until all are delivered or the store is closed.
async fn deliver<K, V, S, T>(inner: Arc<Inner<K, V, S, T>>)
where
    K: Key,
    V: Clone + Send + Sync + 'static,
    S: Source<K, V>,
    T: Store<K, V>,
{
    let mut work = Work { inner, ends: false };
    let inner = Arc::clone(&work.inner);
    let (mut pause, mut failures) = (PAUSES.0, 0);
    while let Some((key, waiting)) = inner.pending.peek() {
        // Whether replicas have it was for the first attempt to tell.
        match inner.store.invalidate(&key, waiting.floor, inner.settings.floor, Ack::None).await {
            Ok(_) => {
                inner.flights.detach(&key);
                inner.pending.delivered(&key, waiting);
                inner.counters.invalidations.one();
                (pause, failures) = (PAUSES.0, 0);
            }
            Err(error) if inner.was_closed(&error) => return,
            Err(_) => {
                // A server that is there need not wait for one that is not.
                inner.pending.pass();
                failures += 1;
                if failures >= inner.pending.len() {
                    tokio::time::sleep(pause).await;
                    (pause, failures) = ((pause * 2).min(PAUSES.1), 0);
                }
            }
        }
    }
    work.ends = true;
}

/// Someone delivers; however that ends, the next invalidation to fail is delivered.
struct Work<K: Key, V, S, T> {
    inner: Arc<Inner<K, V, S, T>>,
    /// The queue knows.
    ends: bool,
}

impl<K: Key, V, S, T> Drop for Work<K, V, S, T> {
    fn drop(&mut self) {
        if !self.ends {
            self.inner.pending.abandoned();
        }
    }
}

/// A write of which nothing is known: whatever becomes of it, the entry is not to be trusted.
struct Unfinished<'a, K: Key, V, S, T>
where
    V: Clone + Send + Sync + 'static,
    S: Source<K, V>,
    T: Store<K, V>,
{
    inner: &'a Arc<Inner<K, V, S, T>>,
    key: &'a K,
    done: bool,
}

impl<K: Key, V: Clone + Send + Sync + 'static, S: Source<K, V>, T: Store<K, V>> Unfinished<'_, K, V, S, T> {
    fn done(mut self) {
        self.done = true;
    }
}

impl<K: Key, V: Clone + Send + Sync + 'static, S: Source<K, V>, T: Store<K, V>> Drop
    for Unfinished<'_, K, V, S, T>
{
    fn drop(&mut self) {
        if !self.done {
            self.inner.queue(self.key, Floor::UNKNOWN);
        }
    }
}
