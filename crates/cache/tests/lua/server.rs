//! What only a server can show.

#![expect(clippy::unwrap_used, reason = "a test fails by a panic")]

use std::{num::NonZeroU64, time::Duration};

use cache::{Ack, Fill, Filled, Floor, Leased, Store, Token, Version, Wish, redis::RedisStore};
use redis::FromRedisValue;
use testkit::Failed;
use tokio::time::Instant;

type Redis = RedisStore<String, String>;

const LONG: Duration = Duration::from_secs(20);

pub(crate) async fn run(case: &str, url: &str) -> Result<(), Failed> {
    let server = Server::connect(url).await;
    match case {
        "a_lease_leaves_the_payload_and_the_time_to_live" => server.lease_in_place().await,
        "a_key_ends_when_nothing_is_known_of_it" => server.ends().await,
        "the_time_is_the_servers" => server.time().await,
        unknown => return Err(format!("no case {unknown}").into()),
    }
    Ok(())
}

struct Server {
    store: Redis,
    raw: backends::Redis,
    url: String,
    prefix: String,
}

fn token(number: u64) -> Token {
    Token(NonZeroU64::new(number).unwrap())
}

fn wish(number: u64, ttl: Duration, seen: Option<u64>) -> Wish {
    Wish { token: token(number), ttl, seen }
}

fn fill(value: &str, keep: Duration) -> Fill<String> {
    let (version, load_time) = (Version::new(5).unwrap(), Duration::from_millis(3));
    Fill { value: Some(value.to_owned()), version, fresh: keep / 2, keep, load_time }
}

impl Server {
    async fn connect(url: &str) -> Self {
        let config = backends::Config::parse(url).unwrap();
        let prefix = testkit::unique("server");
        let connect = || async { backends::Redis::connect(&config).await.unwrap() };
        let store = RedisStore::<String, String>::builder().prefix(&prefix).build(connect().await);
        Self { store, raw: connect().await, url: url.to_owned(), prefix }
    }

    async fn ask<T: FromRedisValue>(&self, command: &str, key: &str) -> T {
        let mut command = redis::cmd(command);
        command.arg(format!("{}:{key}", self.prefix));
        command.query_async(&mut self.raw.connection().unwrap()).await.unwrap()
    }

    async fn lease_in_place(&self) {
        let key = "k".to_owned();
        assert_eq!(self.store.lease(&key, wish(1, LONG, None)).await.unwrap(), Leased::Granted);
        let value = "v".repeat(100_000);
        assert_eq!(self.store.fill(&key, token(1), fill(&value, 4 * LONG)).await.unwrap(), Filled::Stored);
        let before: Vec<u8> = self.ask("GET", "k").await;
        let seen = self.store.get(&key).await.unwrap().map(|entry| entry.fresh_until);
        let life: i64 = self.ask("PEXPIRETIME", "k").await;
        assert_eq!(self.store.lease(&key, wish(2, LONG, seen)).await.unwrap(), Leased::Granted);
        let after: Vec<u8> = self.ask("GET", "k").await;
        assert_eq!((before.len(), after.len()), (56 + value.len(), 56 + value.len()));
        let changed: Vec<usize> = (0..before.len()).filter(|at| before[*at] != after[*at]).collect();
        assert!(!changed.is_empty() && changed.iter().all(|at| (32..48).contains(at)), "{changed:?}");
        assert_eq!(life, self.ask::<i64>("PEXPIRETIME", "k").await, "it ends when it did");
        // A lease that outlasts the content takes the key along.
        self.store.release(&key, token(2)).await.unwrap();
        assert_eq!(self.store.lease(&key, wish(3, 9 * LONG, seen)).await.unwrap(), Leased::Granted);
        assert!(life < self.ask::<i64>("PEXPIRETIME", "k").await);
        assert_eq!(self.store.get(&key).await.unwrap().unwrap().value, Some(value));
    }

    async fn ends(&self) {
        let short = Duration::from_millis(60);
        let (store, key) = (&self.store, str::to_owned);
        store.lease(&key("leased"), wish(1, short, None)).await.unwrap();
        store.put(&key("content"), fill("v", short)).await.unwrap();
        store.invalidate(&key("floor"), Floor::UNKNOWN, short, Ack::None).await.unwrap();
        // What is given up, or worth nothing, is not kept at all.
        store.lease(&key("released"), wish(1, LONG, None)).await.unwrap();
        store.release(&key("released"), token(1)).await.unwrap();
        store.put(&key("nothing"), fill("v", Duration::ZERO)).await.unwrap();
        store.invalidate(&key("no floor"), Floor::UNKNOWN, Duration::ZERO, Ack::None).await.unwrap();
        for key in ["released", "nothing", "no floor"] {
            assert_eq!(self.ask::<u64>("EXISTS", key).await, 0, "{key}");
        }
        let deadline = Instant::now() + LONG;
        for key in ["leased", "content", "floor"] {
            assert!(self.ask::<i64>("PTTL", key).await <= 60, "{key}");
            while self.ask::<u64>("EXISTS", key).await == 1 {
                assert!(Instant::now() < deadline, "{key} is still there");
            }
        }
    }

    /// A client whose clock is wrong by an hour changes nothing but what it itself thinks of an entry.
    async fn time(&self) {
        let hour = 3_600_000;
        let (key, config) = ("k".to_owned(), backends::Config::parse(&self.url).unwrap());
        let seconds: (u64, u64) =
            redis::cmd("TIME").query_async(&mut self.raw.connection().unwrap()).await.unwrap();
        let now = seconds.0 * 1_000;
        for (wrong, is_there) in [(now - hour, true), (now + hour, false)] {
            let store: Redis = RedisStore::<String, String>::builder()
                .prefix(&self.prefix)
                .clock(move || wrong)
                .build(backends::Redis::connect(&config).await.unwrap());
            store.remove(&key).await.unwrap();
            assert_eq!(store.lease(&key, wish(1, LONG, None)).await.unwrap(), Leased::Granted);
            assert_eq!(store.fill(&key, token(1), fill("v", LONG)).await.unwrap(), Filled::Stored);
            assert_eq!(store.get(&key).await.unwrap().is_some(), is_there);
            let Leased::Filled(entry) = store.lease(&key, wish(2, LONG, None)).await.unwrap() else {
                panic!()
            };
            assert!((1..=20_000).contains(&entry.expires_ms), "by the clock of the server: {entry:?}");
            let life: u64 = self.ask("PTTL", "k").await;
            assert!((1..=20_000).contains(&life), "{life}");
        }
    }
}
