//! After the run: whether the filter knows every row that the database has, and whether the cache finds them.

use std::time::Duration;

use bench::{Invariant, format::grouped};
use bytes::Bytes;
use cache::{Result, Store};
use clock::{Clock, PreciseClock};
use filters::{Answer, Membership};

use crate::{
    row::{INSERTED, is_of},
    workload::Shared,
};

/// Rows that are read through the cache: of those from the start, and of those inserted. Fewer where servers are asked.
const SAMPLE: u64 = 100_000;
const SAMPLE_OF_SERVERS: u64 = 10_000;
/// Keys that are read at once.
const BATCH: usize = 256;
/// For invalidations to be delivered, and for the store to be there.
const PATIENCE: Duration = Duration::from_secs(60);
const PAUSE: Duration = Duration::from_millis(5);

/// What was found.
#[derive(Clone, Debug, Default)]
pub(crate) struct Checked {
    /// Rows that the database named, and those of them that the filter denied. `None`: nobody looked.
    pub(crate) scanned: Option<(u64, u64)>,
    /// Rows that were read through the cache, of these rows that the run inserted, rows that were not found, and values of
    /// another row.
    pub(crate) read: u64,
    pub(crate) inserted: u64,
    pub(crate) lost: u64,
    pub(crate) wrong: u64,
    /// Why a rebuild failed.
    pub(crate) rebuild: Option<String>,
    /// What could not be looked at, and why.
    pub(crate) failed: Option<String>,
}

impl Checked {
    pub(crate) fn invariants(&self, interrupted: bool) -> Vec<Invariant> {
        let mut invariants = Vec::new();
        let mut invariant =
            |name: &str, held, detail| invariants.push(Invariant { name: name.to_owned(), held, detail });
        if let Some((scanned, denied)) = self.scanned {
            let detail = format!("{} of {} rows denied", grouped(denied), grouped(scanned));
            invariant("the filter knows every row of the database", denied == 0, detail);
        }
        let detail = format!(
            "{} of {} rows not found, {} of another row; {} of them were inserted by this run",
            grouped(self.lost),
            grouped(self.read),
            grouped(self.wrong),
            grouped(self.inserted)
        );
        invariant("rows are found after the run", self.lost == 0 && self.wrong == 0, detail);
        if let Some(error) = &self.rebuild {
            invariant("every rebuild came to its end", false, error.clone());
        }
        // A write that was cut short may be under way still.
        if !interrupted || self.failed.is_none() {
            let detail = self.failed.clone().unwrap_or_else(|| "all of it".to_owned());
            invariant("filter, cache and database were read after the run", self.failed.is_none(), detail);
        }
        invariants
    }
}

impl<T: Store<u64, Bytes>> Shared<T> {
    /// On a thread of its own, since the runner's runtime waits for the answer.
    pub(crate) fn check(&self, interrupted: bool) -> Checked {
        let check = || {
            self.handle.block_on(async {
                let mut checked = Checked::default();
                if let Err(error) = self.look(interrupted, &mut checked).await {
                    checked.failed = Some(format!("{error:#}"));
                }
                checked
            })
        };
        let joined = std::thread::scope(|scope| scope.spawn(check).join());
        joined.unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    }

    async fn look(&self, interrupted: bool, checked: &mut Checked) -> anyhow::Result<()> {
        self.rebuilds.end().await;
        checked.rebuild = self.rebuilds.error();
        self.quiet().await?;
        // Who pressed Ctrl-C does not want to wait for a server to give all of its keys.
        if self.in_memory || !interrupted {
            checked.scanned = self.scan().await?;
        }
        let most = if self.in_memory { SAMPLE } else { SAMPLE_OF_SERVERS };
        let sample = |count: u64| {
            (0..count).step_by(usize::try_from(count.div_ceil(most).max(1)).unwrap_or(usize::MAX))
        };
        let rows: Vec<u64> = sample(self.keys.count()).collect();
        let inserted = sample(self.inserts.begun()).filter(|number| self.inserts.is_done(*number));
        let inserted: Vec<u64> = inserted.map(|number| INSERTED + number).collect();
        checked.inserted = inserted.len() as u64;
        for keys in rows.chunks(BATCH).chain(inserted.chunks(BATCH)) {
            for (key, value) in keys.iter().zip(self.cache.get_many(keys).await) {
                checked.read += 1;
                match value? {
                    None => checked.lost += 1,
                    Some(value) if !is_of(&value, *key) => checked.wrong += 1,
                    Some(_) => {}
                }
            }
        }
        self.cache.source().rows.tidy_up(inserted_all(self)).await?;
        Ok(())
    }

    /// Asks the filter for every row that the database names.
    async fn scan(&self) -> Result<Option<(u64, u64)>> {
        let Some(filter) = &self.filter else { return Ok(None) };
        let mut scan = self.cache.source().rows.scan(self.hasher).await?;
        let (mut hashes, mut scanned, mut denied) = (Vec::new(), 0, 0);
        while scan.next(&mut hashes).await? {
            for hashes in hashes.chunks(4_096) {
                let answers = filter.inner.check(hashes).await?;
                denied += answers.into_iter().filter(|answer| *answer == Answer::Absent).count() as u64;
            }
            scanned += hashes.len() as u64;
            hashes.clear();
        }
        Ok(Some((scanned, denied)))
    }

    /// Until every invalidation is delivered, and the store answers.
    async fn quiet(&self) -> anyhow::Result<()> {
        let clock = PreciseClock::new();
        let began = clock.now();
        loop {
            let waiting = self.cache.pending();
            match self.cache.health().await {
                Ok(()) if waiting == 0 => return Ok(()),
                _ if clock.now().since(began) < PATIENCE => tokio::time::sleep(PAUSE).await,
                Ok(()) => anyhow::bail!("{waiting} invalidations were not delivered within {PATIENCE:?}"),
                Err(error) => anyhow::bail!("the store does not answer: {error}"),
            }
        }
    }
}

/// Every row that the run began to insert.
fn inserted_all<T: Store<u64, Bytes>>(shared: &Shared<T>) -> impl Iterator<Item = u64> + Send + use<T> {
    (0..shared.inserts.begun()).map(|number| INSERTED + number)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_denied_or_not_found_breaks_the_run() {
        let held = |checked: Checked| checked.invariants(false).iter().all(|invariant| invariant.held);
        let whole = Checked { scanned: Some((10, 0)), read: 10, ..Checked::default() };
        assert!(held(whole.clone()));
        assert!(!held(Checked { scanned: Some((10, 1)), ..whole.clone() }));
        assert!(!held(Checked { lost: 1, ..whole.clone() }));
        assert!(!held(Checked { wrong: 1, ..whole.clone() }));
        assert!(!held(Checked { failed: Some("the server is gone".to_owned()), ..whole.clone() }));
        let cut = Checked { failed: Some("the server is gone".to_owned()), ..whole };
        assert!(
            cut.invariants(true).iter().all(|invariant| invariant.held),
            "who interrupts gets no verdict on it"
        );
    }
}
