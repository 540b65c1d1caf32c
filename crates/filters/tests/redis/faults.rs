//! Servers that are restarted, frozen, and forget scripts.

#![expect(clippy::unwrap_used, reason = "a test may fail by panicking")]

use std::time::Duration;

use filters::{
    ErrorKind, Membership as _, Retry,
    redis::{Ack, HostedBloom},
};
use redis::cmd;
use testkit::{Failed, RedisServer, eventually};
use tokio::task::block_in_place;

use super::handles::{LONG, connect, found, keys, rebuild};

/// Killed and started again, empty or with what is on its disk.
pub(crate) async fn restarted(program: &str, remembers: bool) -> Result<(), Failed> {
    let persistence = if remembers { "yes" } else { "no" };
    let mut server = RedisServer::builder(program).arg("--appendonly").arg(persistence).start()?;
    let ack = if remembers { Ack::Fsync { local: true, replicas: 0 } } else { Ack::None };
    let builder = HostedBloom::builder().segments(8).ack(ack).ack_timeout(LONG).trust_fsync();
    let filter = builder.clone().build(connect(&server.url()).await?)?;
    rebuild(&filter, 1_000, keys(1, 1_000)).await?;
    for kind in 10..30 {
        filter.announce(&keys(kind, 20)).await?.settle();
    }
    assert!(found(&filter, &keys(9, 1_000)).await? < 60);
    server.kill()?;
    server.restart()?;
    while filter.health().await.is_err() {}
    for filter in [&filter, &builder.build(connect(&server.url()).await?)?] {
        assert_eq!(found(filter, &keys(1, 1_000)).await?, 1_000);
        for kind in 10..30 {
            assert_eq!(found(filter, &keys(kind, 20)).await?, 20);
        }
        let strangers = found(filter, &keys(9, 1_000)).await?;
        assert!(if remembers { strangers < 60 } else { strangers == 1_000 }, "{strangers}");
    }
    filter.announce(&keys(3, 100)).await?.settle();
    rebuild(&filter, 1_000, keys(1, 1_000)).await?;
    assert_eq!(found(&filter, &keys(3, 100)).await?, 100);
    assert!(found(&filter, &keys(9, 1_000)).await? < 60);
    Ok(())
}

pub(crate) async fn flushed(program: &str) -> Result<(), Failed> {
    let server = RedisServer::builder(program).start()?;
    let raw = connect(&server.url()).await?;
    for ack in [Ack::None, Ack::Replicas(0)] {
        let filter = HostedBloom::builder().ack(ack).build(connect(&server.url()).await?)?;
        for kind in 1..10 {
            cmd("SCRIPT").arg("FLUSH").query_async::<()>(&mut raw.connection()?).await?;
            filter.announce(&keys(kind, 100)).await?.settle();
            cmd("SCRIPT").arg("FLUSH").query_async::<()>(&mut raw.connection()?).await?;
            rebuild(&filter, 1_000, keys(1, 100)).await?;
            assert_eq!(found(&filter, &keys(kind, 100)).await?, 100);
        }
    }
    Ok(())
}

/// An announcement that nobody else has is an error, and counts the replicas.
pub(crate) async fn frozen(program: &str) -> Result<(), Failed> {
    let master = RedisServer::builder(program).start()?;
    let replica = RedisServer::builder(program).replica_of(master.addr()).start()?;
    let is_linked = || replica.role().is_ok_and(|role| role.is_linked);
    block_in_place(|| eventually(LONG, "the replica is linked", is_linked));
    let builder = HostedBloom::builder().ack(Ack::Replicas(1));
    let patient = builder.clone().ack_timeout(LONG).build(connect(&master.url()).await?)?;
    rebuild(&patient, 10_000, keys(1, 100)).await?;
    patient.announce(&keys(2, 1_000)).await?.settle();
    let there = HostedBloom::builder().build(connect(&replica.url()).await?)?;
    assert_eq!(found(&there, &keys(2, 1_000)).await?, 1_000, "the replica has them");
    assert!(found(&there, &keys(9, 1_000)).await? < 60);
    replica.freeze()?;
    let hasty = builder.ack_timeout(Duration::from_millis(2)).build(connect(&master.url()).await?)?;
    for kind in 10..60 {
        // A head that is not known yet, in the first, and a single segment, in others.
        let hashes = keys(kind, if kind % 2 == 0 { 100 } else { 1 });
        let error = hasty.announce(&hashes).await.unwrap_err();
        assert_eq!((error.kind(), error.retry()), (ErrorKind::Unavailable, Retry::Safe), "{error}");
        assert!(error.to_string().contains("received by 0 replicas"), "{error}");
    }
    assert!(hasty.stats().unacknowledged >= 50);
    replica.thaw()?;
    patient.announce(&keys(10, 100)).await?.settle();
    assert_eq!(found(&there, &keys(10, 100)).await?, 100);
    Ok(())
}
