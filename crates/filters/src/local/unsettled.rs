//! Writes of which the end is not known.

use std::{
    collections::{HashMap, VecDeque},
    fmt,
    sync::Arc,
    time::Duration,
};

use backends::{Error, ErrorKind, Result};
use clock::{Clock, Time};
use parking_lot::Mutex;

use crate::membership::Unsettled;

/// The keys of writes that were announced: those under way, and those in doubt until their time is over.
pub(super) struct Registry {
    clock: Box<dyn Clock>,
    doubt: Duration,
    most: usize,
    writes: Mutex<Writes>,
}

#[derive(Default)]
struct Writes {
    next: u64,
    open: HashMap<u64, Box<[u64]>>,
    doubts: VecDeque<(Time, Box<[u64]>)>,
    keys: usize,
}

impl Registry {
    pub(super) fn new(clock: Box<dyn Clock>, doubt: Duration, most: usize) -> Self {
        Self { clock, doubt, most, writes: Mutex::default() }
    }

    /// Enters a write.
    ///
    /// # Errors
    ///
    /// `Overloaded` when there are too many.
    pub(super) fn enter(self: &Arc<Self>, hashes: &[u64]) -> Result<Entered> {
        let mut writes = self.writes.lock();
        writes.forget(self.clock.now());
        if writes.keys + hashes.len() > self.most {
            let message = format!("{} unsettled writes, of at most {}", writes.keys, self.most);
            return Err(Error::new(ErrorKind::Overloaded, "memory", "announce", message));
        }
        let id = writes.next;
        writes.next += 1;
        writes.keys += hashes.len();
        writes.open.insert(id, hashes.into());
        Ok(Entered { registry: Arc::clone(self), id })
    }

    /// Enters what was written before this process began, in doubt from now on.
    pub(super) fn inherit(&self, hashes: Vec<u64>) {
        let until = self.clock.now() + self.doubt;
        let mut writes = self.writes.lock();
        writes.keys += hashes.len();
        writes.doubts.push_back((until, hashes.into()));
    }

    /// The keys of all writes that are not settled.
    pub(super) fn keys(&self) -> Vec<u64> {
        let mut writes = self.writes.lock();
        writes.forget(self.clock.now());
        let doubts = writes.doubts.iter().map(|(_, hashes)| hashes);
        writes.open.values().chain(doubts).flat_map(|hashes| hashes.iter().copied()).collect()
    }

    pub(super) fn len(&self) -> usize {
        let mut writes = self.writes.lock();
        writes.forget(self.clock.now());
        writes.keys
    }

    fn leave(&self, id: u64, settled: bool) {
        let mut writes = self.writes.lock();
        let Some(hashes) = writes.open.remove(&id) else { return };
        if settled {
            writes.keys -= hashes.len();
        } else {
            writes.doubts.push_back((self.clock.now() + self.doubt, hashes));
        }
    }
}

impl Writes {
    /// Forgets the doubts whose time is over.
    fn forget(&mut self, now: Time) {
        while self.doubts.front().is_some_and(|(until, _)| *until <= now) {
            self.keys -= self.doubts.pop_front().map_or(0, |(_, hashes)| hashes.len());
        }
    }
}

impl fmt::Debug for Registry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Registry").field("len", &self.len()).field("most", &self.most).finish_non_exhaustive()
    }
}

/// A write in the registry; in doubt when it is dropped.
pub(super) struct Entered {
    registry: Arc<Registry>,
    id: u64,
}

impl Unsettled for Entered {
    fn settled(self: Box<Self>) {
        self.registry.leave(self.id, true);
    }

    fn in_doubt(self: Box<Self>) {}
}

impl Drop for Entered {
    fn drop(&mut self) {
        self.registry.leave(self.id, false);
    }
}
