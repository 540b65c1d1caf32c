use std::sync::OnceLock;

use crate::{Clock, Time};

/// The monotonic clock of the machine, read from the time-stamp counter where that is reliable.
///
/// All `PreciseClock`s of a process share one origin, so their readings may be compared. The first use
/// in a process calibrates the counter, which takes up to 200 ms once.
#[derive(Clone, Debug)]
pub struct PreciseClock {
    clock: quanta::Clock,
    /// A raw reading of the counter.
    origin: u64,
}

impl PreciseClock {
    /// The shared clock of the process.
    #[must_use]
    pub fn new() -> Self {
        static SHARED: OnceLock<PreciseClock> = OnceLock::new();
        SHARED
            .get_or_init(|| {
                let clock = quanta::Clock::new();
                let origin = clock.raw();
                Self { clock, origin }
            })
            .clone()
    }
}

impl Default for PreciseClock {
    fn default() -> Self {
        Self::new()
    }
}

impl Clock for PreciseClock {
    #[inline]
    fn now(&self) -> Time {
        Time::from_nanos(self.clock.delta_as_nanos(self.origin, self.clock.raw()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn never_goes_backwards_and_is_shared() {
        let (a, b) = (PreciseClock::new(), PreciseClock::new());
        let mut last = a.now();
        for _ in 0..1_000 {
            let next = b.now();
            assert!(last <= next);
            last = a.now();
            assert!(next <= last);
        }
    }
}
