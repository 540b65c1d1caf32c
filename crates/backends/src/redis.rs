//! Redis and Valkey, single and cluster. Feature `redis`.

use std::{
    fmt,
    sync::{PoisonError, RwLock},
};

use redis::{
    Client, ConnectionAddr, ErrorKind as DriverKind, IntoConnectionInfo, RedisConnectionInfo, RedisError,
    RedisResult,
    aio::{ConnectionManager, ConnectionManagerConfig},
    cluster::ClusterClientBuilder,
};

use crate::{Config, Error, ErrorKind, Result, Retry, Scheme};

mod connection;
mod error;

pub use connection::RedisConnection;
pub use error::redis_error;

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
        let connected = match config.scheme() {
            Scheme::RedisCluster => cluster(config).await,
            _ => single(config).await,
        };
        let mut connection = connected.map_err(|error| harmless(backend, "connect", error))?;
        // A login that is missing shows only with the first command.
        ping(&mut connection).await.map_err(|error| harmless(backend, "connect", error))?;
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
        ping(&mut connection).await.map_err(|error| harmless(self.backend(), "health", error))
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
    redis::cmd("PING").query_async::<String>(connection).await.map(|_| ())
}

/// The error of a request that changes nothing, and so is never ambiguous.
fn harmless(backend: &'static str, op: &'static str, error: RedisError) -> Error {
    match redis_error(backend, op, error) {
        error if error.retry() == Retry::Ambiguous => error.with_retry(Retry::Safe),
        error => error,
    }
}

async fn single(config: &Config) -> RedisResult<RedisConnection> {
    let (host, port) = config.nodes()[0].clone();
    let host = host.trim_matches(['[', ']']).to_owned();
    let mut settings = RedisConnectionInfo::default();
    if let Some((user, password)) = config.login() {
        settings = settings.set_password(password);
        if !user.is_empty() {
            settings = settings.set_username(user);
        }
    }
    if let Some(database) = config.path() {
        settings =
            settings.set_db(database.parse().map_err(|_| (DriverKind::InvalidClientConfig, "database"))?);
    }
    let info = ConnectionAddr::Tcp(host, port).into_connection_info()?.set_redis_settings(settings);
    let limits = ConnectionManagerConfig::new()
        .set_connection_timeout(Some(config.connect_deadline()))
        .set_response_timeout(Some(config.request_deadline()))
        // Each request that finds no connection tries once, and its caller decides about the next.
        .set_number_of_retries(0);
    let manager = ConnectionManager::new_with_config(Client::open(info)?, limits).await?;
    Ok(RedisConnection::Single(manager))
}

async fn cluster(config: &Config) -> RedisResult<RedisConnection> {
    let nodes = config.nodes().iter().map(|(host, port)| (host.trim_matches(['[', ']']).to_owned(), *port));
    let mut builder = ClusterClientBuilder::new(nodes)
        .connection_timeout(config.connect_deadline())
        .response_timeout(config.request_deadline())
        // The driver would also repeat what was cut off after it was sent.
        .retries(0);
    if let Some((user, password)) = config.login() {
        builder = builder.password(password);
        if !user.is_empty() {
            builder = builder.username(user);
        }
    }
    let connected = builder.build()?.get_async_connection().await;
    connected.map(RedisConnection::Cluster).map_err(|error| {
        // What went wrong with the nodes is told in words only.
        let detail = error.detail().unwrap_or_default().to_owned();
        let kind = match error.kind() {
            DriverKind::Io if detail.contains("AuthenticationFailed") || detail.contains("NOAUTH") => {
                DriverKind::AuthenticationFailed
            }
            DriverKind::Io => DriverKind::ClusterConnectionNotFound,
            _ => return error,
        };
        (kind, "no node answered", detail).into()
    })
}
