//! Invalidations that could not be delivered, to be tried again.

use std::{
    collections::HashMap,
    sync::atomic::{AtomicUsize, Ordering},
};

use parking_lot::Mutex;

use crate::{Floor, Key};

/// A bounded set: of one key, the highest floor counts.
#[derive(Debug)]
pub(crate) struct Pending<K> {
    capacity: usize,
    /// As many as are in the map: read on the way of every hit.
    count: AtomicUsize,
    state: Mutex<State<K>>,
}

#[derive(Debug)]
struct State<K> {
    floors: HashMap<K, Floor>,
    /// Someone is delivering.
    at_work: bool,
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
        let state = State { floors: HashMap::new(), at_work: false };
        Self { capacity, count: AtomicUsize::new(0), state: Mutex::new(state) }
    }

    pub(crate) fn push(&self, key: &K, floor: Floor) -> Queued {
        let mut state = self.state.lock();
        if let Some(present) = state.floors.get_mut(key) {
            *present = floor.max(*present);
        } else if state.floors.len() >= self.capacity {
            return Queued::Full;
        } else {
            state.floors.insert(key.clone(), floor);
            self.count.fetch_add(1, Ordering::Release);
        }
        if std::mem::replace(&mut state.at_work, true) { Queued::Kept } else { Queued::KeptFirst }
    }

    /// Whether an invalidation of `key` waits to be delivered.
    #[inline]
    pub(crate) fn holds(&self, key: &K) -> bool {
        self.count.load(Ordering::Acquire) > 0 && self.state.lock().floors.contains_key(key)
    }

    pub(crate) fn len(&self) -> usize {
        self.count.load(Ordering::Acquire)
    }

    /// One that waits; `None` ends the work of who delivers.
    pub(crate) fn peek(&self) -> Option<(K, Floor)> {
        let mut state = self.state.lock();
        let first = state.floors.iter().next().map(|(key, floor)| (key.clone(), *floor));
        state.at_work = first.is_some();
        first
    }

    /// `floor` of `key` was delivered; a higher one may have come meanwhile.
    pub(crate) fn delivered(&self, key: &K, floor: Floor) {
        let mut state = self.state.lock();
        if state.floors.get(key) == Some(&floor) {
            state.floors.remove(key);
            self.count.fetch_sub(1, Ordering::Release);
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
        assert_eq!(pending.peek(), Some((1, floor(5))));
        assert_eq!(pending.push(&1, floor(7)), Queued::Kept);
        pending.delivered(&1, floor(5));
        assert!(pending.holds(&1), "a higher floor came meanwhile");
        pending.delivered(&1, floor(7));
        assert_eq!((pending.holds(&1), pending.peek(), pending.len()), (false, None, 0));
        assert_eq!(pending.push(&1, floor(8)), Queued::KeptFirst, "who delivered has gone home");
    }
}
