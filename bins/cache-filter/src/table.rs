//! The database in memory: which rows there are.

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use cache::{Error, ErrorKind, Floor, Result, Row, Version};
use filters::{BoxFuture, Scan};

use crate::{
    hasher::AnyHasher,
    row::{INSERTED, value},
};

/// Rows whose bytes follow from their key: a load is one look at a bit, and as many bytes made.
pub(crate) struct Table {
    items: u64,
    payload: usize,
    latency: Duration,
    /// A bit for each row that was inserted.
    inserted: Bits,
}

/// One bit for each number below a bound.
pub(crate) struct Bits(Box<[AtomicU64]>);

impl Bits {
    pub(crate) fn new(count: u64) -> Self {
        Self((0..count.div_ceil(64)).map(|_| AtomicU64::new(0)).collect())
    }

    pub(crate) fn set(&self, number: u64) -> bool {
        let Some(word) = self.word(number) else { return false };
        word.fetch_or(1 << (number % 64), Ordering::Release);
        true
    }

    pub(crate) fn has(&self, number: u64) -> bool {
        self.word(number).is_some_and(|word| word.load(Ordering::Acquire) & (1 << (number % 64)) != 0)
    }

    /// One past the highest number.
    pub(crate) const fn end(&self) -> u64 {
        self.0.len() as u64 * 64
    }

    fn word(&self, number: u64) -> Option<&AtomicU64> {
        self.0.get(usize::try_from(number / 64).ok()?)
    }
}

/// Every row of a table has the same: rows are written once, or again as they were.
const VERSION: u64 = 1;

impl Table {
    /// With `items` rows, and room for so many more. A load or a write takes `latency`.
    pub(crate) fn new(items: u64, inserts: u64, payload: usize, latency: Duration) -> Self {
        Self { items, payload, latency, inserted: Bits::new(inserts) }
    }

    pub(crate) fn has(&self, key: u64) -> bool {
        key < self.items || key.checked_sub(INSERTED).is_some_and(|number| self.inserted.has(number))
    }

    #[inline]
    pub(crate) async fn load(&self, key: u64) -> Row<Bytes> {
        self.wait().await;
        match Version::new(VERSION) {
            Some(version) if self.has(key) => Row::new(value(key, self.payload), version),
            _ => Row::ABSENT,
        }
    }

    pub(crate) async fn store(&self, key: u64) -> Result<Floor> {
        self.wait().await;
        let is_there = key.checked_sub(INSERTED).is_some_and(|number| self.inserted.set(number));
        if !is_there {
            return Err(Error::new(ErrorKind::Invalid, "table", "store", format!("no room for a row {key}")));
        }
        // Whoever loaded before has seen no row.
        Ok(Version::new(VERSION).map_or(Floor::UNKNOWN, Floor::below))
    }

    pub(crate) fn scan(self: &Arc<Self>, hasher: AnyHasher) -> TableScan {
        TableScan { table: Arc::clone(self), hasher, next: 0 }
    }

    async fn wait(&self) {
        if !self.latency.is_zero() {
            tokio::time::sleep(self.latency).await;
        }
    }
}

impl fmt::Debug for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Table").field("items", &self.items).finish_non_exhaustive()
    }
}

/// The keys of all rows: those from the start, then those inserted.
pub(crate) struct TableScan {
    table: Arc<Table>,
    hasher: AnyHasher,
    next: u64,
}

/// Keys of a lot: others get their turn in between.
const LOT: u64 = 8_192;

impl Scan for TableScan {
    fn next<'a>(&'a mut self, hashes: &'a mut Vec<u64>) -> BoxFuture<'a, Result<bool>> {
        Box::pin(async move {
            tokio::task::yield_now().await;
            let Self { table, hasher, next } = self;
            let before = hashes.len();
            let end = table.items + table.inserted.end();
            while *next < end && hashes.len() == before {
                let lot = *next..(*next + LOT).min(end);
                *next = lot.end;
                hashes.extend(lot.filter_map(|place| match place.checked_sub(table.items) {
                    None => Some(hasher.of(place)),
                    Some(number) => table.inserted.has(number).then(|| hasher.of(INSERTED + number)),
                }));
            }
            Ok(hashes.len() > before)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{hasher::HashName, row::ABSENT};

    #[test]
    fn a_scan_gives_the_rows_from_the_start_and_those_inserted() {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            let table = Arc::new(Table::new(20_000, 100_000, 100, Duration::ZERO));
            table.store(INSERTED + 99_999).await.unwrap();
            table.store(INSERTED + 3).await.unwrap();
            assert!(table.store(INSERTED + 200_000).await.is_err() && table.store(5).await.is_err());
            let hasher = AnyHasher::new(HashName::Xxh3, 0);
            let (mut scan, mut found) = (table.scan(hasher), Vec::new());
            while scan.next(&mut found).await.unwrap() {}
            let mut expected: Vec<u64> =
                (0..20_000).chain([INSERTED + 3, INSERTED + 99_999]).map(|key| hasher.of(key)).collect();
            found.sort_unstable();
            expected.sort_unstable();
            assert_eq!(found, expected);
            assert!(
                table.load(19_999).await.value.is_some() && table.load(INSERTED + 3).await.value.is_some()
            );
            for absent in [20_000, INSERTED, ABSENT] {
                assert!(table.load(absent).await.value.is_none(), "{absent}");
            }
        });
    }
}
