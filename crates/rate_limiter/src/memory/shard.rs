use std::{
    borrow::Borrow,
    hash::{BuildHasher, Hash},
    time::Duration,
};

use hashbrown::{DefaultHashBuilder, HashTable};

use super::Stats;
use crate::{
    Decision, Limit,
    limit::Rule,
    token_bucket::{State, TokenBucket},
};

/// A shard of this size is swept, or grown, in some 20 us: that is the longest pause of a request.
const MOST_PER_SHARD: usize = 4_096;
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

/// One lock's worth of keys.
pub(super) struct Shard<K> {
    slots: HashTable<Slot<K>>,
    room: usize,
    /// A sweep before then would free nothing: microseconds.
    none_full_until: u64,
    allowed: u64,
    denied: u64,
    crowded_out: u64,
    evicted: u64,
}

struct Slot<K> {
    key: K,
    state: State,
}

impl<K: Hash + Eq> Shard<K> {
    pub(super) const fn with_room(room: usize) -> Self {
        Self {
            slots: HashTable::new(),
            room,
            none_full_until: 0,
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
    pub(super) fn decide<Q>(
        &mut self,
        hash: u64,
        key: &Q,
        limit: &Limit,
        now: u64,
        cost: u32,
        hasher: &DefaultHashBuilder,
    ) -> Decision
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ToOwned<Owned = K> + ?Sized,
    {
        let Rule::TokenBucket(rule) = &limit.rule;
        let decision = match self.slots.find_mut(hash, |slot| slot.key.borrow() == key) {
            Some(slot) => {
                let (state, decision) = rule.step(slot.state, now, cost);
                // A denial changes nothing: the cache line stays clean.
                if state != slot.state {
                    slot.state = state;
                }
                decision
            }
            None => self.decide_on_new(hash, key, rule, now, cost, hasher),
        };
        if decision.is_allowed() {
            self.allowed += 1;
        } else {
            self.denied += 1;
        }
        decision
    }

    #[cold]
    fn decide_on_new<Q>(
        &mut self,
        hash: u64,
        key: &Q,
        rule: &TokenBucket,
        now: u64,
        cost: u32,
        hasher: &DefaultHashBuilder,
    ) -> Decision
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ToOwned<Owned = K> + ?Sized,
    {
        let (state, decision) = rule.step(State::default(), now, cost);
        if !decision.is_allowed() {
            // Still full: nothing to remember.
            return decision;
        }
        if self.slots.len() >= self.room {
            self.sweep(now);
        }
        if self.slots.len() >= self.room {
            self.crowded_out += 1;
            return Decision::Denied { retry_after: Duration::from_micros(self.none_full_until - now) };
        }
        let slot = Slot { key: key.to_owned(), state };
        self.slots.insert_unique(hash, slot, |slot| hasher.hash_one(slot.key.borrow()));
        decision
    }

    /// Forgets the keys whose quota is whole again.
    fn sweep(&mut self, now: u64) {
        if now < self.none_full_until {
            return;
        }
        let before = self.slots.len();
        let mut next = u64::MAX;
        self.slots.retain(|slot| {
            let full_at = slot.state.full_at;
            if full_at > now {
                next = next.min(full_at);
            }
            full_at > now
        });
        self.evicted += (before - self.slots.len()) as u64;
        self.none_full_until = if self.slots.len() < self.room { 0 } else { next };
    }
}
