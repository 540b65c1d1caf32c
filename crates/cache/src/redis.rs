//! Entries on Redis and Valkey, single and cluster. Feature `redis`.
//!
//! A hit is one `GET`. Each other step is one script on one key, in one round trip, by the clock of the server; the
//! scripts are in `src/redis/lua`, and do exactly what [`slot`](crate::slot) does.
//!
//! | | |
//! |---|---|
//! | what is kept | one string a key: a header of 56 bytes with the lease and the floor, and behind it the payload; it expires when nothing is known of the key any more |
//! | a lease on a stale entry | writes 16 bytes into the header; the payload stays as it is |
//! | cluster | one key a step, so one slot, whatever braces the key holds; keys with the same text in their first braces share a slot |
//! | what another program, a newer release or another codec wrote | is a miss, counted in [`RedisStats::undecodable`], and replaced by the next load |
//! | a script that the server does not know | is sent again, with the step; callers do not notice |
//! | an invalidation | is published, for who keeps copies: [`RedisStore::channel`] |
//! | failover | what the new master had not received is forgotten, which brings back an entry that was invalidated: [`Ack`] says what was received |
//! | `Ack::Fsync` | only of servers that were seen to wait for their disks: `RedisBuilder::build_with_fsync`; Valkey 9.1 answers before its disk does |
//!
//! # Clocks
//!
//! The server says when an entry is stale or gone, as a time on its clock; of a `GET`, which does not tell the time, the
//! client compares that with its own. By how much the client is ahead, entries are stale and gone sooner, and loaded that
//! much more often; by how much it is behind, they are served that much longer, though no longer than the server keeps
//! the key, which is until the entry is gone unless a lease outlasts it. Neither touches leases, floors or what an
//! invalidation does, which are the server's alone. Across a failover the same holds for the clocks of the two servers.

use std::{
    fmt,
    marker::PhantomData,
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use ::redis::{Cmd, Value};
use backends::{
    Error, ErrorKind, Redis, Result,
    redis_1::{Batch, KeyedCommand, Reply, redis_error},
};
use bytes::Bytes;

use self::{call::driver, script::Script};
use crate::{
    Ack, Acks, Capability, Codec, Entry, Fill, Filled, Floor, Key, Leased, Raw, Refusal, Store, Token,
    Version, Wish,
    envelope::{self, Envelope},
    slot::Content,
};

mod announcement;
mod builder;
mod call;
mod link;
mod script;

pub use announcement::decode_announcement;
pub use builder::RedisBuilder;

/// Where entries are kept: a Redis of 7.2 or later, a Valkey, or a cluster of them.
///
/// ```no_run
/// # async fn f() -> Result<(), Box<dyn std::error::Error>> {
/// use cache::redis::RedisStore;
///
/// let config = backends::Config::parse("redis://127.0.0.1:6379")?;
/// let store: RedisStore<u64, String> = RedisStore::new(backends::Redis::connect(&config).await?);
/// # Ok(())
/// # }
/// ```
pub struct RedisStore<K, V, C = Raw> {
    redis: Redis,
    codec: C,
    /// Of keys, with the colon.
    prefix: Box<[u8]>,
    channel: Box<[u8]>,
    announces: bool,
    max_value: usize,
    ack_timeout: Duration,
    /// Whether the servers wait for their disks, as a probe has shown or the user believes.
    gives_fsync: bool,
    clock: Box<dyn Fn() -> u64 + Send + Sync>,
    /// Whether that clock stands for the server's, too.
    is_clock_of_server: bool,
    hashes: [String; Script::ALL.len()],
    undecodable: AtomicU64,
    of: PhantomData<fn(&K) -> V>,
}

/// What a [`RedisStore`] has seen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct RedisStats {
    /// Entries that were read and could not be decoded, and so were misses.
    pub undecodable: u64,
}

impl<K, V> RedisStore<K, V> {
    /// Keeps entries on `redis`, with the settings of [`builder`](Self::builder).
    #[must_use]
    pub fn new(redis: Redis) -> Self
    where
        Raw: Codec<V>,
    {
        Self::builder().build(redis)
    }

    /// A builder: keys under `cache:`, values that are bytes already, of at most 8 MiB.
    #[must_use]
    pub fn builder() -> RedisBuilder<Raw> {
        RedisBuilder::new()
    }
}

impl<K, V, C> RedisStore<K, V, C> {
    /// What has happened since it was built.
    #[must_use]
    pub fn stats(&self) -> RedisStats {
        RedisStats { undecodable: self.undecodable.load(Ordering::Relaxed) }
    }

    /// The channel on which the servers publish invalidations; [`decode_announcement`] reads a message.
    ///
    /// A user of the servers with an ACL needs this channel, or [`RedisBuilder::announce`] off.
    #[must_use]
    pub fn channel(&self) -> &[u8] {
        &self.channel
    }
}

impl<K: Key, V, C: Codec<V>> RedisStore<K, V, C> {
    /// How the key is called on the server.
    fn name(&self, key: &K) -> Vec<u8> {
        let mut name = Vec::with_capacity(self.prefix.len() + 32);
        name.extend_from_slice(&self.prefix);
        key.encode(&mut name);
        name
    }

    /// The entry of `bytes` at `now`; or else what names it, if it is one of ours that cannot be read.
    fn entry(&self, bytes: Vec<u8>, now: u64) -> Result<Option<Entry<V>>, Option<u64>> {
        match envelope::read(Bytes::from(bytes), &self.codec) {
            Envelope::Bare => Ok(None),
            Envelope::Content(content) if content.expires_at <= now => Ok(None),
            Envelope::Content(content) => Ok(Some(entry(content, now))),
            Envelope::Undecodable { fresh_until } => {
                self.undecodable.fetch_add(1, Ordering::Relaxed);
                Err(fresh_until)
            }
        }
    }

    /// The entry of a reply to `GET`.
    fn got(&self, reply: Result<Value>) -> Result<Option<Entry<V>>> {
        match reply {
            Ok(Value::Nil) => Ok(None),
            Ok(Value::BulkString(bytes)) => Ok(self.entry(bytes, (self.clock)()).unwrap_or_default()),
            Ok(reply) => Err(self.unlike("get", &reply)),
            Err(error) if driver(&error).is_some_and(script::is_wrong_type) => {
                self.undecodable.fetch_add(1, Ordering::Relaxed);
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    /// The payload of what is to be stored.
    fn payload(&self, op: &'static str, fill: &Fill<V>) -> Result<Vec<u8>> {
        let mut payload = Vec::new();
        if let Some(value) = &fill.value {
            self.codec.encode(value, &mut payload)?;
        }
        if payload.len() > self.max_value {
            let message = format!("a value of {} bytes: at most {}", payload.len(), self.max_value);
            return Err(Error::new(ErrorKind::Invalid, self.redis.backend(), op, message));
        }
        Ok(payload)
    }

    /// Appends what stands before the payload, and that.
    fn content(&self, fill: &Fill<V>, payload: &[u8], command: &mut Cmd) {
        let load_ms = u32::try_from(fill.load_time.as_millis()).unwrap_or(u32::MAX);
        command.arg(if fill.value.is_some() { 1 } else { 2 }).arg(load_ms).arg(fill.version.get());
        command.arg(at_most(fill.fresh)).arg(at_most(fill.keep));
        command.arg(&self.codec.fingerprint().to_be_bytes()[..]).arg(payload);
    }

    async fn lease_once(&self, name: &[u8], wish: Wish) -> Result<Result<Leased<Entry<V>>, Option<u64>>> {
        let fingerprint = self.codec.fingerprint().to_be_bytes();
        let arguments = |command: &mut Cmd| {
            command.arg(&wish.token.0.get().to_be_bytes()[..]).arg(at_least(wish.ttl));
            match wish.seen {
                Some(fresh_until) => command.arg(fresh_until),
                None => command.arg(-1),
            };
            command.arg(&fingerprint[..]);
        };
        let mut reply = self.run(Script::Lease, name, arguments).await?;
        let unlike = |reply: &Value| Err(self.unlike("lease", reply));
        let Value::Array(items) = &mut reply else { return unlike(&reply) };
        match items.as_mut_slice() {
            [Value::Int(0), Value::Int(_), Value::Int(for_ms)] => {
                Ok(Ok(Leased::Held { for_ms: u64::try_from(*for_ms).unwrap_or_default() }))
            }
            [Value::Int(1), Value::Int(_)] => Ok(Ok(Leased::Granted)),
            [Value::Int(2), Value::Int(now), Value::BulkString(bytes)] => {
                let now = u64::try_from(*now).unwrap_or_default();
                match self.entry(std::mem::take(bytes), now) {
                    Ok(Some(entry)) => Ok(Ok(Leased::Filled(entry))),
                    Ok(None) => unlike(&reply),
                    Err(fresh_until) => Ok(Err(fresh_until)),
                }
            }
            _ => unlike(&reply),
        }
    }
}

impl<K: Key, V: Send + Sync + 'static, C: Codec<V>> Store<K, V> for RedisStore<K, V, C> {
    fn capability(&self) -> Capability {
        let capability = Capability::new(self.redis.backend()).shared().replicas();
        if self.gives_fsync { capability.fsync() } else { capability }
    }

    async fn get(&self, key: &K) -> Result<Option<Entry<V>>> {
        let mut connection = self.redis.connection()?;
        let mut get = Cmd::new();
        get.arg("GET").arg(self.name(key));
        let reply = get.query_async::<Value>(&mut connection).await;
        self.got(reply.map_err(|error| redis_error(self.redis.backend(), "get", error)))
    }

    async fn get_many(&self, keys: &[K]) -> Vec<Result<Option<Entry<V>>>> {
        let connection = match self.redis.connection() {
            Ok(connection) => connection,
            // Of a handle that is closed, each key has the same error.
            Err(error) => return keys.iter().map(|_| Err(again(&error))).collect(),
        };
        let (get, mut gets) = (KeyedCommand::new(["GET"]), Batch::with_capacity(keys.len()));
        let mut name = self.prefix.to_vec();
        for key in keys {
            name.truncate(self.prefix.len());
            key.encode(&mut name);
            gets.push_keyed(&get, &name);
        }
        let replies = connection.send("get", &gets).await.into_iter();
        replies.map(|reply| self.got(reply.map(Reply::into_value))).collect()
    }

    async fn lease(&self, key: &K, wish: Wish) -> Result<Leased<Entry<V>>> {
        let name = self.name(key);
        let fresh_until = match self.lease_once(&name, wish).await? {
            Ok(leased) => return Ok(leased),
            Err(fresh_until) => fresh_until,
        };
        // Content that its codec wrote and cannot read: seen, and to be replaced.
        let wish = Wish { seen: fresh_until, ..wish };
        let leased = self.lease_once(&name, wish).await?;
        // Filled anew meanwhile with as little sense: whoever waits asks again.
        Ok(leased.unwrap_or(Leased::Held { for_ms: 0 }))
    }

    async fn fill(&self, key: &K, token: Token, fill: Fill<V>) -> Result<Filled> {
        let payload = self.payload("fill", &fill)?;
        let arguments = |command: &mut Cmd| {
            command.arg(&token.0.get().to_be_bytes()[..]);
            self.content(&fill, &payload, command);
        };
        match self.run(Script::Fill, &self.name(key), arguments).await? {
            Value::Int(0) => Ok(Filled::Stored),
            Value::Int(1) => Ok(Filled::Refused(Refusal::Revoked)),
            Value::Int(2) => Ok(Filled::Refused(Refusal::Older)),
            Value::Int(3) => Ok(Filled::Refused(Refusal::Tie)),
            reply => Err(self.unlike("fill", &reply)),
        }
    }

    async fn release(&self, key: &K, token: Token) -> Result<()> {
        let arguments = |command: &mut Cmd| {
            command.arg(&token.0.get().to_be_bytes()[..]);
        };
        self.run(Script::Release, &self.name(key), arguments).await.map(|_| ())
    }

    async fn invalidate(&self, key: &K, floor: Floor, keep: Duration, ack: Ack) -> Result<Acks> {
        if matches!(ack, Ack::Fsync { .. }) && !self.gives_fsync {
            return Err(builder::unverified(self.redis.backend()));
        }
        let channel = if self.announces { &*self.channel } else { &[] };
        let arguments = |command: &mut Cmd| {
            command.arg(floor.version().get()).arg(at_least(keep)).arg(channel).arg(self.prefix.len());
        };
        let name = self.name(key);
        match self.wait(ack) {
            Some(wait) => self.run_durably(Script::Invalidate, &name, arguments, wait).await,
            None => self.run(Script::Invalidate, &name, arguments).await.map(|_| Acks::default()),
        }
    }

    async fn put(&self, key: &K, fill: Fill<V>) -> Result<()> {
        let payload = self.payload("put", &fill)?;
        let arguments = |command: &mut Cmd| self.content(&fill, &payload, command);
        self.run(Script::Put, &self.name(key), arguments).await.map(|_| ())
    }

    async fn remove(&self, key: &K) -> Result<()> {
        let mut connection = self.redis.connection()?;
        let mut unlink = Cmd::new();
        unlink.arg("UNLINK").arg(self.name(key));
        let removed = unlink.query_async::<Value>(&mut connection).await;
        removed.map(|_| ()).map_err(|error| redis_error(self.redis.backend(), "remove", error))
    }

    async fn health(&self) -> Result<()> {
        self.redis.health().await
    }

    async fn close(&self) -> Result<()> {
        self.redis.close().await;
        Ok(())
    }
}

fn entry<V>(content: Content<V>, now: u64) -> Entry<V> {
    let Content { value, version, fresh_until, expires_at, load_ms } = content;
    let signed = |time: u64| i64::try_from(time).unwrap_or(i64::MAX);
    let fresh_ms = signed(fresh_until) - signed(now);
    let expires_ms = expires_at.saturating_sub(now);
    Entry { value, version, fresh_ms, expires_ms, fresh_until, load_ms }
}

fn again(error: &Error) -> Error {
    Error::new(error.kind(), error.backend(), "get", "the connection was closed").with_retry(error.retry())
}

/// More milliseconds than this, 71,000 years, are taken for as many: beside the time they stay exact in Lua.
const MOST_MS: u64 = 1 << 51;

/// Whole milliseconds, no longer than that: content is never kept for longer than was said.
fn at_most(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).map_or(MOST_MS, |millis| millis.min(MOST_MS))
}

/// Whole milliseconds, no shorter than that: leases and floors never end sooner than was said.
fn at_least(duration: Duration) -> u64 {
    at_most(duration.saturating_add(Duration::from_nanos(999_999)))
}

impl<K, V, C> fmt::Debug for RedisStore<K, V, C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisStore").field("redis", &self.redis).finish_non_exhaustive()
    }
}

const _: () = assert!(Version::MAX.get() < 1 << 53, "Lua counts exactly up to there");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_cut_for_content_and_filled_up_for_leases_and_floors() {
        let us = Duration::from_micros;
        for (duration, most, least) in [(0, 0, 0), (1, 0, 1), (1_000, 1, 1), (1_001, 1, 2), (1_999, 1, 2)] {
            assert_eq!((at_most(us(duration)), at_least(us(duration))), (most, least), "{duration}");
        }
        assert_eq!((at_most(Duration::MAX), at_least(Duration::MAX)), (MOST_MS, MOST_MS));
    }
}
