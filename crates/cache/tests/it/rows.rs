//! A database for tests that does as it is told.

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};

use cache::{Error, ErrorKind, Floor, Reads, Result, Row, Source, SourceError, Version};
use parking_lot::Mutex;
use tokio::sync::Semaphore;

/// Rows with the version of their write. Clones share them.
#[derive(Clone, Debug)]
pub(crate) struct Rows(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    rows: Mutex<HashMap<u64, (u64, Option<String>)>>,
    writes: AtomicU64,
    loads: AtomicU64,
    /// What the next loads do, instead of answering.
    mishaps: Mutex<Vec<Mishap>>,
    /// Closed gates hold loads between reading and answering.
    gate: Semaphore,
    write_gate: Semaphore,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mishap {
    Fails,
    Panics,
}

const OPEN: usize = 1 << 20;

impl Rows {
    pub(crate) fn new() -> Self {
        Self(Arc::new(Inner {
            rows: Mutex::default(),
            writes: AtomicU64::new(0),
            loads: AtomicU64::new(0),
            mishaps: Mutex::default(),
            gate: Semaphore::new(OPEN),
            write_gate: Semaphore::new(OPEN),
        }))
    }

    pub(crate) fn with(self, key: u64, value: &str) -> Self {
        self.set(key, Some(value));
        self
    }

    /// Writes past every cache.
    pub(crate) fn set(&self, key: u64, value: Option<&str>) -> Version {
        let version = self.0.writes.fetch_add(1, Relaxed) + 1;
        self.0.rows.lock().insert(key, (version, value.map(str::to_owned)));
        Version::new(version).unwrap()
    }

    pub(crate) fn loads(&self) -> u64 {
        self.0.loads.load(Relaxed)
    }

    /// How often a row was written, past a cache or by it.
    pub(crate) fn writes(&self) -> u64 {
        self.0.writes.load(Relaxed)
    }

    pub(crate) fn next_load(&self, mishap: Mishap) {
        self.0.mishaps.lock().push(mishap);
    }

    /// From now on loads read, and then wait until they are let through.
    pub(crate) fn hold(&self) {
        self.0.gate.try_acquire_many(OPEN.try_into().unwrap()).unwrap().forget();
    }

    pub(crate) fn let_through(&self) {
        self.0.gate.add_permits(OPEN);
    }

    /// From now on writes wait before they return.
    pub(crate) fn hold_writes(&self) {
        self.0.write_gate.try_acquire_many(OPEN.try_into().unwrap()).unwrap().forget();
    }

    pub(crate) fn let_writes_through(&self) {
        self.0.write_gate.add_permits(OPEN);
    }
}

impl Source<u64, String> for Rows {
    fn reads(&self) -> Reads {
        Reads::Latest
    }

    async fn load(&self, key: &u64) -> Result<Row<String>> {
        self.0.loads.fetch_add(1, Relaxed);
        let row = self.0.rows.lock().get(key).cloned();
        let mishap = self.0.mishaps.lock().pop();
        drop(self.0.gate.acquire().await);
        match mishap {
            Some(Mishap::Fails) => return Err(Error::new(ErrorKind::Unavailable, "rows", "load", "no luck")),
            Some(Mishap::Panics) => panic!("a loader panics"),
            None => {}
        }
        Ok(match row {
            Some((version, Some(value))) => Row::new(value, Version::new(version).unwrap()),
            _ => Row::ABSENT,
        })
    }

    async fn store(&self, key: &u64, value: Option<&String>) -> Result<Floor, SourceError> {
        let version = self.set(*key, value.map(String::as_str));
        drop(self.0.write_gate.acquire().await);
        Ok(Floor::below(version))
    }
}
