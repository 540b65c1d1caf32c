//! Rows in ScyllaDB, or Cassandra, behind the cache. Feature `scylla`.
//!
//! The version of a row is its `WRITETIME`, in microseconds: that which the database has kept, not that which a writer
//! has sent. Each store names its timestamp itself, so that what it leaves is known even when its answer was lost, and
//! so that a statement that arrives twice, or late, changes nothing.
//!
//! # Last write wins, and what that loses
//!
//! The timestamp is the wall clock of the writer, and one source never takes the same or a lower one twice, even when
//! the clock is set back. Between writers the higher timestamp wins, whatever came last:
//!
//! - A write by a clock that is behind returns without an error, and is not there, if another has written or deleted
//!   the row by a clock that is ahead. What is cached is what the database has kept; the write itself is lost. Keep
//!   clocks together, or let one process write a row.
//! - A delete by a clock that is ahead hides every write until the other clocks get there.
//! - Two writes in the same microsecond: the delete wins, otherwise the greater value. So a store leaves
//!   [`Floor::at`](crate::Floor::at) its timestamp, both are in doubt, and the row is not cached for as long as that is
//!   kept; see [`unique_timestamps`](CqlSourceBuilder::unique_timestamps).
//!
//! # What a load sees
//!
//! By quorum of writes and of reads, every store that returned before the load began: R + W > RF. `LOCAL_QUORUM` is a
//! quorum in the datacentre of whichever node coordinates, and the driver asks any node, so that with several
//! datacentres two of them need not meet: [`Source::reads`] then answers [`Reads::MayLag`]. That is
//! told when the source is created; a keyspace that gets another datacentre needs a new source, and one that gets more
//! replicas needs its repair first, as for anything that relies on quorums.
//!
//! A store that failed may be on some of the replicas, and be seen by one load and not by the next, until it is
//! repaired or stored again.
//!
//! # Tables of one's own
//!
//! A [`Source`] for a table with other columns is two statements; this is all of it:
//!
//! ```no_run
#![doc = include_str!("scylla/own_table.rs")]
//! ```

use std::{fmt, marker::PhantomData, sync::Arc};

use ::scylla::{errors::ExecutionError, statement::prepared::PreparedStatement};
use backends::{Cql, Error, ErrorKind, Result, Retry, scylla_1::cql_error};
use bytes::Bytes;

mod builder;
mod consistency;
mod preload;
#[cfg(feature = "filters")]
mod scan;
mod timestamps;
mod values;

pub use builder::CqlSourceBuilder;
pub use consistency::Consistency;
#[cfg(feature = "filters")]
pub use scan::KeyScan;
pub use timestamps::Timestamps;

use crate::{Floor, Key, Reads, Row, Source, SourceError, Version};
use values::Values;

const BACKEND: &str = "scylla";

/// Rows in a table `(key blob PRIMARY KEY, value blob)`.
///
/// ```no_run
/// # async fn f() -> backends::Result<()> {
/// use cache::{Raw, Source, scylla::CqlSource};
///
/// let config = backends::Config::parse("scylla://127.0.0.1/shop")?;
/// // Values are bytes, unless the builder says otherwise.
/// let users = CqlSource::builder(backends::Cql::connect(&config).await?)
///     .codec::<String>(Raw)
///     .create::<u64>("users")
///     .await?;
/// let row = users.load(&7).await?;
/// # Ok(())
/// # }
/// ```
pub struct CqlSource<K, V> {
    cql: Cql,
    /// What a scan reads.
    #[cfg_attr(not(feature = "filters"), expect(dead_code, reason = "nobody scans it"))]
    table: String,
    select: PreparedStatement,
    insert: PreparedStatement,
    delete: PreparedStatement,
    reads: Reads,
    values: Values<V>,
    timestamps: Arc<Timestamps>,
    keys: PhantomData<fn(&K)>,
}

impl<K: Key> CqlSource<K, Bytes> {
    /// Uses `table` of the keyspace of `cql`, and creates it unless it is there. Loads and stores are by quorum.
    ///
    /// # Errors
    ///
    /// Those of [`CqlSourceBuilder::create`].
    ///
    /// # Cancel safety
    ///
    /// A dropped call may have created the table.
    pub async fn create(cql: Cql, table: &str) -> Result<Self> {
        CqlSourceBuilder::new(cql).create(table).await
    }
}

impl CqlSource<(), Bytes> {
    /// A source with options.
    #[must_use]
    pub fn builder(cql: Cql) -> CqlSourceBuilder<Bytes> {
        CqlSourceBuilder::new(cql)
    }
}

impl<K, V> CqlSource<K, V> {
    /// Asks a node for a sign of life. Cancel-safe.
    ///
    /// # Errors
    ///
    /// When none answers now, and `Closed`.
    pub async fn health(&self) -> Result<()> {
        self.cql.health().await
    }

    /// Ends the use of the connection: later calls answer `Closed`. Cancel-safe.
    pub async fn close(&self) {
        self.cql.close().await;
    }
}

impl<K: Key, V: Send + Sync + 'static> Source<K, V> for CqlSource<K, V> {
    fn reads(&self) -> Reads {
        self.reads
    }

    /// Beside the errors of the connection: `Invalid` for a key that no table can have, `Corrupt` for bytes that are no
    /// value, and for a row that was written with a timestamp below 1 or above [`Version::MAX`].
    async fn load(&self, key: &K) -> Result<Row<V>> {
        let (session, key) = (self.cql.session()?, encoded(key, "load")?);
        let rows = session.execute_unpaged(&self.select, (key,)).await.map_err(read_error)?;
        let rows = rows.into_rows_result().map_err(corrupt)?;
        match rows.maybe_first_row::<(Option<Bytes>, Option<i64>)>().map_err(corrupt)? {
            Some((Some(value), Some(writetime))) => {
                let version = version(writetime).ok_or_else(|| {
                    corrupt(format!("a row was written with the timestamp {writetime}, which is no version"))
                })?;
                let value =
                    (self.values.decode)(value).ok_or_else(|| corrupt("the value of a row is damaged"))?;
                Ok(Row::new(value, version))
            }
            // A row whose value was set to null by someone else has none.
            _ => Ok(Row::ABSENT),
        }
    }

    /// An error is never [`Retry::Safe`] once the statement was sent, since the driver may have asked several nodes.
    async fn store(&self, key: &K, value: Option<&V>) -> Result<Floor, SourceError> {
        let (session, key) = (self.cql.session()?, encoded(key, "store")?);
        let value = value.map(|value| self.values.bytes(value)).transpose()?;
        let version = self.timestamps.next()?;
        let floor = self.timestamps.floor(version);
        // At most 2^53.
        let timestamp = version.get() as i64;
        let written = match value {
            Some(value) => session.execute_unpaged(&self.insert, (key, value, timestamp)).await,
            None => session.execute_unpaged(&self.delete, (timestamp, key)).await,
        };
        match written {
            Ok(_) => Ok(floor),
            Err(error) => Err(SourceError { error: write_error(error), floor }),
        }
    }
}

fn encoded<K: Key>(key: &K, op: &'static str) -> Result<Vec<u8>> {
    let mut bytes = Vec::with_capacity(32);
    key.encode(&mut bytes);
    match bytes.len() {
        0 => Err(Error::new(ErrorKind::Invalid, BACKEND, op, "a key of no bytes, which no table has")),
        1..65_536 => Ok(bytes),
        _ => {
            let message = "a key of more than 65,535 bytes, which no table has";
            Err(Error::new(ErrorKind::Invalid, BACKEND, op, message))
        }
    }
}

/// `None` for what only someone else's `USING TIMESTAMP` can have written.
fn version(writetime: i64) -> Option<Version> {
    u64::try_from(writetime).ok().and_then(Version::new).filter(|version| *version > Version::ABSENT)
}

/// A read has changed nothing, however it ended.
fn read_error(error: ExecutionError) -> Error {
    let error = cql_error("load", error);
    if error.retry() == Retry::Ambiguous { error.with_retry(Retry::Safe) } else { error }
}

/// Of several attempts the driver reports the last: that one may have been refused after an earlier one was applied.
fn write_error(error: ExecutionError) -> Error {
    let error = cql_error("store", error);
    if error.retry() == Retry::Safe { error.with_retry(Retry::Ambiguous) } else { error }
}

fn corrupt(error: impl fmt::Display) -> Error {
    Error::new(ErrorKind::Corrupt, BACKEND, "load", error.to_string().to_lowercase())
}

impl<K, V> fmt::Debug for CqlSource<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { cql, reads, timestamps, .. } = self;
        f.debug_struct("CqlSource")
            .field("cql", cql)
            .field("reads", reads)
            .field("timestamps", timestamps)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_write_of_several_attempts_is_never_known_not_to_have_happened() {
        assert_eq!(write_error(ExecutionError::EmptyPlan).retry(), Retry::Ambiguous);
        let timeout = || ExecutionError::RequestTimeout(std::time::Duration::ZERO);
        assert_eq!(write_error(timeout()).retry(), Retry::Ambiguous);
        assert_eq!(read_error(timeout()).retry(), Retry::Safe);
    }

    #[test]
    fn what_is_no_version_is_none() {
        assert_eq!(version(1), Version::new(1));
        assert_eq!(version((1 << 53) - 1), Some(Version::MAX));
        for writetime in [i64::MIN, -1, 0, 1 << 53, i64::MAX] {
            assert_eq!(version(writetime), None, "{writetime}");
        }
    }
}
