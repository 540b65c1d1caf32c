//! What was asked, what was answered, and what should have been.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering::Relaxed},
};

use bench::{Invariant, format::grouped};
use bytes::Bytes;
use cache::{Result, Stats};
use filters::{Answer, rate::Observed};
use parking_lot::Mutex;

use crate::row::is_of;

/// What is known of a key when it is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Truth {
    /// The database has the row, and its write has returned.
    Present,
    /// The row is about to be written.
    Perhaps,
    /// No row has ever had the key.
    Absent,
}

macro_rules! counts {
    ($($(#[$doc:meta])* $name:ident,)*) => {
        /// The counts of one worker, which alone adds to them.
        #[derive(Debug, Default)]
        #[repr(align(128))]
        pub(crate) struct Counts {
            $($(#[$doc])* $name: AtomicU64,)*
        }

        /// Those of all.
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
        pub(crate) struct Total {
            $(pub(crate) $name: u64,)*
        }

        impl Total {
            fn add(&mut self, counts: &Counts) {
                $(self.$name += counts.$name.load(Relaxed);)*
            }
        }
    };
}

counts! {
    /// Reads of rows that are there for certain.
    present,
    /// Reads of rows that were about to be written.
    perhaps,
    /// Reads of keys that no row has.
    absent,
    /// Of all reads, those that the filter denied.
    denied,
    /// Of the rows that are there for certain, those that it denied.
    denied_present,
    /// Of the keys that no row has, those that it did not deny.
    passed_absent,
    /// Rows that are there for certain, and were not found, whether denied or not.
    lost,
    /// Values of another row, damaged ones, and rows where there is none.
    wrong,
    /// Reads that failed.
    failed,
    /// Rows that were inserted.
    inserted,
}

/// The counts of all workers.
#[derive(Debug, Default)]
pub(crate) struct Tally(Mutex<Vec<Arc<Counts>>>);

impl Tally {
    pub(crate) fn worker(&self) -> Arc<Counts> {
        let counts = Arc::<Counts>::default();
        self.0.lock().push(Arc::clone(&counts));
        counts
    }

    pub(crate) fn total(&self) -> Total {
        let mut total = Total::default();
        self.0.lock().iter().for_each(|counts| total.add(counts));
        total
    }
}

fn one(count: &AtomicU64) {
    count.store(count.load(Relaxed) + 1, Relaxed);
}

impl Counts {
    /// A read has returned.
    pub(crate) fn read(&self, key: u64, truth: Truth, answer: Answer, value: &Result<Option<Bytes>>) {
        one(match truth {
            Truth::Present => &self.present,
            Truth::Perhaps => &self.perhaps,
            Truth::Absent => &self.absent,
        });
        let denied = answer == Answer::Absent;
        if denied {
            one(&self.denied);
        }
        match truth {
            Truth::Present if denied => one(&self.denied_present),
            Truth::Absent if !denied => one(&self.passed_absent),
            _ => {}
        }
        match (value, truth) {
            (Err(_), _) => one(&self.failed),
            (Ok(None), Truth::Present) => one(&self.lost),
            (Ok(Some(_)), Truth::Absent) => one(&self.wrong),
            (Ok(Some(value)), _) if !is_of(value, key) => one(&self.wrong),
            _ => {}
        }
    }

    pub(crate) fn inserted(&self) {
        one(&self.inserted);
    }
}

impl Total {
    pub(crate) const fn reads(&self) -> u64 {
        self.present + self.perhaps + self.absent
    }

    /// How often strangers were taken for keys.
    pub(crate) const fn false_positives(&self) -> Observed {
        Observed { positives: self.passed_absent, trials: self.absent }
    }

    pub(crate) fn none_denied(&self) -> Invariant {
        Invariant {
            name: "no row that is there was denied".to_owned(),
            held: self.denied_present == 0 && self.lost == 0,
            detail: format!(
                "{} of {} reads of rows that are there were denied, {} found nothing",
                grouped(self.denied_present),
                grouped(self.present),
                grouped(self.lost)
            ),
        }
    }

    pub(crate) fn none_wrong(&self) -> Invariant {
        Invariant {
            name: "every value is that of its row".to_owned(),
            held: self.wrong == 0,
            detail: format!("{} of {} reads", grouped(self.wrong), grouped(self.reads())),
        }
    }

    /// What the workers saw, beside what the cache counted.
    pub(crate) fn adds_up(&self, stats: &Stats) -> Invariant {
        let asked = stats.filtered + stats.hits + stats.misses;
        Invariant {
            name: "the counts add up".to_owned(),
            held: self.reads() == asked && self.denied == stats.filtered,
            detail: format!(
                "{} reads = {} denied + {} hits + {} misses; {} answers were denials",
                grouped(self.reads()),
                grouped(stats.filtered),
                grouped(stats.hits),
                grouped(stats.misses),
                grouped(self.denied)
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use cache::{Error, ErrorKind};

    use super::*;
    use crate::row::{ABSENT, value};

    fn total(reads: &[(u64, Truth, Answer, Result<Option<Bytes>>)]) -> Total {
        let tally = Tally::default();
        let worker = tally.worker();
        for (key, truth, answer, value) in reads {
            worker.read(*key, *truth, *answer, value);
        }
        tally.total()
    }

    #[test]
    fn a_denied_row_breaks_the_run_and_so_does_one_that_is_not_found() {
        let found = || Ok(Some(value(7, 20)));
        let failed = Err(Error::new(ErrorKind::Unavailable, "table", "load", "gone"));
        let all_well = total(&[
            (7, Truth::Present, Answer::Maybe, found()),
            (7, Truth::Perhaps, Answer::Absent, Ok(None)),
            (7, Truth::Present, Answer::Maybe, failed),
            (ABSENT, Truth::Absent, Answer::Absent, Ok(None)),
            (ABSENT, Truth::Absent, Answer::Maybe, Ok(None)),
        ]);
        assert!(all_well.none_denied().held && all_well.none_wrong().held, "{all_well:?}");
        assert_eq!(all_well.false_positives(), Observed { positives: 1, trials: 2 });
        assert_eq!((all_well.reads(), all_well.failed, all_well.denied), (5, 1, 2));
        // A fault that hides itself: denied, and found nevertheless.
        assert!(!total(&[(7, Truth::Present, Answer::Absent, found())]).none_denied().held);
        assert!(!total(&[(7, Truth::Present, Answer::Maybe, Ok(None))]).none_denied().held);
    }

    #[test]
    fn a_value_of_another_row_breaks_the_run_and_so_does_one_where_there_is_none() {
        let (own, other) = (value(7, 20), value(ABSENT, 20));
        assert!(!total(&[(8, Truth::Present, Answer::Maybe, Ok(Some(own)))]).none_wrong().held);
        assert!(!total(&[(ABSENT, Truth::Absent, Answer::Maybe, Ok(Some(other)))]).none_wrong().held);
    }

    #[test]
    fn a_read_that_nobody_counted_breaks_the_run() {
        let seen = total(&[(7, Truth::Perhaps, Answer::Absent, Ok(None))]);
        let mut stats = Stats::default();
        assert!(!seen.adds_up(&stats).held);
        stats.misses = 1;
        assert!(!seen.adds_up(&stats).held, "a denial that the cache did not count");
        (stats.misses, stats.filtered) = (0, 1);
        assert!(seen.adds_up(&stats).held);
    }
}
