use std::{
    hash::{BuildHasher, RandomState},
    sync::{Arc, atomic::AtomicBool},
    time::Duration,
};

use arc_swap::ArcSwap;
use backends::{
    Error, ErrorKind, Redis, Result,
    redis_1::{Acknowledged, Wait},
};

use super::{
    HostedBloom,
    head::{Head, Known, Names, Shape},
    script::Hashes,
    stats::Counters,
};
use crate::{KeyHasher, Xxh3, fingerprint};

/// More segments than a cluster has use for.
const MOST_SEGMENTS: u16 = 4_096;

/// Who has to have an announced key before it counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Ack {
    /// The master alone: a failover, or a restart from disk, may forget the last ones.
    #[default]
    None,
    /// That many replicas, too.
    Replicas(u32),
    /// The disks of that many replicas and, with `local`, of the master: Redis or Valkey of 7.2 or later, with
    /// append-only files.
    Fsync {
        /// Whether that of the master counts.
        local: bool,
        /// How many replicas.
        replicas: u32,
    },
}

impl Ack {
    /// What to wait for.
    pub(super) const fn wait(self, timeout: Duration) -> Option<Wait> {
        match self {
            Self::None => None,
            Self::Replicas(replicas) => Some(Wait::for_replicas(replicas, timeout)),
            Self::Fsync { local, replicas } => Some(Wait::fsync(local, replicas, timeout)),
        }
    }

    /// What was waited for and did not come.
    pub(super) fn lacks(self, acknowledged: &Acknowledged) -> Option<String> {
        let (Acknowledged { replicas, fsynced, .. }, is_enough) = match self {
            Self::None => return None,
            Self::Replicas(wanted) => (acknowledged, acknowledged.replicas >= wanted),
            Self::Fsync { local, replicas } => {
                (acknowledged, acknowledged.replicas >= replicas && (acknowledged.fsynced || !local))
            }
        };
        match self {
            _ if is_enough => None,
            Self::Fsync { local, replicas: wanted } => Some(format!(
                "on the disks of {replicas} of {wanted} replicas{}",
                if local && !fsynced { ", and not on the master's" } else { "" }
            )),
            Self::None | Self::Replicas(_) => Some(format!("received by {replicas} replicas")),
        }
    }
}

/// How to build a [`HostedBloom`].
#[derive(Clone, Debug)]
pub struct Builder {
    prefix: String,
    segments: u16,
    hasher: u64,
    in_doubt: Duration,
    max_unsettled: u64,
    lease: Duration,
    ack: Ack,
    ack_timeout: Duration,
}

impl Builder {
    pub(super) fn new() -> Self {
        Self {
            prefix: "filter".to_owned(),
            segments: 64,
            hasher: fingerprint(&Xxh3::default()),
            in_doubt: Duration::from_secs(60),
            max_unsettled: 8_000_000,
            lease: Duration::from_secs(15),
            ack: Ack::None,
            ack_timeout: Duration::from_secs(1),
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

    /// Expects hashes of `hasher` instead of [`Xxh3`] without a seed. All who ask the same filter have to agree.
    #[must_use]
    pub fn hasher(self, hasher: &impl KeyHasher) -> Self {
        Self { hasher: fingerprint(hasher), ..self }
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
    pub fn max_unsettled(self, keys: u64) -> Self {
        Self { max_unsettled: keys, ..self }
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

    /// Waits no longer for them, instead of 1 s.
    #[must_use]
    pub fn ack_timeout(self, timeout: Duration) -> Self {
        Self { ack_timeout: timeout, ..self }
    }

    /// Asks the filter on `redis`. Sends nothing yet.
    ///
    /// # Errors
    ///
    /// `Config` for braces in the prefix, for no segments or more than 4096, and for times or numbers that are no use.
    pub fn build(self, redis: Redis) -> Result<HostedBloom> {
        let refuse = |message: &str| Err(Error::new(ErrorKind::Config, redis.backend(), "build", message));
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
        if self.max_unsettled == 0 {
            return refuse("no announcement would be taken");
        }
        let shape = Shape { segments: self.segments, in_doubt_ms, hasher: self.hasher };
        let names: Box<[_]> = (0..self.segments).map(|segment| Names::new(&self.prefix, segment)).collect();
        // Two windows share the room, behind 8 bytes each; hashes are spread unevenly, the more so the fewer there are.
        let share = self.max_unsettled.div_ceil(2 * u64::from(self.segments));
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
