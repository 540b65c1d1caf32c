use std::{
    fmt,
    marker::PhantomData,
    sync::atomic::AtomicU64,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use backends::{Error, ErrorKind, Redis, Result};

use super::{RedisStore, script::Script};
use crate::{Codec, Raw};

/// How to build a [`RedisStore`].
pub struct RedisBuilder<C = Raw> {
    codec: C,
    prefix: Vec<u8>,
    announces: bool,
    max_value: usize,
    ack_timeout: Duration,
    is_fsync_trusted: bool,
    clock: Option<Box<dyn Fn() -> u64 + Send + Sync>>,
    is_clock_of_server: bool,
}

impl RedisBuilder<Raw> {
    pub(super) fn new() -> Self {
        Self {
            codec: Raw,
            prefix: b"cache".to_vec(),
            announces: true,
            max_value: 8 << 20,
            ack_timeout: Duration::from_secs(1),
            is_fsync_trusted: false,
            clock: None,
            is_clock_of_server: false,
        }
    }
}

impl<C> RedisBuilder<C> {
    /// Calls keys `prefix:key` instead of `cache:key`, and the channel `prefix:invalidated`. Caches that share servers
    /// need prefixes of their own, none of which is another and a colon and more; braces in it put all keys of the
    /// cache into one slot of a cluster.
    #[must_use]
    pub fn prefix(self, prefix: impl AsRef<[u8]>) -> Self {
        Self { prefix: prefix.as_ref().to_vec(), ..self }
    }

    /// Makes bytes of values by `codec` instead of [`Raw`].
    #[must_use]
    pub fn codec<D>(self, codec: D) -> RedisBuilder<D> {
        let Self {
            codec: _,
            prefix,
            announces,
            max_value,
            ack_timeout,
            is_fsync_trusted,
            clock,
            is_clock_of_server,
        } = self;
        RedisBuilder {
            codec,
            prefix,
            announces,
            max_value,
            ack_timeout,
            is_fsync_trusted,
            clock,
            is_clock_of_server,
        }
    }

    /// Refuses values of more bytes, as `Invalid`, instead of those of more than 8 MiB.
    #[must_use]
    pub fn max_value(self, bytes: usize) -> Self {
        Self { max_value: bytes, ..self }
    }

    /// Publishes every invalidation, which is the default, or none: on a cluster, each of its nodes gets each message.
    /// Without, nobody can keep copies: [`Tiered`](crate::Tiered) refuses the store.
    #[must_use]
    pub fn announce(self, announces: bool) -> Self {
        Self { announces, ..self }
    }

    /// Waits no longer for an acknowledgement of an invalidation, instead of 1 s. A disk under
    /// `appendfsync everysec` takes longer: give it 2 s.
    #[must_use]
    pub fn ack_timeout(self, timeout: Duration) -> Self {
        Self { ack_timeout: timeout, ..self }
    }

    /// Believes the servers when they say that a write is on disk, without the probe of
    /// [`build_with_fsync`](Self::build_with_fsync): for those that it cannot judge, and where a belief is enough.
    #[must_use]
    pub fn trust_fsync(self) -> Self {
        Self { is_fsync_trusted: true, ..self }
    }

    /// Takes the client's time, in milliseconds since 1970, from `now` instead of the system: see
    /// [Clocks](super#clocks).
    #[must_use]
    pub fn clock(self, now: impl Fn() -> u64 + Send + Sync + 'static) -> Self {
        Self { clock: Some(Box::new(now)), is_clock_of_server: false, ..self }
    }

    /// Takes the time of client and server, in milliseconds and never 0, from `now`: for tests.
    #[doc(hidden)]
    #[must_use]
    pub fn time(self, now: impl Fn() -> u64 + Send + Sync + 'static) -> Self {
        Self { is_clock_of_server: true, ..self.clock(now) }
    }

    /// Keeps entries on `redis`, which has to show first that it waits for its disk before it says that a write is there:
    /// only then, or after [`trust_fsync`](Self::trust_fsync), can the store be asked for
    /// [`Ack::Fsync`](crate::Ack::Fsync).
    ///
    /// Takes about 3 s under `appendfsync everysec`, and a round trip under `always`. Of a cluster, every master is asked;
    /// its replicas are not, nor is a server that takes the place of another later.
    ///
    /// # Errors
    ///
    /// `Unsupported` for a server that answers before its disk has it (Valkey 9.1 does), that keeps no append-only file or
    /// never asks its disk to keep it, that cannot be judged, or that is older than 7.2; otherwise what the connection
    /// reports.
    ///
    /// # Cancel safety
    ///
    /// Cancel-safe: the keys of the probe expire.
    pub async fn build_with_fsync<K, V>(self, redis: Redis) -> Result<RedisStore<K, V, C>>
    where
        C: Codec<V>,
    {
        if !self.is_fsync_trusted {
            redis.require_fsync("build_with_fsync", "RedisBuilder::trust_fsync").await?;
        }
        Ok(self.trust_fsync().build(redis))
    }

    /// Keeps entries on `redis`. [`Ack::Fsync`](crate::Ack::Fsync) is `Unsupported` by such a store, unless the servers
    /// are [trusted](Self::trust_fsync): see [`build_with_fsync`](Self::build_with_fsync).
    #[must_use]
    pub fn build<K, V>(self, redis: Redis) -> RedisStore<K, V, C>
    where
        C: Codec<V>,
    {
        RedisStore {
            redis,
            codec: self.codec,
            channel: [&*self.prefix, b":invalidated"].concat().into(),
            prefix: [&*self.prefix, b":"].concat().into(),
            announces: self.announces,
            max_value: self.max_value,
            ack_timeout: self.ack_timeout,
            gives_fsync: self.is_fsync_trusted,
            clock: self.clock.unwrap_or_else(|| Box::new(system)),
            is_clock_of_server: self.is_clock_of_server,
            hashes: Script::ALL.map(Script::hash),
            undecodable: AtomicU64::new(0),
            of: PhantomData,
        }
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "entries end at a time of the server, which a monotonic clock does not know"
)]
fn system() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

impl<C> fmt::Debug for RedisBuilder<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisBuilder")
            .field("announces", &self.announces)
            .field("max_value", &self.max_value)
            .field("ack_timeout", &self.ack_timeout)
            .field("is_fsync_trusted", &self.is_fsync_trusted)
            .finish_non_exhaustive()
    }
}

/// The error of a store that was built without asking its servers.
#[cold]
pub(super) fn unverified(backend: &'static str) -> Error {
    let message = "Ack::Fsync of a store that has not shown that its servers wait for their disks: build it by \
                   RedisBuilder::build_with_fsync";
    Error::new(ErrorKind::Unsupported, backend, "invalidate", message)
}
