use std::sync::Arc;

use backends::{Error, ErrorKind, Result};
use parking_lot::Mutex;
use tokio::task::{JoinError, JoinSet};

use super::{BACKEND, CqlSource};
use crate::{Key, Source};

impl<K: Key, V: Send + Sync + 'static> CqlSource<K, V> {
    /// Writes all of `rows`, `in_flight` at a time, and tells how many those were. For tables that no cache serves yet:
    /// what the writes leave is not told. 64 to 128 in flight keep a server busy.
    ///
    /// # Errors
    ///
    /// That of the first row which could not be written; others are written or not.
    ///
    /// # Cancel safety
    ///
    /// A dropped call has written some of the rows, and ends the writes under way.
    pub async fn store_many<I>(self: &Arc<Self>, rows: I, in_flight: usize) -> Result<u64>
    where
        I: IntoIterator<Item = (K, V)>,
        I::IntoIter: Send + 'static,
    {
        let rows = Arc::new(Mutex::new(rows.into_iter().fuse()));
        let mut writers = JoinSet::new();
        for _ in 0..in_flight.max(1) {
            let (source, rows) = (Arc::clone(self), Arc::clone(&rows));
            writers.spawn(async move {
                let mut written = 0;
                loop {
                    let Some((key, value)) = rows.lock().next() else { return Ok(written) };
                    source.store(&key, Some(&value)).await.map_err(|failed| failed.error)?;
                    written += 1;
                }
            });
        }
        let mut written = 0;
        while let Some(writer) = writers.join_next().await {
            written += writer.map_err(ended)??;
        }
        Ok(written)
    }
}

/// The caller's iterator panicked, or the runtime shuts down.
fn ended(error: JoinError) -> Error {
    match error.try_into_panic() {
        Ok(panic) => std::panic::resume_unwind(panic),
        Err(error) => {
            Error::new(ErrorKind::Closed, BACKEND, "store", "the runtime shuts down").with_source(error)
        }
    }
}
