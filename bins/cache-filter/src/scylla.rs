//! Rows in ScyllaDB, or Cassandra.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use anyhow::Context;
use backends::{Config, Cql};
use bench::{Ceiling, Usage, format::grouped};
use bytes::Bytes;
use cache::{
    Floor, Reads, Result, Row, Source, SourceError,
    scylla::{CqlSource, KeyScan},
};
use clock::{Clock, PreciseClock};
use parking_lot::Mutex;
use tokio::task::JoinSet;

use crate::{Args, hasher::AnyHasher, row::value};

/// Writes in flight while rows are loaded for the first time, or deleted.
const IN_FLIGHT: usize = 128;
/// Rows between two notes of how far that has come.
const STEP: u64 = 20_000;
/// The row that says how many are there.
const NOTE: u64 = u64::MAX;
/// How long the bare loop runs.
const TIME: Duration = Duration::from_millis(500);

/// A table of rows.
#[derive(Debug)]
pub(crate) struct CqlRows {
    rows: Arc<CqlSource<u64, Bytes>>,
    bare: Cql,
    table: String,
}

impl CqlRows {
    /// Connects, creates keyspace and table unless they are there, and fills in the rows that are missing.
    pub(crate) async fn open(args: &Args) -> anyhow::Result<Self> {
        let url = args.db_url.as_deref().unwrap_or_else(|| args.db.url());
        let usage = |error| Usage(format!("--db-url: {error}"));
        let config = Config::parse(url).map_err(|error| usage(error.to_string()))?;
        let (server, keyspace) = url
            .split_once("://")
            .and_then(|(scheme, rest)| Some((scheme, rest.split_once('/')?)))
            .map(|(scheme, (nodes, path))| (format!("{scheme}://{nodes}"), path))
            .ok_or_else(|| {
                usage("the url names no keyspace, like scylla://127.0.0.1:9042/cache_filter_bench".to_owned())
            })?;
        let keyspace = keyspace.split('?').next().unwrap_or(keyspace);
        let cql = Cql::connect(&Config::parse(&server)?).await?;
        let create = format!(
            "CREATE KEYSPACE IF NOT EXISTS {keyspace} WITH replication = \
             {{'class': 'NetworkTopologyStrategy', 'replication_factor': {}}}",
            args.db.replicas()
        );
        let created = cql.session()?.query_unpaged(create, ()).await;
        created.with_context(|| format!("cannot create the keyspace {keyspace}"))?;
        cql.close().await;
        // Rows of another number or length are others.
        let table = format!("rows_{}_{}", args.rows.items, args.rows.payload);
        // While it runs, no other process writes these rows.
        let rows =
            CqlSource::builder(Cql::connect(&config).await?).unique_timestamps().create(&table).await?;
        let opened = Self { rows: Arc::new(rows), bare: Cql::connect(&config).await?, table };
        opened.fill(args).await?;
        Ok(opened)
    }

    pub(crate) fn reads(&self) -> Reads {
        Source::reads(&*self.rows)
    }

    pub(crate) async fn load(&self, key: u64) -> Result<Row<Bytes>> {
        Source::load(&*self.rows, &key).await
    }

    pub(crate) async fn store(
        &self,
        key: u64,
        value: Option<&Bytes>,
    ) -> std::result::Result<Floor, SourceError> {
        Source::store(&*self.rows, &key, value).await
    }

    pub(crate) async fn scan(&self, hasher: AnyHasher) -> Result<KeyScan<AnyHasher>> {
        self.rows.scan(hasher).await
    }

    /// Deletes what a run has inserted.
    pub(crate) async fn delete(
        &self,
        keys: impl Iterator<Item = u64> + Send + 'static,
    ) -> anyhow::Result<()> {
        let keys = Arc::new(Mutex::new(keys.fuse()));
        let mut writers = JoinSet::new();
        for _ in 0..IN_FLIGHT {
            let (rows, keys) = (Arc::clone(&self.rows), Arc::clone(&keys));
            writers.spawn(async move {
                loop {
                    let Some(key) = keys.lock().next() else { return anyhow::Ok(()) };
                    Source::store(&*rows, &key, None).await?;
                }
            });
        }
        while let Some(writer) = writers.join_next().await {
            writer?.context("cannot delete the rows that were inserted")?;
        }
        Ok(())
    }

    /// Writes the rows that are not there yet, from where an earlier run stopped.
    async fn fill(&self, args: &Args) -> anyhow::Result<()> {
        let (rows, payload) = (args.rows.items, args.rows.payload);
        let noted = self.load(NOTE).await?.value;
        let mut done = noted.and_then(|note| Some(u64::from_be_bytes(*note.first_chunk()?))).unwrap_or(0);
        while done < rows {
            let end = (done + STEP).min(rows);
            let values = (done..end).map(move |key| (key, value(key, payload)));
            self.rows.store_many(values, IN_FLIGHT).await.context("cannot write the rows")?;
            let note = Bytes::copy_from_slice(&end.to_be_bytes());
            self.store(NOTE, Some(&note)).await.context("cannot write the rows")?;
            done = end;
            if !args.run.quiet {
                bench::complain(&format!(
                    "cache-filter: {} of {} rows are there",
                    grouped(done),
                    grouped(rows)
                ));
            }
        }
        Ok(())
    }

    /// Bare prepared selects, as many in flight as the run has.
    pub(crate) async fn ceiling(&self, args: &Args, concurrency: usize) -> anyhow::Result<Ceiling> {
        let session = self.bare.session()?;
        let select = session.prepare(format!("SELECT value FROM {} WHERE key = ?", self.table)).await?;
        let in_flight = concurrency * args.rows.batch;
        let (next, clock) = (Arc::new(AtomicU64::new(0)), PreciseClock::new());
        let began = clock.now();
        let mut readers = JoinSet::new();
        for _ in 0..in_flight.min(10_000) {
            let (session, select) = (Arc::clone(&session), select.clone());
            let (next, clock, rows) = (Arc::clone(&next), clock.clone(), args.rows.items);
            readers.spawn(async move {
                while clock.now().since(began) < TIME {
                    let key = next.fetch_add(1, Ordering::Relaxed) % rows;
                    session.execute_unpaged(&select, (key.to_string().into_bytes(),)).await?;
                }
                anyhow::Ok(())
            });
        }
        while let Some(reader) = readers.join_next().await {
            reader??;
        }
        let rate = next.load(Ordering::Relaxed) as f64 / clock.now().since(began).as_secs_f64();
        let name = format!("database alone: bare selects, {in_flight} in flight");
        Ok(Ceiling { name, ops_per_s: rate / args.rows.batch as f64 })
    }
}
