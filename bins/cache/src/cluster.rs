//! A Redis Cluster of the binary's own, whose masters it may take away.

use std::{path::Path, time::Duration};

use anyhow::{Context, bail};

use crate::spawn::{Server, until};

/// Fewer cannot agree that one of them is gone.
const MASTERS: usize = 3;
const SLOTS: usize = 16_384;
/// How long a master is silent before it is replaced: longer than a busy machine keeps one waiting.
const NODE_TIMEOUT: &str = "2000";

/// Three masters on loopback, each with a replica or none. They die with this value.
#[derive(Debug)]
pub(crate) struct Cluster {
    shards: Vec<Vec<Server>>,
    /// Whose turn it is to lose its master.
    turn: usize,
}

impl Cluster {
    /// Starts the nodes and waits until they are one cluster, and every replica follows its master.
    pub(crate) fn start(program: &Path, arguments: &[&str], with_replicas: bool) -> anyhow::Result<Self> {
        let mut all = vec!["--cluster-enabled", "yes", "--cluster-node-timeout", NODE_TIMEOUT];
        // A replica counts as one with the first thing that it has received, be it a sign of life.
        all.extend(["--repl-ping-replica-period", "1"]);
        all.extend(arguments);
        let node = || Server::start_node(program, &all);
        let shard = |_| (0..=usize::from(with_replicas)).map(|_| node()).collect();
        let cluster = Self { shards: (0..MASTERS).map(shard).collect::<anyhow::Result<_>>()?, turn: 0 };
        cluster.join().context("the nodes did not become a cluster")?;
        Ok(cluster)
    }

    pub(crate) fn url(&self) -> String {
        let nodes: Vec<_> = self.nodes().map(|node| node.addr().to_string()).collect();
        format!("redis-cluster://{}", nodes.join(","))
    }

    /// Kills a master for good and waits until its replica has taken its place, which is cut off for the time `lag` before;
    /// `false` when no shard has a replica left.
    pub(crate) fn fail_over(&mut self, lag: Duration) -> anyhow::Result<bool> {
        let Some((master, replica)) = self.next()? else { return Ok(false) };
        if lag.is_zero() {
            self.shards[master.0][master.1].kill()?;
        } else {
            let behind = &self.shards[replica.0][replica.1];
            // What is on its way in the link would reach it even frozen.
            behind.ask("CLIENT KILL TYPE master")?;
            behind.freeze()?;
            std::thread::sleep(lag);
            let killed = self.shards[master.0][master.1].kill();
            self.shards[replica.0][replica.1].thaw()?;
            killed?;
        }
        self.promoted(replica)?;
        Ok(true)
    }

    /// Freezes a master until its replica has taken its place, lets it go on, and waits until it follows that one;
    /// `false` when no shard has a replica left.
    pub(crate) fn cut_off(&mut self) -> anyhow::Result<bool> {
        let Some((master, replica)) = self.next()? else { return Ok(false) };
        let frozen = &self.shards[master.0][master.1];
        frozen.freeze()?;
        let promoted = self.promoted(replica);
        frozen.thaw()?;
        promoted?;
        let follows = || info(frozen, "INFO replication", "master_link_status:up");
        until(follows).with_context(|| format!("{} did not become a replica", frozen.addr()))?;
        Ok(true)
    }

    /// The places of a master and its replica, of the shard whose turn it is.
    #[expect(clippy::type_complexity, reason = "two places")]
    fn next(&mut self) -> anyhow::Result<Option<((usize, usize), (usize, usize))>> {
        for _ in 0..MASTERS {
            let shard = self.turn;
            self.turn = (self.turn + 1) % MASTERS;
            let nodes = &self.shards[shard];
            if nodes.len() < 2 || nodes.iter().any(|node| !node.is_running()) {
                continue;
            }
            let master = nodes.iter().position(is_master).context("a shard without a master")?;
            return Ok(Some(((shard, master), (shard, 1 - master))));
        }
        Ok(None)
    }

    fn promoted(&self, (shard, node): (usize, usize)) -> anyhow::Result<()> {
        let node = &self.shards[shard][node];
        until(|| is_master(node)).with_context(|| format!("the replica at {} was not promoted", node.addr()))
    }

    fn nodes(&self) -> impl Iterator<Item = &Server> {
        self.shards.iter().flatten()
    }

    fn join(&self) -> anyhow::Result<()> {
        for (number, node) in self.nodes().enumerate() {
            // Lest they meet with one epoch, and settle that while they serve.
            done(node, &format!("CLUSTER SET-CONFIG-EPOCH {}", number + 1))?;
            for other in self.nodes().take(number) {
                let addr = other.addr();
                let (ip, port) = (addr.ip(), addr.port());
                done(node, &format!("CLUSTER MEET {ip} {port} {}", other.bus_port()))?;
            }
        }
        for (number, shard) in self.shards.iter().enumerate() {
            let bound = |number: usize| (number * SLOTS).div_ceil(MASTERS);
            let (first, last) = (bound(number), bound(number + 1) - 1);
            done(&shard[0], &format!("CLUSTER ADDSLOTSRANGE {first} {last}"))?;
            let id = shard[0].ask("CLUSTER MYID")?;
            for replica in &shard[1..] {
                // Its master has to be known to it first.
                until(|| done(replica, &format!("CLUSTER REPLICATE {id}")).is_ok())?;
            }
        }
        until(|| self.nodes().all(|node| self.is_ready(node)))
    }

    /// Whether `node` serves, knows all others, and is linked to its replica or its master.
    fn is_ready(&self, node: &Server) -> bool {
        let nodes = self.nodes().count();
        let knows = |text: &String| {
            let linked = text.lines().filter(|line| line.contains(" connected")).count();
            linked == nodes && !text.contains("handshake")
        };
        let link = match self.shards[0].len() {
            1 => "role:master",
            _ if is_master(node) => "state=online",
            _ => "master_link_status:up",
        };
        info(node, "CLUSTER INFO", "cluster_state:ok")
            && node.ask("CLUSTER NODES").is_ok_and(|text| knows(&text))
            && info(node, "INFO replication", link)
    }
}

fn is_master(node: &Server) -> bool {
    info(node, "INFO replication", "role:master")
}

fn info(node: &Server, command: &str, what: &str) -> bool {
    node.ask(command).is_ok_and(|text| text.contains(what))
}

fn done(node: &Server, command: &str) -> anyhow::Result<()> {
    match node.ask(command)?.as_str() {
        "OK" => Ok(()),
        other => bail!("{}: {command}: {other}", node.addr()),
    }
}
