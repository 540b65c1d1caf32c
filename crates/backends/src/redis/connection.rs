use std::{fmt, sync::Arc};

use redis::{Cmd, Pipeline, RedisFuture, Value, aio::ConnectionLike};

use super::{batch, cluster::Cluster, error::Failure, node::Node, packed::Batch, resp::Reply};

/// A handle for requests to one server or a cluster, for the commands and scripts of the `redis`
/// crate. Clones share the connections, of which there is one a server.
///
/// On a cluster, a command goes to the master of its key's slot, and follows a slot that has moved or is
/// just moving: a node that refused a command did nothing. `PING`, `SCRIPT` and `FUNCTION` go to every
/// master, other commands without a key to one of them. A pipeline must keep to one slot. It is followed
/// only when all of it was refused; [`each`](Self::each) has no such limits.
///
/// Not for what blocks or changes the connection itself (`WAIT`, `BLPOP`, `SUBSCRIBE`, `WATCH`, `SELECT`):
/// all other users of the connection would notice. For `WAIT` there is `Redis::durable`.
///
/// While a server is known to be down, requests fail at once with `Retry::Safe`; one connection is being
/// tried in the background, with growing pauses of up to 0.8 s.
#[derive(Clone)]
pub struct RedisConnection {
    backend: &'static str,
    server: Server,
}

#[derive(Clone)]
pub(super) enum Server {
    Single(Arc<Node>),
    Cluster(Arc<Cluster>),
}

impl RedisConnection {
    pub(super) fn new(backend: &'static str, server: Server) -> Self {
        Self { backend, server }
    }

    pub(super) fn server(&self) -> &Server {
        &self.server
    }

    /// Sends commands of one key each, and gives one result a command, in their order.
    ///
    /// They go out at once, those of one node in one piece, and each is carried out or not for itself. On a
    /// cluster, those that a node refused since their slot moves are sent on, later than the others; what
    /// may have happened is never repeated. `op` is for the errors. The request time-out is that of every
    /// 16,384 commands.
    ///
    /// Cancel safe in that the connection stays usable; what was sent is carried out.
    ///
    /// # Errors
    ///
    /// Per command, as [`redis_error`](super::redis_error) has them.
    pub async fn each(&self, op: &'static str, commands: &[Cmd]) -> Vec<crate::Result<Value>> {
        let mut batch = Batch::with_capacity(commands.len());
        for command in commands {
            batch.push(command);
        }
        self.send(op, &batch).await.into_iter().map(|reply| reply.map(Reply::into_value)).collect()
    }

    /// [`each`](Self::each) of commands that are encoded already, with replies in their shortest form: for what
    /// is called so often that its processor time counts.
    ///
    /// Cancel safe as `each` is.
    ///
    /// # Errors
    ///
    /// Those of `each`.
    pub async fn send(&self, op: &'static str, batch: &Batch) -> Vec<crate::Result<Reply>> {
        batch::each(&self.server, self.backend, op, batch).await
    }
}

impl ConnectionLike for RedisConnection {
    fn req_packed_command<'a>(&'a mut self, cmd: &'a Cmd) -> RedisFuture<'a, Value> {
        Box::pin(async move {
            let answer = match &self.server {
                Server::Single(node) => node.command(cmd, false, node.deadline()).await,
                Server::Cluster(cluster) => cluster.command(cmd).await,
            };
            answer.map_err(Failure::into_driver)
        })
    }

    fn req_packed_commands<'a>(
        &'a mut self,
        pipeline: &'a Pipeline,
        offset: usize,
        count: usize,
    ) -> RedisFuture<'a, Vec<Value>> {
        Box::pin(async move {
            let answers = match &self.server {
                Server::Single(node) => {
                    let answers = node.pipeline(pipeline, offset, count, node.deadline()).await;
                    answers.and_then(|answers| settle(answers, offset))
                }
                Server::Cluster(cluster) => cluster.pipeline(pipeline, offset, count).await,
            };
            answers.map_err(Failure::into_driver)
        })
    }

    fn get_db(&self) -> i64 {
        match &self.server {
            Server::Single(node) => node.settings.database(),
            Server::Cluster(cluster) => cluster.settings.database(),
        }
    }
}

/// What the driver wants of the answers to a pipeline: those after the first `offset`, which belong to a
/// transaction. Why that was aborted stands among them.
pub(super) fn settle(mut answers: Vec<Value>, offset: usize) -> Result<Vec<Value>, Failure> {
    if offset > 0 && matches!(answers.last(), Some(Value::ServerError(_))) {
        let refused = answers.into_iter().find_map(|answer| match answer {
            Value::ServerError(error) => Some(error),
            _ => None,
        });
        return Err(refused.map_or_else(Failure::broken, |error| Failure::answer(&error.into())));
    }
    answers.drain(..offset.min(answers.len()));
    Ok(answers)
}

impl fmt::Debug for RedisConnection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("RedisConnection").field(&self.backend).finish()
    }
}
