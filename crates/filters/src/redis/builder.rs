use std::{
    hash::{BuildHasher, RandomState},
    sync::{Arc, atomic::AtomicBool},
    time::Duration,
};

use arc_swap::ArcSwap;
use backends::{Error, ErrorKind, Redis, Result};

use super::{
    HostedBloom,
    ack::Ack,
    head::{Head, Known, Names, Shape},
    script::Hashes,
    stats::Counters,
};
use crate::{Xxh3, fingerprint};

/// More segments than a cluster has use for.
const MOST_SEGMENTS: u16 = 4_096;

/// How to build a [`HostedBloom`].
#[derive(Clone, Debug)]
pub struct HostedBuilder {
    prefix: String,
    segments: u16,
    hasher: u64,
    in_doubt: Duration,
    unsettled: u64,
    lease: Duration,
    ack: Ack,
    ack_timeout: Duration,
    is_fsync_trusted: bool,
}

impl HostedBuilder {
    pub(super) fn new() -> Self {
        Self {
            prefix: "filter".to_owned(),
            segments: 64,
            hasher: fingerprint(&Xxh3::default()),
            in_doubt: Duration::from_secs(60),
            unsettled: 8_000_000,
            lease: Duration::from_secs(15),
            ack: Ack::None,
            ack_timeout: Duration::from_secs(1),
            is_fsync_trusted: false,
        }
    }

    /// Calls keys `{prefix:0}:head` and so on instead of `{filter:0}:head`. Filters that share servers need prefixes of
    /// their own.
    #[must_use]
    pub fn prefix(self, prefix: impl Into<String>) -> Self {
        Self { prefix: prefix.into(), ..self }
    }

    /// Splits the filter in so many parts instead of 64: each is in one slot of a cluster, and no longer than 512 MiB.
    /// All who ask the same filter have to agree, from its beginning.
    #[must_use]
    pub fn segments(self, segments: u16) -> Self {
        Self { segments, ..self }
    }

    /// Names the hasher that makes the hashes, by its [`fingerprint`], instead of [`Xxh3`] without a seed. All who ask
    /// the same filter have to agree.
    #[must_use]
    pub fn hasher(self, fingerprint: u64) -> Self {
        Self { hasher: fingerprint, ..self }
    }

    /// Remembers announced keys for that long at least, and twice as long at most, instead of 60 s: a write must be over,
    /// in the sight of a scan that begins later, within that time from its announcement. All who ask the same filter have
    /// to agree, from its beginning.
    #[must_use]
    pub fn in_doubt(self, in_doubt: Duration) -> Self {
        Self { in_doubt, ..self }
    }

    /// Remembers about so many keys at most instead of 8 million, of 8 bytes each: more, announced within that time, are
    /// refused as `Overloaded`.
    #[must_use]
    pub fn unsettled(self, most: u64) -> Self {
        Self { unsettled: most, ..self }
    }

    /// Lets others rebuild so long after one that rebuilds has died, instead of 15 s.
    #[must_use]
    pub fn lease(self, lease: Duration) -> Self {
        Self { lease, ..self }
    }

    /// Lets announcements wait for others than the master: see [`Ack`].
    #[must_use]
    pub fn ack(self, ack: Ack) -> Self {
        Self { ack, ..self }
    }

    /// Waits no longer for them, instead of 1 s. A disk under `appendfsync everysec` takes longer: give it 2 s.
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

    /// Asks the filter on `redis`, which has to show first that it waits for its disk before it says that a write is
    /// there: only then, or after [`trust_fsync`](Self::trust_fsync), is there an [`Ack::Fsync`].
    ///
    /// Takes about 3 s under `appendfsync everysec`, and a round trip under `always`. Of a cluster, every master is asked;
    /// its replicas are not, nor is a server that takes the place of another later.
    ///
    /// # Errors
    ///
    /// Those of [`build`](Self::build); `Unsupported` for a server that answers before its disk has it (Valkey 9.1 does),
    /// that keeps no append-only file or never asks its disk to keep it, that cannot be judged, or that is older than 7.2;
    /// otherwise what the connection reports.
    ///
    /// # Cancel safety
    ///
    /// Cancel-safe: the keys of the probe expire.
    pub async fn build_with_fsync(self, redis: Redis) -> Result<HostedBloom> {
        if !self.is_fsync_trusted {
            redis.require_fsync("build_with_fsync", "HostedBuilder::trust_fsync").await?;
        }
        self.trust_fsync().build(redis)
    }

    /// Asks the filter on `redis`. Sends nothing yet.
    ///
    /// # Errors
    ///
    /// `Unsupported` for [`Ack::Fsync`], unless the servers are [trusted](Self::trust_fsync): see
    /// [`build_with_fsync`](Self::build_with_fsync). `Config` for braces in the prefix, for no segments or more than 4096, and for times or numbers that are no use.
    pub fn build(self, redis: Redis) -> Result<HostedBloom> {
        let refuse = |message: &str| Err(Error::new(ErrorKind::Config, redis.backend(), "build", message));
        if matches!(self.ack, Ack::Fsync { .. }) && !self.is_fsync_trusted {
            return Err(unverified(redis.backend()));
        }
        if self.prefix.contains(['{', '}']) {
            return refuse("braces in the prefix would put all segments into one slot");
        }
        if !(1..=MOST_SEGMENTS).contains(&self.segments) {
            return refuse("1 to 4096 segments");
        }
        let millis = |time: Duration| u32::try_from(time.as_millis()).ok().filter(|millis| *millis > 0);
        let Some(in_doubt_ms) = millis(self.in_doubt) else {
            return refuse("keys are in doubt for 1 ms to 49 days");
        };
        let Some(lease_ms) = millis(self.lease).filter(|millis| *millis >= 10) else {
            return refuse("a lease lasts for 10 ms to 49 days");
        };
        if self.unsettled == 0 {
            return refuse("no announcement would be taken");
        }
        let shape = Shape { segments: self.segments, in_doubt_ms, hasher: self.hasher };
        let names: Box<[_]> = (0..self.segments).map(|segment| Names::new(&self.prefix, segment)).collect();
        // Two windows share the room, behind 8 bytes each; hashes are spread unevenly, the more so the fewer there are.
        let share = self.unsettled.div_ceil(2 * u64::from(self.segments));
        let window_bytes =
            share.saturating_add(share / 16).saturating_mul(8).saturating_add(8).min(512 << 20);
        Ok(HostedBloom {
            empty: Known::new(Head::empty(shape), &names[0]),
            known: ArcSwap::new(Arc::new(vec![None; names.len()])),
            scripts: Hashes::new(),
            id: RandomState::new().hash_one(&self.prefix),
            rebuilds: AtomicBool::new(false),
            counters: Counters::default(),
            ack: self.ack,
            ack_timeout: self.ack_timeout,
            redis,
            shape,
            names,
            window_bytes,
            lease_ms,
        })
    }
}

/// The error of a filter whose servers nobody asked.
#[cold]
pub(super) fn unverified(backend: &'static str) -> Error {
    let message = "Ack::Fsync of servers that have not shown that they wait for their disks: build the filter by \
                   HostedBuilder::build_with_fsync";
    Error::new(ErrorKind::Unsupported, backend, "build", message)
}
