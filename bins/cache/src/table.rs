//! The database in memory: a version counter for each row.

use std::{
    collections::{HashMap, VecDeque},
    fmt,
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use bench::Rng;
use cache::{Error, ErrorKind, Floor, Reads, Result, Row, Version};
use clock::{Clock, PreciseClock};
use parking_lot::Mutex;

use crate::row::Value;

/// Rows whose bytes follow from their key and version: a load is one read of an array, and as many bytes made.
pub(crate) struct Table {
    versions: Box<[AtomicU64]>,
    payload: usize,
    latency: Duration,
    seed: u64,
    ways: AtomicU64,
    lag: Option<Lag>,
}

/// A replica that is `delay` behind, and answers a share of the loads.
#[derive(Debug)]
struct Lag {
    share: f64,
    delay: Duration,
    seed: u64,
    loads: AtomicU64,
    lagging: AtomicU64,
    clock: PreciseClock,
    /// When each row was written lately: by so many versions the replica is behind.
    written: Box<[Mutex<Times>]>,
}

/// Of each key, in nanoseconds.
type Times = HashMap<u64, VecDeque<u64>>;

/// The version that every row begins with.
const FIRST: u64 = 1;
const SHARDS: u64 = 64;

impl Table {
    /// A load or a write takes `latency` on average, from half of it to half as much again.
    pub(crate) fn new(rows: u64, payload: usize, latency: Duration, seed: u64) -> Self {
        let versions = (0..rows).map(|_| AtomicU64::new(FIRST)).collect();
        Self { versions, payload, latency, seed, ways: AtomicU64::new(0), lag: None }
    }

    /// Lets `share` of the loads be answered by a replica that is `delay` behind.
    pub(crate) fn with_lag(self, share: f64, delay: Duration) -> Self {
        let seed = self.seed;
        let (loads, lagging) = (AtomicU64::new(0), AtomicU64::new(0));
        let written = (0..SHARDS).map(|_| Mutex::default()).collect();
        let lag = Lag { share, delay, seed, loads, lagging, clock: PreciseClock::new(), written };
        Self { lag: Some(lag), ..self }
    }

    pub(crate) const fn reads(&self) -> Reads {
        if self.lag.is_some() { Reads::MayLag } else { Reads::Latest }
    }

    /// Loads that the replica answered.
    pub(crate) fn lagging(&self) -> u64 {
        self.lag.as_ref().map_or(0, |lag| lag.lagging.load(Ordering::Relaxed))
    }

    pub(crate) async fn load(&self, key: u64) -> Row<Value> {
        self.half_way().await;
        let row = match &self.lag {
            Some(lag) if lag.draws() => self.row(key, |row| lag.version(key, row)),
            _ => self.latest(key),
        };
        self.half_way().await;
        row
    }

    /// The row as it is now, at once.
    pub(crate) fn latest(&self, key: u64) -> Row<Value> {
        self.row(key, |row| row.load(Ordering::Acquire))
    }

    /// Counts the row on, and tells the version.
    pub(crate) async fn store(&self, key: u64) -> Result<(u64, Floor)> {
        self.half_way().await;
        let Some(row) = self.place(key) else {
            return Err(Error::new(ErrorKind::Invalid, "table", "store", format!("there is no row {key}")));
        };
        let version = 1 + match &self.lag {
            Some(lag) => lag.write(key, row),
            None => row.fetch_add(1, Ordering::AcqRel),
        };
        self.half_way().await;
        // No other write has this version.
        Ok((version, Floor::below(Version::new(version).unwrap_or(Version::MAX))))
    }

    fn place(&self, key: u64) -> Option<&AtomicU64> {
        self.versions.get(usize::try_from(key).ok()?)
    }

    fn row(&self, key: u64, version: impl FnOnce(&AtomicU64) -> u64) -> Row<Value> {
        let Some(row) = self.place(key) else { return Row::ABSENT };
        let number = version(row);
        match Version::new(number) {
            Some(version) => Row::new(Value::new(key, number, self.payload, number), version),
            None => Row::ABSENT,
        }
    }

    /// The way there, or back: no two take the same time, or answers could not overtake each other.
    async fn half_way(&self) {
        if !self.latency.is_zero() {
            let way = self.ways.fetch_add(1, Ordering::Relaxed);
            let part = 0.5 + Rng::new(self.seed ^ 0x7761_7973, way).unit();
            tokio::time::sleep((self.latency / 2).mul_f64(part)).await;
        }
    }
}

impl Lag {
    /// Whether the replica answers this load.
    fn draws(&self) -> bool {
        let load = self.loads.fetch_add(1, Ordering::Relaxed);
        let draws = Rng::new(self.seed ^ 0x6c61_6721, load).unit() < self.share;
        self.lagging.fetch_add(u64::from(draws), Ordering::Relaxed);
        draws
    }

    /// Counts on, and tells the version before.
    fn write(&self, key: u64, row: &AtomicU64) -> u64 {
        let mut written = self.shard(key).lock();
        let times = written.entry(key).or_default();
        let now = self.clock.now().as_nanos();
        forget(times, self.horizon(now));
        times.push_back(now);
        row.fetch_add(1, Ordering::AcqRel)
    }

    /// What the replica has.
    fn version(&self, key: u64, row: &AtomicU64) -> u64 {
        let mut written = self.shard(key).lock();
        let Some(times) = written.get_mut(&key) else { return row.load(Ordering::Acquire) };
        forget(times, self.horizon(self.clock.now().as_nanos()));
        let behind = times.len() as u64;
        if behind == 0 {
            written.remove(&key);
        }
        row.load(Ordering::Acquire).saturating_sub(behind).max(FIRST)
    }

    /// What was written before then has arrived.
    fn horizon(&self, now: u64) -> u64 {
        now.saturating_sub(u64::try_from(self.delay.as_nanos()).unwrap_or(u64::MAX))
    }

    fn shard(&self, key: u64) -> &Mutex<Times> {
        &self.written[(key % SHARDS) as usize]
    }
}

fn forget(times: &mut VecDeque<u64>, horizon: u64) {
    while times.front().is_some_and(|time| *time <= horizon) {
        times.pop_front();
    }
}

impl fmt::Debug for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Table").field("rows", &self.versions.len()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn now<T>(future: impl Future<Output = T>) -> T {
        tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(future)
    }

    fn version(row: Row<Value>) -> u64 {
        row.value.map_or(0, |value| value.version)
    }

    #[test]
    fn each_write_has_a_version_of_its_own() {
        let table = Table::new(10, 100, Duration::ZERO, 1);
        assert_eq!(version(now(table.load(3))), 1);
        let (version_of_write, floor) = now(table.store(3)).unwrap();
        assert_eq!((version_of_write, floor.version().get()), (2, 1));
        assert_eq!(version(now(table.load(3))), 2);
        assert_eq!(now(table.load(10)).value.map(|value| value.version), None);
        assert!(now(table.store(10)).is_err());
    }

    #[test]
    fn a_replica_is_behind_by_the_writes_of_its_delay() {
        let hour = Table::new(10, 100, Duration::ZERO, 1).with_lag(1.0, Duration::from_secs(3600));
        for _ in 0..3 {
            now(hour.store(3)).unwrap();
        }
        assert_eq!((version(now(hour.load(3))), version(hour.latest(3))), (1, 4));
        assert_eq!((hour.reads(), hour.lagging()), (Reads::MayLag, 1));
        let none = Table::new(10, 100, Duration::ZERO, 1).with_lag(1.0, Duration::ZERO);
        now(none.store(3)).unwrap();
        assert_eq!(version(now(none.load(3))), 2, "nothing is on its way");
    }
}
