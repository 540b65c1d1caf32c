use std::fmt;

use backends::Result;
use clock::{Clock, PreciseClock};

use crate::{
    Decision, Limit, LimitState, Rule,
    bucket::{Bid, WordBucket},
    memory,
    store::no_cost,
    sync::{AtomicU64, Mutex, Ordering},
};

/// One limit for everything: a limiter without keys, in the memory of this process.
///
/// A token bucket, GCRA or leaky bucket is kept in one word and decided upon by compare-and-swap, unless its
/// rate does not reduce to few tokens in a tick; that, and every other algorithm, by a lock.
///
/// ```
/// use rate_limiter::{Direct, Limit};
///
/// let limiter = Direct::new(Limit::token_bucket("100/s burst 2".parse()?)?);
/// assert!(limiter.try_allow() && limiter.try_allow());
/// assert!(!limiter.try_allow());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Direct<C = PreciseClock> {
    limit: Limit,
    clock: C,
    kept: Kept,
}

enum Kept {
    Word(WordBucket, AtomicU64),
    Locked(Mutex<LimitState>),
}

impl Direct {
    /// Enforces `limit` on a [`PreciseClock`].
    #[must_use]
    pub fn new(limit: Limit) -> Self {
        Self::with_clock(limit, PreciseClock::new())
    }
}

impl<C: Clock> Direct<C> {
    /// Enforces `limit` on `clock`.
    pub fn with_clock(limit: Limit, clock: C) -> Self {
        let kept = match limit.word() {
            Some(bucket) => Kept::Word(bucket, AtomicU64::new(0)),
            None => Kept::Locked(Mutex::default()),
        };
        Self { limit, clock, kept }
    }

    /// Whether a request of cost 1 may go ahead.
    #[inline]
    pub fn try_allow(&self) -> bool {
        match &self.kept {
            Kept::Word(bucket, word) => bucket.bid(self.now(), 1).is_ok_and(|bid| match take(&bid, word) {
                Some((_, taken)) => taken,
                None => self.take_again(bucket, word, 1).is_allowed(),
            }),
            Kept::Locked(state) => self.take_locked(state, 1).is_allowed(),
        }
    }

    /// Takes `cost` tokens, or nothing.
    ///
    /// # Errors
    ///
    /// `Invalid` when `cost` is zero.
    #[inline]
    pub fn try_acquire(&self, cost: u32) -> Result<Decision> {
        if cost == 0 {
            return Err(no_cost(memory::BACKEND));
        }
        Ok(match &self.kept {
            Kept::Word(bucket, word) => self.take_word(bucket, word, self.now(), cost),
            Kept::Locked(state) => self.take_locked(state, cost),
        })
    }

    /// The limit.
    pub const fn limit(&self) -> &Limit {
        &self.limit
    }

    #[inline]
    fn take_word(&self, bucket: &WordBucket, word: &AtomicU64, now: u64, cost: u32) -> Decision {
        match bucket.bid(now, cost) {
            Ok(bid) => match take(&bid, word) {
                Some((word, taken)) => bid.decision(word, taken),
                None => self.take_again(bucket, word, cost),
            },
            Err(never_fits) => never_fits,
        }
    }

    #[inline]
    fn take_locked(&self, state: &Mutex<LimitState>, cost: u32) -> Decision {
        let mut state = state.lock();
        // Under the lock, so that nobody comes first with a later reading.
        self.limit.take(&mut state, self.now(), cost)
    }

    /// Takes from a word that was ahead of the first reading of the clock.
    #[cold]
    #[inline(never)]
    fn take_again(&self, bucket: &WordBucket, word: &AtomicU64, cost: u32) -> Decision {
        let mut seen = word.load(Ordering::Relaxed);
        loop {
            // Read after the word: if that is still ahead, the clock was set back.
            let bid = match bucket.bid(self.now(), cost) {
                Ok(bid) => bid,
                Err(never_fits) => return never_fits,
            };
            let (next, taken) = match (bid.take(seen), bid.mend(seen)) {
                (Some(next), _) => (next, true),
                (None, Some(mended)) => (mended, false),
                (None, None) => return bid.decision(seen, false),
            };
            match word.compare_exchange_weak(seen, next, Ordering::Relaxed, Ordering::Relaxed) {
                Ok(_) => return bid.decision(next, taken),
                Err(other) => seen = other,
            }
        }
    }

    /// Microseconds.
    #[inline(always)]
    fn now(&self) -> u64 {
        self.clock.now().as_micros()
    }
}

/// Takes from a word that others take from, too: the word as it was left or found, and whether it was taken from;
/// `None` where it is ahead of the request.
#[inline]
fn take(bid: &Bid<'_>, word: &AtomicU64) -> Option<(u64, bool)> {
    // The word is all there is: nothing else is published by it, so no ordering is needed.
    let mut seen = word.load(Ordering::Relaxed);
    loop {
        let Some(next) = bid.take(seen) else {
            return if bid.is_ahead(seen) { None } else { Some((seen, false)) };
        };
        match word.compare_exchange_weak(seen, next, Ordering::Relaxed, Ordering::Relaxed) {
            Ok(_) => return Some((next, true)),
            Err(other) => seen = other,
        }
    }
}

impl<C: fmt::Debug> fmt::Debug for Direct<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Direct")
            .field("limit", &self.limit)
            .field("clock", &self.clock)
            .finish_non_exhaustive()
    }
}
