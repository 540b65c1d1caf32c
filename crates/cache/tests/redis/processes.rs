//! Several caches on one store: in processes of their own, and with copies in memory.

#![expect(clippy::unwrap_used, reason = "a test may fail by panicking")]

use std::{
    env,
    process::{Command, ExitCode},
    sync::Arc,
    time::Duration,
};

use cache::{Cache, Floor, Reads, RedisStore, Result, Row, Source, SourceError, Store, Tiered, Version};
use redis::{FromRedisValue, cmd};
use testkit::{Failed, RedisServer, eventually};
use tokio::task::{JoinSet, block_in_place};

use super::faults::connect;

/// In its environment a process finds that it is one of several, the server, and the prefix of its keys.
const PART: &str = "CACHE_TEST_PART";
const PROCESSES: u64 = 4;
const WAITERS: u64 = 250;
const PATIENCE: Duration = Duration::from_secs(30);

/// One row, on the same server: its loads are counted, and wait for a word.
#[derive(Debug)]
struct Slow {
    redis: backends::Redis,
    prefix: String,
}

impl Slow {
    async fn ask<T: FromRedisValue>(&self, name: &str, key: &str) -> T {
        let mut connection = self.redis.connection().unwrap();
        cmd(name).arg(format!("{}:{key}", self.prefix)).query_async(&mut connection).await.unwrap()
    }
}

impl Source<String, String> for Slow {
    fn reads(&self) -> Reads {
        Reads::Latest
    }

    async fn load(&self, key: &String) -> Result<Row<String>> {
        self.ask::<u64>("INCR", "loads").await;
        while self.ask::<u64>("EXISTS", "go").await == 0 {}
        Ok(Row::new(format!("value of {key}"), Version::default()))
    }

    async fn store(&self, _: &String, _: Option<&String>) -> Result<Floor, SourceError> {
        Ok(Floor::UNKNOWN)
    }
}

/// What a process does that is one of several; `None` in one that is not.
pub(crate) fn part() -> Option<ExitCode> {
    let part = env::var(PART).ok()?;
    let (url, prefix) = part.split_once(' ').unwrap();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(waiters(url, prefix)).unwrap();
    Some(ExitCode::SUCCESS)
}

async fn waiters(url: &str, prefix: &str) -> Result<(), Failed> {
    let source = Arc::new(Slow { redis: connect(url).await?, prefix: prefix.to_owned() });
    let store = RedisStore::<String, String>::builder().prefix(prefix).build(connect(url).await?);
    let cache: Cache<String, String, _, _> =
        Cache::builder(Arc::clone(&source), store).lease(PATIENCE).build()?;
    let mut waiters = JoinSet::new();
    for _ in 0..WAITERS {
        let cache = cache.clone();
        waiters.spawn(async move { cache.get(&"cold".to_owned()).await });
    }
    while cache.stats().misses < WAITERS {
        tokio::task::yield_now().await;
    }
    source.ask::<u64>("INCR", "ready").await;
    while let Some(value) = waiters.join_next().await {
        assert_eq!(value??.as_deref(), Some("value of cold"));
    }
    Ok(())
}

/// A thousand waiters of one cold key in four processes.
pub(crate) async fn one_load(url: &str) -> Result<(), Failed> {
    let prefix = testkit::unique("cold");
    let row = Slow { redis: connect(url).await?, prefix: prefix.clone() };
    let start = || Command::new(env::current_exe()?).env(PART, format!("{url} {prefix}")).spawn();
    let mut processes = (0..PROCESSES).map(|_| start()).collect::<std::io::Result<Vec<_>>>()?;
    while row.ask::<Option<u64>>("GET", "ready").await.unwrap_or(0) < PROCESSES {
        for process in &mut processes {
            assert!(process.try_wait()?.is_none(), "a process ended before the row was loaded");
        }
    }
    row.ask::<u64>("INCR", "go").await;
    for mut process in processes {
        assert!(block_in_place(|| process.wait())?.success());
    }
    assert_eq!(row.ask::<u64>("GET", "loads").await, 1);
    Ok(())
}

type Copying = Tiered<String, String, RedisStore<String, String>>;

async fn copying(url: &str, prefix: &str) -> Result<Copying, Failed> {
    let store = RedisStore::<String, String>::builder().prefix(prefix).build(connect(url).await?);
    let store = Tiered::new(store, 100, Duration::from_secs(3_600))?;
    linked(&store);
    Ok(store)
}

fn linked(store: &Copying) {
    block_in_place(|| eventually(PATIENCE, "the link is up", || store.is_linked()));
}

/// Fills `key`, and reads it until there is a copy.
async fn copied(store: &Copying, key: &String, value: &str) -> Result<(), Failed> {
    let wish = super::faults::wish(7);
    store.lease(key, wish).await?;
    store.fill(key, wish.token, super::faults::fill(value, 5)).await?;
    read(store, key, Some(value)).await;
    Ok(())
}

async fn read(store: &Copying, key: &String, value: Option<&str>) {
    let found = store.get(key).await.unwrap().and_then(|entry| entry.value);
    assert_eq!(found.as_deref(), value);
}

/// What one process invalidates is gone from the memory of the others.
pub(crate) async fn told(url: &str) -> Result<(), Failed> {
    let (prefix, key) = (testkit::unique("told"), "k".to_owned());
    let (here, there) = (copying(url, &prefix).await?, copying(url, &prefix).await?);
    copied(&here, &key, "old").await?;
    read(&here, &key, Some("old")).await;
    assert_eq!(here.stats().hits, 1, "from memory");
    there.invalidate(&key, Floor::at(Version::new(5).unwrap()), PATIENCE, cache::Ack::None).await?;
    read(&there, &key, None).await;
    let gone = || here.stats().entries == here.stats().bare;
    block_in_place(|| eventually(PATIENCE, "the copy is dropped", gone));
    read(&here, &key, None).await;
    Ok(())
}

/// A link that is lost takes the copies with it, and they come back with it.
pub(crate) async fn unlinked(program: &str) -> Result<(), Failed> {
    let server = RedisServer::builder(program).start()?;
    let url = format!("{}?timeout=300ms", server.url());
    let (store, key) = (copying(&url, "unlinked").await?, "k".to_owned());
    copied(&store, &key, "old").await?;
    server.freeze()?;
    block_in_place(|| eventually(PATIENCE, "the link is lost", || !store.is_linked()));
    assert_eq!(store.stats().entries, 0, "any copy may be stale");
    assert!(store.get(&key).await.is_err(), "nothing is served that may be stale");
    server.thaw()?;
    linked(&store);
    while store.health().await.is_err() {}
    read(&store, &key, Some("old")).await;
    assert_eq!(store.links_lost(), 1);
    Ok(())
}
