//! After the run: what the store holds, beside what the database holds.

use std::{sync::Arc, time::Duration};

use bench::{Invariant, format::grouped};
use cache::{Cache, DynStore, Result, Retry, Store};
use clock::{Clock, PreciseClock};

use crate::{database::Database, row::Value, store::Watched};

/// Rows that are looked at whether they were written or not, spread over all.
const SAMPLE: u64 = 100_000;
/// Keys that a server is asked for at once.
const BATCH: usize = 256;
/// For invalidations to be delivered, and for the store to be there.
const PATIENCE: Duration = Duration::from_secs(60);
const PAUSE: Duration = Duration::from_millis(5);
/// Of stale keys: those that are kept, and those that are named beside a figure.
const KEPT: usize = 100;
const EXAMPLES: usize = 3;

/// What was found.
#[derive(Clone, Debug, Default)]
pub(crate) struct Checked {
    /// Keys that were looked at; of these, keys that were written.
    pub(crate) keys: u64,
    pub(crate) written: u64,
    /// Entries that the store had.
    pub(crate) entries: u64,
    /// Entries that are older than their row.
    pub(crate) stale: u64,
    /// Of these, entries that are older than no write whose invalidation was acknowledged as asked.
    pub(crate) unacknowledged: u64,
    pub(crate) examples: Vec<String>,
    /// What could not be looked at, and why.
    pub(crate) failed: Option<String>,
}

impl Checked {
    pub(crate) fn figures(&self) -> String {
        let mut more = String::new();
        if self.unacknowledged > 0 {
            more = format!(
                "; {} of them by writes that said that they were less durable than asked",
                grouped(self.unacknowledged)
            );
        }
        if !self.examples.is_empty() {
            let named = self.examples.len().min(EXAMPLES);
            more = format!("{more}; among them {}", self.examples[..named].join(", "));
        }
        format!(
            "{} of {} entries, under {} keys, of which {} were written{more}",
            grouped(self.stale),
            grouped(self.entries),
            grouped(self.keys),
            grouped(self.written)
        )
    }

    pub(crate) fn none_stale(&self) -> Invariant {
        let held = self.stale == self.unacknowledged;
        let name = match self.unacknowledged {
            0 => "no stale key is left",
            _ => "no stale key is left by a write that was acknowledged",
        };
        Invariant { name: name.to_owned(), held, detail: self.figures() }
    }

    /// The stale keys, one by one.
    pub(crate) fn listed(&self) -> String {
        let more = self.stale.saturating_sub(self.examples.len() as u64);
        let more = if more > 0 { format!(", and {} more", grouped(more)) } else { String::new() };
        format!("{}{more}", self.examples.join(", "))
    }

    pub(crate) fn complete(&self) -> Invariant {
        let held = self.failed.is_none();
        let detail = self.failed.clone().unwrap_or_else(|| format!("{} keys", grouped(self.keys)));
        Invariant { name: "store and database were read after the run".to_owned(), held, detail }
    }
}

/// Waits until nothing is under way, then reads every key of `written` and a sample of all `rows`: from the store alone,
/// from the one `behind` it if it has copies of its own, and from the database. No entry of a key may be older than `least`
/// says, whatever else is excused; [`u64::MAX`] excuses none.
pub(crate) async fn check<T: Store<u64, Value>>(
    cache: &Cache<u64, Value, Database, Watched<T>>,
    behind: Option<&Arc<dyn DynStore<u64, Value>>>,
    written: impl Iterator<Item = u64>,
    rows: u64,
    least: impl Fn(u64) -> u64,
) -> Checked {
    let mut keys: Vec<u64> = written.collect();
    let mut checked = Checked { written: keys.len() as u64, ..Checked::default() };
    let step = rows.div_ceil(SAMPLE).max(1);
    keys.extend((0..rows).step_by(usize::try_from(step).unwrap_or(usize::MAX)));
    keys.sort_unstable();
    keys.dedup();
    if let Err(error) = quiet(cache).await {
        checked.failed = Some(error);
        return checked;
    }
    let clock = PreciseClock::new();
    let began = clock.now();
    let mut chunks = keys.chunks(BATCH);
    let mut next = chunks.next();
    while let Some(keys) = next {
        let mut seen = checked.clone();
        let compared = async {
            compare(&cache.store().inner, cache.source(), keys, &least, &mut seen).await?;
            match behind {
                Some(behind) => compare(behind, cache.source(), keys, &least, &mut seen).await,
                None => Ok(()),
            }
        };
        match compared.await {
            Ok(()) => {
                seen.keys += keys.len() as u64;
                (checked, next) = (seen, chunks.next());
            }
            // Servers that were taken away may not have been missed by all yet.
            Err(error) if error.retry() != Retry::Never && clock.now().since(began) < PATIENCE => {
                tokio::time::sleep(PAUSE).await;
            }
            Err(error) => {
                checked.failed = Some(error.to_string());
                break;
            }
        }
    }
    checked
}

/// Until every write has ended and every invalidation is delivered, and the store answers.
async fn quiet<T: Store<u64, Value>>(
    cache: &Cache<u64, Value, Database, Watched<T>>,
) -> std::result::Result<(), String> {
    let clock = PreciseClock::new();
    let began = clock.now();
    loop {
        // An interrupted run leaves writes under way, each of which ends with its invalidation.
        let under_way = cache.source().begun().saturating_sub(cache.stats().writes);
        let waiting = cache.pending() as u64 + under_way;
        let health = cache.health().await;
        match health {
            Ok(()) if waiting == 0 => return Ok(()),
            _ if clock.now().since(began) < PATIENCE => tokio::time::sleep(PAUSE).await,
            Ok(()) => return Err(format!("{waiting} invalidations were not delivered within {PATIENCE:?}")),
            Err(error) => return Err(format!("the store does not answer: {error}")),
        }
    }
}

/// Counts the entries of `keys` that `store` has, and those that are older than their row.
async fn compare<T: Store<u64, Value>>(
    store: &T,
    database: &Database,
    keys: &[u64],
    least: &impl Fn(u64) -> u64,
    checked: &mut Checked,
) -> Result<()> {
    let mut entries = Vec::new();
    for (key, entry) in keys.iter().zip(store.get_many(keys).await) {
        entries.extend(entry?.map(|entry| (*key, entry.value.map_or(0, |value| value.version))));
    }
    checked.entries += entries.len() as u64;
    let keys: Vec<u64> = entries.iter().map(|(key, _)| *key).collect();
    let rows = database.latest_of(&keys).await?;
    for ((key, cached), row) in entries.into_iter().zip(rows) {
        let version = row.value.map_or(0, |value| value.version);
        if cached < version {
            checked.stale += 1;
            checked.unacknowledged += u64::from(cached >= least(key));
            if checked.examples.len() < KEPT {
                checked.examples.push(format!("key {key} at version {cached} of {version}"));
            }
        }
    }
    Ok(())
}
