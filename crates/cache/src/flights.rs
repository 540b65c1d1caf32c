//! One load for all who wait for a key in this process.

use std::{
    collections::HashMap,
    fmt,
    hash::{BuildHasher, RandomState},
    sync::Arc,
    thread,
};

use backends::Error;
use parking_lot::Mutex;
use tokio::sync::watch;

use crate::Key;

/// Loads under way, by key.
pub(crate) struct Flights<K, V> {
    shards: Box<[Shard<K, V>]>,
    hasher: RandomState,
}

type Shard<K, V> = Mutex<HashMap<K, Arc<Flight<V>>>>;

type Flight<V> = watch::Sender<Course<V>>;

/// How far a flight is.
#[derive(Debug)]
struct Course<V> {
    steps: u64,
    landing: Option<Landing<V>>,
}

/// The steps of a flight that were begun before something was read: it is as new as anyone may expect who came before.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Step(u64);

/// What became of a load, for those who waited.
#[derive(Clone, Debug)]
pub(crate) enum Landing<V> {
    /// What was read in a step. A write may have returned since: who came later looks again.
    Value(Option<V>, Step),
    /// The load failed.
    Failed(Arc<Error>),
    /// The loader panicked.
    Panicked,
    /// Nothing was loaded: who waited looks again.
    Nothing,
}

/// What a caller is to a flight.
pub(crate) enum Role<'a, K: Key, V> {
    Leader(Leader<'a, K, V>),
    Follower(Follower<V>),
}

/// Who loads. Dropped before it [lands](Leader::land), it frees those who wait.
pub(crate) struct Leader<'a, K: Key, V> {
    flights: &'a Flights<K, V>,
    key: &'a K,
    flight: Arc<Flight<V>>,
}

/// Who waits.
pub(crate) struct Follower<V> {
    flight: watch::Receiver<Course<V>>,
    /// The steps that had been begun before it came.
    came_after: u64,
}

impl<K: Key, V: Clone> Flights<K, V> {
    pub(crate) fn new() -> Self {
        let shards = thread::available_parallelism().map_or(4, usize::from) * 8;
        let shards = (0..shards.next_power_of_two()).map(|_| Mutex::default()).collect();
        Self { shards, hasher: RandomState::new() }
    }

    /// Begins a flight, or joins the one under way.
    pub(crate) fn join<'a>(&'a self, key: &'a K) -> Role<'a, K, V> {
        let mut shard = self.shard(key).lock();
        if let Some(flight) = shard.get(key) {
            let came_after = flight.borrow().steps;
            return Role::Follower(Follower { flight: flight.subscribe(), came_after });
        }
        let flight = Arc::new(watch::Sender::new(Course { steps: 0, landing: None }));
        shard.insert(key.clone(), Arc::clone(&flight));
        Role::Leader(Leader { flights: self, key, flight })
    }

    /// Whether a load of `key` is under way.
    pub(crate) fn has(&self, key: &K) -> bool {
        self.shard(key).lock().contains_key(key)
    }

    /// From now on nobody joins the load under way.
    pub(crate) fn detach(&self, key: &K) {
        self.shard(key).lock().remove(key);
    }

    fn shard(&self, key: &K) -> &Shard<K, V> {
        // The lower bits choose the bucket within the shard.
        let index = (self.hasher.hash_one(key) >> 32) as usize & (self.shards.len() - 1);
        &self.shards[index]
    }
}

impl<K: Key, V> Leader<'_, K, V> {
    /// Begins a step, in which something is read.
    pub(crate) fn step(&self) -> Step {
        let mut step = 0;
        self.flight.send_if_modified(|course| {
            course.steps += 1;
            step = course.steps;
            // Nobody has to wake up for it.
            false
        });
        Step(step)
    }

    /// Tells those who wait, and ends the flight.
    pub(crate) fn land(self, landing: Landing<V>) {
        self.flight.send_modify(|course| course.landing = Some(landing));
    }
}

impl<K: Key, V> Drop for Leader<'_, K, V> {
    fn drop(&mut self) {
        let index = (self.flights.hasher.hash_one(self.key) >> 32) as usize & (self.flights.shards.len() - 1);
        let mut shard = self.flights.shards[index].lock();
        // A detached flight may have a successor.
        if shard.get(self.key).is_some_and(|flight| Arc::ptr_eq(flight, &self.flight)) {
            shard.remove(self.key);
        }
        drop(shard);
        self.flight.send_if_modified(|course| {
            if course.landing.is_some() {
                return false;
            }
            course.landing = Some(if thread::panicking() { Landing::Panicked } else { Landing::Nothing });
            true
        });
    }
}

impl<V: Clone> Follower<V> {
    /// Waits for the flight to end; what it was good for, for this one. Cancel-safe.
    pub(crate) async fn wait(mut self) -> Landing<V> {
        let landed = self.flight.wait_for(|course| course.landing.is_some()).await;
        match landed.as_deref().map(|course| &course.landing) {
            Ok(Some(Landing::Value(_, Step(step)))) if self.came_after >= *step => Landing::Nothing,
            Ok(Some(landing)) => landing.clone(),
            // The leader is gone, and told nobody: as if it had been cancelled.
            Ok(None) | Err(_) => Landing::Nothing,
        }
    }
}

impl<K, V> fmt::Debug for Flights<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let under_way: usize = self.shards.iter().map(|shard| shard.lock().len()).sum();
        f.debug_struct("Flights").field("under_way", &under_way).finish_non_exhaustive()
    }
}
