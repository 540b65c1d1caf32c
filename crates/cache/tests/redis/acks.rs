//! Invalidations that wait for replicas, or until they are on disk.

#![expect(clippy::unwrap_used, reason = "a test may fail by panicking")]

use std::{sync::Arc, time::Duration};

use cache::{Ack, Cache, ErrorKind, Floor, Memory, Reads, Row, Source, SourceError, Store, Version};
use redis::cmd;
use testkit::{Failed, RedisServer};
use tokio::{task::JoinSet, time::Instant};

use super::faults::{LONG, Redis, connect, fill};

const ON_DISK: Ack = Ack::Fsync { local: true, replicas: 0 };

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

#[derive(Debug)]
struct NoRows;

impl Source<String, String> for NoRows {
    fn reads(&self) -> Reads {
        Reads::Latest
    }

    async fn load(&self, _: &String) -> cache::Result<Row<String>> {
        Ok(Row::ABSENT)
    }

    async fn store(&self, _: &String, _: Option<&String>) -> Result<Floor, SourceError> {
        Ok(Floor::UNKNOWN)
    }
}

/// A server with these settings, and what comes of building a store on it that can be asked for the disk.
async fn with_fsync(
    program: &str,
    options: &str,
) -> Result<(RedisServer, Result<Redis, cache::Error>), Failed> {
    let builder = RedisServer::builder(program);
    let server = options.split(' ').fold(builder, testkit::RedisBuilder::arg).start()?;
    let built = Redis::builder().build_with_fsync(connect(&server.url()).await?).await;
    Ok((server, built))
}

pub(crate) async fn on_disk(program: &str) -> Result<(), Failed> {
    let key = "k".to_owned();
    // Nothing leaves such a server before its disk has it, whichever it is.
    let (always, store) = with_fsync(program, "--appendonly yes --appendfsync always").await?;
    let store = store?;
    assert!(Store::capability(&store).gives(ON_DISK));
    let acks = store.invalidate(&key, floor(1), LONG, ON_DISK).await?;
    assert!(acks.fsynced && acks.satisfy(ON_DISK));
    let cache = Cache::builder(NoRows, store).ack(ON_DISK).build::<String, String>()?;
    assert!(cache.write(&key, "v".to_owned()).await?.fsynced);

    // Who did not ask is not told that a disk was waited for.
    let store = Redis::new(connect(&always.url()).await?);
    assert!(!Store::capability(&store).gives(ON_DISK));
    let error = store.invalidate(&key, floor(1), LONG, ON_DISK).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unsupported);
    let error = Cache::builder(NoRows, store).ack(ON_DISK).build::<String, String>().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unsupported);
    assert!(error.to_string().contains("build_with_fsync"), "{error}");
    let memory = Memory::builder().capacity(1).build()?;
    let error = Cache::builder(NoRows, memory).ack(ON_DISK).build::<String, String>().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unsupported);
    Ok(())
}

pub(crate) async fn dishonest(program: &str) -> Result<(), Failed> {
    let (server, built) = with_fsync(program, "--appendonly yes --appendfsync everysec").await?;
    let raw = connect(&server.url()).await?;
    let info: String = cmd("INFO").arg("server").query_async(&mut raw.connection()?).await?;
    if info.contains("valkey_version:9.1.2") {
        let error = built.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unsupported);
        let (message, port) = (error.to_string(), server.addr().port());
        assert!(message.contains(&format!("Valkey 9.1.2 at port {port}")), "{message}");
        assert!(message.contains("before they are") && message.contains("trust_fsync"), "{message}");
    } else {
        let acks = built?.invalidate(&"k".to_owned(), floor(1), LONG, ON_DISK).await?;
        // What it waits for may take longer than the time for acks.
        assert_eq!(acks.satisfy(ON_DISK), acks.fsynced);
    }
    // At the word of the user, nobody is asked.
    let trusting = Redis::builder().trust_fsync();
    let trusting: Redis = trusting.build_with_fsync(raw).await?;
    assert!(Store::capability(&trusting).gives(ON_DISK));

    for (options, why) in [
        ("--appendonly no", "no append-only file"),
        ("--appendonly yes --appendfsync no", "never asks its disk"),
    ] {
        let (_server, built) = with_fsync(program, options).await?;
        let error = built.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unsupported, "{error}");
        assert!(error.to_string().contains(why), "{error}");
    }
    Ok(())
}
