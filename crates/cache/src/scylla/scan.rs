use std::{fmt, ops::ControlFlow, sync::Arc};

use ::scylla::{client::session::Session, response::PagingState, statement::prepared::PreparedStatement};
use backends::{Result, scylla_1::cql_error};
use bytes::Bytes;
use filters::{BoxFuture, KeyHasher, Scan};

use super::{CqlSource, corrupt, read_error};

/// Keys of a page.
const PAGE: i32 = 10_000;

/// The hashes of all keys of a table, page by page, for the rebuild of a filter. Feature `filters`.
///
/// It reads as a load does, so that by quorum it gives every row whose store returned before it began.
pub struct KeyScan<H> {
    session: Arc<Session>,
    select: PreparedStatement,
    hasher: H,
    from: Option<PagingState>,
}

impl<K, V> CqlSource<K, V> {
    /// Begins to read all keys; `hasher` makes their hashes.
    ///
    /// # Errors
    ///
    /// What the connection reports.
    ///
    /// # Cancel safety
    ///
    /// Cancel-safe.
    pub async fn scan<H: KeyHasher>(&self, hasher: H) -> Result<KeyScan<H>> {
        let session = self.cql.session()?;
        let select = format!("SELECT key FROM {}", self.table);
        let mut select = session.prepare(select).await.map_err(|error| cql_error("scan", error))?;
        select.set_page_size(PAGE);
        select.set_is_idempotent(true);
        if let Some(consistency) = self.select.get_consistency() {
            select.set_consistency(consistency);
        }
        Ok(KeyScan { session, select, hasher, from: Some(PagingState::start()) })
    }
}

impl<H: KeyHasher> Scan for KeyScan<H> {
    fn next<'a>(&'a mut self, hashes: &'a mut Vec<u64>) -> BoxFuture<'a, Result<bool>> {
        Box::pin(async move {
            // A page may be empty, and not the last one.
            while let Some(from) = self.from.clone() {
                let page = self.session.execute_single_page(&self.select, (), from).await;
                let (rows, next) = page.map_err(read_error)?;
                let rows = rows.into_rows_result().map_err(corrupt)?;
                let before = hashes.len();
                for row in rows.rows::<(Bytes,)>().map_err(corrupt)? {
                    hashes.push(self.hasher.hash(&row.map_err(corrupt)?.0));
                }
                self.from = match next.into_paging_control_flow() {
                    ControlFlow::Continue(next) => Some(next),
                    ControlFlow::Break(()) => None,
                };
                if hashes.len() > before {
                    return Ok(true);
                }
            }
            Ok(false)
        })
    }
}

impl<H> fmt::Debug for KeyScan<H> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeyScan").finish_non_exhaustive()
    }
}
