//! Invalidations that could not be delivered, to be tried again.

use std::{
    collections::{HashMap, VecDeque},
    sync::atomic::{AtomicUsize, Ordering},
};

use parking_lot::Mutex;

use crate::{Floor, Key};

/// A bounded queue: of one key, the highest floor counts.
#[derive(Debug)]
pub(crate) struct Pending<K> {
    capacity: usize,
    /// As many as are in the map: read on the way of every hit.
    count: AtomicUsize,
    state: Mutex<State<K>>,
}

#[derive(Debug)]
struct State<K> {
    waiting: HashMap<K, Waiting>,
    /// Whose turn it is.
    order: VecDeque<K>,
    pushes: u64,
    /// Someone is delivering.
    at_work: bool,
}

/// An invalidation that waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Waiting {
    pub(crate) floor: Floor,
    /// Another number whenever one more write asked for it.
    push: u64,
}

/// What became of an invalidation that could not be delivered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Queued {
    /// Kept; someone delivers already.
    Kept,
    /// Kept; the caller is to see that someone delivers.
    KeptFirst,
    /// There was no room.
    Full,
}

impl<K: Key> Pending<K> {
    pub(crate) fn new(capacity: usize) -> Self {
        let state = State { waiting: HashMap::new(), order: VecDeque::new(), pushes: 0, at_work: false };
        Self { capacity, count: AtomicUsize::new(0), state: Mutex::new(state) }
    }

    pub(crate) fn push(&self, key: &K, floor: Floor) -> Queued {
        let mut state = self.state.lock();
        state.pushes += 1;
        let push = state.pushes;
        if let Some(present) = state.waiting.get_mut(key) {
            *present = Waiting { floor: floor.max(present.floor), push };
        } else if state.waiting.len() >= self.capacity {
            return Queued::Full;
        } else {
            state.waiting.insert(key.clone(), Waiting { floor, push });
            state.order.push_back(key.clone());
            self.count.fetch_add(1, Ordering::Release);
        }
        if std::mem::replace(&mut state.at_work, true) { Queued::Kept } else { Queued::KeptFirst }
    }

    /// Whether an invalidation of `key` waits to be delivered.
    #[inline]
    pub(crate) fn holds(&self, key: &K) -> bool {
        self.count.load(Ordering::Acquire) > 0 && self.state.lock().waiting.contains_key(key)
    }

    pub(crate) fn len(&self) -> usize {
        self.count.load(Ordering::Acquire)
    }

    /// Whose turn it is; `None` ends the work of who delivers.
    pub(crate) fn peek(&self) -> Option<(K, Waiting)> {
        let mut state = self.state.lock();
        let first = state.order.front().and_then(|key| Some((key.clone(), *state.waiting.get(key)?)));
        state.at_work = first.is_some();
        first
    }

    /// `key`, whose turn it was, was delivered as it was `waiting`; one more write may have asked meanwhile.
    pub(crate) fn delivered(&self, key: &K, waiting: Waiting) {
        let mut state = self.state.lock();
        if state.waiting.get(key) == Some(&waiting) {
            state.waiting.remove(key);
            if state.order.front() == Some(key) {
                state.order.pop_front();
            } else {
                state.order.retain(|other| other != key);
            }
            self.count.fetch_sub(1, Ordering::Release);
        }
    }

    /// The next one's turn: this one was not delivered.
    pub(crate) fn pass(&self) {
        let mut state = self.state.lock();
        if let Some(first) = state.order.pop_front() {
            state.order.push_back(first);
        }
    }

    /// Whoever delivered has stopped before the end.
    pub(crate) fn abandoned(&self) {
        self.state.lock().at_work = false;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Version;

    #[test]
    fn keeps_the_highest_floor_of_each_key_and_no_more_keys_than_fit() {
        let floor = |version| Floor::at(Version::new(version).unwrap());
        let pending: Pending<u64> = Pending::new(1);
        assert_eq!(pending.push(&1, floor(5)), Queued::KeptFirst);
        assert_eq!(pending.push(&2, floor(1)), Queued::Full);
        assert_eq!(pending.push(&1, floor(3)), Queued::Kept);
        let (key, waiting) = pending.peek().unwrap();
        assert_eq!((key, waiting.floor), (1, floor(5)));
        assert_eq!(pending.push(&1, floor(5)), Queued::Kept);
        pending.delivered(&1, waiting);
        assert!(pending.holds(&1), "one more write asked for it while it was on its way");
        pending.delivered(&1, pending.peek().unwrap().1);
        assert_eq!((pending.holds(&1), pending.peek(), pending.len()), (false, None, 0));
        assert_eq!(pending.push(&1, floor(8)), Queued::KeptFirst, "who delivered has gone home");
    }

    #[test]
    fn one_that_cannot_be_delivered_lets_the_others_pass() {
        let pending: Pending<u64> = Pending::new(10);
        for key in 1..4 {
            pending.push(&key, Floor::UNKNOWN);
        }
        pending.pass();
        let (key, waiting) = pending.peek().unwrap();
        assert_eq!(key, 2);
        pending.delivered(&2, waiting);
        let turns: Vec<u64> = (0..3).map(|_| (pending.peek().unwrap().0, pending.pass()).0).collect();
        assert_eq!(turns, [3, 1, 3]);
    }
}
