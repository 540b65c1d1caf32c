//! The database behind the cache, timed.

use std::sync::atomic::{AtomicU64, Ordering};

use bench::{BoxError, Stage};
use cache::{Floor, Reads, Result, Row, Source, SourceError};

use crate::{row::Value, table::Table};

/// Where the rows are.
#[derive(Debug)]
pub(crate) struct Database {
    pub(crate) rows: Rows,
    pub(crate) loads: Stage,
    pub(crate) writes: Stage,
    /// Writes that it did not confirm.
    failed: AtomicU64,
}

#[derive(Debug)]
pub(crate) enum Rows {
    Memory(Table),
    #[cfg(feature = "scylla")]
    Cql(Box<crate::scylla::CqlRows>),
}

impl Database {
    pub(crate) fn new(rows: Rows, every: u64) -> Result<Self, BoxError> {
        Ok(Self { rows, loads: Stage::new(every)?, writes: Stage::new(every)?, failed: AtomicU64::new(0) })
    }

    /// Writes that it confirmed, or that are under way.
    pub(crate) fn begun(&self) -> u64 {
        self.writes.calls().saturating_sub(self.failed.load(Ordering::Relaxed))
    }

    /// The rows as they are now, from no replica that lags; neither timed nor counted.
    pub(crate) async fn latest_of(&self, keys: &[u64]) -> Result<Vec<Row<Value>>> {
        match &self.rows {
            Rows::Memory(table) => {
                std::future::ready(Ok(keys.iter().map(|key| table.latest(*key)).collect())).await
            }
            #[cfg(feature = "scylla")]
            Rows::Cql(rows) => rows.latest_of(keys).await,
        }
    }
}

impl Source<u64, Value> for Database {
    fn reads(&self) -> Reads {
        match &self.rows {
            Rows::Memory(table) => table.reads(),
            #[cfg(feature = "scylla")]
            Rows::Cql(rows) => rows.reads(),
        }
    }

    async fn load(&self, key: &u64) -> Result<Row<Value>> {
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

    async fn store(&self, key: &u64, value: Option<&Value>) -> Result<Floor, SourceError> {
        let (version, floor) = self
            .writes
            .time(async {
                match &self.rows {
                    Rows::Memory(table) => table.store(*key).await.map_err(SourceError::from),
                    #[cfg(feature = "scylla")]
                    Rows::Cql(rows) => rows.store(*key, value).await,
                }
            })
            .await
            .inspect_err(|_| {
                self.failed.fetch_add(1, Ordering::Relaxed);
            })?;
        if let Some(value) = value {
            value.written(version);
        }
        Ok(floor)
    }
}
