//! A database and a way to a store in which every step may wait, and some go wrong.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use cache::{
    Ack, Acks, Capability, Entry, Error, ErrorKind, Fill, Filled, Floor, Leased, Memory, Protocol, Reads,
    Result, Row, Source, SourceError, Store, Token, Version, Wish,
};
use clock::ManualClock;
use parking_lot::Mutex;

pub(super) const KEYS: u64 = 2;

/// What may happen in a schedule.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rules {
    pub(super) protocol: Protocol,
    pub(super) reads: Reads,
    /// Two writes may have the same version.
    pub(super) ties: bool,
    pub(super) evictions: bool,
    /// Time passes: leases, floors and entries may end.
    pub(super) time: bool,
    /// Failed and panicking loads, lost invalidations, cancelled callers.
    pub(super) faults: bool,
}

impl Default for Rules {
    fn default() -> Self {
        Self {
            protocol: Protocol::Lease,
            reads: Reads::Latest,
            ties: false,
            evictions: true,
            time: true,
            faults: true,
        }
    }
}

/// Numbers from a seed (SplitMix64).
#[derive(Debug)]
pub(super) struct Chance(AtomicU64);

impl Chance {
    pub(super) fn new(seed: u64) -> Self {
        Self(AtomicU64::new(seed.wrapping_mul(0x5851_f42d_4c95_7f2d)))
    }

    pub(super) fn fork(&self) -> Self {
        Self::new(self.next())
    }

    fn next(&self) -> u64 {
        let z = self.0.fetch_add(0x9e37_79b9_7f4a_7c15, Relaxed);
        let z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub(super) fn below(&self, end: u64) -> u64 {
        self.next() % end
    }

    pub(super) fn one_in(&self, number: u64) -> bool {
        self.below(number) == 0
    }

    /// Lets others go first, several times or not at all; seldom for long.
    pub(super) async fn pause(&self) {
        if self.one_in(40) {
            return tokio::time::sleep(Duration::from_millis(self.below(300))).await;
        }
        for _ in 0..self.below(6) {
            tokio::task::yield_now().await;
        }
    }
}

/// Rows whose values are the numbers of the writes; of two with one version, the higher value wins.
#[derive(Debug)]
pub(super) struct Database {
    rules: Rules,
    chance: Chance,
    healthy: AtomicBool,
    writes: AtomicU64,
    rows: [Mutex<Replicated>; KEYS as usize],
}

#[derive(Debug, Default)]
struct Replicated {
    latest: u64,
    /// The highest value of a write whose caller was told so.
    confirmed: u64,
    replica: u64,
}

impl Database {
    pub(super) fn new(rules: Rules, chance: Chance) -> Self {
        let rows = Default::default();
        Self { rules, chance, healthy: AtomicBool::new(false), writes: AtomicU64::new(0), rows }
    }

    /// No more faults.
    pub(super) fn heal(&self) {
        self.healthy.store(true, Relaxed);
    }

    fn row(&self, key: u64) -> &Mutex<Replicated> {
        &self.rows[usize::try_from(key).unwrap()]
    }

    fn version(&self, value: u64) -> Version {
        let version = if self.rules.ties { value.div_ceil(2) } else { value };
        Version::new(version).unwrap()
    }

    pub(super) fn truth(&self, key: u64) -> Option<u64> {
        Some(self.row(key).lock().latest).filter(|value| *value > 0)
    }

    /// What every read that begins now has to see, at least.
    pub(super) fn confirmed(&self, key: u64) -> u64 {
        if self.rules.reads == Reads::MayLag || self.rules.protocol != Protocol::Lease || self.rules.ties {
            return 0;
        }
        self.row(key).lock().confirmed
    }

    /// A write was confirmed to its caller, whose cache was told, too.
    pub(super) fn confirm(&self, key: u64, value: u64) {
        let mut row = self.row(key).lock();
        row.confirmed = row.confirmed.max(value);
    }

    /// A value for a write: higher than all before.
    pub(super) fn value(&self) -> u64 {
        self.writes.fetch_add(1, Relaxed) + 1
    }

    fn faulty(&self, one_in: u64) -> bool {
        self.rules.faults && !self.healthy.load(Relaxed) && self.chance.one_in(one_in)
    }
}

impl Source<u64, u64> for Database {
    fn reads(&self) -> Reads {
        self.rules.reads
    }

    async fn load(&self, key: &u64) -> Result<Row<u64>> {
        self.chance.pause().await;
        let value = {
            let row = self.row(*key).lock();
            let lags = self.rules.reads == Reads::MayLag && self.chance.one_in(3);
            if lags { row.replica } else { row.latest }
        };
        self.chance.pause().await;
        if self.faulty(25) {
            // Without the message on standard error that a `panic!` prints.
            std::panic::resume_unwind(Box::new("a loader panics"));
        }
        if self.faulty(15) {
            return Err(Error::new(ErrorKind::Unavailable, "sim", "load", "no luck"));
        }
        let row = Row::new(value, self.version(value));
        Ok(if value == 0 { Row::ABSENT } else { row })
    }

    async fn store(&self, key: &u64, value: Option<&u64>) -> Result<Floor, SourceError> {
        self.chance.pause().await;
        let value = value.copied().unwrap_or_default();
        let version = self.version(value);
        let floor = if self.rules.ties { Floor::at(version) } else { Floor::below(version) };
        {
            let mut row = self.row(*key).lock();
            // What the replica lags behind by: one write.
            (row.replica, row.latest) = (row.latest, row.latest.max(value));
        }
        self.chance.pause().await;
        if self.faulty(10) {
            let error = Error::new(ErrorKind::Timeout, "sim", "store", "the answer was lost");
            return Err(SourceError { error, floor });
        }
        Ok(floor)
    }
}

/// A store at the end of a network: every call may wait before and after, and an invalidation may get lost on its way.
#[derive(Debug)]
pub(super) struct Far {
    store: Arc<Memory<u64, u64, ManualClock>>,
    rules: Rules,
    chance: Chance,
    healthy: AtomicBool,
}

impl Far {
    pub(super) fn new(store: Arc<Memory<u64, u64, ManualClock>>, rules: Rules, chance: Chance) -> Self {
        Self { store, rules, chance, healthy: AtomicBool::new(false) }
    }

    pub(super) fn heal(&self) {
        self.healthy.store(true, Relaxed);
    }

    fn lost(&self) -> Result<()> {
        let lost = self.rules.faults && self.rules.protocol == Protocol::Lease;
        if lost && !self.healthy.load(Relaxed) && self.chance.one_in(8) {
            return Err(Error::new(ErrorKind::Timeout, "sim", "call", "lost on its way"));
        }
        Ok(())
    }
}

macro_rules! far {
    ($($name:ident($($arg:ident: $type:ty),*) -> $output:ty;)*) => {
        impl Store<u64, u64> for Far {
            fn capability(&self) -> Capability {
                Capability::new("far").shared()
            }

            async fn get_many(&self, keys: &[u64]) -> Vec<Result<Option<Entry<u64>>>> {
                self.chance.pause().await;
                let entries = self.store.get_many(keys).await;
                self.chance.pause().await;
                entries
            }

            $(async fn $name(&self, $($arg: $type),*) -> Result<$output> {
                self.chance.pause().await;
                self.lost()?;
                let answer = Store::$name(&*self.store, $($arg),*).await;
                self.chance.pause().await;
                self.lost()?;
                answer
            })*
        }
    };
}

far! {
    get(key: &u64) -> Option<Entry<u64>>;
    lease(key: &u64, wish: Wish) -> Leased<Entry<u64>>;
    fill(key: &u64, token: Token, fill: Fill<u64>) -> Filled;
    release(key: &u64, token: Token) -> ();
    invalidate(key: &u64, floor: Floor, keep: Duration, ack: Ack) -> Acks;
    put(key: &u64, fill: Fill<u64>) -> ();
    remove(key: &u64) -> ();
    health() -> ();
    close() -> ();
}
