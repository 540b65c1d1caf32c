//! What keys hold, and who wrote it.

#![expect(clippy::unwrap_used, reason = "a test may fail by panicking")]

use std::{slice, time::Duration};

use bytes::Bytes;
use cache::{
    Ack, Codec, ErrorKind, Filled, Floor, Leased, Raw, Refusal, Store, Version,
    redis::{RedisBuilder, RedisStore, decode_announcement},
};
use redis::Value;
use testkit::Failed;

use super::faults::{LONG, Redis, connect, fill, token, wish};
use super::processes;

pub(crate) async fn run(case: &str, url: &str) -> Result<(), Failed> {
    let prefix = testkit::unique("entries");
    let test = Test { url, raw: connect(url).await?, prefix };
    match case {
        "what_cannot_be_decoded_is_a_miss" => test.undecodable().await,
        "two_codecs_side_by_side" => test.two_codecs().await,
        "a_newer_format_is_left_alone_by_a_get" => test.newer_format().await,
        "braces_in_keys_do_not_matter" => test.braces().await,
        "a_value_is_no_larger_than_allowed" => test.large().await,
        "an_invalidation_is_published" => test.published().await,
        "a_thousand_waiters_in_four_processes_make_one_load" => processes::one_load(url).await,
        "copies_in_other_processes_are_dropped" => processes::told(url).await,
        "after_close_everything_is_closed" => test.closed().await,
        unknown => Err(format!("no case {unknown}").into()),
    }
}

/// Values as text behind a version of their own.
struct Release(u64);

impl Codec<String> for Release {
    fn fingerprint(&self) -> u64 {
        self.0
    }

    fn encode(&self, value: &String, out: &mut Vec<u8>) -> cache::Result<()> {
        Raw.encode(value, out)
    }

    fn decode(&self, bytes: Bytes) -> Option<String> {
        Raw.decode(bytes)
    }
}

struct Test<'a> {
    url: &'a str,
    raw: backends::Redis,
    prefix: String,
}

impl Test<'_> {
    async fn store<C: Codec<String>>(
        &self,
        builder: RedisBuilder<C>,
    ) -> Result<RedisStore<String, String, C>, Failed> {
        Ok(builder.prefix(&self.prefix).build(connect(self.url).await?))
    }

    async fn ask(&self, command: &str, key: &str, arguments: &[&[u8]]) -> Result<Value, Failed> {
        let mut command = redis::cmd(command);
        command.arg(format!("{}:{key}", self.prefix)).arg(arguments);
        Ok(command.query_async(&mut self.raw.connection()?).await?)
    }

    async fn undecodable(&self) -> Result<(), Failed> {
        let store = self.store(Redis::builder()).await?;
        let valid = {
            let key = "valid".to_owned();
            store.put(&key, fill("v", 1)).await?;
            let Value::BulkString(bytes) = self.ask("GET", "valid", &[]).await? else { panic!() };
            bytes
        };
        let mut not_text = valid.clone();
        *not_text.last_mut().unwrap() = 0xff;
        let mut no_tag = valid.clone();
        no_tag[2] = 7;
        let foreign: [(&str, &[u8]); 6] = [
            ("text", b"{\"a\": 1}"),
            ("empty", b""),
            ("cut", &valid[..55]),
            ("no tag", &no_tag),
            ("not text", &not_text),
            ("long", &[0x55; 5_000]),
        ];
        let mut seen = 0;
        for (key, bytes) in foreign {
            let named = key.to_owned();
            self.ask("SET", key, &[bytes]).await?;
            assert_eq!(store.get(&named).await?, None, "{key}");
            assert_eq!(store.get_many(&[named.clone(), "valid".to_owned()]).await.remove(0)?, None, "{key}");
            assert!(store.stats().undecodable >= seen + 2, "{key}");
            // It has no lease and no floor, and is replaced by the next load.
            let refused = store.fill(&named, token(1), fill("new", 1)).await?;
            assert_eq!(refused, Filled::Refused(Refusal::Revoked), "{key}");
            store.release(&named, token(1)).await?;
            assert_eq!(store.lease(&named, wish(1)).await?, Leased::Granted, "{key}");
            assert!(matches!(store.lease(&named, wish(2)).await?, Leased::Held { .. }), "{key}");
            assert_eq!(store.fill(&named, token(1), fill("new", 1)).await?, Filled::Stored, "{key}");
            assert_eq!(store.get(&named).await?.unwrap().value.as_deref(), Some("new"), "{key}");
            seen = store.stats().undecodable;
        }
        // Another type altogether.
        let list = "list".to_owned();
        for _ in 0..2 {
            self.ask("DEL", "list", &[]).await?;
            self.ask("LPUSH", "list", &[b"item"]).await?;
            assert_eq!(store.get(&list).await?, None);
            assert_eq!(store.get_many(slice::from_ref(&list)).await.remove(0)?, None);
            assert_eq!(store.lease(&list, wish(1)).await?, Leased::Granted);
            assert_eq!(store.fill(&list, token(1), fill("new", 1)).await?, Filled::Stored);
        }
        assert_eq!(store.stats().undecodable, seen + 4);
        self.ask("DEL", "list", &[]).await?;
        self.ask("LPUSH", "list", &[b"item"]).await?;
        store.invalidate(&list, Floor::UNKNOWN, LONG, Ack::None).await?;
        assert_eq!((store.get(&list).await?, store.stats().undecodable), (None, seen + 4));
        Ok(())
    }

    /// Each loads what it finds of the other, and leases and floors are common to both.
    async fn two_codecs(&self) -> Result<(), Failed> {
        let old = self.store(Redis::builder().codec(Release(1))).await?;
        let new = self.store(Redis::builder().codec(Release(2))).await?;
        let key = "k".to_owned();
        old.put(&key, fill("old", 5)).await?;
        assert_eq!((new.get(&key).await?, new.stats().undecodable), (None, 1));
        assert_eq!(new.lease(&key, wish(1)).await?, Leased::Granted);
        assert_eq!(old.get(&key).await?.unwrap().value.as_deref(), Some("old"), "until it is replaced");
        let older = new.fill(&key, token(1), fill("new", 4)).await?;
        assert_eq!(older, Filled::Refused(Refusal::Older), "versions are those of the row");
        assert_eq!(new.lease(&key, wish(2)).await?, Leased::Granted);
        assert_eq!(new.fill(&key, token(2), fill("new", 5)).await?, Filled::Stored);
        assert_eq!(new.get(&key).await?.unwrap().value.as_deref(), Some("new"));
        assert_eq!((old.get(&key).await?, old.stats().undecodable), (None, 1));
        assert_eq!(old.lease(&key, wish(3)).await?, Leased::Granted);
        new.invalidate(&key, Floor::at(Version::new(6).unwrap()), LONG, Ack::None).await?;
        assert_eq!(old.fill(&key, token(3), fill("old", 9)).await?, Filled::Refused(Refusal::Revoked));
        assert_eq!(old.lease(&key, wish(4)).await?, Leased::Granted);
        assert_eq!(old.fill(&key, token(4), fill("old", 6)).await?, Filled::Refused(Refusal::Tie));
        Ok(())
    }

    async fn newer_format(&self) -> Result<(), Failed> {
        let store = self.store(Redis::builder()).await?;
        let key = "k".to_owned();
        store.put(&key, fill("v", 1)).await?;
        self.ask("SETRANGE", "k", &[b"1", b"\x02"]).await?;
        let newer = self.ask("GET", "k", &[]).await?;
        assert_eq!(store.get(&key).await?, None);
        assert!(store.get_many(slice::from_ref(&key)).await.remove(0)?.is_none());
        store.release(&key, token(1)).await?;
        store.fill(&key, token(1), fill("w", 1)).await?;
        assert_eq!(self.ask("GET", "k", &[]).await?, newer, "it is as it was");
        assert_eq!(store.stats().undecodable, 2);
        assert_eq!(store.lease(&key, wish(1)).await?, Leased::Granted);
        assert_eq!(store.fill(&key, token(1), fill("w", 1)).await?, Filled::Stored);
        assert_eq!(store.get(&key).await?.unwrap().value.as_deref(), Some("w"));
        Ok(())
    }

    async fn braces(&self) -> Result<(), Failed> {
        let store = self.store(Redis::builder()).await?;
        let keys = ["", "{", "}", "{}", "{}x", "}{", "a{b}c", "{a}{b}", "{{a}}", "{a", " \r\n\0*$", "é{ü}"];
        let keys = keys.map(str::to_owned);
        for (key, number) in keys.iter().zip(1..) {
            assert_eq!(store.lease(key, wish(number)).await?, Leased::Granted, "{key}");
            assert_eq!(store.fill(key, token(number), fill(key, number)).await?, Filled::Stored, "{key}");
        }
        for (key, entry) in keys.iter().zip(store.get_many(&keys).await) {
            assert_eq!(entry?.unwrap().value.as_ref(), Some(key));
            assert_eq!(store.get(key).await?.unwrap().value.as_ref(), Some(key));
        }
        for key in &keys {
            store.invalidate(key, Floor::UNKNOWN, LONG, Ack::None).await?;
            assert_eq!(store.get(key).await?, None);
            store.remove(key).await?;
        }
        assert!(store.get_many(&[]).await.is_empty());
        Ok(())
    }

    async fn large(&self) -> Result<(), Failed> {
        let store = self.store(Redis::builder()).await?;
        let (key, mib) = ("k".to_owned(), 1 << 20);
        let most = "x".repeat(8 * mib);
        assert_eq!(store.lease(&key, wish(1)).await?, Leased::Granted);
        let error = store.fill(&key, token(1), fill(&format!("{most}x"), 1)).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Invalid, "{error}");
        assert_eq!(
            store.put(&key, fill(&format!("{most}x"), 1)).await.unwrap_err().kind(),
            ErrorKind::Invalid
        );
        assert_eq!(store.fill(&key, token(1), fill(&most, 1)).await?, Filled::Stored);
        assert_eq!(store.get(&key).await?.unwrap().value, Some(most));
        store.remove(&key).await?;
        let small = self.store(Redis::builder().max_value(3)).await?;
        small.put(&key, fill("abc", 1)).await?;
        assert_eq!(small.put(&key, fill("abcd", 1)).await.unwrap_err().kind(), ErrorKind::Invalid);
        Ok(())
    }

    async fn published(&self) -> Result<(), Failed> {
        let store = self.store(Redis::builder()).await?;
        let silent = self.store(Redis::builder().announce(false)).await?;
        assert_eq!(store.channel(), format!("{}:invalidated", self.prefix).as_bytes());
        // Of a cluster, any node hears what is published on any other.
        let address = self.url.split("://").nth(1).and_then(|rest| rest.split(',').next()).unwrap();
        let mut connection = redis::Client::open(format!("redis://{address}"))?.get_connection()?;
        connection.set_read_timeout(Some(Duration::from_secs(20)))?;
        let mut subscribed = connection.as_pubsub();
        subscribed.subscribe(store.channel())?;
        let keys = ["a", "{b}", "", "c\0d"].map(str::to_owned);
        for (key, version) in keys.iter().zip([1, 2, (1 << 53) - 1, 0]) {
            silent.invalidate(key, Floor::UNKNOWN, LONG, Ack::None).await?;
            let floor = Floor::at(Version::new(version).unwrap());
            store.invalidate(key, floor, LONG, Ack::None).await?;
            let message = subscribed.get_message()?;
            let announced = decode_announcement(message.get_payload_bytes());
            assert_eq!(announced, Some((key.clone(), floor)));
        }
        Ok(())
    }

    async fn closed(&self) -> Result<(), Failed> {
        let store = self.store(Redis::builder()).await?;
        let key = "k".to_owned();
        store.health().await?;
        store.close().await?;
        store.close().await?;
        let mut errors = vec![
            store.get(&key).await.unwrap_err(),
            store.lease(&key, wish(1)).await.unwrap_err(),
            store.fill(&key, token(1), fill("v", 1)).await.unwrap_err(),
            store.release(&key, token(1)).await.unwrap_err(),
            store.invalidate(&key, Floor::UNKNOWN, LONG, Ack::None).await.unwrap_err(),
            store.put(&key, fill("v", 1)).await.unwrap_err(),
            store.remove(&key).await.unwrap_err(),
            store.health().await.unwrap_err(),
        ];
        errors.extend(store.get_many(&[key.clone(), key]).await.into_iter().map(Result::unwrap_err));
        assert!(errors.iter().all(|error| error.kind() == ErrorKind::Closed), "{errors:?}");
        Ok(())
    }
}
