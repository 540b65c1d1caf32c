use std::{
    borrow::Borrow,
    cell::Cell,
    fmt,
    hash::{BuildHasher, Hash},
    marker::PhantomData,
    sync::atomic::AtomicBool,
    time::Duration,
};

use backends::{Error, ErrorKind};
use clock::{Clock, PreciseClock};

use self::{
    change::{Allow, Change, Peek, Refund, Take, TakeUpTo, Timed},
    shard::{Context, Crowded, Shard},
    slots::{Slots, Tag},
};
use crate::{
    Answer, Ask, AskMany, Capability, Decision, Limit, Rule, Store,
    store::{closed, no_cost},
    sync::{AtomicU64, Mutex, Ordering},
};

mod change;
mod shard;
mod slots;

type Result<T, E = Error> = std::result::Result<T, E>;

pub(crate) const BACKEND: &str = "memory";
const DEFAULT_MAX_KEYS: usize = 1 << 20;

/// Limits kept in the memory of this process, for at most [`max_keys`](MemoryBuilder::max_keys) keys.
///
/// A decision on a known key is one compare-and-swap, without a lock, where the state fits in a word: by token
/// bucket, GCRA and leaky bucket at all rates that reduce to at most 4,096 tokens in a microsecond or a multiple of it.
/// New keys, other algorithms and several limits at once take the lock of one of many shards.
///
/// A key whose quota is whole again is forgotten when its place is needed; what happens to a new key while every
/// place of its shard is taken by a key in use says [`OnFull`]. So a flood of keys never resets anyone's quota, and
/// the number of keys never exceeds the bound. Memory is taken as keys come: 96 bytes for each of `max_keys` at
/// most, and whatever a sliding window log holds.
///
/// A key is known by a hash of 64 bits, seeded at random; it is not kept. Of n keys in use, two share one quota with
/// a chance of n^2 / 2^65: of a million keys, one in 37 million. They are then denied too often, never too rarely.
///
/// `K` is the type of the keys, and `R` the rule: a [`Limit`] chosen at run time unless said otherwise. The
/// contract [`Store`] is implemented for `Memory<Vec<u8>, Limit>`.
pub struct Memory<K = Vec<u8>, R: Rule = Limit, C = PreciseClock> {
    slots: Slots,
    shards: Box<[LockedShard<R>]>,
    /// Keys that a shard remembers at most.
    room: usize,
    /// Keys on the move while a shard is rebuilt.
    moving: Mutex<Vec<(Tag, u64)>>,
    /// What new keys share while their shard is full.
    overflow: Option<Mutex<R::State>>,
    hasher: HashBuilder,
    clock: C,
    closed: AtomicBool,
    keys: PhantomData<fn(&K)>,
}

#[cfg(not(patterns_loom))]
type HashBuilder = hashbrown::DefaultHashBuilder;
/// The model checker runs the same program over and over.
#[cfg(patterns_loom)]
type HashBuilder = std::hash::BuildHasherDefault<std::hash::DefaultHasher>;

type LockedShard<R> = Padded<Locked<<R as Rule>::State>>;

/// Keeps the locks of two shards out of one cache line, and of the pair that is prefetched together.
#[repr(align(128))]
struct Padded<T>(T);

/// Where a key is looked for.
#[derive(Clone, Copy)]
struct Place {
    tag: Tag,
    shard: usize,
}

struct Locked<S> {
    locked: Mutex<Shard<S>>,
    /// Rebuilding the shard before then would free nothing: microseconds.
    none_fresh_until: AtomicU64,
}

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
    pub fn build<K, R: Rule>(self) -> Result<Memory<K, R, C>> {
        if self.max_keys == 0 || self.max_keys > 1 << 30 {
            let message = format!("max_keys is {}; it must be from 1 to 2^30", self.max_keys);
            return Err(Error::new(ErrorKind::Config, BACKEND, "build", message));
        }
        let max_keys = self.max_keys;
        self.build_checked().ok_or_else(|| {
            let message = format!("no memory for {max_keys} keys");
            Error::new(ErrorKind::Config, BACKEND, "build", message)
        })
    }

    fn build_checked<K, R: Rule>(self) -> Option<Memory<K, R, C>> {
        let count = shard::count_for(self.max_keys);
        let room = self.max_keys / count;
        let shard = || Locked { locked: Mutex::new(Shard::new()), none_fresh_until: AtomicU64::new(0) };
        Some(Memory {
            slots: Slots::new(count, room)?,
            shards: (0..count).map(|_| Padded(shard())).collect(),
            room,
            moving: Mutex::new(Vec::with_capacity(room)),
            overflow: (self.on_full == OnFull::SharedBucket).then(Mutex::default),
            hasher: HashBuilder::default(),
            clock: self.clock,
            closed: AtomicBool::new(false),
            keys: PhantomData,
        })
    }
}

impl<K, R: Rule> Default for Memory<K, R> {
    fn default() -> Self {
        let memory = Memory::builder().build_checked();
        memory.unwrap_or_else(|| unreachable!("32 MiB of addresses are there"))
    }
}

impl<K, R: Rule, C: Clock> Memory<K, R, C> {
    /// Whether a request of cost 1 may go ahead on `key` under `rule`: the quickest question.
    ///
    /// # Errors
    ///
    /// `Closed` after [`close`](Store::close).
    #[inline]
    pub fn try_allow<Q>(&self, key: &Q, rule: &R) -> Result<bool>
    where
        K: Borrow<Q>,
        Q: Hash + ToOwned<Owned = K> + ?Sized,
    {
        self.check_open("acquire")?;
        let place = self.place(key);
        match self.change(place, &Allow { rule, clock: &self.clock }) {
            Some(allowed) => Ok(allowed),
            None => Ok(self.take_locked(place, &Take { rule, clock: &self.clock, cost: 1 })?.is_allowed()),
        }
    }

    /// Takes `cost` tokens from `key` under `rule`, or nothing, without waiting for more than the lock of a
    /// shard.
    ///
    /// # Errors
    ///
    /// `Invalid` when `cost` is zero, `Closed` after [`close`](Store::close).
    #[inline]
    pub fn try_acquire<Q>(&self, key: &Q, rule: &R, cost: u32) -> Result<Decision>
    where
        K: Borrow<Q>,
        Q: Hash + ToOwned<Owned = K> + ?Sized,
    {
        self.check(cost)?;
        self.take(key, &Take { rule, clock: &self.clock, cost })
    }

    /// Answers `ask` on `key` under `rule`, in one atomic step.
    ///
    /// # Errors
    ///
    /// Those of [`try_acquire`](Memory::try_acquire).
    pub fn try_ask<Q>(&self, key: &Q, rule: &R, ask: Ask) -> Result<Answer>
    where
        K: Borrow<Q>,
        Q: Hash + ToOwned<Owned = K> + ?Sized,
    {
        self.check(ask.cost())?;
        let (clock, at, asked) = (&self.clock, &Cell::new(0), &Cell::new(0));
        let decision = match ask {
            Ask::Take(cost) => {
                asked.set(cost);
                self.take(key, &Timed { change: Take { rule, clock, cost }, at })
            }
            Ask::TakeUpTo(most) => {
                self.take(key, &Timed { change: TakeUpTo { rule, clock, most, taken: asked }, at })
            }
            Ask::Peek(cost) => self.take(key, &Timed { change: Peek { rule, clock, cost }, at }),
        }?;
        let taken = if decision.is_allowed() { asked.get() } else { 0 };
        Ok(Answer { decision, taken, at: at.get() })
    }

    /// Gives back `cost` tokens of `key` that were taken at `taken_at`; see [`Store::refund`].
    ///
    /// # Errors
    ///
    /// Those of [`try_acquire`](Memory::try_acquire).
    pub fn try_refund<Q>(&self, key: &Q, rule: &R, cost: u32, taken_at: u64) -> Result<()>
    where
        K: Borrow<Q>,
        Q: Hash + ?Sized,
    {
        self.check(cost)?;
        // A key that has been forgotten has its whole quota: there is nothing to give back.
        let (place, refund) = (self.place(key), Refund { rule, clock: &self.clock, taken_at, cost });
        if self.change(place, &refund).is_none() {
            let _ = self.change_locked(place, &refund);
        }
        Ok(())
    }

    /// What has happened so far. Takes the lock of each shard in turn.
    pub fn stats(&self) -> Stats {
        self.shards.iter().fold(Stats::default(), |sum, shard| {
            let stats = shard.0.locked.lock().stats();
            Stats {
                crowded_out: sum.crowded_out + stats.crowded_out,
                evicted: sum.evicted + stats.evicted,
                keys: sum.keys + stats.keys,
            }
        })
    }

    /// Decides by `take`.
    #[inline(always)]
    fn take<Q>(&self, key: &Q, take: &impl Change<R, Result = Decision>) -> Result<Decision>
    where
        Q: Hash + ?Sized,
    {
        let place = self.place(key);
        match self.change(place, take) {
            Some(decision) => Ok(decision),
            None => self.take_locked(place, take),
        }
    }

    /// Of the type of the quick path, so that neither copies its decision.
    #[cold]
    #[inline(never)]
    fn take_locked(&self, place: Place, take: &impl Change<R, Result = Decision>) -> Result<Decision> {
        Ok(self.change_locked(place, take).unwrap_or_else(|retry_after| match &self.overflow {
            Some(shared) => {
                let mut state = shared.lock();
                let now = take.read_clock();
                take.apply(&mut state, now)
            }
            None => Decision::Denied { retry_after },
        }))
    }

    #[inline]
    fn place<Q: Hash + ?Sized>(&self, key: &Q) -> Place {
        let tag = Tag::of(self.hasher.hash_one(key));
        Place { tag, shard: tag.shard(self.shards.len()) }
    }

    /// Changes the state of a key without the lock of its shard, if that is enough.
    #[inline(always)]
    fn change<T: Change<R>>(&self, place: Place, change: &T) -> Option<T::Result> {
        let slot = self.slots.ring(place.shard).find(place.tag)?;
        // The clock is read while the slot is on its way from memory.
        let changed = slot.change(place.tag, change, Some(change.read_clock()))?;
        if changed.is_sooner_fresh {
            self.shards[place.shard].0.none_fresh_until.store(0, Ordering::Relaxed);
        }
        Some(changed.result)
    }

    /// Changes the state of a key, or says when there will be room for it.
    fn change_locked<T: Change<R>>(&self, place: Place, change: &T) -> Result<T::Result, Duration> {
        let Place { tag, shard } = place;
        let Padded(Locked { locked, none_fresh_until }) = &self.shards[shard];
        let (slots, room, moving) = (&self.slots, self.room, &self.moving);
        let context = Context { slots, shard, room, none_fresh_until, moving };
        let mut locked = locked.lock();
        match locked.change(&context, tag, change) {
            Ok(result) => Ok(result),
            Err(Crowded) => {
                let until = none_fresh_until.load(Ordering::Relaxed);
                Err(Duration::from_micros(until.saturating_sub(locked.latest())))
            }
        }
    }

    #[inline]
    fn check(&self, cost: u32) -> Result<()> {
        if cost == 0 {
            return Err(no_cost(BACKEND));
        }
        self.check_open("acquire")
    }
}

impl<K, R: Rule, C> Memory<K, R, C> {
    const fn max_keys(&self) -> usize {
        self.room * self.shards.len()
    }

    #[inline]
    fn check_open(&self, op: &'static str) -> Result<()> {
        if self.closed.load(Ordering::Relaxed) { Err(closed(BACKEND, op)) } else { Ok(()) }
    }
}

impl<C: Clock> Store for Memory<Vec<u8>, Limit, C> {
    fn capability(&self) -> Capability {
        Capability::new(BACKEND).linearizable().max_keys(self.max_keys())
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

impl<C: Clock> AskMany for Memory<Vec<u8>, Limit, C> {
    async fn ask_many(&self, limit: &Limit, asks: &[(&[u8], Ask)]) -> Vec<Result<Answer>> {
        asks.iter().map(|(key, ask)| self.try_ask(*key, limit, *ask)).collect()
    }
}

impl<K, R: Rule, C: fmt::Debug> fmt::Debug for Memory<K, R, C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Memory")
            .field("max_keys", &self.max_keys())
            .field("shards", &self.shards.len())
            .field("clock", &self.clock)
            .finish_non_exhaustive()
    }
}
