//! Writes that wait for replicas.

use std::{sync::Arc, time::Duration};

use redis::{Cmd, RedisError, Value, cmd};
use tokio::time::Instant;

use super::{
    connection::Server,
    error::{Failure, redis_error},
    node::{ASKING, Node},
    resp::Reply,
    route::{Route, route},
};
use crate::{Error, ErrorKind, Retry};

/// What a durable write waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wait {
    replicas: u32,
    timeout: Duration,
}

/// The value of a durable write, and how durable it is.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Acknowledged<T = Value> {
    /// What the command gave.
    pub value: T,
    /// How many replicas have received it. May be fewer than were waited for, which is for the caller to
    /// judge: the write happened on the master in any case.
    pub replicas: u32,
}

impl Wait {
    /// Waits until that many replicas have received the write, but no longer than `timeout`, which is
    /// rounded up to milliseconds.
    #[must_use]
    pub const fn for_replicas(replicas: u32, timeout: Duration) -> Self {
        Self { replicas, timeout }
    }

    /// How many replicas are waited for.
    #[must_use]
    pub const fn replicas(self) -> u32 {
        self.replicas
    }

    /// For how long.
    #[must_use]
    pub const fn timeout(self) -> Duration {
        self.timeout
    }

    fn command(self) -> Cmd {
        // Zero would be for ever.
        let timeout = self.timeout.as_nanos().div_ceil(1_000_000).max(1);
        let mut wait = cmd("WAIT");
        wait.arg(self.replicas).arg(u64::try_from(timeout).unwrap_or(u64::MAX));
        wait
    }
}

pub(super) async fn durable(
    server: &Server,
    backend: &'static str,
    op: &'static str,
    command: &Cmd,
    wait: Wait,
) -> Result<Acknowledged, Error> {
    let waiting = wait.command();
    let exchange = |node: Arc<Node>, asking: bool| {
        let (waiting, patience) = (&waiting, node.settings.request_timeout + wait.timeout);
        async move {
            let due = 2 + usize::from(asking);
            let encode = |out: &mut Vec<u8>| {
                if asking {
                    out.extend_from_slice(ASKING);
                }
                command.write_packed_command(out);
                // `WAIT` is for the writes of its own connection: it goes right behind.
                waiting.write_packed_command(out);
            };
            let mut answers = node.request_alone(due, patience, encode).await?;
            let mut last = || answers.pop().map(Reply::into_value);
            let (replicas, value) = (last(), last());
            value.zip(replicas).ok_or_else(Failure::broken)
        }
    };
    let answers = match server {
        Server::Single(node) => exchange(Arc::clone(node), false).await,
        Server::Cluster(cluster) => {
            let deadline = Instant::now() + cluster.settings.request_timeout + wait.timeout;
            match route(command) {
                Route::Slot(slot) => cluster.follow(slot, deadline, exchange).await,
                Route::Masters | Route::Any => {
                    Err(Failure::new(ErrorKind::Invalid, Retry::Never, "a durable command has a key"))
                }
            }
        }
    };
    let (value, replicas) = answers.map_err(|failure| failure.at(backend, op))?;
    if let Value::ServerError(error) = value {
        return Err(redis_error(backend, op, RedisError::from(error)));
    }
    match replicas {
        Value::Int(replicas) => {
            Ok(Acknowledged { value, replicas: u32::try_from(replicas).unwrap_or_default() })
        }
        // The write happened, whatever became of the waiting.
        Value::ServerError(error) => {
            Err(redis_error(backend, op, RedisError::from(error)).with_retry(Retry::Ambiguous))
        }
        _ => Err(Failure::new(ErrorKind::Corrupt, Retry::Ambiguous, "the answer to wait is no number")
            .at(backend, op)),
    }
}
