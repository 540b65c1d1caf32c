use std::{
    borrow::Borrow,
    hash::{BuildHasher, Hash},
    time::Duration,
};

use hashbrown::{DefaultHashBuilder, HashTable};
use parking_lot::Mutex;

use super::Stats;
use crate::{Decision, Rule, State};

/// A shard of this size is swept in some 15 us: that is the longest pause of a request, but for growing.
const MOST_PER_SHARD: usize = 2_048;
/// With fewer keys a shard, chance would fill one shard long before the others.
const LEAST_PER_SHARD: usize = 1_024;
/// More do not help any machine's cores to meet less often.
const ENOUGH_SHARDS: usize = 256;

/// How many shards hold `max_keys`: a power of two.
pub(super) fn count_for(max_keys: usize) -> usize {
    let for_cores = (max_keys / LEAST_PER_SHARD).clamp(1, ENOUGH_SHARDS);
    let for_pauses = max_keys.div_ceil(MOST_PER_SHARD).next_power_of_two();
    for_pauses.max((for_cores + 1).next_power_of_two() / 2)
}

/// Keeps the locks of two shards out of one cache line, and of the pair that is prefetched together.
#[repr(align(128))]
pub(super) struct Padded<T>(pub(super) T);

/// One lock's worth of keys.
pub(super) struct Shard<K, R: Rule> {
    slots: HashTable<Slot<K, R::State>>,
    room: usize,
    /// A sweep before then would free nothing: microseconds.
    none_fresh_until: u64,
    /// The latest time at which a new key came: microseconds.
    latest: u64,
    allowed: u64,
    denied: u64,
    crowded_out: u64,
    evicted: u64,
}

struct Slot<K, S> {
    key: K,
    state: S,
}

impl<K: Hash + Eq, R: Rule> Shard<K, R> {
    pub(super) const fn with_room(room: usize) -> Self {
        Self {
            slots: HashTable::new(),
            room,
            none_fresh_until: 0,
            latest: 0,
            allowed: 0,
            denied: 0,
            crowded_out: 0,
            evicted: 0,
        }
    }

    pub(super) fn stats(&self) -> Stats {
        Stats {
            allowed: self.allowed,
            denied: self.denied,
            crowded_out: self.crowded_out,
            evicted: self.evicted,
            keys: self.slots.len(),
        }
    }

    #[inline]
    #[expect(clippy::too_many_arguments, reason = "one call, inlined")]
    pub(super) fn take<Q>(
        &mut self,
        hash: u64,
        key: &Q,
        rule: &R,
        now: u64,
        cost: u32,
        hasher: &DefaultHashBuilder,
        overflow: Option<&Mutex<R::State>>,
    ) -> Decision
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ToOwned<Owned = K> + ?Sized,
    {
        let decision = match self.slots.find_mut(hash, |slot| slot.key.borrow() == key) {
            Some(slot) => {
                let decision = rule.take(&mut slot.state, now, cost);
                // It may be whole earlier than the last sweep knew: under another quota, for example.
                self.none_fresh_until = self.none_fresh_until.min(slot.state.fresh_at());
                decision
            }
            None => self.take_as_new(hash, key, rule, now, cost, hasher, overflow),
        };
        if decision.is_allowed() {
            self.allowed += 1;
        } else {
            self.denied += 1;
        }
        decision
    }

    pub(super) fn peek<Q>(&self, hash: u64, key: &Q, rule: &R, now: u64, cost: u32) -> Decision
    where
        K: Borrow<Q>,
        Q: Eq + ?Sized,
    {
        match self.find(hash, key) {
            Some(state) => rule.peek(state, now, cost),
            None => rule.peek(&R::State::default(), now, cost),
        }
    }

    /// Tokens that could be taken at once, as far as a cost can say.
    pub(super) fn available<Q>(&self, hash: u64, key: &Q, rule: &R, now: u64) -> u32
    where
        K: Borrow<Q>,
        Q: Eq + ?Sized,
    {
        let available = match self.find(hash, key) {
            Some(state) => rule.available(state, now),
            None => rule.available(&R::State::default(), now),
        };
        u32::try_from(available).unwrap_or(u32::MAX)
    }

    /// A key that has been forgotten has its whole quota: there is nothing to give back.
    pub(super) fn refund<Q>(&mut self, hash: u64, key: &Q, rule: &R, now: u64, taken_at: u64, cost: u32)
    where
        K: Borrow<Q>,
        Q: Eq + ?Sized,
    {
        if let Some(slot) = self.slots.find_mut(hash, |slot| slot.key.borrow() == key) {
            rule.refund(&mut slot.state, now, taken_at, cost);
            // It may be whole earlier than the last sweep knew.
            self.none_fresh_until = 0;
        }
    }

    fn find<Q>(&self, hash: u64, key: &Q) -> Option<&R::State>
    where
        K: Borrow<Q>,
        Q: Eq + ?Sized,
    {
        self.slots.find(hash, |slot| slot.key.borrow() == key).map(|slot| &slot.state)
    }

    #[cold]
    #[expect(clippy::too_many_arguments, reason = "those of its caller")]
    fn take_as_new<Q>(
        &mut self,
        hash: u64,
        key: &Q,
        rule: &R,
        now: u64,
        cost: u32,
        hasher: &DefaultHashBuilder,
        overflow: Option<&Mutex<R::State>>,
    ) -> Decision
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ToOwned<Owned = K> + ?Sized,
    {
        let mut state = R::State::default();
        let decision = rule.take(&mut state, now, cost);
        if !decision.is_allowed() {
            // Still whole: nothing to remember.
            return decision;
        }
        if self.slots.len() >= self.room {
            self.sweep(rule, now);
        }
        self.latest = now;
        if self.slots.len() >= self.room {
            self.crowded_out += 1;
            return match overflow {
                Some(shared) => rule.take(&mut shared.lock(), now, cost),
                None => Decision::Denied {
                    retry_after: Duration::from_micros(self.none_fresh_until.saturating_sub(now)),
                },
            };
        }
        self.slots.insert_unique(hash, Slot { key: key.to_owned(), state }, |slot| {
            hasher.hash_one(slot.key.borrow())
        });
        decision
    }

    /// Forgets the keys whose quota is whole again.
    fn sweep(&mut self, rule: &R, now: u64) {
        /// Threads overtake each other by less.
        const SET_BACK: u64 = 1_000_000;
        let set_back = self.latest > now.saturating_add(SET_BACK);
        if now < self.none_fresh_until && !set_back {
            return;
        }
        let before = self.slots.len();
        let mut next = u64::MAX;
        self.slots.retain(|slot| {
            if set_back {
                rule.mend(&mut slot.state, now);
            }
            let fresh_at = slot.state.fresh_at();
            if fresh_at > now {
                next = next.min(fresh_at);
            }
            fresh_at > now
        });
        self.evicted += (before - self.slots.len()) as u64;
        self.none_fresh_until = if self.slots.len() < self.room { 0 } else { next };
    }
}
