use std::{
    borrow::Borrow,
    fmt,
    hash::{BuildHasher, Hash},
    sync::{
        OnceLock,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use backends::{Error, ErrorKind, Result};
use clock::{Clock, CoarseClock};
use parking_lot::Mutex;

use self::shard::{At, Shard};
use crate::{
    Ack, Acks, Capability, Entry, Fill, Floor, Store, Wish,
    slot::{Content, Filled, Leased, Token},
};

mod ghost;
mod links;
mod shard;

pub(crate) const BACKEND: &str = "memory";
const DEFAULT_CAPACITY: usize = 100_000;
const MAX_CAPACITY: usize = 1 << 31;
/// Entries that a shard is worth having for.
const SHARD: usize = 512;
const MAX_SHARDS: usize = 1 << 12;

type HashBuilder = hashbrown::DefaultHashBuilder;

/// Entries in the memory of this process, at most [`capacity`](MemoryBuilder::capacity) of them.
///
/// Contents, and leases and floors without content, are entries alike: there are never more than the capacity, at no
/// moment and whichever thread looks. A full cache evicts what its [`Policy`] says. Leases and floors without content are
/// evicted first where they take more than a tenth: keys that are asked for and never filled do not push out the others.
///
/// What has expired is dropped when it is met: by a read, or where the next entry to be evicted is looked for. There is no
/// thread that looks for it; until then it takes a place, and is not served. Times have a resolution of one millisecond:
/// contents are kept no longer than asked for, leases and floors no shorter, but for the time that the clock lags.
///
/// Each key belongs to one of a few shards, and each operation is one step under the lock of its shard. Values are cloned
/// while it is held: what is large belongs in an [`Arc`](std::sync::Arc). `Clone`, `Eq`, `Hash` and `Drop` of keys and values
/// must not use the cache that they are in.
///
/// The methods whose names end in `_now` are those of [`Store`], which wait for nothing and cannot fail; of
/// [`close`](Store::close) they know only that it clears.
pub struct Memory<K, V, C = CoarseClock> {
    shards: Box<[LockedShard<K, V>]>,
    hasher: HashBuilder,
    clock: C,
    capacity: usize,
    policy: Policy,
    closed: AtomicBool,
}

type LockedShard<K, V> = Padded<Mutex<Shard<K, V>>>;

/// Keeps the locks of two shards out of one cache line, and of the pair that is prefetched together.
#[repr(align(128))]
struct Padded<T>(T);

/// How to build a [`Memory`].
#[derive(Clone, Debug)]
pub struct MemoryBuilder<C = CoarseClock> {
    capacity: usize,
    policy: Policy,
    shards: Option<usize>,
    clock: ClockOf<C>,
}

#[derive(Clone, Debug)]
enum ClockOf<C> {
    Given(C),
    Shared(fn() -> Result<C>),
}

/// Which entry has to go when there is no room.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Policy {
    /// The one whose last use is longest ago, of its shard. A scan over many keys pushes out all others.
    Lru,
    /// One that was not used again soon: S3-FIFO. New entries are on trial in a small queue, a tenth of the room; those
    /// that are used more than once in it move to the main queue, where each use lets them stay for another round. Keys
    /// that were evicted lately skip the trial.
    ///
    /// Yang, Zhang, Qiu, Yue, Rashmi: *FIFO queues are all you need for cache eviction*, SOSP 2023.
    #[default]
    S3Fifo,
}

/// What a [`Memory`] holds, and what has happened in it so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Stats {
    /// Entries now, with those that have expired and were not met yet.
    pub entries: usize,
    /// Those of them that are leases and floors without content.
    pub bare: usize,
    /// Reads that found content, fresh or stale.
    pub hits: u64,
    /// Reads that found none.
    pub misses: u64,
    /// Entries evicted for want of room.
    pub evicted: u64,
    /// Entries with content that were dropped because it had expired.
    pub expired: u64,
}

type Counts = Stats;

impl Memory<(), ()> {
    /// A builder with room for 100,000 entries, under S3-FIFO, on a clock of one millisecond.
    #[must_use]
    pub const fn builder() -> MemoryBuilder {
        MemoryBuilder {
            capacity: DEFAULT_CAPACITY,
            policy: Policy::S3Fifo,
            shards: None,
            clock: ClockOf::Shared(shared_clock),
        }
    }
}

/// One thread for all the stores of a process.
fn shared_clock() -> Result<CoarseClock> {
    static SHARED: OnceLock<CoarseClock> = OnceLock::new();
    if let Some(clock) = SHARED.get() {
        return Ok(clock.clone());
    }
    let started = CoarseClock::start(Duration::from_millis(1)).map_err(|error| {
        Error::new(ErrorKind::Unavailable, BACKEND, "build", "the thread of the clock did not start")
            .with_source(error)
    })?;
    Ok(SHARED.get_or_init(|| started).clone())
}

impl<C: Clock> MemoryBuilder<C> {
    /// Holds at most `entries`.
    #[must_use]
    pub fn capacity(self, entries: usize) -> Self {
        Self { capacity: entries, ..self }
    }

    /// Evicts by `policy`.
    #[must_use]
    pub fn policy(self, policy: Policy) -> Self {
        Self { policy, ..self }
    }

    /// Divides the entries among so many shards, a power of two. A policy knows its own shard alone: one shard gives its
    /// exact order, at the price of one lock for all threads. Unless said, one for every 512 entries, up to eight for
    /// each processor, and at least 64.
    #[must_use]
    pub fn shards(self, shards: usize) -> Self {
        Self { shards: Some(shards), ..self }
    }

    /// Takes the time from `clock`.
    #[must_use]
    pub fn clock<D: Clock>(self, clock: D) -> MemoryBuilder<D> {
        let Self { capacity, policy, shards, .. } = self;
        MemoryBuilder { capacity, policy, shards, clock: ClockOf::Given(clock) }
    }

    /// Builds the store; memory grows with the entries that come, not ahead of them.
    ///
    /// # Errors
    ///
    /// `Config` when the capacity is zero or above 2^31, or the number of shards is no power of two, above 4,096 or above
    /// the capacity; `Unavailable` when the clock cannot be started.
    pub fn build<K, V>(self) -> Result<Memory<K, V, C>>
    where
        K: Clone + Eq + Hash,
        V: Clone,
    {
        let Self { capacity, policy, shards, clock } = self;
        let config = |message| Err(Error::new(ErrorKind::Config, BACKEND, "build", message));
        if capacity == 0 || capacity > MAX_CAPACITY {
            return config(format!("capacity is {capacity}; it must be from 1 to 2^31"));
        }
        let count = shards.unwrap_or_else(|| shards_for(capacity));
        if !count.is_power_of_two() || count > MAX_SHARDS.min(capacity) {
            let most = MAX_SHARDS.min(capacity);
            return config(format!("shards is {count}; it must be a power of two, at most {most}"));
        }
        let clock = match clock {
            ClockOf::Given(clock) => clock,
            ClockOf::Shared(start) => start()?,
        };
        let room = |shard| capacity / count + usize::from(shard < capacity % count);
        let shards = (0..count).map(|shard| Padded(Mutex::new(Shard::new(room(shard), policy)))).collect();
        let closed = AtomicBool::new(false);
        Ok(Memory { shards, hasher: HashBuilder::default(), clock, capacity, policy, closed })
    }
}

fn shards_for(capacity: usize) -> usize {
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let most = threads.saturating_mul(8).clamp(64, MAX_SHARDS / 2).next_power_of_two();
    let worth = (capacity / SHARD).max(1);
    most.min(1 << worth.ilog2())
}

impl<K, V, C: Clock> Memory<K, V, C>
where
    K: Clone + Eq + Hash,
    V: Clone,
{
    /// The entry of `key`, fresh or stale. See [`Store::get`].
    #[inline]
    pub fn get_now<Q>(&self, key: &Q) -> Option<Entry<V>>
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ?Sized,
    {
        let at = self.at(key);
        let (entry, dropped) = self.shard(at).lock().get(at, key);
        drop(dropped);
        entry
    }

    /// Asks for the right to fill `key`. See [`Store::lease`].
    pub fn lease_now(&self, key: &K, wish: Wish) -> Leased<Entry<V>> {
        let (at, ms) = (self.at(key), ms_up(wish.ttl));
        let (leased, dropped) = self.shard(at).lock().lease(at, key, wish.token, ms, wish.seen);
        drop(dropped);
        leased
    }

    /// Stores what was loaded under the lease of `token`, if that still holds. See [`Store::fill`].
    pub fn fill_now(&self, key: &K, token: Token, fill: Fill<V>) -> Filled {
        let at = self.at(key);
        let content = content(fill, at.now);
        let (filled, dropped) = self.shard(at).lock().fill(at, key, token, content);
        drop(dropped);
        filled
    }

    /// Gives up a lease. See [`Store::release`].
    pub fn release_now(&self, key: &K, token: Token) {
        let at = self.at(key);
        let dropped = self.shard(at).lock().release(at, key, token);
        drop(dropped);
    }

    /// Drops the content of `key`, revokes its lease, and refuses fills up to `floor` for the time `keep`. See
    /// [`Store::invalidate`].
    pub fn invalidate_now(&self, key: &K, floor: Floor, keep: Duration) {
        let (at, ms) = (self.at(key), ms_up(keep));
        let dropped = self.shard(at).lock().invalidate(at, key, floor, ms);
        drop(dropped);
    }

    /// Stores without a lease and whatever the floor. See [`Store::put`].
    pub fn put_now(&self, key: &K, fill: Fill<V>) {
        let at = self.at(key);
        let content = content(fill, at.now);
        let dropped = self.shard(at).lock().put(at, key, content);
        drop(dropped);
    }

    /// Forgets the key, with its floor. See [`Store::remove`].
    pub fn remove_now(&self, key: &K) {
        let at = self.at(key);
        let dropped = self.shard(at).lock().remove(at, key);
        drop(dropped);
    }

    /// Drops all content and revokes all leases: what is being loaded now will not be stored. Floors stay. One shard
    /// after the other; what was there before the call, or was being loaded, is gone after it.
    pub fn clear(&self) {
        let (now, hasher) = (self.now(), &self.hasher);
        for shard in &self.shards {
            shard.0.lock().clear(At { now, hash: 0, hasher });
        }
    }

    /// Entries now, with those that have expired and were not met yet. Takes the lock of each shard in turn.
    #[must_use]
    pub fn len(&self) -> usize {
        self.shards.iter().map(|shard| shard.0.lock().len()).sum()
    }

    /// Whether there are no entries.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// What it holds, and what has happened so far. Takes the lock of each shard in turn.
    #[must_use]
    pub fn stats(&self) -> Stats {
        self.shards.iter().fold(Stats::default(), |sum, shard| {
            let counts = shard.0.lock().counts();
            Stats {
                entries: sum.entries + counts.entries,
                bare: sum.bare + counts.bare,
                hits: sum.hits + counts.hits,
                misses: sum.misses + counts.misses,
                evicted: sum.evicted + counts.evicted,
                expired: sum.expired + counts.expired,
            }
        })
    }

    #[inline]
    fn at<Q: Hash + ?Sized>(&self, key: &Q) -> At<'_> {
        At { now: self.now(), hash: self.hasher.hash_one(key), hasher: &self.hasher }
    }

    #[inline]
    fn now(&self) -> u64 {
        self.clock.now().as_nanos() / 1_000_000
    }

    /// By bits of the hash that the table of the shard hardly uses.
    #[inline]
    fn shard(&self, at: At<'_>) -> &Mutex<Shard<K, V>> {
        let shard = (at.hash >> 40) as usize & (self.shards.len() - 1);
        &self.shards[shard].0
    }

    fn check_open(&self, op: &'static str) -> Result<()> {
        if self.closed.load(Ordering::Relaxed) {
            return Err(Error::new(ErrorKind::Closed, BACKEND, op, "the store was closed"));
        }
        Ok(())
    }
}

impl<K, V, C> Memory<K, V, C> {
    /// The most entries.
    #[must_use]
    pub const fn capacity(&self) -> usize {
        self.capacity
    }

    /// What is evicted.
    #[must_use]
    pub const fn policy(&self) -> Policy {
        self.policy
    }
}

fn content<V>(fill: Fill<V>, now: u64) -> Content<V> {
    let Fill { value, version, fresh, keep, load_time } = fill;
    Content {
        value,
        version,
        fresh_until: now.saturating_add(ms_down(fresh)),
        expires_at: now.saturating_add(ms_down(keep)),
        load_ms: u32::try_from(load_time.as_millis()).unwrap_or(u32::MAX),
    }
}

fn ms_down(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

fn ms_up(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos().div_ceil(1_000_000)).unwrap_or(u64::MAX)
}

impl<K, V, C> Store<K, V> for Memory<K, V, C>
where
    K: Clone + Eq + Hash + Send + Sync + 'static,
    V: Clone + Send + Sync + 'static,
    C: Clock,
{
    fn capability(&self) -> Capability {
        Capability::new(BACKEND).max_entries(self.capacity)
    }

    async fn get(&self, key: &K) -> Result<Option<Entry<V>>> {
        self.check_open("get")?;
        Ok(self.get_now(key))
    }

    async fn get_many(&self, keys: &[K]) -> Vec<Result<Option<Entry<V>>>> {
        keys.iter().map(|key| self.check_open("get_many").map(|()| self.get_now(key))).collect()
    }

    async fn lease(&self, key: &K, wish: Wish) -> Result<Leased<Entry<V>>> {
        self.check_open("lease")?;
        Ok(self.lease_now(key, wish))
    }

    async fn fill(&self, key: &K, token: Token, fill: Fill<V>) -> Result<Filled> {
        self.check_open("fill")?;
        Ok(self.fill_now(key, token, fill))
    }

    async fn release(&self, key: &K, token: Token) -> Result<()> {
        self.check_open("release")?;
        self.release_now(key, token);
        Ok(())
    }

    async fn invalidate(&self, key: &K, floor: Floor, keep: Duration, ack: Ack) -> Result<Acks> {
        self.check_open("invalidate")?;
        if !Store::capability(self).gives(ack) {
            let message = format!("there is no {ack:?} in the memory of a process");
            return Err(Error::new(ErrorKind::Unsupported, BACKEND, "invalidate", message));
        }
        self.invalidate_now(key, floor, keep);
        Ok(Acks::default())
    }

    async fn put(&self, key: &K, fill: Fill<V>) -> Result<()> {
        self.check_open("put")?;
        self.put_now(key, fill);
        Ok(())
    }

    async fn remove(&self, key: &K) -> Result<()> {
        self.check_open("remove")?;
        self.remove_now(key);
        Ok(())
    }

    async fn health(&self) -> Result<()> {
        self.check_open("health")
    }

    async fn close(&self) -> Result<()> {
        self.closed.store(true, Ordering::Relaxed);
        self.clear();
        Ok(())
    }
}

impl<K, V, C: fmt::Debug> fmt::Debug for Memory<K, V, C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Memory")
            .field("capacity", &self.capacity)
            .field("policy", &self.policy)
            .field("shards", &self.shards.len())
            .field("clock", &self.clock)
            .finish_non_exhaustive()
    }
}
