use std::{
    borrow::Borrow,
    fmt,
    hash::{BuildHasher, Hash},
    sync::atomic::{AtomicBool, Ordering},
};

use backends::{Error, ErrorKind, Result};
use clock::{Clock, PreciseClock};
use hashbrown::DefaultHashBuilder;
use parking_lot::Mutex;

use self::shard::Shard;
use crate::{Capability, Decision, Limit, Store};

mod shard;

const BACKEND: &str = "memory";
const DEFAULT_MAX_KEYS: usize = 1 << 20;

/// Limits kept in the memory of this process, for at most [`max_keys`](MemoryBuilder::max_keys) keys.
///
/// Keys are spread over shards with a lock each, held for one table probe and one decision. A key whose
/// quota is whole again is forgotten when its place is needed; while every place of a shard is taken by
/// keys in use, a new key is denied until one of them is whole, and counted in [`Stats::crowded_out`].
/// So a flood of keys never resets anyone's quota, and memory never grows past the bound.
///
/// `K` is the type of the keys; the contract [`Store`] is implemented for `Vec<u8>`.
pub struct Memory<K = Vec<u8>, C = PreciseClock> {
    shards: Box<[Padded<Mutex<Shard<K>>>]>,
    hasher: DefaultHashBuilder,
    clock: C,
    max_keys: usize,
    closed: AtomicBool,
}

/// Keeps the locks of two shards out of one cache line, and of the pair that is prefetched together.
#[repr(align(128))]
struct Padded<T>(T);

/// How to build a [`Memory`].
#[derive(Clone, Debug)]
pub struct MemoryBuilder<C = PreciseClock> {
    max_keys: usize,
    clock: C,
}

/// What has happened in a [`Memory`] so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Stats {
    /// Requests allowed.
    pub allowed: u64,
    /// Requests denied, those that can never fit and those crowded out among them.
    pub denied: u64,
    /// New keys denied because every place was taken by a key in use.
    pub crowded_out: u64,
    /// Keys forgotten after their quota was whole again.
    pub evicted: u64,
    /// Keys remembered now.
    pub keys: usize,
}

impl Memory {
    /// A builder with room for 1,048,576 keys on a [`PreciseClock`].
    #[must_use]
    pub fn builder() -> MemoryBuilder {
        MemoryBuilder { max_keys: DEFAULT_MAX_KEYS, clock: PreciseClock::new() }
    }
}

impl<C: Clock> MemoryBuilder<C> {
    /// Takes the time from `clock`.
    #[must_use]
    pub fn clock<D: Clock>(self, clock: D) -> MemoryBuilder<D> {
        MemoryBuilder { max_keys: self.max_keys, clock }
    }

    /// Remembers at most `keys` keys at once.
    ///
    /// Keys spread over the shards by chance: allow for a fifth more than will be in use at once, or
    /// some shard may turn new keys away before all are full.
    #[must_use]
    pub fn max_keys(self, keys: usize) -> Self {
        Self { max_keys: keys, ..self }
    }

    /// Builds the store; memory grows with the keys that come, not ahead of them.
    ///
    /// # Errors
    ///
    /// `Config` when `max_keys` is zero or above 2^40.
    pub fn build<K: Hash + Eq>(self) -> Result<Memory<K, C>> {
        if self.max_keys == 0 || self.max_keys > 1 << 40 {
            let message = format!("max_keys is {}; it must be from 1 to 2^40", self.max_keys);
            return Err(Error::new(ErrorKind::Config, BACKEND, "build", message));
        }
        Ok(Memory::with_room(self.max_keys, self.clock))
    }
}

impl<K: Hash + Eq> Default for Memory<K> {
    fn default() -> Self {
        Self::with_room(DEFAULT_MAX_KEYS, PreciseClock::new())
    }
}

impl<K: Hash + Eq, C: Clock> Memory<K, C> {
    fn with_room(max_keys: usize, clock: C) -> Self {
        let count = shard::count_for(max_keys);
        let room = max_keys / count;
        let shards = (0..count).map(|_| Padded(Mutex::new(Shard::with_room(room)))).collect();
        Self {
            shards,
            hasher: DefaultHashBuilder::default(),
            clock,
            max_keys: room * count,
            closed: AtomicBool::new(false),
        }
    }

    /// Takes `cost` tokens from `key` under `limit`, or nothing, without waiting for anything but the
    /// lock of a shard.
    ///
    /// # Errors
    ///
    /// `Invalid` when `cost` is zero, `Closed` after [`close`](Store::close).
    #[inline]
    pub fn try_acquire<Q>(&self, key: &Q, limit: &Limit, cost: u32) -> Result<Decision>
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ToOwned<Owned = K> + ?Sized,
    {
        if cost == 0 {
            return Err(Error::new(
                ErrorKind::Invalid,
                BACKEND,
                "acquire",
                "a request of cost 0; ask for at least 1",
            ));
        }
        self.check_open("acquire")?;
        let hash = self.hasher.hash_one(key);
        let now = self.clock.now().as_micros();
        // The low bits choose a place in the table and the top seven its tag: these are others.
        let index = (hash >> 32) as usize & (self.shards.len() - 1);
        let mut shard = self.shards[index].0.lock();
        Ok(shard.decide(hash, key, limit, now, cost, &self.hasher))
    }

    /// What has happened so far. Takes the lock of each shard in turn.
    pub fn stats(&self) -> Stats {
        self.shards.iter().fold(Stats::default(), |sum, shard| {
            let stats = shard.0.lock().stats();
            Stats {
                allowed: sum.allowed + stats.allowed,
                denied: sum.denied + stats.denied,
                crowded_out: sum.crowded_out + stats.crowded_out,
                evicted: sum.evicted + stats.evicted,
                keys: sum.keys + stats.keys,
            }
        })
    }
}

impl<K, C> Memory<K, C> {
    fn check_open(&self, op: &'static str) -> Result<()> {
        if self.closed.load(Ordering::Relaxed) {
            return Err(Error::new(ErrorKind::Closed, BACKEND, op, "the store was closed"));
        }
        Ok(())
    }
}

impl<C: Clock> Store for Memory<Vec<u8>, C> {
    fn capability(&self) -> Capability {
        Capability::new(BACKEND).linearizable().max_keys(self.max_keys)
    }

    async fn acquire(&self, key: &[u8], limit: &Limit, cost: u32) -> Result<Decision> {
        self.try_acquire(key, limit, cost)
    }

    async fn health(&self) -> Result<()> {
        self.check_open("health")
    }

    async fn close(&self) -> Result<()> {
        self.closed.store(true, Ordering::Relaxed);
        Ok(())
    }
}

impl<K, C: fmt::Debug> fmt::Debug for Memory<K, C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Memory")
            .field("max_keys", &self.max_keys)
            .field("shards", &self.shards.len())
            .field("clock", &self.clock)
            .finish_non_exhaustive()
    }
}
