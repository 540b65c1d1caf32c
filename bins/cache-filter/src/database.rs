//! The database behind the cache, timed.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use bench::{BoxError, Stage};
use bytes::Bytes;
use cache::{Floor, Reads, Result, Row, Source, SourceError};
use filters::Scan;

use crate::{hasher::AnyHasher, row::ABSENT, table::Table};

/// Where the rows are.
#[derive(Debug)]
pub(crate) struct Database {
    pub(crate) rows: Rows,
    pub(crate) loads: Stage,
    pub(crate) writes: Stage,
    /// Loads of keys that no row has.
    in_vain: AtomicU64,
}

#[derive(Debug)]
pub(crate) enum Rows {
    Memory(Arc<Table>),
    #[cfg(feature = "scylla")]
    Cql(Box<crate::scylla::CqlRows>),
}

impl Rows {
    /// The keys of all rows.
    #[cfg_attr(not(feature = "scylla"), expect(clippy::unused_async, reason = "a server is asked"))]
    pub(crate) async fn scan(&self, hasher: AnyHasher) -> Result<Box<dyn Scan>> {
        match self {
            Self::Memory(table) => Ok(Box::new(table.scan(hasher))),
            #[cfg(feature = "scylla")]
            Self::Cql(rows) => Ok(Box::new(rows.scan(hasher).await?)),
        }
    }

    /// Deletes what the run has inserted, where it would stay.
    #[cfg_attr(
        not(feature = "scylla"),
        expect(clippy::unused_async, unused_variables, reason = "a server is told")
    )]
    pub(crate) async fn tidy_up(
        &self,
        keys: impl Iterator<Item = u64> + Send + 'static,
    ) -> anyhow::Result<()> {
        match self {
            Self::Memory(_) => Ok(()),
            #[cfg(feature = "scylla")]
            Self::Cql(rows) => rows.delete(keys).await,
        }
    }
}

impl Database {
    pub(crate) fn new(rows: Rows, every: u64) -> Result<Self, BoxError> {
        Ok(Self { rows, loads: Stage::new(every)?, writes: Stage::new(every)?, in_vain: AtomicU64::new(0) })
    }

    pub(crate) fn in_vain(&self) -> u64 {
        self.in_vain.load(Ordering::Relaxed)
    }
}

impl Source<u64, Bytes> for Database {
    fn reads(&self) -> Reads {
        match &self.rows {
            Rows::Memory(_) => Reads::Latest,
            #[cfg(feature = "scylla")]
            Rows::Cql(rows) => rows.reads(),
        }
    }

    async fn load(&self, key: &u64) -> Result<Row<Bytes>> {
        if *key >= ABSENT {
            self.in_vain.fetch_add(1, Ordering::Relaxed);
        }
        self.loads
            .time(async {
                match &self.rows {
                    Rows::Memory(table) => Ok(table.load(*key).await),
                    #[cfg(feature = "scylla")]
                    Rows::Cql(rows) => rows.load(*key).await,
                }
            })
            .await
    }

    #[cfg_attr(not(feature = "scylla"), expect(unused_variables, reason = "the table makes its own"))]
    async fn store(&self, key: &u64, value: Option<&Bytes>) -> Result<Floor, SourceError> {
        self.writes
            .time(async {
                match &self.rows {
                    Rows::Memory(table) => table.store(*key).await.map_err(SourceError::from),
                    #[cfg(feature = "scylla")]
                    Rows::Cql(rows) => rows.store(*key, value).await,
                }
            })
            .await
    }
}
