//! The server behind a run: its connection, and what it says of its memory.

use std::{
    sync::Arc,
    time::{SystemTime, UNIX_EPOCH},
};

use backends::{Config, Redis};
use bench::{Config as RunConfig, ExitStatus, Fact, Keys, Report, Run, Usage};
use rate_limiter::{DynStore, Limit, RedisStore, lease::Leased};

use crate::{
    Args,
    backend::Backend,
    remote::{Remote, Way, in_batches},
};

/// Runs decisions under `limit` on a server and checks what was admitted.
pub(crate) fn drive(
    args: &Args,
    config: &RunConfig,
    keys: &Keys,
    limit: &Limit,
) -> anyhow::Result<(Report, Run, ExitStatus)> {
    // Connections live longer than the run.
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
    let way = runtime.block_on(connect(args))?;
    let (batch, is_shared) = (args.server.batch, args.server.share.is_some());
    let workload = Remote::new(way, limit.clone(), keys.clone(), batch, is_shared);
    let shared = workload.shared();
    let config = in_batches(config, batch);
    let measured = args.run.measure("rate-limiter", env!("CARGO_PKG_VERSION"), &config, workload, |report| {
        args.describe(limit, report);
        let given = [
            ("batch", Some(batch.to_string())),
            ("lease", args.server.lease.map(|permits| permits.to_string())),
            ("wait", args.server.wait.map(|replicas| replicas.to_string())),
        ];
        for (name, value) in given {
            report.config.extend(value.map(|value| (name.to_owned(), value)));
        }
        shared.tell(report);
        report.facts.extend(runtime.block_on(memory(args)));
    });
    if let Some(path) = &args.server.tally {
        shared.write_tally(path)?;
    }
    measured.map_err(anyhow::Error::from_boxed)
}

/// Connects, and says how decisions are come by.
async fn connect(args: &Args) -> anyhow::Result<Way> {
    let parsed = Config::parse(args.server.url(args.backend));
    let config = parsed.map_err(|error| Usage(format!("--url: {error}")))?;
    let name = args.server.share.clone().unwrap_or_else(run_name);
    let store: Arc<dyn DynStore> = match args.backend {
        Backend::Scylla => scylla(&config).await?,
        _ => {
            let store = RedisStore::builder()
                .prefix(format!("rate-limiter:{name}:"))
                .build(Redis::connect(&config).await?);
            match (args.server.wait, args.server.batch, args.server.lease) {
                (Some(replicas), ..) => return Ok(Way::Acknowledged(Arc::new(store), replicas)),
                (_, 2.., None) => return Ok(Way::Many(Arc::new(store))),
                _ => Arc::new(store),
            }
        }
    };
    Ok(match args.server.lease {
        Some(permits) => Way::Leased(Arc::new(Leased::builder().most(permits).build(store)?)),
        None => Way::Each(store),
    })
}

/// Keys of another run, with another quota perhaps, are not ours.
fn run_name() -> String {
    #[expect(clippy::disallowed_methods, reason = "a name that no run before had")]
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    format!("{:x}-{:x}", now.as_micros(), std::process::id())
}

#[cfg(feature = "scylla")]
async fn scylla(config: &Config) -> anyhow::Result<Arc<dyn DynStore>> {
    let cql = backends::Cql::connect(config).await?;
    Ok(Arc::new(rate_limiter::CqlStore::create(cql, "rate_limits").await?))
}

#[cfg(not(feature = "scylla"))]
async fn scylla(_: &Config) -> anyhow::Result<Arc<dyn DynStore>> {
    std::future::ready(Err(anyhow::anyhow!("scylla is not built in"))).await
}

/// The memory of each node, by its own account.
async fn memory(args: &Args) -> Vec<Fact> {
    if args.backend == Backend::Scylla {
        return Vec::new();
    }
    let asked = async {
        let redis = Redis::connect(&Config::parse(args.server.url(args.backend))?).await?;
        redis.memory().await
    };
    let megabytes = |bytes: u64| bytes as f64 / 1e6;
    match asked.await {
        Ok(nodes) => nodes
            .into_iter()
            .map(|node| Fact {
                name: format!("memory of {}", node.node),
                value: format!(
                    "{:.1} MB of data and buffers, {:.1} MB resident",
                    megabytes(node.used),
                    megabytes(node.resident)
                ),
            })
            .collect(),
        Err(error) => vec![Fact { name: "memory of the servers".to_owned(), value: error.to_string() }],
    }
}
