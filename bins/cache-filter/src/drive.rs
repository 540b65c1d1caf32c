//! One run: a database, a store, and the filter and the cache before them.

use std::sync::Arc;

use anyhow::Context;
use bench::{Amount, Ceiling, Config, ExitStatus, Fact, Keys, Report, Usage};
use bytes::Bytes;
use cache::{Cache, Memory, Store};
use parking_lot::Mutex;
use tokio::runtime::Runtime;

#[cfg(feature = "scylla")]
use crate::backend::Db;
use crate::{
    Args,
    backend::FilterName,
    database::{Database, Rows},
    facts::{self, Known},
    filter::{self, Begun},
    floor,
    rebuild::{Rebuilds, Recipe},
    servers,
    store::Watched,
    table::Table,
    tally::Tally,
    workload::{Filtering, Inserts, Mix, Shared},
};

/// A call in memory is timed seldom, since reading the clock costs as much.
const EVERY_IN_MEMORY: u64 = 16;

/// As many invalidations as come while a server is started again.
const MOST_PENDING: usize = 1 << 16;

/// The most rows that a run inserts; after that it begins again with the first of them.
const MOST_INSERTS: u64 = 1 << 30;

/// What a run is driven with.
struct Parts {
    config: Config,
    keys: Keys,
    /// Connections and rebuilds live longer than the run.
    runtime: Runtime,
    database: Database,
    filter: Option<(Arc<filter::Watched>, Begun)>,
    ceilings: Vec<Ceiling>,
}

/// Runs operations and checks what was denied.
pub(crate) fn drive(args: &Args) -> anyhow::Result<ExitStatus> {
    let config = in_batches(&args.run.config(None), args.rows.batch);
    let keys =
        Keys::new(args.rows.items, args.rows.distribution).map_err(|error| Usage(error.to_string()))?;
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let (database, mut ceilings) = runtime.block_on(database(args, &config))?;
    match &database.rows {
        Rows::Memory(table) => {
            let (table, keys, batch) = (Arc::clone(table), keys.clone(), args.rows.batch);
            ceilings.push(ceiling(&config, "database alone: loads", floor::Loads { table, keys, batch })?);
        }
        // It was measured when it was opened.
        #[cfg(feature = "scylla")]
        Rows::Cql(_) => {}
    }
    let filter = runtime.block_on(filter::open(args, &database.rows))?;
    if let Some((filter, _)) = &filter {
        let (filter, hasher, present) = (Arc::clone(&filter.inner), args.hasher(), args.rows.present_share);
        let queries = floor::Queries { filter, hasher, keys: keys.clone(), present, batch: args.rows.batch };
        ceilings.push(ceiling(&config, "filter alone: queries", queries)?);
    }
    let parts = Parts { config, keys, runtime, database, filter, ceilings };
    if args.backend.is_memory() {
        let capacity = usize::try_from(args.capacity()).context("too many entries for this machine")?;
        let policy = args.cache.policy.unwrap_or_default();
        let store = Arc::new(Memory::builder().capacity(capacity).policy(policy).build::<u64, Bytes>()?);
        return measure(args, parts, Arc::clone(&store), || {
            let stats = store.stats();
            let (entries, evicted, expired) = (stats.entries, stats.evicted, stats.expired);
            let value = format!("{entries} of {capacity}; {evicted} evicted, {expired} expired");
            vec![Fact { name: "entries in memory".to_owned(), value }]
        });
    }
    let remote = parts.runtime.block_on(servers::connect(args))?;
    let bare = remote.ceilings(args, parts.config.concurrency);
    let parts = Parts { ceilings: parts.ceilings.into_iter().chain(bare).collect(), ..parts };
    measure(args, parts, Arc::clone(&remote.store), Vec::new)
}

fn ceiling(config: &Config, name: &str, part: impl floor::Part) -> anyhow::Result<Ceiling> {
    floor::measure(config, name, part).map_err(anyhow::Error::from_boxed)
}

/// As many operations as make up the keys that were asked for.
fn in_batches(config: &Config, batch: usize) -> Config {
    let amount = match config.amount {
        Amount::Requests(requests) => Amount::Requests(requests.div_ceil(batch as u64)),
        Amount::Duration(_) => config.amount,
    };
    Config { amount, ..config.clone() }
}

/// The database, and what a server gives at the most.
#[cfg_attr(
    not(feature = "scylla"),
    expect(clippy::unused_async, unused_variables, reason = "a server is asked")
)]
async fn database(args: &Args, config: &Config) -> anyhow::Result<(Database, Vec<Ceiling>)> {
    let (rows, every, ceilings) = match args.db {
        #[cfg(feature = "scylla")]
        Db::Scylla | Db::ScyllaCluster => {
            let rows = crate::scylla::CqlRows::open(args).await?;
            let ceiling = rows.ceiling(args, config.concurrency).await?;
            (Rows::Cql(Box::new(rows)), 1, vec![ceiling])
        }
        _ => {
            let latency = args.faults.db_latency.unwrap_or_default();
            let table = Table::new(args.rows.items, room(args), args.rows.payload, latency);
            let every = if latency.is_zero() { EVERY_IN_MEMORY } else { 1 };
            (Rows::Memory(Arc::new(table)), every, Vec::new())
        }
    };
    Ok((Database::new(rows, every).map_err(anyhow::Error::from_boxed)?, ceilings))
}

/// For rows that the run inserts, warm-up included.
fn room(args: &Args) -> u64 {
    match args.expected_inserts() {
        0 => 0,
        expected => (expected * 4).clamp(1 << 20, MOST_INSERTS),
    }
}

fn measure<T: Store<u64, Bytes> + Clone>(
    args: &Args,
    parts: Parts,
    store: T,
    more: impl FnOnce() -> Vec<Fact>,
) -> anyhow::Result<ExitStatus> {
    let Parts { config, keys, runtime, database, filter, mut ceilings } = parts;
    let reads = floor::Reads::of(store.clone(), args.rows.batch, args.rows.payload);
    ceilings.push(ceiling(&config, "store alone: reads of one entry", runtime.block_on(reads)?)?);
    let every = if args.backend.is_memory() { EVERY_IN_MEMORY } else { 1 };
    let watched = Watched::new(store, every).map_err(anyhow::Error::from_boxed)?;
    let negative_ttl = args.cache.negative_ttl;
    let builder = Cache::builder(database, watched)
        .ttl(args.cache.ttl)
        .negative_ttl((!negative_ttl.is_zero()).then_some(negative_ttl))
        .max_pending(MOST_PENDING)
        .seed(args.run.seed);
    let (filter, begun) = filter.unzip();
    let builder = match &filter {
        Some(filter) => builder.filter(Arc::clone(filter) as _, args.hasher()),
        None => builder,
    };
    let rows = &args.rows;
    let mix =
        Mix { present: rows.present_share, writes: rows.writes, batch: rows.batch, payload: rows.payload };
    let shared = Arc::new(Shared {
        cache: builder.build()?,
        filter,
        hasher: args.hasher(),
        keys,
        mix,
        tally: Tally::default(),
        inserts: Inserts::new(room(args)),
        rebuilds: Rebuilds::default(),
        in_memory: args.backend.is_memory()
            && args.db.is_memory()
            && args.filter.filter != FilterName::Hosted,
        handle: runtime.handle().clone(),
        measured: Mutex::default(),
    });
    if let Some(every) = args.filter.rebuild_every {
        Rebuilds::start(&shared, Recipe { every, size: args.size(), planned: args.planned() }, args);
    }
    let complete = |report: &mut Report| {
        args.describe(report);
        report.ceilings.extend(ceilings);
        // Asked before the report is judged, and after the run.
        let state =
            shared.filter.as_ref().map(|filter| runtime.block_on(filters::Membership::state(&**filter)));
        let state = state.and_then(Result::ok);
        let positions = args.plan(args.planned()).map_or(0, |plan| plan.positions());
        let known = Known { begun, state, name: args.filter.filter, positions };
        facts::tell(&shared, &known, report);
        report.facts.extend(more());
        if !args.backend.is_memory() || args.filter.filter == FilterName::Hosted {
            report.facts.extend(runtime.block_on(servers::memory(args)));
        }
    };
    let workload = Filtering(Arc::clone(&shared));
    let status = args.run.drive("cache-filter", env!("CARGO_PKG_VERSION"), &config, workload, complete);
    if let Some(filter) = &shared.filter {
        runtime.block_on(filter.remove()).context("the filter stays on the server")?;
    }
    status.map_err(anyhow::Error::from_boxed)
}
