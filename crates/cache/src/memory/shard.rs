//! One shard: a table of indices, what they stand for, and the order in which they are evicted.

use std::{
    borrow::Borrow,
    hash::{BuildHasher, Hash},
};

use hashbrown::HashTable;

use super::{
    Counts, HashBuilder, Policy,
    ghost::Ghost,
    links::{Links, Queue},
};
use crate::{
    Entry, Floor,
    slot::{Content, Filled, Leased, Slot, Token},
};

/// The nodes are found by index: from the table and from the queues.
pub(super) struct Shard<K, V> {
    table: HashTable<u32>,
    nodes: Vec<Option<Node<K, V>>>,
    links: Links,
    ghost: Ghost,
    capacity: usize,
    policy: Policy,
    counts: Counts,
}

pub(super) struct Node<K, V> {
    key: K,
    slot: Slot<V>,
}

/// What was evicted to make room: to be dropped when the shard is no longer locked, since that may take long.
pub(super) type Dropped<K, V> = Option<Node<K, V>>;

/// When, and how keys are hashed.
#[derive(Clone, Copy)]
pub(super) struct At<'a> {
    pub(super) now: u64,
    pub(super) hash: u64,
    pub(super) hasher: &'a HashBuilder,
}

impl<K: Clone + Eq + Hash, V: Clone> Shard<K, V> {
    pub(super) fn new(capacity: usize, policy: Policy) -> Self {
        let main = capacity - small_room(capacity);
        let ghost = Ghost::new(if policy == Policy::S3Fifo { main } else { 0 });
        Self {
            table: HashTable::new(),
            nodes: Vec::new(),
            links: Links::new(),
            ghost,
            capacity,
            policy,
            counts: Counts::default(),
        }
    }

    pub(super) fn len(&self) -> usize {
        self.table.len()
    }

    pub(super) fn counts(&self) -> Counts {
        Counts { entries: self.len(), bare: self.links.len(Queue::Bare), ..self.counts }
    }

    #[inline]
    pub(super) fn get<Q>(&mut self, at: At<'_>, key: &Q) -> (Option<Entry<V>>, Dropped<K, V>)
    where
        K: Borrow<Q>,
        Q: Eq + ?Sized,
    {
        let Some(index) = self.find(at.hash, key) else {
            self.counts.misses += 1;
            return (None, None);
        };
        let Some(content) = self.slot(index).and_then(|slot| slot.get(at.now)) else {
            self.counts.misses += 1;
            return (None, self.forget_if_ended(at, index));
        };
        let entry = entry(content, at.now);
        self.counts.hits += 1;
        self.touch(index);
        (Some(entry), None)
    }

    pub(super) fn lease(
        &mut self,
        at: At<'_>,
        key: &K,
        token: Token,
        ms: u64,
        seen: Option<u64>,
    ) -> (Leased<Entry<V>>, Dropped<K, V>) {
        let (index, dropped) = self.find_or_insert(at, key);
        let leased = match self.slot_mut(index).lease(at.now, token, ms, seen) {
            Leased::Granted => Leased::Granted,
            Leased::Held { for_ms } => Leased::Held { for_ms },
            Leased::Filled(content) => Leased::Filled(entry(content, at.now)),
        };
        match leased {
            Leased::Filled(_) => self.touch(index),
            // It is the youngest of those without content again.
            Leased::Granted if self.links.queue(index) == Queue::Bare => {
                self.links.move_to_front(index, Queue::Bare);
            }
            _ => (),
        }
        (leased, dropped)
    }

    pub(super) fn fill(
        &mut self,
        at: At<'_>,
        key: &K,
        token: Token,
        content: Content<V>,
    ) -> (Filled, Dropped<K, V>) {
        let Some(index) = self.find(at.hash, key) else {
            return (Slot::default().fill(at.now, token, content), None);
        };
        let filled = self.slot_mut(index).fill(at.now, token, content);
        match filled {
            Filled::Stored => {
                self.has_content(at, index);
                (filled, None)
            }
            Filled::Refused(_) => (filled, self.forget_if_ended(at, index)),
        }
    }

    pub(super) fn release(&mut self, at: At<'_>, key: &K, token: Token) -> Dropped<K, V> {
        let index = self.find(at.hash, key)?;
        self.slot_mut(index).release(token);
        self.forget_if_ended(at, index)
    }

    pub(super) fn invalidate(&mut self, at: At<'_>, key: &K, floor: Floor, keep_ms: u64) -> Dropped<K, V> {
        if keep_ms == 0 && self.find(at.hash, key).is_none() {
            return None;
        }
        let (index, dropped) = self.find_or_insert(at, key);
        self.slot_mut(index).invalidate(at.now, floor, keep_ms);
        self.links.move_to_front(index, Queue::Bare);
        // Of the two there is one at most: a floor that made room has not ended.
        self.forget_if_ended(at, index).or(dropped)
    }

    pub(super) fn put(&mut self, at: At<'_>, key: &K, content: Content<V>) -> Dropped<K, V> {
        let (index, dropped) = self.find_or_insert(at, key);
        self.slot_mut(index).put(content);
        self.has_content(at, index);
        dropped
    }

    pub(super) fn remove(&mut self, at: At<'_>, key: &K) -> Dropped<K, V> {
        let index = self.find(at.hash, key)?;
        self.forget(at.hash, index)
    }

    /// Drops all content and revokes all leases; floors stay.
    pub(super) fn clear(&mut self, at: At<'_>) {
        self.ghost.clear();
        for index in 0..self.nodes.len() as u32 {
            let Some(node) = &mut self.nodes[index as usize] else { continue };
            node.slot.invalidate(at.now, Floor::UNKNOWN, 0);
            if node.slot.ends_at() <= at.now {
                let hash = at.hasher.hash_one(&node.key);
                drop(self.forget(hash, index));
            } else {
                self.links.move_to_front(index, Queue::Bare);
            }
        }
    }

    #[inline]
    fn find<Q>(&self, hash: u64, key: &Q) -> Option<u32>
    where
        K: Borrow<Q>,
        Q: Eq + ?Sized,
    {
        let is_it = |index: &u32| {
            let node = &self.nodes[*index as usize];
            node.as_ref().is_some_and(|node| node.key.borrow() == key)
        };
        self.table.find(hash, is_it).copied()
    }

    #[inline]
    fn slot(&self, index: u32) -> Option<&Slot<V>> {
        self.nodes[index as usize].as_ref().map(|node| &node.slot)
    }

    #[inline]
    fn slot_mut(&mut self, index: u32) -> &mut Slot<V> {
        match &mut self.nodes[index as usize] {
            Some(node) => &mut node.slot,
            None => unreachable!("an index in the table has a node"),
        }
    }

    fn find_or_insert(&mut self, at: At<'_>, key: &K) -> (u32, Dropped<K, V>) {
        if let Some(index) = self.find(at.hash, key) {
            return (index, None);
        }
        let node = Node { key: key.clone(), slot: Slot::default() };
        let dropped = if self.len() >= self.capacity { self.evict(at) } else { None };
        if !self.links.is_any_free() && self.nodes.len() == self.nodes.capacity() {
            // Twice as many, but none that are never used.
            let additional = self.nodes.len().max(8).min(self.capacity - self.nodes.len());
            self.nodes.reserve_exact(additional);
            self.links.reserve_exact(additional);
        }
        let index = self.links.take(Queue::Bare);
        match self.nodes.get_mut(index as usize) {
            Some(place) => *place = Some(node),
            None => self.nodes.push(Some(node)),
        }
        let nodes = &self.nodes;
        let rehash =
            |index: &u32| nodes[*index as usize].as_ref().map_or(0, |node| at.hasher.hash_one(&node.key));
        self.table.insert_unique(at.hash, index, rehash);
        (index, dropped)
    }

    /// Notes that an entry was used.
    #[inline]
    fn touch(&mut self, index: u32) {
        match self.policy {
            Policy::Lru => self.links.move_to_front(index, Queue::Main),
            Policy::S3Fifo => self.links.used(index),
        }
    }

    /// Notes that an entry was filled.
    fn has_content(&mut self, at: At<'_>, index: u32) {
        match (self.policy, self.links.queue(index)) {
            (Policy::Lru, _) => self.links.move_to_front(index, Queue::Main),
            (Policy::S3Fifo, Queue::Bare) => {
                let queue = if self.ghost.remove(at.hash) { Queue::Main } else { Queue::Small };
                self.links.move_to_front(index, queue);
                self.links.set_uses(index, 0);
            }
            (Policy::S3Fifo, Queue::Small | Queue::Main) => (),
        }
    }

    fn has_ended(&self, now: u64, index: u32) -> bool {
        self.slot(index).is_none_or(|slot| slot.ends_at() <= now)
    }

    fn forget_if_ended(&mut self, at: At<'_>, index: u32) -> Dropped<K, V> {
        if !self.has_ended(at.now, index) {
            return None;
        }
        self.counts.expired += u64::from(self.links.queue(index) != Queue::Bare);
        self.forget(at.hash, index)
    }

    fn forget(&mut self, hash: u64, index: u32) -> Dropped<K, V> {
        if let Ok(entry) = self.table.find_entry(hash, |i| *i == index) {
            entry.remove();
        }
        self.links.give(index);
        self.nodes[index as usize].take()
    }

    fn evict(&mut self, at: At<'_>) -> Dropped<K, V> {
        let index = self.victim(at.now)?;
        let hash = at.hasher.hash_one(&self.nodes[index as usize].as_ref()?.key);
        let queue = self.links.queue(index);
        if self.has_ended(at.now, index) {
            self.counts.expired += u64::from(queue != Queue::Bare);
        } else {
            self.counts.evicted += 1;
            if queue == Queue::Small {
                self.ghost.insert(hash);
            }
        }
        self.forget(hash, index)
    }

    /// Who has to go. Leases and floors go first when they have run out, or take more than their share: else keys that
    /// are asked for and never filled would push out all content; but a load that is under way needs its lease.
    fn victim(&mut self, now: u64) -> Option<u32> {
        let bare = self.links.back(Queue::Bare);
        let share = (self.capacity / 10).max((self.capacity / 2).min(16));
        let is_bare = |index: &u32| self.links.len(Queue::Bare) > share || self.has_ended(now, *index);
        if let Some(index) = bare.filter(is_bare) {
            return Some(index);
        }
        match self.policy {
            Policy::Lru => self.links.back(Queue::Main),
            Policy::S3Fifo => self.victim_of_s3_fifo(now),
        }
        .or(bare)
    }

    fn victim_of_s3_fifo(&mut self, now: u64) -> Option<u32> {
        let ended = [Queue::Small, Queue::Main].into_iter().filter_map(|queue| self.links.back(queue));
        if let Some(index) = ended.into_iter().find(|index| self.has_ended(now, *index)) {
            return Some(index);
        }
        let room = small_room(self.capacity);
        loop {
            let (small, main) = (self.links.back(Queue::Small), self.links.back(Queue::Main));
            let index = small.filter(|_| self.links.len(Queue::Small) >= room).or(main).or(small)?;
            let uses = self.links.uses(index);
            match self.links.queue(index) {
                Queue::Small if uses > 1 => self.links.set_uses(index, 0),
                Queue::Main if uses > 0 => self.links.set_uses(index, uses - 1),
                _ => return Some(index),
            }
            self.links.move_to_front(index, Queue::Main);
        }
    }
}

/// How many entries are on trial.
const fn small_room(capacity: usize) -> usize {
    if capacity < 10 { 1 } else { capacity / 10 }
}

#[inline]
fn entry<V: Clone>(content: &Content<V>, now: u64) -> Entry<V> {
    Entry {
        value: content.value.clone(),
        version: content.version,
        fresh_ms: content.fresh_until.cast_signed().wrapping_sub(now.cast_signed()),
        expires_ms: content.expires_at.saturating_sub(now),
        fresh_until: content.fresh_until,
        load_ms: content.load_ms,
    }
}
