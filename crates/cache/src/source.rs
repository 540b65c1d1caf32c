//! Where the rows are: the database behind the cache.

use std::{fmt, sync::Arc};

use backends::{Error, Result};

use crate::{BoxFuture, Floor, Version};

/// A database, or whatever else knows the truth.
pub trait Source<K, V>: fmt::Debug + Send + Sync + 'static {
    /// What a load sees.
    fn reads(&self) -> Reads;

    /// Reads the row of `key`.
    ///
    /// # Errors
    ///
    /// What the database reports. An absent row is none.
    ///
    /// # Cancel safety
    ///
    /// A dropped call has changed nothing.
    fn load(&self, key: &K) -> impl Future<Output = Result<Row<V>>> + Send;

    /// Writes the row of `key`, or deletes it, and tells which versions are stale from now on.
    ///
    /// # Errors
    ///
    /// What the database reports, with the floor that the write leaves if it happened nevertheless.
    ///
    /// # Cancel safety
    ///
    /// A dropped call may have written.
    fn store(&self, key: &K, value: Option<&V>) -> impl Future<Output = Result<Floor, SourceError>> + Send;
}

/// What a load sees.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Reads {
    /// Every write that returned before the load began: a quorum of replicas where writes reach one, R + W > RF.
    Latest,
    /// Perhaps an older row, from a replica that lags. A stale row may be cached when its floor was evicted.
    MayLag,
}

/// A row as it was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Row<V> {
    /// The value; `None` when there is no row.
    pub value: Option<V>,
    /// Its version; of an absent row, [`Version::ABSENT`].
    pub version: Version,
}

impl<V> Row<V> {
    /// There is no row.
    pub const ABSENT: Self = Self { value: None, version: Version::ABSENT };

    /// There is one.
    pub const fn new(value: V, version: Version) -> Self {
        Self { value: Some(value), version }
    }
}

/// A write that failed, or of which it is not known.
#[derive(Debug)]
pub struct SourceError {
    /// What the database reported.
    pub error: Error,
    /// What the write leaves if it happened; [`Floor::UNKNOWN`] where that cannot be told.
    pub floor: Floor,
}

impl From<Error> for SourceError {
    fn from(error: Error) -> Self {
        Self { error, floor: Floor::UNKNOWN }
    }
}

impl fmt::Display for SourceError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.error.fmt(f)
    }
}

impl std::error::Error for SourceError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        std::error::Error::source(&self.error)
    }
}

/// The object-safe twin of [`Source`]. Every `Source` is one, and an `Arc<dyn DynSource>` is a `Source` again.
pub trait DynSource<K, V>: fmt::Debug + Send + Sync + 'static {
    /// See [`Source::reads`].
    fn reads(&self) -> Reads;
    /// See [`Source::load`].
    fn load<'a>(&'a self, key: &'a K) -> BoxFuture<'a, Result<Row<V>>>;
    /// See [`Source::store`].
    fn store<'a>(&'a self, key: &'a K, value: Option<&'a V>) -> BoxFuture<'a, Result<Floor, SourceError>>;
}

impl<K: Sync + 'static, V: Sync + 'static, S: Source<K, V>> DynSource<K, V> for S {
    fn reads(&self) -> Reads {
        Source::reads(self)
    }

    fn load<'a>(&'a self, key: &'a K) -> BoxFuture<'a, Result<Row<V>>> {
        Box::pin(Source::load(self, key))
    }

    fn store<'a>(&'a self, key: &'a K, value: Option<&'a V>) -> BoxFuture<'a, Result<Floor, SourceError>> {
        Box::pin(Source::store(self, key, value))
    }
}

/// A source that several caches share, or one that is chosen at run time.
impl<K, V, S> Source<K, V> for Arc<S>
where
    K: Sync + 'static,
    V: Sync + 'static,
    S: DynSource<K, V> + ?Sized,
{
    fn reads(&self) -> Reads {
        (**self).reads()
    }

    async fn load(&self, key: &K) -> Result<Row<V>> {
        (**self).load(key).await
    }

    async fn store(&self, key: &K, value: Option<&V>) -> Result<Floor, SourceError> {
        (**self).store(key, value).await
    }
}
