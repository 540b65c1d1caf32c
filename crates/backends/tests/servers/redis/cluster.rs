use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicI64, Ordering},
    },
    time::Duration,
};

use backends::{
    Config, Error, Redis, Retry,
    redis_1::{Wait, redis_error},
};
use redis::{Script, cmd};
use testkit::{Failed, RedisCluster};

use super::{LONG, increment, look_again, until};

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
    let cluster = RedisCluster::builder(program).replicas(1).start()?;
    let redis = Arc::new(patient(&cluster.url()).await?);
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
    let moves = move || {
        let slot = cluster.slot("{moving}")?;
        let owner = cluster.first_master(slot);
        for round in 0..6 {
            cluster.move_slot(slot, (owner + round) % 3, (owner + round + 1) % 3)?;
        }
        Ok::<_, std::io::Error>(cluster)
    };
    let moved = tokio::task::spawn_blocking(moves).await?;
    load.stop.store(true, Ordering::Relaxed);
    while let Some(worker) = workers.join_next().await {
        worker??;
    }
    let cluster = moved?;
    let mut connection = redis.connection()?;
    let counts: Vec<i64> = cmd("MGET").arg(&*keys).query_async(&mut connection).await?;
    assert_eq!(counts.iter().sum::<i64>(), load.added.load(Ordering::Relaxed), "each happened once");
    for code in ["MOVED", "ASK", "TRYAGAIN"] {
        assert!(cluster.errors(code)? > 0, "no {code} was met");
    }
    Ok(())
}

pub(super) async fn a_promoted_replica_is_found(program: &str) -> Result<(), Failed> {
    let mut cluster = RedisCluster::builder(program).replicas(1).start()?;
    let redis = patient(&cluster.url()).await?;
    let mut connection = redis.connection()?;
    let keys: Vec<_> = (0..30).map(|n| format!("k{n}")).collect();
    for key in &keys {
        increment(&mut connection, key).await?;
    }
    cluster.set_node_timeout(Duration::from_secs(1))?;
    cluster.node_mut(1).kill()?;
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
