use std::{
    borrow::Borrow,
    fmt,
    hash::{BuildHasher, Hash},
    sync::atomic::{AtomicBool, Ordering},
};

use backends::{Error, ErrorKind, Result};
use clock::{Clock, PreciseClock};
use hashbrown::DefaultHashBuilder;
use parking_lot::{Mutex, MutexGuard};

use self::shard::{Padded, Shard};
use crate::{Answer, Ask, Capability, Decision, Limit, Rule, Store};

mod shard;

pub(crate) const BACKEND: &str = "memory";
const DEFAULT_MAX_KEYS: usize = 1 << 20;

/// Limits kept in the memory of this process, for at most [`max_keys`](MemoryBuilder::max_keys) keys.
///
/// Keys are spread over shards with a lock each, held for one table probe and one decision. A key whose
/// quota is whole again is forgotten when its place is needed; what happens to a new key while every place
/// of its shard is taken by a key in use says [`OnFull`]. So a flood of keys never resets anyone's quota,
/// and the number of keys never exceeds the bound. The table of a shard may double once while keys come and go.
///
/// `K` is the type of the keys, and `R` the rule: a [`Limit`] chosen at run time unless said otherwise. The
/// contract [`Store`] is implemented for `Memory<Vec<u8>, Limit>`.
pub struct Memory<K = Vec<u8>, R: Rule = Limit, C = PreciseClock> {
    shards: Box<[LockedShard<K, R>]>,
    /// What new keys share while their shard is full.
    overflow: Option<Mutex<R::State>>,
    hasher: DefaultHashBuilder,
    clock: C,
    max_keys: usize,
    closed: AtomicBool,
}

type LockedShard<K, R> = Padded<Mutex<Shard<K, R>>>;

/// How to build a [`Memory`].
#[derive(Clone, Debug)]
pub struct MemoryBuilder<C = PreciseClock> {
    max_keys: usize,
    on_full: OnFull,
    clock: C,
}

/// What happens to a new key while every place is taken by a key in use.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnFull {
    /// It is denied until a place is free.
    #[default]
    Deny,
    /// It shares one quota with all others that come meanwhile.
    SharedBucket,
}

/// What has happened in a [`Memory`] so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Stats {
    /// Requests allowed.
    pub allowed: u64,
    /// Requests denied, those that can never fit and those crowded out among them.
    pub denied: u64,
    /// Requests of new keys that found every place taken by a key in use.
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
        MemoryBuilder { max_keys: DEFAULT_MAX_KEYS, on_full: OnFull::Deny, clock: PreciseClock::new() }
    }
}

impl<C: Clock> MemoryBuilder<C> {
    /// Takes the time from `clock`.
    #[must_use]
    pub fn clock<D: Clock>(self, clock: D) -> MemoryBuilder<D> {
        MemoryBuilder { max_keys: self.max_keys, on_full: self.on_full, clock }
    }

    /// Remembers at most `keys` keys at once.
    ///
    /// Keys spread over the shards by chance: allow for a fifth more than will be in use at once, or
    /// some shard may turn new keys away before all are full.
    #[must_use]
    pub fn max_keys(self, keys: usize) -> Self {
        Self { max_keys: keys, ..self }
    }

    /// Does this with new keys while every place is taken by a key in use.
    #[must_use]
    pub fn on_full(self, on_full: OnFull) -> Self {
        Self { on_full, ..self }
    }

    /// Builds the store; memory grows with the keys that come, not ahead of them.
    ///
    /// # Errors
    ///
    /// `Config` when `max_keys` is zero or above 2^30.
    pub fn build<K: Hash + Eq, R: Rule>(self) -> Result<Memory<K, R, C>> {
        if self.max_keys == 0 || self.max_keys > 1 << 30 {
            let message = format!("max_keys is {}; it must be from 1 to 2^30", self.max_keys);
            return Err(Error::new(ErrorKind::Config, BACKEND, "build", message));
        }
        Ok(self.build_checked())
    }

    fn build_checked<K: Hash + Eq, R: Rule>(self) -> Memory<K, R, C> {
        let count = shard::count_for(self.max_keys);
        let room = self.max_keys / count;
        Memory {
            shards: (0..count).map(|_| Padded(Mutex::new(Shard::with_room(room)))).collect(),
            overflow: (self.on_full == OnFull::SharedBucket).then(Mutex::default),
            hasher: DefaultHashBuilder::default(),
            clock: self.clock,
            max_keys: room * count,
            closed: AtomicBool::new(false),
        }
    }
}

impl<K: Hash + Eq, R: Rule> Default for Memory<K, R> {
    fn default() -> Self {
        Memory::builder().build_checked()
    }
}

impl<K: Hash + Eq, R: Rule, C: Clock> Memory<K, R, C> {
    /// Takes `cost` tokens from `key` under `rule`, or nothing, without waiting for anything but the
    /// lock of a shard.
    ///
    /// # Errors
    ///
    /// `Invalid` when `cost` is zero, `Closed` after [`close`](Store::close).
    #[inline]
    pub fn try_acquire<Q>(&self, key: &Q, rule: &R, cost: u32) -> Result<Decision>
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ToOwned<Owned = K> + ?Sized,
    {
        self.check(cost)?;
        let (hash, now) = (self.hasher.hash_one(key), self.clock.now().as_micros());
        let mut shard = self.shard(hash);
        Ok(shard.take(hash, key, rule, now, cost, &self.hasher, self.overflow.as_ref()))
    }

    /// Answers `ask` on `key` under `rule`, in one atomic step.
    ///
    /// # Errors
    ///
    /// Those of [`try_acquire`](Memory::try_acquire).
    pub fn try_ask<Q>(&self, key: &Q, rule: &R, ask: Ask) -> Result<Answer>
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ToOwned<Owned = K> + ?Sized,
    {
        let (Ask::Take(cost) | Ask::TakeUpTo(cost) | Ask::Peek(cost)) = ask;
        self.check(cost)?;
        let (hash, at) = (self.hasher.hash_one(key), self.clock.now().as_micros());
        let mut shard = self.shard(hash);
        if matches!(ask, Ask::Peek(_)) {
            return Ok(Answer { decision: shard.peek(hash, key, rule, at, cost), taken: 0, at });
        }
        let cost = match ask {
            // At least one token is asked for, so that there is a time to come back.
            Ask::TakeUpTo(most) => shard.available(hash, key, rule, at).clamp(1, most),
            Ask::Take(cost) | Ask::Peek(cost) => cost,
        };
        let decision = shard.take(hash, key, rule, at, cost, &self.hasher, self.overflow.as_ref());
        Ok(Answer { decision, taken: if decision.is_allowed() { cost } else { 0 }, at })
    }

    /// Gives back `cost` tokens of `key` that were taken at `taken_at`; see [`Store::refund`].
    ///
    /// # Errors
    ///
    /// Those of [`try_acquire`](Memory::try_acquire).
    pub fn try_refund<Q>(&self, key: &Q, rule: &R, cost: u32, taken_at: u64) -> Result<()>
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ?Sized,
    {
        self.check(cost)?;
        let (hash, now) = (self.hasher.hash_one(key), self.clock.now().as_micros());
        self.shard(hash).refund(hash, key, rule, now, taken_at, cost);
        Ok(())
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

    #[inline]
    fn shard(&self, hash: u64) -> MutexGuard<'_, Shard<K, R>> {
        // The low bits choose a place in the table and the top seven its tag: these are others.
        self.shards[(hash >> 32) as usize & (self.shards.len() - 1)].0.lock()
    }

    #[inline]
    fn check(&self, cost: u32) -> Result<()> {
        if cost == 0 {
            return Err(no_cost());
        }
        self.check_open("acquire")
    }
}

impl<K, R: Rule, C> Memory<K, R, C> {
    #[inline]
    fn check_open(&self, op: &'static str) -> Result<()> {
        if self.closed.load(Ordering::Relaxed) { Err(closed(op)) } else { Ok(()) }
    }
}

#[cold]
pub(crate) fn no_cost() -> Error {
    Error::new(ErrorKind::Invalid, BACKEND, "acquire", "a request of cost 0; ask for at least 1")
}

#[cold]
pub(crate) fn closed(op: &'static str) -> Error {
    Error::new(ErrorKind::Closed, BACKEND, op, "the store was closed")
}

impl<C: Clock> Store for Memory<Vec<u8>, Limit, C> {
    fn capability(&self) -> Capability {
        Capability::new(BACKEND).linearizable().max_keys(self.max_keys)
    }

    async fn ask(&self, key: &[u8], limit: &Limit, ask: Ask) -> Result<Answer> {
        self.try_ask(key, limit, ask)
    }

    async fn refund(&self, key: &[u8], limit: &Limit, cost: u32, taken_at: u64) -> Result<()> {
        self.try_refund(key, limit, cost, taken_at)
    }

    async fn health(&self) -> Result<()> {
        self.check_open("health")
    }

    async fn close(&self) -> Result<()> {
        self.closed.store(true, Ordering::Relaxed);
        Ok(())
    }
}

impl<K, R: Rule, C: fmt::Debug> fmt::Debug for Memory<K, R, C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Memory")
            .field("max_keys", &self.max_keys)
            .field("shards", &self.shards.len())
            .field("clock", &self.clock)
            .finish_non_exhaustive()
    }
}
