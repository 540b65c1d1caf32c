use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
        mpsc::{RecvTimeoutError, SyncSender, sync_channel},
    },
    thread,
    time::Duration,
};

use crate::{Clock, PreciseClock, Time};

/// A clock whose reading a thread refreshes at a fixed interval, so that a read is one atomic load.
///
/// A reading is at most the interval old, plus what the scheduler adds. Clones share the thread, which
/// ends with the last of them. Readings compare with those of [`PreciseClock`].
#[derive(Clone, Debug)]
pub struct CoarseClock {
    nanos: Arc<AtomicU64>,
    /// Dropping the last one wakes and ends the thread.
    _stop: SyncSender<()>,
}

impl CoarseClock {
    /// Starts the refreshing thread.
    ///
    /// # Errors
    ///
    /// When `interval` is zero, or the operating system refuses the thread.
    pub fn start(interval: Duration) -> io::Result<Self> {
        if interval.is_zero() {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                "the interval of a coarse clock is zero",
            ));
        }
        let precise = PreciseClock::new();
        let nanos = Arc::new(AtomicU64::new(precise.now().as_nanos()));
        let (stop, stopped) = sync_channel::<()>(0);
        let shared = Arc::clone(&nanos);
        thread::Builder::new().name("coarse-clock".into()).spawn(move || {
            while stopped.recv_timeout(interval) == Err(RecvTimeoutError::Timeout) {
                shared.store(precise.now().as_nanos(), Ordering::Relaxed);
            }
        })?;
        Ok(Self { nanos, _stop: stop })
    }
}

impl Clock for CoarseClock {
    #[inline]
    fn now(&self) -> Time {
        Time::from_nanos(self.nanos.load(Ordering::Relaxed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn follows_the_precise_clock_and_never_leads_it() {
        let coarse = CoarseClock::start(Duration::from_micros(200)).unwrap();
        let precise = PreciseClock::new();
        let start = coarse.now();
        while coarse.now() == start {
            assert!(precise.now().since(start) < Duration::from_secs(10), "the clock stands still");
            thread::yield_now();
        }
        assert!(coarse.now() <= precise.now());
    }

    #[test]
    fn refuses_an_interval_of_zero() {
        let error = CoarseClock::start(Duration::ZERO).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
    }
}
