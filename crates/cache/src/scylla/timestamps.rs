use std::{
    fmt,
    sync::atomic::{AtomicU64, Ordering},
    time::{SystemTime, UNIX_EPOCH},
};

use backends::{Error, ErrorKind, Result};

use super::BACKEND;
use crate::{Floor, Version};

/// Timestamps for writes, in microseconds since 1970: each is the time, or the last one and a little more where the
/// clock stands still or is set back.
pub struct Timestamps {
    last: AtomicU64,
    time: Box<dyn Fn() -> u64 + Send + Sync>,
    /// With another's, in the same microsecond or never: the remainder that is our own, and the modulus.
    own: Option<(u64, u64)>,
}

impl Timestamps {
    /// Others may write a row in the same microsecond: a write leaves [`Floor::at`] its timestamp.
    #[must_use]
    pub fn new() -> Self {
        Self { last: AtomicU64::new(0), time: Box::new(wall), own: None }
    }

    /// Promises that no two writes of a row have the same timestamp: all writes of a row take theirs from here, and the
    /// clock is not set back while the process is started anew. A write leaves [`Floor::below`] its timestamp.
    #[must_use]
    pub fn unique() -> Self {
        Self { own: Some((0, 1)), ..Self::new() }
    }

    /// Promises the same for one of several writers: it takes the timestamps that are `index` modulo `of`, at most `of`
    /// microseconds after the time, and each of the others, which all do likewise, has another index below `of`.
    ///
    /// # Errors
    ///
    /// `Config` when `index` is not below `of`.
    pub fn of_writer(index: u16, of: u16) -> Result<Self> {
        if index >= of {
            let message = "the index of a writer is not below the number of writers";
            return Err(Error::new(ErrorKind::Config, BACKEND, "create", message));
        }
        Ok(Self { own: Some((index.into(), of.into())), ..Self::new() })
    }

    /// Takes the time, in microseconds since 1970, from `time` instead of the wall clock: for tests.
    #[must_use]
    pub fn time(mut self, time: impl Fn() -> u64 + Send + Sync + 'static) -> Self {
        self.time = Box::new(time);
        self
    }

    /// A timestamp that is higher than every one before.
    ///
    /// # Errors
    ///
    /// `Invalid` when the clock is beyond [`Version::MAX`].
    pub fn next(&self) -> Result<Version> {
        let now = (self.time)();
        // Only this number is shared, so that its own order is enough.
        let mut last = self.last.load(Ordering::Relaxed);
        loop {
            let next = Version::new(self.at_or_after(now.max(last + 1))).ok_or_else(|| {
                Error::new(ErrorKind::Invalid, BACKEND, "store", "the clock is beyond the highest version")
            })?;
            match self.last.compare_exchange_weak(last, next.get(), Ordering::Relaxed, Ordering::Relaxed) {
                Ok(_) => return Ok(next),
                Err(other) => last = other,
            }
        }
    }

    /// What a write at `version` leaves.
    #[must_use]
    pub const fn floor(&self, version: Version) -> Floor {
        match self.own {
            None => Floor::at(version),
            Some(_) => Floor::below(version),
        }
    }

    fn at_or_after(&self, time: u64) -> u64 {
        self.own.map_or(time, |(index, of)| time.saturating_add((index + of - time % of) % of))
    }
}

impl Default for Timestamps {
    fn default() -> Self {
        Self::new()
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "writers in several processes have only the wall clock in common"
)]
fn wall() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_micros()).unwrap_or(u64::MAX)
}

impl fmt::Debug for Timestamps {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { last, own, .. } = self;
        f.debug_struct("Timestamps").field("last", last).field("own", own).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, atomic::AtomicUsize};

    use super::*;

    fn times(times: &'static [u64]) -> impl Fn() -> u64 + Send + Sync {
        let calls = AtomicUsize::new(0);
        move || times[calls.fetch_add(1, Ordering::Relaxed).min(times.len() - 1)]
    }

    fn taken(timestamps: &Timestamps, count: usize) -> Vec<u64> {
        (0..count).map(|_| timestamps.next().unwrap().get()).collect()
    }

    #[test]
    fn grow_while_the_clock_stands_still_or_goes_back() {
        let timestamps = Timestamps::new().time(times(&[100, 100, 200, 50, 202, 300]));
        assert_eq!(taken(&timestamps, 6), [100, 101, 200, 201, 202, 300]);
        assert_eq!(taken(&Timestamps::new().time(|| 0), 2), [1, 2]);
    }

    #[test]
    fn of_several_writers_never_meet() {
        let of = |index| Timestamps::of_writer(index, 3).unwrap().time(times(&[100, 100, 107]));
        assert_eq!(taken(&of(0), 3), [102, 105, 108]);
        assert_eq!(taken(&of(1), 3), [100, 103, 109]);
        assert_eq!(taken(&of(2), 3), [101, 104, 107]);
        let version = |version| Version::new(version).unwrap();
        assert_eq!(of(1).floor(version(103)), Floor::at(version(102)));
        assert_eq!(taken(&Timestamps::unique().time(|| 5), 3), [5, 6, 7]);
        for (index, of) in [(0, 0), (3, 3), (4, 3)] {
            assert_eq!(Timestamps::of_writer(index, of).unwrap_err().kind(), ErrorKind::Config);
        }
    }

    #[test]
    fn end_where_versions_end() {
        for time in [Version::MAX.get() + 1, u64::MAX] {
            let timestamps = Timestamps::of_writer(1, 2).unwrap().time(move || time);
            assert_eq!(timestamps.next().unwrap_err().kind(), ErrorKind::Invalid);
            assert_eq!(timestamps.last.into_inner(), 0);
        }
        let timestamps = Timestamps::new().time(|| Version::MAX.get());
        assert_eq!(timestamps.next().unwrap(), Version::MAX);
        assert!(timestamps.next().is_err());
    }

    #[test]
    fn differ_between_threads() {
        let timestamps = Arc::new(Timestamps::new().time(|| 7));
        let threads: Vec<_> = (0..4)
            .map(|_| {
                let timestamps = Arc::clone(&timestamps);
                std::thread::spawn(move || taken(&timestamps, 1_000))
            })
            .collect();
        let mut all: Vec<u64> = threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect();
        all.sort_unstable();
        assert_eq!(all, (7..4_007).collect::<Vec<_>>());
    }

    #[test]
    fn are_microseconds_of_the_wall_clock() {
        let now = Timestamps::new().next().unwrap().get();
        // Between 2025 and 2255.
        assert!((1_735_689_600_000_000..Version::MAX.get()).contains(&now), "{now}");
    }
}
