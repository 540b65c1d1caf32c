use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicI64, Ordering},
    },
    time::Duration,
};

use backends::{
    Config, Error, Redis, Retry,
    redis_1::{RedisConnection, Wait, redis_error},
};
use redis::{Script, Value, cmd};
use testkit::{Failed, RedisServer};
use tokio::time::Instant;

use super::{LONG, increment, look_again, until, url};

/// Three masters, each with a replica.
pub(super) struct Cluster {
    pub(super) nodes: Vec<RedisServer>,
    direct: Vec<Redis>,
    ids: Vec<String>,
}

impl Cluster {
    /// A master that is silent for `timeout` is replaced.
    pub(super) async fn start(program: &str, timeout: Duration) -> Result<Self, Failed> {
        let (mut nodes, mut direct, mut ids) = (Vec::new(), Vec::new(), Vec::new());
        for _ in 0..6 {
            // A replica counts as one with the first thing that it has received, be it a sign of life.
            let node = RedisServer::builder(program).cluster_node(timeout);
            let node = node.arg("--repl-ping-replica-period").arg("1").start()?;
            direct.push(patient(&node.url()).await?);
            nodes.push(node);
        }
        let cluster = Self { nodes, direct, ids: vec![] };
        for n in 0..6 {
            ids.push(cluster.ask(n, "MYID").await?);
            // Everybody, as gossip takes its time.
            for other in &cluster.nodes[..n] {
                super::meet(other).exec_async(&mut cluster.node(n)?).await?;
            }
        }
        for n in 0..3 {
            let range = ["0 5460", "5461 10921", "10922 16383"][n];
            cluster.ask::<()>(n, &format!("ADDSLOTSRANGE {range}")).await?;
        }
        for n in 3..6 {
            let follow = format!("REPLICATE {}", ids[n - 3]);
            let deadline = Instant::now() + LONG;
            // Its master has to be known to it first.
            while let Err(error) = cluster.ask::<()>(n, &follow).await {
                if Instant::now() > deadline {
                    return Err(error);
                }
                look_again().await;
            }
        }
        let deadline = Instant::now() + LONG * 2;
        for n in 0..6 {
            loop {
                let mut node = cluster.node(n)?;
                let info: String = cluster.ask(n, "INFO").await?;
                let slots: Vec<Vec<Value>> = cluster.ask(n, "SLOTS").await?;
                let link: String = cmd("INFO").arg("replication").query_async(&mut node).await?;
                let linked = n < 3 || link.contains("master_link_status:up");
                // Each range with its master and one replica.
                let complete = slots.len() == 3 && slots.iter().all(|range| range.len() == 4);
                if info.contains("cluster_state:ok") && linked && complete {
                    break;
                }
                if Instant::now() > deadline {
                    return Err(format!("node {n} is not ready: {info} {link} {slots:?}").into());
                }
                look_again().await;
            }
        }
        Ok(Self { ids, ..cluster })
    }

    pub(super) async fn connect(&self) -> Result<Redis, Failed> {
        Ok(patient(&url("redis-cluster", self.nodes[0].addr())).await?)
    }

    fn node(&self, n: usize) -> Result<RedisConnection, Failed> {
        Ok(self.direct[n].connection()?)
    }

    async fn ask<T: redis::FromRedisValue>(&self, n: usize, words: &str) -> Result<T, Failed> {
        let mut command = cmd("CLUSTER");
        words.split(' ').for_each(|word| {
            command.arg(word);
        });
        Ok(command.query_async(&mut self.node(n)?).await?)
    }

    /// Moves a slot as an operator does: some keys at a time, while it is served.
    async fn move_slot(&self, slot: u16, from: usize, to: usize) -> Result<(), Failed> {
        self.ask::<()>(to, &format!("SETSLOT {slot} IMPORTING {}", self.ids[from])).await?;
        self.ask::<()>(from, &format!("SETSLOT {slot} MIGRATING {}", self.ids[to])).await?;
        let addr = self.nodes[to].addr();
        loop {
            let keys: Vec<String> = self.ask(from, &format!("GETKEYSINSLOT {slot} 3")).await?;
            if keys.is_empty() {
                break;
            }
            let mut migrate = cmd("MIGRATE");
            migrate
                .arg(addr.ip().to_string())
                .arg(addr.port())
                .arg("")
                .arg(0)
                .arg(2_000)
                .arg("KEYS")
                .arg(keys);
            migrate.exec_async(&mut self.node(from)?).await?;
        }
        for n in [to, from] {
            self.ask::<()>(n, &format!("SETSLOT {slot} NODE {}", self.ids[to])).await?;
        }
        Ok(())
    }

    /// How often the masters gave this error.
    async fn errors(&self, code: &str) -> Result<u64, Failed> {
        let mut sum = 0;
        for n in 0..3 {
            let info: String = cmd("INFO").arg("errorstats").query_async(&mut self.node(n)?).await?;
            let start = format!("errorstat_{code}:count=");
            let count = info.lines().find_map(|line| line.strip_prefix(&start)?.parse::<u64>().ok());
            sum += count.unwrap_or(0);
        }
        Ok(sum)
    }
}

/// An answer that a slow machine delays is no error.
async fn patient(url: &str) -> Result<Redis, Error> {
    Redis::connect(&Config::parse(url)?.request_timeout(LONG)).await
}

/// What callers were told that they had added.
#[derive(Default)]
struct Load {
    added: AtomicI64,
    stop: AtomicBool,
}

pub(super) async fn a_slot_moves_under_load_without_an_error(program: &str) -> Result<(), Failed> {
    // No failover, even where the machine is slow.
    let cluster = Cluster::start(program, Duration::from_secs(10)).await?;
    let redis = Arc::new(cluster.connect().await?);
    let slot: u16 = cluster.ask(0, "KEYSLOT {moving}").await?;
    let owner = usize::from(slot / 5_461).min(2);
    let keys: Arc<Vec<String>> = Arc::new((0..60).map(|n| format!("{{moving}}:{n}")).collect());
    let load = Arc::new(Load::default());
    let mut workers = tokio::task::JoinSet::new();
    // Single commands, scripts of two keys, batches, durable writes, and transactions.
    for worker in 0..10 {
        let (redis, keys, load) = (Arc::clone(&redis), Arc::clone(&keys), Arc::clone(&load));
        workers.spawn(async move {
            let mut connection = redis.connection()?;
            let both = Script::new("return redis.call('INCR', KEYS[1]) + redis.call('INCR', KEYS[2])");
            let fresh = Script::new("return redis.call('INCR', KEYS[1]) + redis.call('INCR', KEYS[2]) + redis.call('DEL', KEYS[1], KEYS[2])");
            let mut turn = worker;
            while !load.stop.load(Ordering::Relaxed) {
                turn += 1;
                let key = &keys[turn % keys.len()];
                let added = match worker % 5 {
                    0 => increment(&mut connection, key).await.map(|_| 1)?,
                    1 => {
                        let script = both
                            .key(key)
                            .key(&keys[(turn + 17) % keys.len()])
                            .invoke_async::<i64>(&mut connection)
                            .await;
                        script.map_err(|error| redis_error("redis-cluster", "both", error)).map(|_| 2)?
                    }
                    2 if turn % 4 == 0 => {
                        // Keys that no node has, which the one that imports their slot makes in the end.
                        let (one, other) = (format!("{{moving}}:new:{turn}"), format!("{{moving}}:newer:{turn}"));
                        let sum = fresh.key(one).key(other).invoke_async::<i64>(&mut connection).await;
                        assert_eq!(sum.map_err(|error| redis_error("redis-cluster", "fresh", error))?, 4);
                        0
                    }
                    2 => {
                        let batch: Vec<_> = (0..100)
                            .map(|n| {
                                let mut incr = cmd("INCR");
                                // Most are of slots that stay.
                                match n % 4 {
                                    0 => incr.arg(&keys[n % keys.len()]),
                                    _ => incr.arg(format!("staying:{n}")),
                                };
                                incr
                            })
                            .collect();
                        for result in connection.each("batch", &batch).await {
                            result?;
                        }
                        25
                    }
                    3 => {
                        let mut incr = cmd("INCR");
                        incr.arg(key);
                        redis
                            .durable("durable", &incr, Wait::for_replicas(1, Duration::from_millis(20)))
                            .await?;
                        1
                    }
                    _ => {
                        // Of which nothing happens while only some of its keys are there.
                        let mut both = redis::pipe();
                        both.atomic().incr(key, 1).incr(&keys[(turn + 29) % keys.len()], 1);
                        let transaction = || async {
                            let done = both.exec_async(&mut redis.connection()?).await;
                            done.map_err(|error| redis_error("redis-cluster", "both", error))
                        };
                        while let Err(error) = transaction().await {
                            assert_eq!(error.retry(), Retry::Safe, "{error:?}");
                            look_again().await;
                        }
                        2
                    }
                };
                load.added.fetch_add(added, Ordering::Relaxed);
            }
            Ok::<_, Failed>(())
        });
    }
    let moves = async {
        for round in 0..6 {
            let (from, to) = ((owner + round) % 3, (owner + round + 1) % 3);
            cluster.move_slot(slot, from, to).await?;
        }
        Ok::<_, Failed>(())
    };
    let moved = moves.await;
    load.stop.store(true, Ordering::Relaxed);
    while let Some(worker) = workers.join_next().await {
        worker??;
    }
    moved?;
    let mut connection = redis.connection()?;
    let counts: Vec<i64> = cmd("MGET").arg(&*keys).query_async(&mut connection).await?;
    assert_eq!(counts.iter().sum::<i64>(), load.added.load(Ordering::Relaxed), "each happened once");
    for code in ["MOVED", "ASK", "TRYAGAIN"] {
        assert!(cluster.errors(code).await? > 0, "no {code} was met");
    }
    Ok(())
}

pub(super) async fn a_promoted_replica_is_found(program: &str) -> Result<(), Failed> {
    let mut cluster = Cluster::start(program, Duration::from_secs(3)).await?;
    let redis = cluster.connect().await?;
    let mut connection = redis.connection()?;
    let keys: Vec<_> = (0..30).map(|n| format!("k{n}")).collect();
    for key in &keys {
        increment(&mut connection, key).await?;
    }
    cluster.nodes[1].kill()?;
    // In every slot, by single commands, in batches and durably.
    for key in &keys {
        until(|| {
            let mut connection = connection.clone();
            async move { increment(&mut connection, key).await }
        })
        .await?;
    }
    let batch: Vec<_> = keys.iter().map(|key| cmd("INCR").arg(key).take()).collect();
    for result in connection.each("batch", &batch).await {
        result?;
    }
    for incr in &batch {
        redis.durable("durable", incr, Wait::for_replicas(0, Duration::from_millis(1))).await?;
    }
    redis.health().await?;
    Ok(())
}
