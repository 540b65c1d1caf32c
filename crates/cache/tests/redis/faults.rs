//! Servers that are killed, flushed and full.

#![expect(clippy::unwrap_used, reason = "a test may fail by panicking")]

use std::{
    num::NonZeroU64,
    slice,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use cache::{
    Ack, ErrorKind, Fill, Filled, Floor, Leased, Refusal, Retry, Store, Token, Version, Wish,
    redis::RedisStore,
};
use testkit::{Failed, RedisServer};
use tokio::time::Instant;

pub(crate) type Redis = RedisStore<String, String>;

pub(crate) const LONG: Duration = Duration::from_secs(60);

pub(crate) async fn connect(url: &str) -> Result<backends::Redis, Failed> {
    Ok(backends::Redis::connect(&backends::Config::parse(url)?).await?)
}

pub(crate) fn token(number: u64) -> Token {
    Token(NonZeroU64::new(number).unwrap())
}

pub(crate) fn wish(number: u64) -> Wish {
    Wish { token: token(number), ttl: LONG, seen: None }
}

pub(crate) fn fill(value: &str, version: u64) -> Fill<String> {
    Fill {
        value: Some(value.to_owned()),
        version: Version::new(version).unwrap(),
        fresh: LONG,
        keep: LONG,
        load_time: Duration::from_millis(1),
    }
}

/// Loads, reads and invalidates keys of its own until told to stop; answers an error as soon as there is one.
async fn load(store: &Redis, task: u64, stop: &AtomicBool, rounds: &AtomicU64) -> Result<(), cache::Error> {
    let mut number = 0;
    while !stop.load(Ordering::Relaxed) {
        number += 1;
        let key = format!("{task}:{}", number % 10);
        let token = token(number);
        assert_eq!(store.lease(&key, Wish { token, ..wish(1) }).await?, Leased::Granted);
        assert_eq!(store.fill(&key, token, fill("v", number)).await?, Filled::Stored);
        assert_eq!(store.get(&key).await?.unwrap().version.get(), number);
        let floor = Floor::at(Version::new(number).unwrap());
        store.invalidate(&key, floor, LONG, Ack::None).await?;
        assert_eq!(store.get(&key).await?, None);
        store.release(&key, token).await?;
        store.put(&key, fill("v", number)).await?;
        store.remove(&key).await?;
        rounds.fetch_add(1, Ordering::Relaxed);
    }
    Ok(())
}

pub(crate) async fn flushed(program: &str) -> Result<(), Failed> {
    let server = RedisServer::builder(program).start()?;
    let store = Arc::new(Redis::new(connect(&server.url()).await?));
    let (stop, rounds) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let mut tasks = tokio::task::JoinSet::new();
    for task in 0..4 {
        let (store, stop, rounds) = (Arc::clone(&store), Arc::clone(&stop), Arc::clone(&rounds));
        tasks.spawn(async move { load(&store, task, &stop, &rounds).await });
    }
    let flusher = connect(&server.url()).await?;
    let mut connection = flusher.connection()?;
    let deadline = Instant::now() + LONG;
    for round in 1..=50 {
        redis::cmd("SCRIPT").arg("FLUSH").query_async::<()>(&mut connection).await?;
        while rounds.load(Ordering::Relaxed) < round * 10 {
            assert!(Instant::now() < deadline && tasks.try_join_next().is_none(), "the load has stopped");
            tokio::task::yield_now().await;
        }
    }
    stop.store(true, Ordering::Relaxed);
    while let Some(result) = tasks.join_next().await {
        result??;
    }
    Ok(())
}

/// Killed between the lease and the fill; a fill that meets no server is an error.
pub(crate) async fn restarted(program: &str, remembers: bool) -> Result<(), Failed> {
    let builder = RedisServer::builder(program);
    let mut server = if remembers {
        builder.arg("--appendonly").arg("yes").arg("--appendfsync").arg("always").start()?
    } else {
        builder.arg("--appendonly").arg("no").arg("--save").arg("").start()?
    };
    let store = Redis::new(connect(&server.url()).await?);
    let key = "k".to_owned();
    store.invalidate(&key, Floor::at(Version::new(5).unwrap()), LONG, Ack::None).await?;
    assert_eq!(store.lease(&key, wish(1)).await?, Leased::Granted);
    server.kill()?;
    let error = store.fill(&key, token(1), fill("v", 6)).await.unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::Unavailable | ErrorKind::Timeout), "{error}");
    assert!(store.get(&key).await.is_err() && store.get_many(slice::from_ref(&key)).await[0].is_err());
    assert!(store.invalidate(&key, Floor::UNKNOWN, LONG, Ack::None).await.is_err());
    server.restart()?;
    let deadline = Instant::now() + LONG;
    let filled = loop {
        match store.fill(&key, token(1), fill("v", 6)).await {
            Ok(filled) => break filled,
            Err(error) => assert!(Instant::now() < deadline, "{error}"),
        }
    };
    if remembers {
        assert_eq!(filled, Filled::Stored);
        assert_eq!(store.get(&key).await?.unwrap().value.as_deref(), Some("v"));
        // The floor came back, too, as long as no fill has replaced it.
        let other = "other".to_owned();
        store.invalidate(&other, Floor::at(Version::new(5).unwrap()), LONG, Ack::None).await?;
        server.kill()?;
        server.restart()?;
        while let Err(error) = store.lease(&other, wish(2)).await {
            assert!(Instant::now() < deadline, "{error}");
        }
        let filled = store.fill(&other, token(2), fill("v", 4)).await?;
        assert_eq!(filled, Filled::Refused(Refusal::Older));
    } else {
        assert_eq!(filled, Filled::Refused(Refusal::Revoked));
        assert_eq!(store.get(&key).await?, None);
        assert_eq!(store.lease(&key, wish(2)).await?, Leased::Granted);
    }
    Ok(())
}

/// `maxmemory` is reached, and nothing may be evicted: writes are refused, but for those that take content away.
pub(crate) async fn full(program: &str) -> Result<(), Failed> {
    let server = RedisServer::builder(program).start()?;
    let raw = connect(&server.url()).await?;
    let store = Redis::new(connect(&server.url()).await?);
    let (key, other) = ("k".to_owned(), "other".to_owned());
    store.put(&key, fill("v", 1)).await?;
    assert_eq!(store.lease(&other, wish(1)).await?, Leased::Granted);
    let mut set = redis::cmd("CONFIG");
    set.arg("SET").arg("maxmemory").arg(1).arg("maxmemory-policy").arg("noeviction");
    set.query_async::<()>(&mut raw.connection()?).await?;
    let error = store.fill(&other, token(1), fill("v", 1)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Overloaded, "{error}");
    assert_eq!(store.lease(&"third".to_owned(), wish(1)).await.unwrap_err().kind(), ErrorKind::Overloaded);
    assert!(store.get(&key).await?.is_some());
    for key in [&key, &other] {
        store.invalidate(key, Floor::at(Version::new(2).unwrap()), LONG, Ack::None).await?;
    }
    assert_eq!(store.get(&key).await?, None);
    let mut set = redis::cmd("CONFIG");
    set.arg("SET").arg("maxmemory").arg(0).query_async::<()>(&mut raw.connection()?).await?;
    let filled = store.fill(&other, token(1), fill("v", 9)).await?;
    assert_eq!(filled, Filled::Refused(Refusal::Revoked), "its lease went, too");
    Ok(())
}

/// The user of the cache was given its keys, and not its channel.
pub(crate) async fn forbidden(program: &str) -> Result<(), Failed> {
    let server = RedisServer::builder(program).start()?;
    let raw = connect(&server.url()).await?;
    let mut user = redis::cmd("ACL");
    user.arg("SETUSER")
        .arg("cache")
        .arg("on")
        .arg(">secret")
        .arg("~cache:*")
        .arg("resetchannels")
        .arg("+@all");
    user.query_async::<()>(&mut raw.connection()?).await?;
    let url = format!("redis://cache:secret@{}", server.addr());
    let store = Redis::new(connect(&url).await?);
    let (key, floor) = ("k".to_owned(), Floor::at(Version::new(1).unwrap()));
    store.put(&key, fill("v", 1)).await?;
    let error = store.invalidate(&key, floor, LONG, Ack::None).await.unwrap_err();
    assert_eq!(error.retry(), Retry::Never, "{error}");
    assert!(store.get(&key).await?.is_some());
    let silent = Redis::builder().announce(false).build::<String, String>(connect(&url).await?);
    silent.invalidate(&key, floor, LONG, Ack::None).await?;
    assert_eq!(store.get(&key).await?, None);
    Ok(())
}
