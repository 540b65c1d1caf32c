use std::fmt;

use redis::{
    Cmd, ErrorKind, Pipeline, RedisError, RedisFuture, ServerErrorKind, Value,
    aio::{ConnectionLike, ConnectionManager},
    cluster_async::ClusterConnection,
};

/// How often a request follows a slot that moved.
const REDIRECTS: usize = 5;

/// A handle for requests to one server or a cluster, for the commands and scripts of the `redis`
/// crate. Clones share the connections.
///
/// On a cluster, a command follows a slot that has moved, since a node that refused it did nothing. A
/// pipeline does not, as a part of it may have been carried out.
#[derive(Clone)]
pub enum RedisConnection {
    /// One server.
    Single(ConnectionManager),
    /// A cluster.
    Cluster(ClusterConnection),
}

impl ConnectionLike for RedisConnection {
    fn req_packed_command<'a>(&'a mut self, cmd: &'a Cmd) -> RedisFuture<'a, Value> {
        match self {
            Self::Single(connection) => connection.req_packed_command(cmd),
            Self::Cluster(connection) => Box::pin(async move {
                let mut redirects = 0;
                loop {
                    match connection.req_packed_command(cmd).await {
                        Err(error) if is_moved(&error) && redirects < REDIRECTS => redirects += 1,
                        result => return result,
                    }
                }
            }),
        }
    }

    fn req_packed_commands<'a>(
        &'a mut self,
        pipeline: &'a Pipeline,
        offset: usize,
        count: usize,
    ) -> RedisFuture<'a, Vec<Value>> {
        match self {
            Self::Single(connection) => connection.req_packed_commands(pipeline, offset, count),
            Self::Cluster(connection) => Box::pin(async move {
                let values = connection.req_packed_commands(pipeline, offset, count).await;
                // What one command was refused for must not look as if none had been carried out.
                values.map_err(|error| match error.kind() {
                    ErrorKind::Server(_) => {
                        RedisError::from((ErrorKind::Io, "a part of the pipeline failed", error.to_string()))
                    }
                    _ => error,
                })
            }),
        }
    }

    fn get_db(&self) -> i64 {
        match self {
            Self::Single(connection) => connection.get_db(),
            Self::Cluster(connection) => connection.get_db(),
        }
    }
}

impl fmt::Debug for RedisConnection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The driver's handles know the password.
        f.write_str(match self {
            Self::Single(_) => "RedisConnection(single)",
            Self::Cluster(_) => "RedisConnection(cluster)",
        })
    }
}

fn is_moved(error: &RedisError) -> bool {
    error.kind() == ErrorKind::Server(ServerErrorKind::Moved)
}
