//! The servers that keep entries, and perhaps the filter: connections, and what they say of their memory.

use std::{
    sync::Arc,
    time::{SystemTime, UNIX_EPOCH},
};

use backends::{Config, Redis};
use bench::{Ceiling, Fact, Usage, resp};
use bytes::Bytes;
use cache::{DynStore, Raw, RedisStore};
use filters::{HostedBloom, fingerprint};

use crate::Args;

pub(crate) type Dyn = Arc<dyn DynStore<u64, Bytes>>;

/// A store that servers keep.
pub(crate) struct Remote {
    pub(crate) store: Dyn,
    config: Config,
}

impl Args {
    fn server(&self) -> anyhow::Result<Config> {
        let url = self.url.as_deref().unwrap_or_else(|| self.backend.url());
        Config::parse(url).map_err(|error| Usage(format!("--url: {error}")).into())
    }
}

/// Connects to the servers of the flags.
pub(crate) async fn connect(args: &Args) -> anyhow::Result<Remote> {
    let config = args.server()?;
    let redis = Redis::connect(&config).await?;
    let store = RedisStore::<u64, Bytes>::builder().prefix(run_name()).codec(Raw).build(redis);
    Ok(Remote { store: Arc::new(store), config })
}

/// A filter whose bits are there, until it is [removed](HostedBloom::remove).
pub(crate) async fn hosted(args: &Args) -> anyhow::Result<Arc<HostedBloom>> {
    let redis = Redis::connect(&args.server()?).await?;
    Ok(Arc::new(HostedBloom::builder().prefix(run_name()).hasher(fingerprint(&args.hasher())).build(redis)?))
}

impl Remote {
    pub(crate) fn ceilings(&self, args: &Args, concurrency: usize) -> Vec<Ceiling> {
        let (url, batch) = (self.config.to_string(), args.rows.batch);
        resp::gets(&url, args.rows.payload, concurrency * batch, batch).into_iter().collect()
    }
}

/// The memory of each node of the servers of the flags, by its own account.
pub(crate) async fn memory(args: &Args) -> Vec<Fact> {
    let megabytes = |bytes: u64| bytes as f64 / 1e6;
    let asked = async { anyhow::Ok(Redis::connect(&args.server()?).await?.memory().await?) };
    match asked.await {
        Ok(nodes) => nodes
            .into_iter()
            .map(|node| {
                let (used, resident) = (megabytes(node.used), megabytes(node.resident));
                let value = format!("{used:.1} MB of data and buffers, {resident:.1} MB resident");
                Fact { name: format!("memory of {}", node.node), value }
            })
            .collect(),
        Err(error) => vec![Fact { name: "memory of the servers".to_owned(), value: format!("{error:#}") }],
    }
}

/// Keys of another run are not ours.
fn run_name() -> String {
    #[expect(clippy::disallowed_methods, reason = "a name that no run before had")]
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    format!("cache-filter-bench:{:x}-{:x}", now.as_micros(), std::process::id())
}
