//! Invalidations that wait for replicas.

#![expect(clippy::unwrap_used, reason = "a test may fail by panicking")]

use std::{sync::Arc, time::Duration};

use cache::{Ack, ErrorKind, Floor, Store, Version};
use redis::cmd;
use testkit::{Failed, RedisServer};
use tokio::{task::JoinSet, time::Instant};

use super::faults::{LONG, Redis, connect, fill};

const INVALIDATIONS: u64 = 1_000;
/// As many connections as wait at once.
const TOGETHER: usize = 16;

/// A master and its replica, which has caught up.
async fn pair(program: &str, ack_timeout: Duration) -> Result<(RedisServer, RedisServer, Redis), Failed> {
    let master = RedisServer::builder(program).start()?;
    let replica = RedisServer::builder(program).replica_of(master.addr()).start()?;
    let raw = connect(&master.url()).await?;
    let mut connection = raw.connection()?;
    let deadline = Instant::now() + LONG;
    loop {
        let info: String = cmd("INFO").arg("replication").query_async(&mut connection).await?;
        if info.contains("state=online") {
            break;
        }
        assert!(Instant::now() < deadline, "{info}");
    }
    let store = Redis::builder().ack_timeout(ack_timeout).build(raw);
    Ok((master, replica, store))
}

fn floor(version: u64) -> Floor {
    Floor::at(Version::new(version).unwrap())
}

pub(crate) async fn acknowledged(program: &str) -> Result<(), Failed> {
    let (_master, replica, store) = pair(program, LONG).await?;
    assert!(Store::capability(&store).gives(Ack::Replicas(1)));
    let key = "k".to_owned();
    store.put(&key, fill("v", 1)).await?;
    let acks = store.invalidate(&key, floor(1), LONG, Ack::Replicas(1)).await?;
    assert!(acks.replicas == 1 && acks.satisfy(Ack::Replicas(1)) && !acks.satisfy(Ack::Replicas(2)));
    let replica = Redis::new(connect(&replica.url()).await?);
    assert_eq!(replica.get(&key).await?, None, "it is gone there, too");
    assert_eq!(store.invalidate(&key, floor(1), LONG, Ack::None).await?.replicas, 0, "not asked for");
    Ok(())
}

#[expect(clippy::print_stdout, reason = "the figures are published")]
pub(crate) async fn frozen(program: &str) -> Result<(), Failed> {
    let (master, replica, store) = pair(program, Duration::from_millis(2)).await?;
    let store = Arc::new(store);
    let key = |number: u64| format!("k{number}");
    for number in 0..INVALIDATIONS {
        store.put(&key(number), fill("v", 1)).await?;
    }
    replica.freeze()?;
    let (mut tasks, mut number, mut acked) = (JoinSet::new(), 0, Vec::new());
    while number < INVALIDATIONS || !tasks.is_empty() {
        while number < INVALIDATIONS && tasks.len() < TOGETHER {
            let (store, key) = (Arc::clone(&store), key(number));
            tasks.spawn(async move { store.invalidate(&key, floor(1), LONG, Ack::Replicas(1)).await });
            number += 1;
        }
        if let Some(acks) = tasks.join_next().await {
            acked.push(acks??.replicas);
        }
    }
    let false_acks = acked.iter().filter(|replicas| **replicas > 0).count();
    assert_eq!((false_acks, acked.len()), (0, 1_000));
    assert!(store.get(&key(7)).await?.is_none(), "the master has done it");

    // What a pool does: the write on one connection, `WAIT` on another that has written nothing.
    let url = master.url();
    let mut idle = redis::Client::open(url)?.get_connection()?;
    let mut lies = 0;
    for number in 0..INVALIDATIONS {
        store.invalidate(&key(number), floor(2), LONG, Ack::None).await?;
        let replicas: u64 = cmd("WAIT").arg(1).arg(2).query(&mut idle)?;
        lies += replicas;
    }
    println!(
        "frozen replica: {false_acks} of 1000 acknowledged; by WAIT on an idle connection {lies} of 1000"
    );
    assert!(lies > 0, "then nothing was shown");
    replica.thaw()?;
    Ok(())
}

pub(crate) async fn flushed(program: &str) -> Result<(), Failed> {
    let (master, _replica, store) = pair(program, LONG).await?;
    let raw = connect(&master.url()).await?;
    let key = "k".to_owned();
    for version in 1..10 {
        store.put(&key, fill("v", version)).await?;
        cmd("SCRIPT").arg("FLUSH").query_async::<()>(&mut raw.connection()?).await?;
        assert_eq!(store.invalidate(&key, floor(version), LONG, Ack::Replicas(1)).await?.replicas, 1);
        assert_eq!(store.get(&key).await?, None);
    }
    store.close().await?;
    let error = store.invalidate(&key, floor(1), LONG, Ack::Replicas(1)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Closed);
    Ok(())
}
