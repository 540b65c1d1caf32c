//! What servers say of their memory.

use redis::{RedisResult, cmd};

use super::{Redis, redis_error};
use crate::{Error, ErrorKind, Result, Scheme};

/// The memory of one server, by its own account, in bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct NodeMemory {
    /// `host:port`.
    pub node: String,
    /// Data, buffers and overhead: `used_memory`.
    pub used: u64,
    /// What the system gave it: `used_memory_rss`.
    pub resident: u64,
}

impl Redis {
    /// Asks every server for its memory; of a cluster, all masters and replicas, in the order of their addresses.
    ///
    /// Cancel safe.
    ///
    /// # Errors
    ///
    /// Those of [`connect`](Self::connect) for each server, which gets a connection of its own.
    pub async fn memory(&self) -> Result<Vec<NodeMemory>> {
        let mut nodes = Vec::new();
        for node in self.nodes().await? {
            let alone = self.config.only(&node).ok_or_else(|| self.unlike("an address"))?;
            let redis = Box::pin(Self::connect(&alone)).await?;
            let text = redis.ask(cmd("INFO").arg("memory")).await?;
            redis.close().await;
            let bytes = |name: &str| {
                let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
                line.and_then(|bytes| bytes.trim().parse().ok()).ok_or_else(|| self.unlike(name))
            };
            let (used, resident) = (bytes("used_memory")?, bytes("used_memory_rss")?);
            nodes.push(NodeMemory { node, used, resident });
        }
        Ok(nodes)
    }

    async fn nodes(&self) -> Result<Vec<String>> {
        if self.config.scheme() != Scheme::RedisCluster {
            return Ok(self.config.addresses().collect());
        }
        // A line for each: its id, host:port@bus, and more.
        let text = self.ask(cmd("CLUSTER").arg("NODES")).await?;
        let address = |line: &str| Some(line.split_whitespace().nth(1)?.split('@').next()?.to_owned());
        let mut nodes: Vec<String> = text.lines().filter_map(address).collect();
        nodes.sort();
        Ok(nodes)
    }

    async fn ask(&self, command: &redis::Cmd) -> Result<String> {
        let mut connection = self.open("memory")?;
        let text: RedisResult<String> = command.query_async(&mut connection).await;
        text.map_err(|error| super::harmless(redis_error(self.backend(), "memory", error)))
    }

    fn unlike(&self, what: &str) -> Error {
        Error::new(ErrorKind::Corrupt, self.backend(), "memory", format!("the answer holds no {what}"))
    }
}
