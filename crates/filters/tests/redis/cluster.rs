//! Slots that move, and replicas that are promoted.

#![expect(clippy::unwrap_used, reason = "a test may fail by panicking")]

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use filters::{
    Membership as _, Result,
    redis::{Ack, HostedBloom},
};
use testkit::{Failed, RedisCluster, eventually};
use tokio::task::{JoinSet, block_in_place};

use super::handles::{LONG, connect, found, keys, plan, rebuild};

/// Announces keys of its own and asks for all of them; none of those that were taken may be lost.
async fn write(filter: &HostedBloom, task: u64, stop: &AtomicBool, taken: &AtomicU64) -> Result<Vec<u64>> {
    let (mut known, mut number) = (Vec::new(), 0);
    while !stop.load(Ordering::SeqCst) {
        number += 1;
        let new = keys(task << 32 | number, 10);
        // While a server is gone, nobody writes rows.
        if let Ok(announced) = filter.announce(&new).await {
            announced.settle();
            known.extend(new);
            taken.fetch_add(1, Ordering::SeqCst);
        }
        if let Ok(found) = found(filter, &known).await {
            assert_eq!(found, known.len(), "a key was lost");
        }
    }
    Ok(known)
}

pub(crate) async fn moves(program: &str) -> Result<(), Failed> {
    let cluster = RedisCluster::builder(program).arg("--appendonly").arg("no").start()?;
    let handle = || async {
        Ok::<_, Failed>(Arc::new(HostedBloom::builder().segments(8).build(connect(&cluster.url()).await?)?))
    };
    let filter = handle().await?;
    rebuild(&filter, 100_000, keys(1, 1_000)).await?;
    let (stop, taken) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let mut writers = JoinSet::new();
    for task in 1..=4 {
        let (filter, stop, taken) = (handle().await?, Arc::clone(&stop), Arc::clone(&taken));
        writers.spawn(async move { write(&filter, task, &stop, &taken).await });
    }
    for (turn, segment) in (0..8).chain(0..8).enumerate() {
        let before = taken.load(Ordering::SeqCst);
        block_in_place(|| {
            let slot = cluster.slot(&format!("{{filter:{segment}}}"))?;
            let first = cluster.first_master(slot);
            cluster.move_slot(slot, (first + turn / 8) % 3, (first + turn / 8 + 1) % 3)
        })?;
        if turn % 4 == 1 {
            rebuild(&filter, 100_000, keys(1, 1_000)).await?;
        }
        block_in_place(|| eventually(LONG, "more is written", || taken.load(Ordering::SeqCst) > before + 4));
    }
    stop.store(true, Ordering::SeqCst);
    assert_eq!(found(&filter, &keys(1, 1_000)).await?, 1_000);
    while let Some(known) = writers.join_next().await {
        let known = known??;
        assert_eq!(found(&filter, &known).await?, known.len());
    }
    assert!(found(&filter, &keys(9, 1_000)).await? < 60);
    assert!(cluster.errors("MOVED")? > 0);
    Ok(())
}

pub(crate) async fn promoted(program: &str) -> Result<(), Failed> {
    let mut cluster = RedisCluster::builder(program).replicas(1).arg("--appendonly").arg("no").start()?;
    let builder =
        HostedBloom::builder().segments(8).ack(Ack::Replicas(1)).ack_timeout(Duration::from_millis(500));
    let url = cluster.url();
    let handle = || async {
        let config = backends::Config::parse(&url)?.request_timeout(Duration::from_secs(2));
        Ok::<_, Failed>(Arc::new(builder.clone().build(backends::Redis::connect(&config).await?)?))
    };
    let filter = handle().await?;
    rebuild(&filter, 100_000, keys(1, 1_000)).await?;
    let (stop, taken) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let mut writers = JoinSet::new();
    for task in 1..=2 {
        let (filter, stop, taken) = (handle().await?, Arc::clone(&stop), Arc::clone(&taken));
        writers.spawn(async move { write(&filter, task, &stop, &taken).await });
    }
    let goes_on = |before: u64| move |taken: &AtomicU64| taken.load(Ordering::SeqCst) > before + 4;
    block_in_place(|| eventually(LONG, "keys are acknowledged", || goes_on(0)(&taken)));
    let victim = cluster.first_master(cluster.slot("{filter:0}")?);
    let heir = cluster.replica_of(victim);
    cluster.set_node_timeout(Duration::from_secs(1))?;
    cluster.node_mut(victim).kill()?;
    let is_master = || cluster.node(heir).role().is_ok_and(|role| role.is_master);
    block_in_place(|| eventually(LONG, "the replica is promoted", is_master));
    // It has no replica, so nothing of its segments is taken any more; whatever was is there.
    stop.store(true, Ordering::SeqCst);
    while filter.check(&keys(1, 1_000)).await.is_err() {}
    assert_eq!(found(&filter, &keys(1, 1_000)).await?, 1_000);
    while let Some(known) = writers.join_next().await {
        let known = known??;
        assert!(!known.is_empty());
        assert_eq!(found(&filter, &known).await?, known.len(), "acknowledged keys were lost");
    }
    assert!(found(&filter, &keys(9, 1_000)).await? < 60);
    filter.rebuild(plan(1_000), &mut keys(1, 1_000).into_iter()).await.unwrap();
    assert_eq!(found(&filter, &keys(1, 1_000)).await?, 1_000);
    Ok(())
}
