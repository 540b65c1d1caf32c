//! What each key was confirmed to hold, and every read held against it.

use std::sync::atomic::{AtomicU64, Ordering};

use bench::Invariant;

use crate::row::Value;

/// Eight bytes a row, and a bit: what a machine can be expected to have for checking.
pub(crate) const MOST_ROWS: u64 = 200_000_000;

/// The highest version of each row whose write has returned.
pub(crate) struct Tally {
    confirmed: Box<[AtomicU64]>,
    /// A bit for each row: somebody has tried to write it.
    written: Box<[AtomicU64]>,
    /// Reads that got something older than a write that had returned before they began.
    back: AtomicU64,
    /// Reads that got the bytes of another row, damaged ones, or a row where there is none.
    wrong: AtomicU64,
}

impl Tally {
    /// Every row is there, whatever its version.
    pub(crate) fn new(rows: u64) -> Self {
        let confirmed = (0..rows).map(|_| AtomicU64::new(1)).collect();
        let written = (0..rows.div_ceil(64)).map(|_| AtomicU64::new(0)).collect();
        Self { confirmed, written, back: AtomicU64::new(0), wrong: AtomicU64::new(0) }
    }

    /// What a read that begins now must see, at least; of a row that is not there, zero.
    #[inline]
    pub(crate) fn least(&self, key: u64) -> u64 {
        self.place(key).map_or(0, |confirmed| confirmed.load(Ordering::Acquire))
    }

    /// A write begins.
    pub(crate) fn begin(&self, key: u64) {
        if let Some(bits) = self.written.get((key / 64) as usize) {
            bits.fetch_or(1 << (key % 64), Ordering::Relaxed);
        }
    }

    /// A write has returned, and its entry is invalidated.
    pub(crate) fn confirm(&self, key: u64, version: u64) {
        if let Some(confirmed) = self.place(key) {
            confirmed.fetch_max(version, Ordering::AcqRel);
        }
    }

    /// A read that began when `least` was confirmed.
    pub(crate) fn read(&self, key: u64, least: u64, value: Option<&Value>) {
        let version = value.map_or(0, |value| value.version);
        if value.is_some_and(|value| !value.is_of(key) || least == 0) {
            self.wrong.fetch_add(1, Ordering::Relaxed);
        } else if version < least {
            self.back.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Rows that somebody has tried to write, in order.
    pub(crate) fn written(&self) -> impl Iterator<Item = u64> {
        let rows = self.confirmed.len() as u64;
        (0..rows).filter(|key| {
            let bits = self.written.get((key / 64) as usize);
            bits.is_some_and(|bits| bits.load(Ordering::Relaxed) & (1 << (key % 64)) != 0)
        })
    }

    /// Reads that went back.
    pub(crate) fn back(&self) -> u64 {
        self.back.load(Ordering::Relaxed)
    }

    pub(crate) fn never_wrong(&self) -> Invariant {
        let wrong = self.wrong.load(Ordering::Relaxed);
        Invariant {
            name: "every value is a whole one of its own row".to_owned(),
            held: wrong == 0,
            detail: format!("{wrong} were damaged, of another row, or of none"),
        }
    }

    pub(crate) fn never_back(&self) -> Invariant {
        let back = self.back();
        Invariant {
            name: "no read went back behind a write that had returned".to_owned(),
            held: back == 0,
            detail: format!("{back} reads got an older row"),
        }
    }

    fn place(&self, key: u64) -> Option<&AtomicU64> {
        self.confirmed.get(usize::try_from(key).ok()?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn held(tally: &Tally) -> (bool, bool) {
        (tally.never_back().held, tally.never_wrong().held)
    }

    #[test]
    fn a_read_behind_a_confirmed_write_is_found() {
        let tally = Tally::new(100);
        let version = |version| Value::new(70, version, 16, version);
        tally.begin(70);
        let before = tally.least(70);
        tally.confirm(70, 2);
        tally.read(70, before, Some(&version(1)));
        tally.read(70, tally.least(70), Some(&version(2)));
        assert_eq!(held(&tally), (true, true), "one began before, the other is the latest");
        tally.read(70, tally.least(70), Some(&version(1)));
        assert_eq!(held(&tally), (false, true));
        assert_eq!(tally.written().collect::<Vec<_>>(), [70]);
    }

    #[test]
    fn rows_that_are_not_there_and_those_of_others_are_found() {
        let read = |key: u64, value: Option<&Value>| {
            let tally = Tally::new(100);
            tally.read(key, tally.least(key), value);
            held(&tally)
        };
        let row = Value::new(3, 1, 16, 1);
        assert_eq!(read(3, Some(&row)), (true, true));
        assert_eq!(read(3, None), (false, true));
        assert_eq!(read(4, Some(&row)), (true, false));
        assert_eq!(read(100, None), (true, true));
        assert_eq!(read(100, Some(&Value::new(100, 1, 16, 1))), (true, false));
    }
}
