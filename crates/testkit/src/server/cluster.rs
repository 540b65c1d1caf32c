use std::{io, path::PathBuf, time::Duration};

use super::{RedisBuilder, RedisServer, reply::Reply};
use crate::wait::poll;

/// How long the nodes may take to become one cluster.
const DEADLINE: Duration = Duration::from_secs(40);
/// The node timeout while they meet: gossip keeps its pace.
const MEETING: Duration = Duration::from_secs(3);
/// The node timeout from then on, so that no master is replaced because the machine is slow.
const SERVING: Duration = Duration::from_secs(10);
const SLOTS: usize = 16_384;

/// A Redis Cluster of a test's own.
///
/// Its nodes are counted: first the masters, then a replica of each in the same order, then another of each. The
/// slots are dealt out evenly, in order. Every call waits for servers, and blocks.
#[derive(Debug)]
pub struct RedisCluster {
    nodes: Vec<RedisServer>,
    ids: Vec<String>,
    masters: usize,
}

/// What a [`RedisCluster`] is started with.
#[derive(Clone, Debug)]
pub struct RedisClusterBuilder {
    program: PathBuf,
    arguments: Vec<String>,
    masters: usize,
    replicas: usize,
}

impl RedisClusterBuilder {
    /// So many masters instead of three. Fewer cannot agree that one of them is gone.
    #[must_use]
    pub fn masters(self, masters: usize) -> Self {
        Self { masters, ..self }
    }

    /// So many replicas of each master instead of none.
    #[must_use]
    pub fn replicas(self, replicas: usize) -> Self {
        Self { replicas, ..self }
    }

    /// Adds an argument of every node, for example `--appendonly` or `no`.
    #[must_use]
    pub fn arg(mut self, argument: impl Into<String>) -> Self {
        self.arguments.push(argument.into());
        self
    }

    /// Starts the nodes and waits until all of them serve every slot and every replica follows its master.
    ///
    /// # Errors
    ///
    /// When a node does not start, or they are no cluster within 40 s.
    pub fn start(self) -> io::Result<RedisCluster> {
        let count = self.masters * (1 + self.replicas);
        let node = |_| {
            // A replica counts as one with the first thing that it has received, be it a sign of life.
            let node = RedisServer::builder(&self.program)
                .cluster_node(MEETING)
                .arg("--repl-ping-replica-period")
                .arg("1");
            self.arguments.iter().fold(node, RedisBuilder::arg).start()
        };
        let nodes = (0..count).map(node).collect::<io::Result<Vec<_>>>()?;
        let ids =
            nodes.iter().map(|node| Ok(node.ask(&["CLUSTER", "MYID"])?.text())).collect::<io::Result<_>>()?;
        let cluster = RedisCluster { nodes, ids, masters: self.masters };
        cluster.join()?;
        cluster.set_node_timeout(SERVING)?;
        Ok(cluster)
    }
}

impl RedisCluster {
    /// To start nodes of `program`, as [`RedisServer::find`] gives it: three masters.
    pub fn builder(program: impl Into<PathBuf>) -> RedisClusterBuilder {
        RedisClusterBuilder { program: program.into(), arguments: Vec::new(), masters: 3, replicas: 0 }
    }

    /// A `redis-cluster://` URL that names all nodes that started as masters.
    #[must_use]
    pub fn url(&self) -> String {
        let addresses: Vec<_> =
            self.nodes[..self.masters].iter().map(|node| node.addr().to_string()).collect();
        format!("redis-cluster://{}", addresses.join(","))
    }

    /// All nodes.
    #[must_use]
    pub fn nodes(&self) -> &[RedisServer] {
        &self.nodes
    }

    /// A node.
    ///
    /// # Panics
    ///
    /// When there are not as many.
    #[must_use]
    pub fn node(&self, n: usize) -> &RedisServer {
        &self.nodes[n]
    }

    /// A node, to kill it.
    ///
    /// # Panics
    ///
    /// When there are not as many.
    pub fn node_mut(&mut self, n: usize) -> &mut RedisServer {
        &mut self.nodes[n]
    }

    /// The first replica of `master`.
    #[must_use]
    pub const fn replica_of(&self, master: usize) -> usize {
        self.masters + master
    }

    /// Lets a master that is silent for `timeout`, instead of 10 s, be replaced from now on.
    ///
    /// # Errors
    ///
    /// When a node that runs does not answer.
    pub fn set_node_timeout(&self, timeout: Duration) -> io::Result<()> {
        let timeout = timeout.as_millis().to_string();
        self.running()
            .try_for_each(|node| node.ask(&["CONFIG", "SET", "cluster-node-timeout", &timeout]).map(drop))
    }

    /// The slot of a key.
    ///
    /// # Errors
    ///
    /// When no node answers.
    pub fn slot(&self, key: &str) -> io::Result<u16> {
        let reply =
            self.running().next().ok_or(io::ErrorKind::NotConnected)?.ask(&["CLUSTER", "KEYSLOT", key])?;
        let slot = reply.integer().and_then(|slot| u16::try_from(slot).ok());
        slot.ok_or_else(|| io::Error::other(format!("no slot: {reply:?}")))
    }

    /// The master that got `slot` at the start.
    #[must_use]
    pub fn first_master(&self, slot: u16) -> usize {
        (0..self.masters).rfind(|n| self.first_slot(*n) <= usize::from(slot)).unwrap_or(0)
    }

    /// Moves a slot between masters as an operator does: some keys at a time, while it is served.
    ///
    /// # Errors
    ///
    /// When a node does not do its part.
    pub fn move_slot(&self, slot: u16, from: usize, to: usize) -> io::Result<()> {
        let (source, target, number) = (&self.nodes[from], &self.nodes[to], slot.to_string());
        target.ask(&["CLUSTER", "SETSLOT", &number, "IMPORTING", &self.ids[from]])?;
        source.ask(&["CLUSTER", "SETSLOT", &number, "MIGRATING", &self.ids[to]])?;
        let (host, port) = (target.addr().ip().to_string(), target.addr().port().to_string());
        loop {
            let keys = source.ask(&["CLUSTER", "GETKEYSINSLOT", &number, "3"])?;
            if keys.items().is_empty() {
                break;
            }
            let mut migrate: Vec<&[u8]> =
                vec![b"MIGRATE", host.as_bytes(), port.as_bytes(), b"", b"0", b"2000", b"KEYS"];
            migrate.extend(keys.items().iter().map(|key| match key {
                Reply::Bytes(key) => &key[..],
                Reply::Nothing | Reply::Integer(_) | Reply::List(_) => b"",
            }));
            source.ask(&migrate)?;
        }
        let others = (0..self.masters).filter(|n| ![from, to].contains(n)).map(|n| &self.nodes[n]);
        for node in [target, source].into_iter().chain(others) {
            node.ask(&["CLUSTER", "SETSLOT", &number, "NODE", &self.ids[to]])?;
        }
        // Who takes the next slot counts epochs on from here: two nodes with one epoch would each drop keys.
        poll(DEADLINE, || self.agree())
    }

    /// Whether all masters are in the same epoch.
    fn agree(&self) -> io::Result<()> {
        let epoch = |node: &RedisServer| {
            let info = node.ask(&["CLUSTER", "INFO"])?.text();
            Ok(info.lines().find(|line| line.starts_with("cluster_current_epoch:")).map(str::to_owned))
        };
        let epochs = self.nodes[..self.masters].iter().map(epoch).collect::<io::Result<Vec<_>>>()?;
        let is_one = epochs.iter().all(|epoch| *epoch == epochs[0]);
        if is_one { Ok(()) } else { Err(io::Error::other(format!("different epochs: {epochs:?}"))) }
    }

    /// How often nodes that run have replied an error with this code, such as `MOVED`.
    ///
    /// # Errors
    ///
    /// When one does not answer.
    pub fn errors(&self, code: &str) -> io::Result<u64> {
        let start = format!("errorstat_{code}:count=");
        let of_node = |node: &RedisServer| {
            let info = node.ask(&["INFO", "errorstats"])?.text();
            let count = info.lines().find_map(|line| line.strip_prefix(&start)?.parse::<u64>().ok());
            Ok(count.unwrap_or(0))
        };
        self.running().map(of_node).sum()
    }

    fn running(&self) -> impl Iterator<Item = &RedisServer> {
        self.nodes.iter().filter(|node| node.pid().is_some())
    }

    fn first_slot(&self, master: usize) -> usize {
        (master * SLOTS).div_ceil(self.masters)
    }

    fn join(&self) -> io::Result<()> {
        for (n, node) in self.nodes.iter().enumerate() {
            // As `redis-cli` does, lest they meet with one epoch and settle that while slots move.
            node.ask(&["CLUSTER", "SET-CONFIG-EPOCH", &(n + 1).to_string()])?;
        }
        for (n, node) in self.nodes.iter().enumerate() {
            // Everybody, as gossip takes its time.
            for other in &self.nodes[..n] {
                let (addr, bus) = (other.addr(), other.bus_port().unwrap_or_default().to_string());
                node.ask(&["CLUSTER", "MEET", &addr.ip().to_string(), &addr.port().to_string(), &bus])?;
            }
        }
        for n in 0..self.masters {
            let (first, last) = (self.first_slot(n), self.first_slot(n + 1) - 1);
            self.nodes[n].ask(&["CLUSTER", "ADDSLOTSRANGE", &first.to_string(), &last.to_string()])?;
        }
        for n in self.masters..self.nodes.len() {
            // Its master has to be known to it first.
            let follow = ["CLUSTER", "REPLICATE", &self.ids[n % self.masters]];
            poll(DEADLINE, || self.nodes[n].ask(&follow))?;
        }
        let all = || (0..self.nodes.len()).try_for_each(|n| self.ready(n));
        poll(DEADLINE, all)
    }

    fn ready(&self, n: usize) -> io::Result<()> {
        let node = &self.nodes[n];
        let (info, slots) = (node.ask(&["CLUSTER", "INFO"])?.text(), node.ask(&["CLUSTER", "SLOTS"])?);
        let role = node.role()?;
        // Each range has its bounds, its master and the replicas.
        let width = 2 + self.nodes.len() / self.masters;
        let is_complete = slots.items().len() == self.masters
            && slots.items().iter().all(|range| range.items().len() == width);
        let is_linked = role.is_master == (n < self.masters) && role.is_linked;
        if info.contains("cluster_state:ok") && is_complete && is_linked {
            Ok(())
        } else {
            Err(io::Error::other(format!("node {n} is not ready: {info} {role:?} {slots:?}")))
        }
    }
}
