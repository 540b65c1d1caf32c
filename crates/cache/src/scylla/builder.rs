use std::{fmt, marker::PhantomData, sync::Arc};

use ::scylla::{client::session::Session, statement::prepared::PreparedStatement};
use backends::{Cql, Error, ErrorKind, Result, scylla_1::cql_error};
use bytes::Bytes;

use super::{
    BACKEND, Consistency, CqlSource, consistency::in_one_datacentre, timestamps::Timestamps, values::Values,
};
use crate::{Codec, Key, Reads};

/// What a [`CqlSource`] is made of.
pub struct CqlSourceBuilder<V> {
    cql: Cql,
    values: Values<V>,
    reads: Consistency,
    writes: Consistency,
    timestamps: Arc<Timestamps>,
}

impl CqlSourceBuilder<Bytes> {
    pub(super) fn new(cql: Cql) -> Self {
        let (reads, writes) = (Consistency::Quorum, Consistency::Quorum);
        Self { cql, values: Values::plain(), reads, writes, timestamps: Arc::default() }
    }
}

impl<V> CqlSourceBuilder<V> {
    /// How values become bytes, and bytes values. A store gives back the error of a value that has no bytes, and writes
    /// nothing; a load reports bytes that are no value, `None`, as `Corrupt`. The bytes are stored as they are, so that
    /// others may read them.
    #[must_use]
    pub fn values<T>(
        self,
        encode: impl Fn(&T, &mut Vec<u8>) -> Result<()> + Send + Sync + 'static,
        decode: impl Fn(Bytes) -> Option<T> + Send + Sync + 'static,
    ) -> CqlSourceBuilder<T> {
        let Self { cql, reads, writes, timestamps, .. } = self;
        let values = Values { encode: Box::new(encode), decode: Box::new(decode) };
        CqlSourceBuilder { cql, values, reads, writes, timestamps }
    }

    /// Makes bytes of values by `codec`, as a store of entries does: [`values`](Self::values) without closures. Its
    /// fingerprint is not kept: a row has to be read whichever release wrote it.
    #[must_use]
    pub fn codec<T: 'static>(self, codec: impl Codec<T>) -> CqlSourceBuilder<T> {
        let codec = Arc::new(codec);
        let decoder = Arc::clone(&codec);
        self.values(move |value, out| codec.encode(value, out), move |bytes| decoder.decode(bytes))
    }

    /// How many replicas answer a load, and how many a store; [`Quorum`](Consistency::Quorum) for both unless set, with
    /// which a load sees every store that returned before, in any number of datacentres.
    ///
    /// [`LocalQuorum`](Consistency::LocalQuorum) for both spares the way to other datacentres; it is as good where the
    /// keyspace is in one. Where it is in several, [`EachQuorum`](Consistency::EachQuorum) for stores keeps loads local.
    #[must_use]
    pub fn consistency(mut self, reads: Consistency, writes: Consistency) -> Self {
        (self.reads, self.writes) = (reads, writes);
        self
    }

    /// Where stores take their timestamps from; from [`Timestamps::new`] unless set. Several sources may share them.
    #[must_use]
    pub fn timestamps(mut self, timestamps: impl Into<Arc<Timestamps>>) -> Self {
        self.timestamps = timestamps.into();
        self
    }

    /// Promises that every write of a row comes from this source: [`Timestamps::unique`]. A row is then cached again at
    /// once after a store, while it otherwise has to be loaded each time for as long as the floor is kept.
    #[must_use]
    pub fn unique_timestamps(self) -> Self {
        self.timestamps(Timestamps::unique())
    }

    /// Uses `table` of the keyspace of the connection, and creates it unless it is there.
    ///
    /// # Errors
    ///
    /// `Config` when the connection names no keyspace, or loads are by [`EachQuorum`](Consistency::EachQuorum); `Invalid` when the name of the
    /// table is not one, or the table has other columns; otherwise what the connection reports.
    ///
    /// # Cancel safety
    ///
    /// A dropped call may have created the table.
    pub async fn create<K: Key>(self, table: &str) -> Result<CqlSource<K, V>> {
        check_name(table)?;
        let bad = |message| Err(Error::new(ErrorKind::Config, BACKEND, "create", message));
        if self.reads == Consistency::EachQuorum {
            return bad("each_quorum is for writes: not every server reads by it");
        }
        let session = self.cql.session()?;
        let Some(keyspace) = session.get_keyspace() else { return bad("the url names no keyspace") };
        // Who may only read and write needs no right to create.
        let state = session.get_cluster_state();
        if !state.get_keyspace(&*keyspace).is_some_and(|keyspace| keyspace.tables.contains_key(table)) {
            let create = format!("CREATE TABLE IF NOT EXISTS {table} (key blob PRIMARY KEY, value blob)");
            session.query_unpaged(create, ()).await.map_err(|error| cql_error("create", error))?;
        }
        let select = format!("SELECT value, WRITETIME(value) FROM {table} WHERE key = ?");
        let insert = format!("INSERT INTO {table} (key, value) VALUES (?, ?) USING TIMESTAMP ?");
        let delete = format!("DELETE FROM {table} USING TIMESTAMP ? WHERE key = ?");
        Ok(CqlSource {
            select: prepare(&session, select, self.reads).await?,
            insert: prepare(&session, insert, self.writes).await?,
            delete: prepare(&session, delete, self.writes).await?,
            reads: self.reads(&session, &keyspace),
            values: self.values,
            timestamps: self.timestamps,
            table: table.to_owned(),
            cql: self.cql,
            keys: PhantomData,
        })
    }

    fn reads(&self, session: &Session, keyspace: &str) -> Reads {
        self.reads.sees(self.writes, in_one_datacentre(session, keyspace))
    }
}

/// A read changes nothing, and a write with a timestamp of its own is the same however often it arrives, so that the
/// driver may ask another node.
async fn prepare(
    session: &Session,
    statement: String,
    consistency: Consistency,
) -> Result<PreparedStatement> {
    let mut prepared = session.prepare(statement).await.map_err(|error| cql_error("create", error))?;
    prepared.set_consistency(consistency.driver());
    prepared.set_is_idempotent(true);
    Ok(prepared)
}

fn check_name(table: &str) -> Result<()> {
    let is_name = table.starts_with(|c: char| c.is_ascii_lowercase())
        && table.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_');
    if is_name && table.len() <= 48 {
        return Ok(());
    }
    let message = "a table has up to 48 lower-case letters, digits and underscores";
    Err(Error::new(ErrorKind::Invalid, BACKEND, "create", message))
}

impl<V> fmt::Debug for CqlSourceBuilder<V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { cql, reads, writes, timestamps, .. } = self;
        f.debug_struct("CqlSourceBuilder")
            .field("cql", cql)
            .field("reads", reads)
            .field("writes", writes)
            .field("timestamps", timestamps)
            .finish_non_exhaustive()
    }
}
