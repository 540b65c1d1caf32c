//! Redis and Valkey, single and cluster. Feature `redis`.

use std::{
    fmt,
    sync::{PoisonError, RwLock},
};

use redis::{RedisResult, cmd};
use tokio::time::Instant;

use crate::{Config, Error, ErrorKind, Result, Retry, Scheme};

mod batch;
mod cluster;
mod connection;
mod durable;
mod endpoint;
mod error;
mod link;
mod memory;
mod node;
mod packed;
mod probe;
mod resp;
mod route;
mod subscribe;
mod tls;
mod topology;

pub use connection::RedisConnection;
#[cfg_attr(not(feature = "redis-1"), expect(unused_imports, reason = "public with `redis-1`"))]
pub use durable::{Acknowledged, Wait};
#[cfg_attr(not(feature = "redis-1"), expect(unused_imports, reason = "public with `redis-1`"))]
pub use error::is_unknown_script;
pub use error::redis_error;
pub use memory::NodeMemory;
#[cfg_attr(not(feature = "redis-1"), expect(unused_imports, reason = "public with `redis-1`"))]
pub use packed::{Batch, KeyedCommand};
pub use probe::FsyncHonesty;
#[cfg_attr(not(feature = "redis-1"), expect(unused_imports, reason = "public with `redis-1`"))]
pub use resp::{Integers, Reply};
pub use subscribe::{Subscription, SubscriptionEvent};

use cluster::Cluster;
use connection::Server;
use endpoint::{Address, Settings};
use error::Failure;
use node::Node;

/// A connection to one Redis or Valkey, or to a cluster: it reconnects, and takes requests from many
/// tasks at once.
///
/// Never repeats a request that may have happened: a cut connection is an error with
/// [`Retry::Ambiguous`], and later requests find a new connection.
///
/// ```no_run
/// # async fn f() -> backends::Result<()> {
/// let config = backends::Config::parse("redis-cluster://10.0.0.1:7000,10.0.0.2:7000")?;
/// let redis = backends::Redis::connect(&config).await?;
/// redis.health().await?;
/// redis.close().await;
/// # Ok(())
/// # }
/// ```
pub struct Redis {
    config: Config,
    connection: RwLock<Option<RedisConnection>>,
}

impl Redis {
    /// Connects, within the connect time-out of `config`. Needs a Tokio runtime with I/O and time.
    ///
    /// Cancel safe: a dropped future leaves no connection.
    ///
    /// # Errors
    ///
    /// `Config` for the URL of something else or a refused login; `Unavailable` or `Timeout` where no
    /// server answers, which may be retried.
    pub async fn connect(config: &Config) -> Result<Self> {
        config.expect(&[Scheme::Redis, Scheme::RedisCluster])?;
        let backend = config.scheme().as_str();
        let settings = Settings::new(config)?;
        let server = match config.scheme() {
            Scheme::RedisCluster => cluster(config, settings).await,
            _ => single(config, settings).await,
        };
        let server = server.map_err(|failure| harmless(failure.at(backend, "connect")))?;
        let mut connection = RedisConnection::new(backend, server);
        // Of a cluster, every master has to be there.
        ping(&mut connection).await.map_err(|error| harmless(redis_error(backend, "connect", error)))?;
        Ok(Self { config: config.clone(), connection: RwLock::new(Some(connection)) })
    }

    /// Asks for a `PING`; of a cluster, every master.
    ///
    /// Cancel safe.
    ///
    /// # Errors
    ///
    /// `Unavailable`, `Timeout` or `Closed`.
    pub async fn health(&self) -> Result<()> {
        let mut connection = self.open("health")?;
        let pong = ping(&mut connection).await;
        pong.map_err(|error| harmless(redis_error(self.backend(), "health", error)))
    }

    /// Runs one command with one key, waits for replicas to receive what it wrote or for disks to have it,
    /// as `wait` says, and tells how many do. `op` is for errors.
    ///
    /// Such a wait holds up its connection, so each call has one of its own: there are up to 16 a
    /// server, and further calls queue for them in order. The command and the wait behind it have the
    /// request time-out and that of `wait` together; the queue before them has as long.
    ///
    /// What replicas received, or have on disk, makes a loss at a failover less likely, not impossible: a replica that
    /// did not receive it may be promoted.
    ///
    /// Cancel safe: the command may happen nevertheless; the connection is closed.
    ///
    /// # Errors
    ///
    /// Fewer replicas than waited for are none, nor is a disk that does not have it yet. `Overloaded` where no connection became free in time,
    /// `Unavailable` or `Timeout` where there was no answer, `Invalid` for a command without a key on a
    /// cluster, and what the server answers to the command. Only those with [`Retry::Ambiguous`] may
    /// have happened; among these are, by [`Wait::fsync`], `Config` where the server keeps no append-only
    /// file, and `Unsupported` where it is older than 7.2.
    #[cfg(feature = "redis-1")]
    pub async fn durable(&self, op: &'static str, command: &redis::Cmd, wait: Wait) -> Result<Acknowledged> {
        let connection = self.open(op)?;
        durable::durable(connection.server(), self.backend(), op, command, wait).await
    }

    /// Closes: later calls are `Closed` errors. Requests in flight still get their answers, within the
    /// request time-out, and the last of them closes the connections.
    ///
    /// Cancel safe.
    #[expect(clippy::unused_async, reason = "closing has one shape for all backends")]
    pub async fn close(&self) {
        self.connection.write().unwrap_or_else(PoisonError::into_inner).take();
    }

    /// `redis` or `redis-cluster`.
    #[must_use]
    pub fn backend(&self) -> &'static str {
        self.config.scheme().as_str()
    }

    /// A handle for requests, cheap to clone, that the driver's commands and scripts take.
    ///
    /// # Errors
    ///
    /// `Closed` after [`close`](Self::close).
    #[cfg(feature = "redis-1")]
    pub fn connection(&self) -> Result<RedisConnection> {
        self.open("connection")
    }

    fn open(&self, op: &'static str) -> Result<RedisConnection> {
        let connection = self.connection.read().unwrap_or_else(PoisonError::into_inner).clone();
        connection
            .ok_or_else(|| Error::new(ErrorKind::Closed, self.backend(), op, "the connection was closed"))
    }
}

impl fmt::Debug for Redis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Redis").field("config", &self.config).finish_non_exhaustive()
    }
}

async fn ping(connection: &mut RedisConnection) -> RedisResult<()> {
    cmd("PING").query_async::<String>(connection).await.map(|_| ())
}

/// The error of a request that changes nothing, and so is never ambiguous.
fn harmless(error: Error) -> Error {
    if error.retry() == Retry::Ambiguous { error.with_retry(Retry::Safe) } else { error }
}

fn addresses(config: &Config) -> Vec<Address> {
    let address = |(host, port): &(String, u16)| {
        // An IPv6 address stands in brackets.
        Address { host: host.trim_matches(['[', ']']).into(), port: *port }
    };
    config.nodes().iter().map(address).collect()
}

async fn single(config: &Config, settings: Settings) -> Result<Server, Failure> {
    let deadline = Instant::now() + settings.connect_timeout;
    let node = Node::new(addresses(config).swap_remove(0), settings.into());
    node.link(deadline).await?;
    Ok(Server::Single(node))
}

async fn cluster(config: &Config, settings: Settings) -> Result<Server, Failure> {
    Ok(Server::Cluster(Cluster::connect(addresses(config), settings).await?))
}
