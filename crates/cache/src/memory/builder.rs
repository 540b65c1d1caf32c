//! How to build the store.

use std::{
    hash::Hash,
    sync::{OnceLock, atomic::AtomicBool},
    time::Duration,
};

use backends::{Error, ErrorKind, Result};
use clock::{Clock, CoarseClock};
use parking_lot::Mutex;

use super::{BACKEND, HashBuilder, Memory, Padded, Policy, shard::Shard};

const DEFAULT_CAPACITY: usize = 100_000;
const MAX_CAPACITY: usize = 1 << 31;
/// Entries that a shard is worth having for.
const SHARD: usize = 512;
const MAX_SHARDS: usize = 1 << 12;

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
