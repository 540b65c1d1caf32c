//! Writes that wait for replicas, or until they are on disk.

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
    /// Whether the server itself has to have it on disk; without, it is what replicas received that
    /// counts, on disk or not.
    fsync: Option<bool>,
}

/// The value of a durable write, and how durable it is.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Acknowledged<T = Value> {
    /// What the command gave.
    pub value: T,
    /// How many replicas have received it; after [`Wait::fsync`], how many have it on disk. May be fewer
    /// than were waited for, which is for the caller to judge: the write happened on the master in any
    /// case.
    pub replicas: u32,
    /// Whether the server says that it has it on disk. `false` after [`Wait::for_replicas`], which does
    /// not ask.
    pub fsynced: bool,
}

impl Wait {
    /// Waits until that many replicas have received the write, but no longer than `timeout`, which is
    /// rounded up to milliseconds.
    #[must_use]
    pub const fn for_replicas(replicas: u32, timeout: Duration) -> Self {
        Self { replicas, timeout, fsync: None }
    }

    /// Waits until the append-only files of that many replicas, and with `local` that of the server
    /// itself, are on disk with the write in them, but no longer than `timeout`, which is rounded up to
    /// milliseconds. Needs Redis or Valkey >= 7.2.
    ///
    /// Under `appendfsync everysec`, a second may pass until the disk has it. What a server answers is
    /// what it believes; [`Redis::probe_fsync`](crate::Redis::probe_fsync) finds those that answer too
    /// early.
    #[must_use]
    pub const fn fsync(local: bool, replicas: u32, timeout: Duration) -> Self {
        Self { replicas, timeout, fsync: Some(local) }
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

    /// Whether the server's own disk is waited for.
    #[must_use]
    pub const fn local(self) -> bool {
        matches!(self.fsync, Some(true))
    }

    pub(super) fn command(self) -> Cmd {
        // Zero would be for ever.
        let timeout = self.timeout.as_nanos().div_ceil(1_000_000).max(1);
        let mut wait = cmd(if self.fsync.is_some() { "WAITAOF" } else { "WAIT" });
        if let Some(local) = self.fsync {
            wait.arg(u8::from(local));
        }
        wait.arg(self.replicas).arg(u64::try_from(timeout).unwrap_or(u64::MAX));
        wait
    }

    /// Reads the answer, as whether the server has it on disk, and how many replicas do.
    pub(super) fn read(self, answer: &Value) -> Option<(bool, u32)> {
        let (local, replicas) = match (self.fsync, answer) {
            (None, Value::Int(replicas)) => (0, *replicas),
            (Some(_), Value::Array(counts)) => match counts[..] {
                [Value::Int(local), Value::Int(replicas)] => (local, replicas),
                _ => return None,
            },
            _ => return None,
        };
        Some((local > 0, u32::try_from(replicas).unwrap_or_default()))
    }
}

/// What a server means that refuses to wait. The write before it happened, so that nothing of this is
/// safe to repeat.
pub(super) fn refused(backend: &'static str, op: &'static str, error: RedisError) -> Error {
    let text = error.detail().unwrap_or_default();
    let (kind, text) = if text.contains("appendonly is disabled") {
        (ErrorKind::Config, "the write happened, but the server keeps no append-only file")
    } else if text.contains("unknown command") {
        (ErrorKind::Unsupported, "the write happened, but the server is too old to wait for a disk")
    } else if text.contains("replica instances") || error.code() == Some("UNBLOCKED") {
        (ErrorKind::Unavailable, "the write happened, but the server became a replica")
    } else {
        return redis_error(backend, op, error).with_retry(Retry::Ambiguous);
    };
    Error::new(kind, backend, op, text).with_retry(Retry::Ambiguous).with_source(error)
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
                // The wait is for the writes of its own connection: it goes right behind.
                waiting.write_packed_command(out);
            };
            let mut answers = node.request_alone(due, patience, encode).await?;
            let mut last = || answers.pop().map(Reply::into_value);
            let (waited, value) = (last(), last());
            value.zip(waited).ok_or_else(Failure::broken)
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
    let (value, waited) = answers.map_err(|failure| failure.at(backend, op))?;
    if let Value::ServerError(error) = value {
        return Err(redis_error(backend, op, RedisError::from(error)));
    }
    // The write happened, whatever became of the waiting.
    if let Value::ServerError(error) = waited {
        return Err(refused(backend, op, RedisError::from(error)));
    }
    let Some((fsynced, replicas)) = wait.read(&waited) else {
        let text = "the answer to the wait holds no counts";
        return Err(Failure::new(ErrorKind::Corrupt, Retry::Ambiguous, text).at(backend, op));
    };
    Ok(Acknowledged { value, replicas, fsynced })
}
