//! ScyllaDB, and Cassandra, which speaks the same CQL. Feature `scylla`.

use std::{
    fmt,
    sync::{Arc, PoisonError, RwLock},
};

use scylla::client::{
    execution_profile::ExecutionProfile, session::Session, session_builder::SessionBuilder,
};

use crate::{Config, Error, ErrorKind, Result, Scheme};

mod error;

pub use error::cql_error;

const BACKEND: &str = Scheme::Scylla.as_str();

/// A connection to the nodes of a ScyllaDB or Cassandra cluster, or to a single one.
///
/// The driver repeats a statement only where a node refused it, or where its author declared it
/// idempotent.
///
/// ```no_run
/// # async fn f() -> backends::Result<()> {
/// let config = backends::Config::parse("scylla://10.0.0.1,10.0.0.2/shop")?;
/// let cql = backends::Cql::connect(&config).await?;
/// cql.health().await?;
/// cql.close().await;
/// # Ok(())
/// # }
/// ```
pub struct Cql {
    config: Config,
    session: RwLock<Option<Arc<Session>>>,
}

impl Cql {
    /// Connects to all nodes that those of `config` know, and uses its keyspace, if it names one.
    /// Needs a Tokio runtime with I/O and time.
    ///
    /// Cancel safe: a dropped future leaves no connection.
    ///
    /// # Errors
    ///
    /// `Config` for the URL of something else or an unknown keyspace; `Unavailable` where no node
    /// answers, which may be retried.
    pub async fn connect(config: &Config) -> Result<Self> {
        config.expect(&[Scheme::Scylla])?;
        let profile = ExecutionProfile::builder().request_timeout(Some(config.request_deadline())).build();
        let mut builder = SessionBuilder::new()
            .known_nodes(config.addresses())
            .connection_timeout(config.connect_deadline())
            .default_execution_profile_handle(profile.into_handle());
        if let Some((user, password)) = config.login() {
            builder = builder.user(user, password);
        }
        if let Some(keyspace) = config.path() {
            builder = builder.use_keyspace(keyspace, true);
        }
        let session = builder.build().await.map_err(|error| error::new_session_error("connect", error))?;
        Ok(Self { config: config.clone(), session: RwLock::new(Some(Arc::new(session))) })
    }

    /// Reads a row that every node has.
    ///
    /// Cancel safe.
    ///
    /// # Errors
    ///
    /// `Unavailable`, `Timeout` or `Closed`.
    pub async fn health(&self) -> Result<()> {
        let session = self.open("health")?;
        let read = session.query_unpaged("SELECT key FROM system.local", ()).await;
        // Nothing is changed by a read.
        read.map(|_| ()).map_err(|error| cql_error("health", error).with_retry(crate::Retry::Safe))
    }

    /// Closes: later calls are `Closed` errors. Statements in flight still get their answers, within
    /// the request time-out, and the last of them closes the connections.
    ///
    /// Cancel safe.
    #[expect(clippy::unused_async, reason = "closing has one shape for all backends")]
    pub async fn close(&self) {
        self.session.write().unwrap_or_else(PoisonError::into_inner).take();
    }

    /// The driver's session, for statements.
    ///
    /// # Errors
    ///
    /// `Closed` after [`close`](Self::close).
    #[cfg(feature = "scylla-1")]
    pub fn session(&self) -> Result<Arc<Session>> {
        self.open("session")
    }

    fn open(&self, op: &'static str) -> Result<Arc<Session>> {
        let session = self.session.read().unwrap_or_else(PoisonError::into_inner).clone();
        session.ok_or_else(|| Error::new(ErrorKind::Closed, BACKEND, op, "the connection was closed"))
    }
}

impl fmt::Debug for Cql {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cql").field("config", &self.config).finish_non_exhaustive()
    }
}
