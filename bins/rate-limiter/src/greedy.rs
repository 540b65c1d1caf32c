//! What a key that is asked for all the time must be granted at least.
//!
//! A denial says that the bucket misses nearly all of its burst. Until as much could have flowed in, it does not
//! become whole, so nothing overflows: from the first to the last of such denials, each soon after the one before,
//! all but one of the tokens that flow in are granted.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use clock::Time;
use rate_limiter::{Limit, Quota};

/// The key that is watched: the first one, of which most is asked however keys are chosen.
pub(crate) const KEY: u64 = 0;
/// One request of so many is looked at, so that reading the clock costs next to nothing.
const EACH: u32 = 64;

/// What the watched key must have been granted in the end.
pub(crate) struct Greedy {
    quota: Quota,
    /// So soon after a denial the bucket is not whole.
    soon: Duration,
    least: AtomicU64,
}

/// What one worker has seen of the key.
#[derive(Debug, Default)]
pub(crate) struct Watch {
    asked: u32,
    before: Option<Before>,
    streak: Option<Streak>,
}

/// How things were before the request that is looked at.
#[derive(Clone, Copy, Debug)]
struct Before {
    at: Time,
    granted: u64,
}

/// Denials, each soon after the one before.
#[derive(Debug)]
struct Streak {
    /// Grants before the first of them.
    granted: u64,
    /// After the first.
    began: Time,
    /// Before the last.
    last: Time,
}

impl Greedy {
    /// `None` where the limit is no bucket, which counts in windows, or none that counts exactly.
    pub(crate) fn new(limit: &Limit) -> Option<Self> {
        let mut parts = limit.parts();
        let (part, None) = (parts.next()?, parts.next()) else { return None };
        let quota = *part.quota();
        let units = u128::from(quota.burst() + quota.tokens()) * quota.period().as_micros();
        let soon = quota.period().as_nanos() * u128::from(quota.burst() - 1) / u128::from(quota.tokens());
        // A decision is made at a whole microsecond.
        let soon = Duration::from_nanos(u64::try_from(soon).ok()?).checked_sub(Duration::from_micros(1))?;
        let is_exact = !part.algorithm().is_windowed() && units < 1 << 52;
        is_exact.then_some(Self { quota, soon, least: AtomicU64::new(0) })
    }

    /// What the key must have been granted; 0 where that cannot be said.
    pub(crate) fn least(&self) -> u64 {
        self.least.load(Ordering::Relaxed)
    }

    /// The key was denied after what `watch` began to look at, and before `after`.
    fn deny(&self, watch: &mut Watch, before: Before, after: Time) {
        let streak = match watch.streak.take() {
            Some(streak) if after.since(streak.last) < self.soon => Streak { last: before.at, ..streak },
            _ => Streak { granted: before.granted, began: after, last: before.at },
        };
        let lasted = streak.last.since(streak.began).saturating_sub(Duration::from_micros(1));
        let flowed = u128::from(self.quota.tokens()) * lasted.as_nanos() / self.quota.period().as_nanos();
        let granted = u64::try_from(flowed).unwrap_or(u64::MAX).saturating_sub(1);
        if granted > 0 {
            self.least.fetch_max(streak.granted.saturating_add(granted), Ordering::Relaxed);
        }
        watch.streak = Some(streak);
    }
}

impl Watch {
    /// Before a request of the key.
    pub(crate) fn ask(&mut self, at: impl FnOnce() -> Time, granted: impl FnOnce() -> u64) {
        self.asked = self.asked.wrapping_add(1);
        // In this order: what is granted by then is granted before the request.
        self.before = self.asked.is_multiple_of(EACH).then(|| Before { granted: granted(), at: at() });
    }

    /// After it.
    pub(crate) fn answer(&mut self, greedy: &Greedy, allowed: bool, at: impl FnOnce() -> Time) {
        if let Some(before) = self.before.take().filter(|_| !allowed) {
            greedy.deny(self, before, at());
        }
    }
}
