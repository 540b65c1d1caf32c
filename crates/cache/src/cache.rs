//! What users touch.

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use backends::{Error, ErrorKind, Result};
use tokio::{sync::Semaphore, task::JoinSet};

use crate::{
    Entry, Gap, Key, Protocol, Reads, Source, Stats, Store, WriteError,
    builder::{Builder, Settings},
    chance::Chance,
    flights::Flights,
    freshness,
    front::Front,
    pending::Pending,
    stats::Counters,
    store::{Ack, Acks},
};

/// A cache in front of a database: `S` has the rows, `T` keeps the entries.
///
/// Clones share everything. Its futures need a Tokio runtime with time.
///
/// ```
/// use cache::{Cache, Floor, Memory, Reads, Result, Row, Source, SourceError, Version};
///
/// #[derive(Debug)]
/// struct Greetings;
///
/// impl Source<String, String> for Greetings {
///     fn reads(&self) -> Reads {
///         Reads::Latest
///     }
///
///     async fn load(&self, name: &String) -> Result<Row<String>> {
///         Ok(Row::new(format!("hello, {name}"), Version::MAX))
///     }
///
///     async fn store(&self, _: &String, _: Option<&String>) -> Result<Floor, SourceError> {
///         Ok(Floor::UNKNOWN)
///     }
/// }
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<()> {
/// let cache = Cache::builder(Greetings, Memory::builder().capacity(10_000).build()?).build()?;
/// assert_eq!(cache.get(&"ann".to_owned()).await?.as_deref(), Some("hello, ann"));
/// assert_eq!(cache.stats().misses, 1);
/// # Ok(())
/// # }
/// ```
pub struct Cache<K: Key, V, S, T>(pub(crate) Arc<Inner<K, V, S, T>>);

pub(crate) struct Inner<K: Key, V, S, T> {
    pub(crate) source: S,
    pub(crate) store: T,
    pub(crate) settings: Settings,
    pub(crate) flights: Flights<K, V>,
    pub(crate) front: Front,
    pub(crate) pending: Pending<K>,
    pub(crate) refreshes: Arc<Semaphore>,
    pub(crate) counters: Counters,
    pub(crate) chance: Chance,
    /// By this cache, or the store was seen to be.
    pub(crate) closed: AtomicBool,
}

impl<S, T> Cache<String, (), S, T> {
    /// Sets up a cache of the rows of `source`, whose entries are kept in `store`.
    pub const fn builder(source: S, store: T) -> Builder<S, T> {
        Builder::new(source, store)
    }
}

impl<K: Key, V: Clone + Send + Sync + 'static, S: Source<K, V>, T: Store<K, V>> Cache<K, V, S, T> {
    /// The value of `key`; `None` when there is no row.
    ///
    /// A miss loads from the database, once for all who ask for the key meanwhile, in this process and in others on the
    /// same store. A failed load is not cached. While the store fails, every read is a miss.
    ///
    /// # Errors
    ///
    /// What the database reports; whoever waited for a failed load gets its error as the source of its own, and
    /// `Unavailable` if the load of another panicked. `Closed` after [`close`](Self::close).
    ///
    /// # Cancel safety
    ///
    /// Cancel-safe: when a caller who loads is dropped, one of those who wait loads instead.
    pub async fn get(&self, key: &K) -> Result<Option<V>> {
        if !self.0.front.is_off() && self.0.denied(key).await {
            return self.0.still_open("get").map(|()| None);
        }
        if !self.0.pending.holds(key) {
            match self.0.store.get(key).await {
                Ok(Some(entry)) => return Ok(self.0.serve(key, entry)),
                Ok(None) => {}
                Err(error) => self.0.store_failed(error)?,
            }
        } else {
            // The store was not asked, which would have said so.
            self.0.still_open("get")?;
        }
        self.0.counters.misses.one();
        self.0.load(key).await
    }

    /// The values of `keys`, in their order: the store is asked once, and what it has not is loaded, several rows at a time.
    ///
    /// # Errors
    ///
    /// For each key, those of [`get`](Self::get).
    ///
    /// # Cancel safety
    ///
    /// Cancel-safe, as [`get`](Self::get) is.
    pub async fn get_many(&self, keys: &[K]) -> Vec<Result<Option<V>>> {
        if self.0.front.is_off() {
            return self.get_all(keys).await;
        }
        let denied = self.0.front.absent(keys).await.unwrap_or_else(|_| {
            self.0.counters.filter_errors.one();
            vec![false; keys.len()]
        });
        let left: Vec<K> =
            keys.iter().zip(&denied).filter(|(_, denied)| !**denied).map(|(key, _)| key.clone()).collect();
        let mut values = self.get_all(&left).await.into_iter();
        let value = |denied| {
            if denied {
                self.0.counters.filtered.one();
                return self.0.still_open("get_many").map(|()| None);
            }
            values.next().unwrap_or_else(|| Err(self.0.closed("get_many", ENDED)))
        };
        denied.into_iter().map(value).collect()
    }

    async fn get_all(&self, keys: &[K]) -> Vec<Result<Option<V>>> {
        // Before the store is asked: what it answers may be older than an invalidation that is delivered meanwhile.
        if let Err(closed) = self.0.still_open("get_many") {
            let again = |_| Err(Error::new(closed.kind(), closed.backend(), "get_many", CLOSED));
            return keys.iter().map(again).collect();
        }
        let held: Vec<bool> = keys.iter().map(|key| self.0.pending.holds(key)).collect();
        let entries = self.0.store.get_many(keys).await;
        let mut values = Vec::with_capacity(keys.len());
        let mut missing = Vec::new();
        for (index, (key, entry)) in keys.iter().zip(entries).enumerate() {
            let entry = if held[index] || self.0.pending.holds(key) { Ok(None) } else { entry };
            values.push(match entry.or_else(|error| self.0.store_failed(error).map(|()| None)) {
                Ok(Some(entry)) => Ok(self.0.serve(key, entry)),
                Ok(None) => {
                    missing.push(index);
                    Err(self.0.closed("get_many", ENDED))
                }
                Err(closed) => Err(closed),
            });
        }
        let mut missing = missing.into_iter();
        let mut loads = JoinSet::new();
        loop {
            for index in missing.by_ref().take(self.0.settings.batch - loads.len()) {
                let (inner, key) = (Arc::clone(&self.0), keys[index].clone());
                inner.counters.misses.one();
                loads.spawn(async move { (index, inner.load(&key).await) });
            }
            match loads.join_next().await {
                None => return values,
                Some(Ok((index, value))) => values[index] = value,
                Some(Err(error)) => match error.try_into_panic() {
                    Ok(panic) => std::panic::resume_unwind(panic),
                    // Only a runtime that ends cancels them.
                    Err(_) => return values,
                },
            }
        }
    }

    /// Writes the row of `key`, then invalidates its entry.
    ///
    /// # Errors
    ///
    /// Each [`WriteError`] says what the database has, and what may be read until when. After [`close`](Self::close) it
    /// is [`WriteError::Closed`], and the database is not touched.
    ///
    /// # Cancel safety
    ///
    /// The write goes on to its end when the future is dropped: a row that was written is invalidated.
    pub async fn write(&self, key: &K, value: V) -> Result<Acks, WriteError> {
        self.write_or_delete(key, Some(value)).await
    }

    /// Deletes the row of `key`, then invalidates its entry.
    ///
    /// # Errors
    ///
    /// Those of [`write`](Self::write).
    ///
    /// # Cancel safety
    ///
    /// That of [`write`](Self::write).
    pub async fn delete(&self, key: &K) -> Result<Acks, WriteError> {
        self.write_or_delete(key, None).await
    }

    async fn write_or_delete(&self, key: &K, value: Option<V>) -> Result<Acks, WriteError> {
        let (inner, key) = (Arc::clone(&self.0), key.clone());
        // In a task: a caller that is dropped between the write and the invalidation would leave a stale entry.
        let write = tokio::spawn(async move { inner.write(&key, value.as_ref()).await });
        match write.await {
            Ok(result) => result,
            Err(error) => match error.try_into_panic() {
                Ok(panic) => std::panic::resume_unwind(panic),
                Err(_) => Err(WriteError::Source(self.0.closed("write", ENDED))),
            },
        }
    }

    /// Invalidates the entry of `key`, whose row someone else has written; `floor` says what is stale, as far as the
    /// caller knows.
    ///
    /// # Errors
    ///
    /// Those of [`write`](Self::write), except [`WriteError::Source`].
    ///
    /// # Cancel safety
    ///
    /// A dropped call has invalidated the entry or not.
    pub async fn invalidate(&self, key: &K, floor: crate::Floor) -> Result<Acks, WriteError> {
        self.0.invalidate(key, floor).await
    }

    /// What it has done.
    #[must_use]
    pub fn stats(&self) -> Stats {
        self.0.counters.read()
    }

    /// How many invalidations wait to be tried again.
    #[must_use]
    pub fn pending(&self) -> usize {
        self.0.pending.len()
    }

    /// What this configuration leaves open beyond what holds for every one: a process that dies between a write and its
    /// invalidation, and a failover to a replica that was not waited for, leave the old entry until it expires.
    #[must_use]
    pub fn gaps(&self) -> Vec<Gap> {
        let Settings { protocol, ack, .. } = self.0.settings;
        let mut gaps = Vec::new();
        if protocol != Protocol::Lease {
            gaps.push(Gap::Protocol(protocol));
        }
        if self.0.source.reads() == Reads::MayLag {
            gaps.push(Gap::ReplicaLag);
        }
        let no_replica = matches!(ack, Ack::None | Ack::Replicas(0) | Ack::Fsync { replicas: 0, .. });
        if no_replica && self.0.store.capability().replicas {
            gaps.push(Gap::Failover);
        }
        gaps
    }

    /// Where the entries are.
    pub fn store(&self) -> &T {
        &self.0.store
    }

    /// Where the rows are.
    pub fn source(&self) -> &S {
        &self.0.source
    }

    /// Asks the store for a sign of life. Cancel-safe.
    ///
    /// # Errors
    ///
    /// When it cannot serve requests now.
    pub async fn health(&self) -> Result<()> {
        self.0.store.health().await
    }

    /// Closes the cache and its store, and so every cache on that store. Later calls are refused, and do not reach the
    /// database:
    ///
    /// | | after this |
    /// |---|---|
    /// | [`get`](Self::get), [`get_many`](Self::get_many), [`health`](Self::health) | `Closed` |
    /// | [`write`](Self::write), [`delete`](Self::delete), [`invalidate`](Self::invalidate) | [`WriteError::Closed`]: nothing was written, nothing invalidated |
    /// | a read under way | ends with its load, whose row is not kept |
    /// | a write under way | ends; if the database has it already, [`WriteError::NotInvalidated`] that is not queued: the old entry stays until it expires |
    /// | invalidations that wait | are not delivered any more |
    ///
    /// A store that is closed past the cache is noticed by the first call that it refuses: a write is not among those that
    /// the database was spared then.
    ///
    /// # Errors
    ///
    /// `Conflict` when invalidations were still waiting; what the store reports.
    ///
    /// # Cancel safety
    ///
    /// Cancel-safe.
    pub async fn close(&self) -> Result<()> {
        self.0.closed.store(true, Ordering::Release);
        self.0.store.close().await?;
        match self.0.pending.len() {
            0 => Ok(()),
            waiting => {
                let message = format!("{waiting} invalidations were not delivered");
                Err(Error::new(ErrorKind::Conflict, self.0.backend(), "close", message))
            }
        }
    }
}

impl<K: Key, V: Clone + Send + Sync + 'static, S: Source<K, V>, T: Store<K, V>> Inner<K, V, S, T> {
    /// What a caller gets of `entry`, which is loaded anew when it is due.
    #[inline]
    fn serve(self: &Arc<Self>, key: &K, entry: Entry<V>) -> Option<V> {
        self.counters.hits.one();
        if entry.value.is_none() {
            self.counters.negative_hits.one();
        }
        if entry.fresh_ms <= 0 {
            self.counters.stale_hits.one();
        }
        let chance = || self.chance.fraction();
        if freshness::is_due(entry.fresh_ms, entry.load_ms, self.settings.early_refresh, chance) {
            self.refresh(key, entry.fresh_until);
        }
        entry.value
    }

    /// Whether the filter says that the database has no row of `key`.
    async fn denied(&self, key: &K) -> bool {
        let denied = match self.front.absent_at_once(key) {
            Some(denied) => Ok(denied),
            None => self.front.absent(std::slice::from_ref(key)).await.map(|denied| denied == [true]),
        };
        match denied {
            Ok(true) => self.counters.filtered.one(),
            Ok(false) => {}
            Err(_) => self.counters.filter_errors.one(),
        }
        matches!(denied, Ok(true))
    }

    /// Counts what the store reported; only the end of its use ends the caller's, too.
    fn store_failed(&self, error: Error) -> Result<()> {
        if self.was_closed(&error) {
            return Err(error);
        }
        self.counters.store_errors.one();
        Ok(())
    }

    pub(crate) fn backend(&self) -> &'static str {
        self.store.capability().backend
    }

    fn closed(&self, op: &'static str, why: &'static str) -> Error {
        Error::new(ErrorKind::Closed, self.backend(), op, why)
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Acquire)
    }

    pub(crate) fn still_open(&self, op: &'static str) -> Result<()> {
        if self.is_closed() { Err(self.closed(op, CLOSED)) } else { Ok(()) }
    }

    /// Whether `error` says that the store was closed, which then is known from now on.
    pub(crate) fn was_closed(&self, error: &Error) -> bool {
        let closed = error.kind() == ErrorKind::Closed;
        if closed {
            self.closed.store(true, Ordering::Release);
        }
        closed
    }
}

const CLOSED: &str = "the cache was closed";
const ENDED: &str = "the runtime has ended";

impl<K: Key, V, S, T> Clone for Cache<K, V, S, T> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<K: Key, V, S: fmt::Debug, T: fmt::Debug> fmt::Debug for Cache<K, V, S, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cache")
            .field("source", &self.0.source)
            .field("store", &self.0.store)
            .field("flights", &self.0.flights)
            .finish_non_exhaustive()
    }
}
