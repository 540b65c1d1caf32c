//! One run: a database, a store, and the cache between them.

use std::sync::{Arc, atomic::AtomicU64};

use anyhow::Context;
use bench::{Amount, Ceiling, Config, ExitStatus, Fact, Keys, Report, Usage};
use cache::{Cache, Memory, Store};
use parking_lot::Mutex;
use tokio::runtime::Runtime;

#[cfg(feature = "scylla")]
use crate::backend::Db;
use crate::{
    Args,
    cluster::Cluster,
    database::{Database, Rows},
    facts,
    faults::Faults,
    floor,
    row::Value,
    servers,
    servers::Dyn,
    spawn::Server,
    store::Watched,
    table::Table,
    tally::Tally,
    workload::{Caching, Mix, Shared},
};

/// A call in memory is timed seldom, since reading the clock costs as much.
const EVERY_IN_MEMORY: u64 = 16;

/// As many writes as come while a server is started again.
const MOST_PENDING: usize = 1 << 16;

/// A store, and what belongs to it.
struct Place<T> {
    store: T,
    /// The store behind one that has copies of its own.
    behind: Option<Dyn>,
    /// A server that may be killed and frozen.
    own: Option<Arc<Mutex<Server>>>,
    /// A cluster whose masters may be taken away.
    cluster: Option<Arc<Mutex<Cluster>>>,
    ceilings: Vec<Ceiling>,
}

/// Runs operations and checks what they read and what they left.
pub(crate) fn drive(args: &Args) -> anyhow::Result<ExitStatus> {
    let config = in_batches(&args.run.config(None), args.rows.batch);
    let keys = Keys::new(args.rows.rows, args.rows.distribution).map_err(|error| Usage(error.to_string()))?;
    // Connections and faults live longer than the run.
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
    let (database, mut ceilings) = runtime.block_on(database(args, &config))?;
    if args.backend.is_memory() {
        let capacity = usize::try_from(args.capacity()).context("too many entries for this machine")?;
        let policy = args.cache.policy.unwrap_or_default();
        let store = Arc::new(Memory::builder().capacity(capacity).policy(policy).build::<u64, Value>()?);
        ceilings.push(floor::measure(&config, &keys).map_err(anyhow::Error::from_boxed)?);
        let place = Place { store: Arc::clone(&store), behind: None, own: None, cluster: None, ceilings };
        return measure(args, &config, &keys, &runtime, database, place, || {
            let stats = store.stats();
            let (entries, evicted, expired) = (stats.entries, stats.evicted, stats.expired);
            let value = format!("{entries} of {capacity}; {evicted} evicted, {expired} expired");
            vec![Fact { name: "entries in memory".to_owned(), value }]
        });
    }
    let own = servers::spawn(args)?;
    let remote = runtime.block_on(servers::connect(args, &own))?;
    ceilings.extend(remote.ceilings(args, config.concurrency));
    let reads = floor::Reads::new(Arc::clone(&remote.store), args.rows.batch);
    runtime.block_on(reads.fill(args.rows.payload))?;
    ceilings.push(reads.measure(&config).map_err(anyhow::Error::from_boxed)?);
    let place = Place {
        store: Arc::clone(&remote.store),
        behind: remote.behind.clone(),
        own: own.master.clone(),
        cluster: own.cluster.clone(),
        ceilings,
    };
    measure(args, &config, &keys, &runtime, database, place, || runtime.block_on(remote.facts()))
}

/// As many operations as make up the keys that were asked for.
fn in_batches(config: &Config, batch: usize) -> Config {
    let amount = match config.amount {
        Amount::Requests(requests) => Amount::Requests(requests.div_ceil(batch as u64)),
        Amount::Duration(_) => config.amount,
    };
    Config { amount, ..config.clone() }
}

/// The database, and what it gives at the most.
async fn database(args: &Args, config: &Config) -> anyhow::Result<(Database, Vec<Ceiling>)> {
    let (rows, every, ceilings) = match args.db {
        #[cfg(feature = "scylla")]
        Db::Scylla | Db::ScyllaCluster => {
            let rows = crate::scylla::CqlRows::open(args).await?;
            let ceiling = rows.ceiling(args, config.concurrency).await?;
            (Rows::Cql(Box::new(rows)), 1, vec![ceiling])
        }
        _ => std::future::ready(table(args, config)).await,
    };
    Ok((Database::new(rows, every).map_err(anyhow::Error::from_boxed)?, ceilings))
}

fn table(args: &Args, _: &Config) -> (Rows, u64, Vec<Ceiling>) {
    let latency = args.faults.db_latency.unwrap_or_default();
    let table = Table::new(args.rows.rows, args.rows.payload, latency, args.run.seed);
    let table = match args.faults.replica_lag {
        Some(lag) => table.with_lag(lag.share, lag.delay),
        None => table,
    };
    let every = if latency.is_zero() { EVERY_IN_MEMORY } else { 1 };
    (Rows::Memory(table), every, Vec::new())
}

fn measure<T: Store<u64, Value> + Clone>(
    args: &Args,
    config: &Config,
    keys: &Keys,
    runtime: &Runtime,
    database: Database,
    place: Place<T>,
    more: impl FnOnce() -> Vec<Fact>,
) -> anyhow::Result<ExitStatus> {
    let Place { store, behind, own, cluster, ceilings } = place;
    let faults = Faults::new(args.run.seed);
    if let Some(per_second) = args.faults.evict {
        faults.evict(runtime.handle(), store.clone(), keys.clone(), per_second);
    }
    if let Some(server) = own {
        if let Some(every) = args.faults.kill_store {
            faults.kill(runtime.handle(), Arc::clone(&server), every);
        }
        if let Some(every) = args.faults.freeze_store {
            faults.freeze(runtime.handle(), server, every);
        }
    }
    if let Some(cluster) = cluster {
        if let Some(every) = args.faults.fail_over {
            let lag = args.faults.fail_over_lag.unwrap_or_default();
            faults.fail_over(runtime.handle(), Arc::clone(&cluster), every, lag);
        }
        if let Some(every) = args.faults.cut_off {
            faults.cut_off(runtime.handle(), cluster, every);
        }
    }
    let every = if args.backend.is_memory() { EVERY_IN_MEMORY } else { 1 };
    let lose = args.faults.lose_invalidations.unwrap_or_default();
    let watched = Watched::new(store, every, lose, args.run.seed).map_err(anyhow::Error::from_boxed)?;
    let negative_ttl = args.cache.negative_ttl;
    let cache = Cache::builder(database, watched)
        .protocol(args.cache.protocol)
        .ttl(args.cache.ttl)
        .stale_for(args.cache.stale_for)
        .negative_ttl((!negative_ttl.is_zero()).then_some(negative_ttl))
        .ack(args.cache.ack.0)
        .max_pending(MOST_PENDING)
        .seed(args.run.seed)
        .build()?;
    let mix = Mix {
        writes: args.rows.writes,
        absent: args.rows.absent,
        batch: args.rows.batch,
        payload: args.rows.payload,
    };
    let shared = Arc::new(Shared {
        cache,
        behind,
        keys: keys.clone(),
        mix,
        tally: Tally::new(keys.count()),
        faults,
        in_memory: args.backend.is_memory(),
        is_own: args.spawns(),
        fails_over: args.fails_over(),
        handle: runtime.handle().clone(),
        sequence: AtomicU64::new(1),
        checked: Mutex::default(),
    });
    let workload = Caching(Arc::clone(&shared));
    let complete = |report: &mut Report| {
        args.describe(report);
        report.ceilings.extend(ceilings);
        facts::tell(args, &shared, report);
        report.facts.extend(more());
    };
    let status = args.run.drive("cache", env!("CARGO_PKG_VERSION"), config, workload, complete);
    status.map_err(anyhow::Error::from_boxed)
}
