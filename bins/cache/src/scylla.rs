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
    scylla::{Consistency, CqlSource},
};
use clock::{Clock, PreciseClock};
use tokio::task::JoinSet;

use crate::{Args, backend::Level, row::Value};

/// Writes in flight while rows are loaded for the first time, and loads of the check.
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
    rows: CqlSource<u64, Value>,
    /// Reads every replica: what the check holds entries against.
    all: Arc<CqlSource<u64, Value>>,
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
                usage("the url names no keyspace, like scylla://127.0.0.1:9042/cache_bench".to_owned())
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
        let table = format!("rows_{}_{}", args.rows.rows, args.rows.payload);
        let level = match args.consistency {
            Some(Level::One) => Consistency::One,
            _ => Consistency::Quorum,
        };
        let all = Arc::new(source(&config, &table, Consistency::All, Consistency::Quorum).await?);
        let rows = source(&config, &table, level, level).await?;
        let opened = Self { rows, all, bare: Cql::connect(&config).await?, table };
        opened.fill(args).await?;
        Ok(opened)
    }

    pub(crate) fn reads(&self) -> Reads {
        Source::reads(&self.rows)
    }

    pub(crate) async fn load(&self, key: u64) -> Result<Row<Value>> {
        Ok(stamped(self.rows.load(&key).await?))
    }

    /// The version that the row got, too.
    pub(crate) async fn store(
        &self,
        key: u64,
        value: Option<&Value>,
    ) -> std::result::Result<(u64, Floor), SourceError> {
        let floor = self.rows.store(&key, value).await?;
        // Timestamps are unique here, so that the floor is just below that of the write.
        Ok((floor.version().get() + 1, floor))
    }

    /// The rows as all replicas have them.
    pub(crate) async fn latest_of(&self, keys: &[u64]) -> Result<Vec<Row<Value>>> {
        let mut rows = vec![Row::ABSENT; keys.len()];
        let mut loads = JoinSet::new();
        let mut keys = keys.iter().copied().enumerate();
        loop {
            for (place, key) in keys.by_ref().take(IN_FLIGHT - loads.len()) {
                let all = Arc::clone(&self.all);
                loads.spawn(async move { (place, all.load(&key).await) });
            }
            match loads.join_next().await {
                None => return Ok(rows),
                Some(Ok((place, row))) => rows[place] = stamped(row?),
                Some(Err(error)) => match error.try_into_panic() {
                    Ok(panic) => std::panic::resume_unwind(panic),
                    // Only a runtime that ends cancels them.
                    Err(_) => return Ok(rows),
                },
            }
        }
    }

    /// Writes the rows that are not there yet, from where an earlier run stopped.
    async fn fill(&self, args: &Args) -> anyhow::Result<()> {
        let (rows, payload) = (args.rows.rows, args.rows.payload);
        let noted = self.all.load(&NOTE).await?.value;
        let mut done =
            noted.and_then(|note| Some(u64::from_be_bytes(*note.bytes.first_chunk()?))).unwrap_or(0);
        while done < rows {
            let end = (done + STEP).min(rows);
            let values = (done..end).map(move |key| (key, Value::new(key, 0, payload, 0)));
            self.all.store_many(values, IN_FLIGHT).await.context("cannot write the rows")?;
            let note = Value::kept(Bytes::copy_from_slice(&end.to_be_bytes()), 0);
            self.all.store(&NOTE, Some(&note)).await.context("cannot write the rows")?;
            done = end;
            if !args.run.quiet {
                bench::complain(&format!("cache: {} of {} rows are there", grouped(done), grouped(rows)));
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
            let (next, clock, rows) = (Arc::clone(&next), clock.clone(), args.rows.rows);
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
        let name = format!("bare selects, {in_flight} in flight");
        Ok(Ceiling { name, ops_per_s: rate / args.rows.batch as f64 })
    }
}

async fn source(
    config: &Config,
    table: &str,
    reads: Consistency,
    writes: Consistency,
) -> anyhow::Result<CqlSource<u64, Value>> {
    let builder = CqlSource::builder(Cql::connect(config).await?).values(
        |value: &Value, out| {
            out.extend_from_slice(&value.bytes);
            Ok(())
        },
        |bytes| Some(Value::kept(bytes, 0)),
    );
    // While it runs, no other process writes these rows.
    let source = builder.consistency(reads, writes).unique_timestamps().create(table).await?;
    Ok(source)
}

/// With the version beside the bytes.
fn stamped(row: Row<Value>) -> Row<Value> {
    let version = row.version.get();
    Row { value: row.value.map(|value| value.at(version)), version: row.version }
}
