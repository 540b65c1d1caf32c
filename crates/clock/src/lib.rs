//! Time as a parameter.
//!
//! Every rule in this workspace takes the time from a [`Clock`], so that a test can move it and a
//! service can choose what a clock read costs:
//!
//! | clock | resolution | a read costs about | for |
//! |---|---|---|---|
//! | [`PreciseClock`] | nanoseconds | 12 ns (time-stamp counter) | the default |
//! | [`CoarseClock`] | the interval it was started with | 1 ns | the hottest paths |
//! | [`ManualClock`] | exact | 1 ns | tests, virtual time |
//!
//! ```
//! use clock::{Clock, ManualClock};
//! use std::time::Duration;
//!
//! let clock = ManualClock::new();
//! let start = clock.now();
//! clock.advance(Duration::from_secs(3));
//! assert_eq!(clock.now().since(start), Duration::from_secs(3));
//! ```

mod coarse;
mod manual;
mod precise;
mod time;

pub use coarse::CoarseClock;
pub use manual::ManualClock;
pub use precise::PreciseClock;
pub use time::Time;

use std::{fmt, sync::Arc};

/// A source of time.
///
/// Two readings of one clock may be compared; readings of different clocks may not, since each has an
/// origin of its own; but all [`PreciseClock`]s and [`CoarseClock`]s of a process share one. The real clocks never go backwards; [`ManualClock`] does when a test sets it
/// back, and rules must survive that.
pub trait Clock: fmt::Debug + Send + Sync + 'static {
    /// The time now.
    fn now(&self) -> Time;
}

impl<C: Clock + ?Sized> Clock for Arc<C> {
    fn now(&self) -> Time {
        (**self).now()
    }
}
