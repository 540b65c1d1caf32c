//! The servers that keep entries: connections, what they say of their memory, and those of our own.

use std::{
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use backends::{Config, Redis};
use bench::{Ceiling, Fact, Usage, resp};
use bytes::Bytes;
use cache::{Ack, Codec, DynStore, RedisStore, Result, Tiered};
use parking_lot::Mutex;
use xxhash_rust::xxh3::xxh3_64;

use crate::{Args, backend::Backend, cluster::Cluster, row::Value, spawn, spawn::Server};

pub(crate) type Dyn = Arc<dyn DynStore<u64, Value>>;
type Copies = Tiered<u64, Value, RedisStore<u64, Value, Rows>>;

/// So short that an operation does not wait for a server that is killed or frozen, but asks the database.
const SHORT: Duration = Duration::from_millis(250);

/// For acknowledgements: under `appendfsync everysec` a disk takes up to two seconds.
const PATIENCE: Duration = Duration::from_secs(2);

/// Servers that were spawned.
#[derive(Debug, Default)]
pub(crate) struct Own {
    pub(crate) master: Option<Arc<Mutex<Server>>>,
    /// Dies with this value.
    _replica: Option<Server>,
    pub(crate) cluster: Option<Arc<Mutex<Cluster>>>,
}

/// A store that servers keep.
pub(crate) struct Remote {
    pub(crate) store: Dyn,
    /// What is behind the copies of `store`.
    pub(crate) behind: Option<Dyn>,
    /// What the copies did.
    pub(crate) copies: Option<Arc<Copies>>,
    config: Config,
}

/// A row as an entry: its version, then its bytes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rows;

impl Codec<Value> for Rows {
    fn fingerprint(&self) -> u64 {
        xxh3_64(b"row 1")
    }

    fn encode(&self, value: &Value, out: &mut Vec<u8>) -> Result<()> {
        out.extend_from_slice(&value.version.to_be_bytes());
        out.extend_from_slice(&value.bytes);
        Ok(())
    }

    fn decode(&self, bytes: Bytes) -> Option<Value> {
        let version = u64::from_be_bytes(*bytes.first_chunk()?);
        Some(Value::kept(bytes.slice(8..), version))
    }
}

/// Starts what the flags ask for.
pub(crate) fn spawn(args: &Args) -> anyhow::Result<Own> {
    if !args.spawns() {
        return Ok(Own::default());
    }
    let program = spawn::find(args.faults.redis_server.as_deref()).map_err(Usage)?;
    let persistence: &[&str] = match args.cache.ack.0 {
        Ack::Fsync { .. } => &["--appendonly", "yes", "--appendfsync", "always"],
        _ => &["--appendonly", "no"],
    };
    if args.backend == Backend::RedisCluster {
        let with_replicas = args.faults.spawn_replica || args.fails_over();
        let cluster = Cluster::start(&program, persistence, with_replicas)?;
        return Ok(Own { cluster: Some(Arc::new(Mutex::new(cluster))), ..Own::default() });
    }
    let master = Server::start(&program, persistence, None)?;
    let replica = args.faults.spawn_replica.then(|| Server::start(&program, persistence, Some(&master)));
    let master = Some(Arc::new(Mutex::new(master)));
    Ok(Own { _replica: replica.transpose()?, master, cluster: None })
}

/// Connects to the servers of the flags, or to `own`.
pub(crate) async fn connect(args: &Args, own: &Own) -> anyhow::Result<Remote> {
    let url = match (&own.master, &own.cluster, &args.url) {
        (Some(master), ..) => master.lock().url(),
        (_, Some(cluster), _) => cluster.lock().url(),
        (.., Some(url)) => url.clone(),
        _ => args.backend.url().to_owned(),
    };
    let mut config = Config::parse(&url).map_err(|error| Usage(format!("--url: {error}")))?;
    if args.faults.kill_store.is_some() || args.faults.freeze_store.is_some() || args.fails_over() {
        config = config.request_timeout(SHORT);
    }
    let prefix = format!("cache-bench:{}", run_name());
    let store = async || -> anyhow::Result<_> {
        let redis = Redis::connect(&config).await?;
        let patience = if args.fails_over() { SHORT } else { PATIENCE };
        let builder = RedisStore::<u64, Value>::builder().prefix(&prefix).codec(Rows).ack_timeout(patience);
        Ok(match args.cache.ack.0 {
            Ack::Fsync { .. } if !args.cache.trust_fsync => {
                let built = builder.build_with_fsync(redis).await;
                built.map_err(|error| unverified(args, &url, error))?
            }
            Ack::Fsync { .. } => builder.trust_fsync().build(redis),
            _ => builder.build(redis),
        })
    };
    let shared = store().await?;
    if args.backend != Backend::Tiered {
        return Ok(Remote { store: Arc::new(shared), behind: None, copies: None, config });
    }
    let capacity = usize::try_from(args.capacity())?;
    let tiered = Arc::new(Tiered::new(shared, capacity, args.cache.ttl)?);
    let behind: Dyn = Arc::new(store().await?);
    Ok(Remote { store: Arc::new(Arc::clone(&tiered)), behind: Some(behind), copies: Some(tiered), config })
}

impl Remote {
    pub(crate) fn ceilings(&self, args: &Args, concurrency: usize) -> Vec<Ceiling> {
        let (url, batch) = (self.config.to_string(), args.rows.batch);
        resp::gets(&url, args.rows.payload, concurrency * batch, batch).into_iter().collect()
    }

    /// What the copies did, and the memory of each node, by its own account.
    pub(crate) async fn facts(&self) -> Vec<Fact> {
        let mut facts = Vec::new();
        let mut fact = |name: String, value: String| facts.push(Fact { name, value });
        if let Some(copies) = &self.copies {
            let stats = copies.stats();
            fact(
                "copies in memory".to_owned(),
                format!(
                    "{} now; {} hits, {} misses, {} evicted; the link was lost {} times",
                    stats.entries,
                    stats.hits,
                    stats.misses,
                    stats.evicted,
                    copies.links_lost()
                ),
            );
        }
        let megabytes = |bytes: u64| bytes as f64 / 1e6;
        let asked = async { Redis::connect(&self.config).await?.memory().await };
        match asked.await {
            Ok(nodes) => nodes.into_iter().for_each(|node| {
                let (used, resident) = (megabytes(node.used), megabytes(node.resident));
                let value = format!("{used:.1} MB of data and buffers, {resident:.1} MB resident");
                fact(format!("memory of {}", node.node), value);
            }),
            Err(error) => fact("memory of the servers".to_owned(), error.to_string()),
        }
        facts
    }
}

/// What a user of the flags does about a server that cannot be believed.
fn unverified(args: &Args, url: &str, error: cache::Error) -> anyhow::Error {
    if error.kind() != cache::ErrorKind::Unsupported {
        return error.into();
    }
    let ack = args.cache.ack;
    Usage(format!("--ack {ack}: {url}: {error}; here: --ack replicas:N, --spawn-store, or --trust-fsync"))
        .into()
}

/// Keys of another run are not ours.
fn run_name() -> String {
    #[expect(clippy::disallowed_methods, reason = "a name that no run before had")]
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    format!("{:x}-{:x}", now.as_micros(), std::process::id())
}
