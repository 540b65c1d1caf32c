//! The arithmetic that token bucket, GCRA and leaky bucket share: three descriptions of one rule.
//!
//! Kept as the instant at which the bucket is whole again, as in virtual scheduling (ITU-T I.371), which
//! makes the state two numbers, and a denial a read.
//!
//! A token is divided into `scale` units, so that a whole number of units flows in every tick: nothing is
//! rounded and no remainder is lost between calls. All values stay below 2^53, the range in which a Lua
//! script counts exactly.

use std::{num::NonZeroU64, time::Duration};

use crate::{Decision, Quota, QuotaError, State, rule::LATEST};

/// Whole numbers up to here are exact in a Lua number (IEEE 754 double precision).
const EXACT: u64 = 1 << 53;

/// The longest time to fill a bucket, in microseconds: 146,000 years, so that no instant overflows.
const LONGEST_FILL: u64 = 1 << 62;

/// A quota in units and ticks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Bucket {
    pub(crate) burst: u64,
    /// Units in one token.
    scale: NonZeroU64,
    /// Units that flow in each tick.
    inflow: NonZeroU64,
    /// Units in a whole bucket: `burst * scale`.
    capacity: u64,
    /// Ticks until an empty bucket is whole.
    fill: u64,
    /// The same in microseconds.
    longest: u64,
    /// Microseconds in one tick.
    tick: NonZeroU64,
    /// A unit flows in each microsecond.
    is_simple: bool,
    /// Ticks in the period of the quota: a clock that is further back than this was set back; less is
    /// threads overtaking each other.
    period: u64,
}

/// When the bucket of a key is whole again. The default is a whole bucket.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BucketState {
    /// The first tick at which the bucket is whole: microseconds on the clock of the store.
    pub whole_at: u64,
    /// Units by which the inflow up to `whole_at` exceeds what the bucket misses; less than a tick's.
    pub spare: u64,
}

impl State for BucketState {
    #[inline]
    fn fresh_at(&self) -> u64 {
        self.whole_at
    }

    #[inline]
    fn pack(&self) -> Option<u64> {
        let fits = self.whole_at < (1 << (63 - SPARE_BITS)) - 1 && self.spare < 1 << SPARE_BITS;
        fits.then_some(self.whole_at << SPARE_BITS | self.spare)
    }

    #[inline]
    fn unpack(word: u64) -> Self {
        Self { whole_at: word >> SPARE_BITS, spare: word & ((1 << SPARE_BITS) - 1) }
    }
}

/// Of a state in one word: enough for all rates that reduce to at most 4,096 tokens in a tick, and leaves room
/// for 71 years of microseconds.
const SPARE_BITS: u32 = 12;

/// What one request finds.
pub(crate) struct Look<'a> {
    bucket: &'a Bucket,
    now: u64,
    tick: u64,
    /// Ticks in which nothing flows yet: the bucket was emptied by a call that read the clock later but came first.
    ahead: u64,
    /// Units that the bucket misses.
    missing: u64,
}

impl Bucket {
    /// The rate is reduced to lowest terms. Where the units of a whole bucket would not fit below 2^53,
    /// the tick is made coarser, which changes the rate by at most 1 ppm.
    pub(crate) fn new(quota: &Quota) -> Result<Self, QuotaError> {
        let micros = u64::try_from(quota.period().as_micros()).map_err(|_| QuotaError::Period)?;
        let divisor = gcd(quota.tokens(), micros);
        let (inflow, exact_scale) = (quota.tokens() / divisor, micros / divisor);
        // The largest scale whose full bucket, and a tick's inflow above it, stay below 2^53.
        let largest_scale = EXACT.saturating_sub(inflow) / quota.burst();
        let rounded = |tick: u64| (exact_scale + tick / 2) / tick;
        let mut tick = exact_scale.div_ceil(largest_scale.max(1));
        if rounded(tick) > largest_scale {
            tick += 1;
        }
        let scale = rounded(tick);
        let deviation = u128::from((scale * tick).abs_diff(exact_scale));
        let capacity = quota.burst().checked_mul(scale).filter(|_| scale <= largest_scale);
        let parts = (NonZeroU64::new(scale), NonZeroU64::new(inflow), NonZeroU64::new(tick), capacity);
        let (Some(scale), Some(inflow), Some(tick), Some(capacity)) = parts else {
            return Err(QuotaError::Uncountable);
        };
        let fill = capacity.div_ceil(inflow.get());
        let longest = fill.checked_mul(tick.get()).filter(|longest| *longest <= LONGEST_FILL);
        let exact = deviation * 1_000_000 <= u128::from(exact_scale);
        let Some(longest) = longest.filter(|_| exact) else { return Err(QuotaError::Uncountable) };
        let period = (micros / tick).max(1);
        let is_simple = inflow.get() == 1 && tick.get() == 1;
        Ok(Self { burst: quota.burst(), scale, inflow, capacity, fill, longest, tick, is_simple, period })
    }

    /// What taking `cost`, which is at most the burst, comes to where a unit flows in each microsecond, as it
    /// does at most rates; `None` where it does not, or the clock was set back.
    #[inline(always)]
    pub(crate) fn take_simply(&self, state: &mut BucketState, now: u64, cost: u64) -> Option<Decision> {
        // As many as there are units, since one flows in each microsecond.
        let (capacity, missing) = (self.longest, state.whole_at.saturating_sub(now));
        if !self.is_simple || missing > capacity {
            return None;
        }
        let missing = missing + cost * self.scale.get();
        if missing > capacity {
            return Some(Decision::Denied { retry_after: Duration::from_micros(missing - capacity) });
        }
        *state = BucketState { whole_at: now + missing, spare: 0 };
        Some(Decision::allowed((capacity - missing) / self.scale, Duration::from_micros(missing)))
    }

    /// `take_simply` of one token on a packed state: a decision has divisions to make of it, this has none.
    #[inline(always)]
    pub(crate) fn allow_simply(&self, word: u64, now: u64) -> Option<(u64, bool)> {
        let (capacity, missing) = (self.longest, (word >> SPARE_BITS).saturating_sub(now));
        if !self.is_simple || missing > capacity {
            return None;
        }
        let missing = missing + self.scale.get();
        if missing > capacity {
            return Some((word, false));
        }
        Some((BucketState { whole_at: now + missing, spare: 0 }.pack()?, true))
    }

    /// What the Lua mirror counts with: burst, units in a token and in a tick, the tick, ticks in the period.
    #[cfg(feature = "redis")]
    pub(crate) const fn numbers(&self) -> [u64; 5] {
        [self.burst, self.scale.get(), self.inflow.get(), self.tick.get(), self.period]
    }

    /// Whether a packed state is further ahead than an empty bucket at `now`. Written as in `allow_simply`, which has
    /// it answered already.
    #[inline(always)]
    pub(crate) const fn is_ahead(&self, word: u64, now: u64) -> bool {
        (word >> SPARE_BITS).saturating_sub(now) > self.longest
    }

    /// Looks at the bucket at `now`, in microseconds, and mends a state from before the clock was set back.
    #[inline]
    pub(crate) fn look(&self, state: &mut BucketState, now: u64) -> Look<'_> {
        let now = now.min(LATEST);
        let tick = self.ticks(now);
        let whole =
            if self.tick.get() == 1 { state.whole_at } else { state.whole_at.div_ceil(self.tick.get()) };
        let ticks = whole.saturating_sub(tick);
        let (missing, ahead) = if ticks == 0 { (0, 0) } else { self.missing(state, tick, ticks) };
        Look { bucket: self, now, tick, ahead, missing }
    }

    /// The units that a bucket misses which is whole in `ticks`, and the ticks in which nothing flows yet.
    #[inline]
    fn missing(&self, state: &mut BucketState, tick: u64, ticks: u64) -> (u64, u64) {
        // A spare from another quota may exceed this one's tick: it is not trusted then.
        let spare = if state.spare < self.inflow.get() { state.spare } else { 0 };
        // Compared before multiplied: the products stay below 2^53.
        if ticks <= self.fill {
            return ((ticks * self.inflow.get() - spare).min(self.capacity), 0);
        }
        self.missing_more(state, tick, ticks)
    }

    #[cold]
    fn missing_more(&self, state: &mut BucketState, tick: u64, ticks: u64) -> (u64, u64) {
        // The bucket was emptied in the future. A moment ahead, it was emptied by a thread that read
        // the clock later but came first: nothing flows until then. Further ahead, the clock was set
        // back, or the quota has changed: the bucket is empty now.
        if ticks - self.fill <= self.period {
            return (self.capacity, ticks - self.fill);
        }
        *state = self.state(tick, self.capacity);
        (self.capacity, 0)
    }

    /// The state of a bucket that misses `missing` units at `tick`.
    #[inline]
    fn state(&self, tick: u64, missing: u64) -> BucketState {
        let fill = self.ticks_to_fill(missing);
        BucketState { whole_at: (tick + fill) * self.tick.get(), spare: fill * self.inflow.get() - missing }
    }

    /// Ticks in which `units` flow in.
    #[inline]
    fn ticks_to_fill(&self, units: u64) -> u64 {
        if self.inflow.get() == 1 { units } else { units.div_ceil(self.inflow.get()) }
    }

    #[inline]
    fn ticks(&self, micros: u64) -> u64 {
        if self.tick.get() == 1 { micros } else { micros / self.tick }
    }

    /// The units of `tokens`, at most those of a whole bucket.
    #[inline]
    fn units(&self, tokens: u64) -> u64 {
        tokens.min(self.burst) * self.scale.get()
    }
}

impl Look<'_> {
    /// Whether `cost` tokens, at most the burst, are there.
    #[inline]
    pub(crate) fn fits(&self, cost: u64) -> bool {
        self.ahead == 0 && self.missing + self.bucket.units(cost) <= self.bucket.capacity
    }

    /// Whole tokens that are there.
    #[inline]
    pub(crate) fn tokens(&self) -> u64 {
        self.bucket.capacity.saturating_sub(self.missing) / self.bucket.scale
    }

    /// Until `cost` tokens, at most the burst, are there.
    #[inline]
    pub(crate) fn until_fits(&self, cost: u64) -> Duration {
        let allowed = self.bucket.capacity - self.bucket.units(cost);
        self.until_missing_at_most(allowed)
    }

    /// Until the bucket is whole.
    #[inline]
    pub(crate) fn until_whole(&self) -> Duration {
        self.until_missing_at_most(0)
    }

    /// The bucket with `cost` tokens taken, which were there.
    #[inline]
    pub(crate) fn take(&mut self, cost: u64) -> BucketState {
        self.missing += self.bucket.units(cost);
        self.bucket.state(self.tick, self.missing)
    }

    /// The bucket with `cost` tokens given back that were taken at `taken_at`, but for what has flowed in since.
    pub(crate) fn give(&mut self, cost: u64, taken_at: u64) -> BucketState {
        let bucket = self.bucket;
        let ticks = self.tick.saturating_sub(bucket.ticks(taken_at));
        let flowed = if ticks < bucket.fill { ticks * bucket.inflow.get() } else { bucket.capacity };
        self.missing = self.missing.saturating_sub(bucket.units(cost).saturating_sub(flowed));
        bucket.state(self.tick + self.ahead, self.missing)
    }

    #[inline]
    fn until_missing_at_most(&self, units: u64) -> Duration {
        let excess = self.missing.saturating_sub(units);
        if excess == 0 && self.ahead == 0 {
            return Duration::ZERO;
        }
        let tick = self.tick + self.ahead + self.bucket.ticks_to_fill(excess);
        Duration::from_micros((tick * self.bucket.tick.get()).saturating_sub(self.now))
    }
}

/// A bucket in one word: the instant at which it is whole, in units of inflow, a fraction of a tick.
#[derive(Clone, Copy, Debug)]
pub(crate) struct WordBucket {
    bucket: Bucket,
    /// A word that is this far ahead is from before the clock was set back.
    furthest: u64,
}

/// A request on a [`WordBucket`], with all that is known of it before the word is read.
pub(crate) struct Bid<'a> {
    bucket: &'a Bucket,
    now: u64,
    tick: u64,
    /// The same instant in units.
    units: u64,
    /// Units asked for.
    cost: u64,
    /// The latest instant at which the bucket may be whole afterwards.
    latest: u64,
    /// A word beyond is from before the clock was set back.
    furthest: u64,
}

impl WordBucket {
    /// So many units a tick leave room for a clock of 70 years.
    const MOST_INFLOW: u64 = 1 << 12;
    const LAST_TICK: u64 = 1 << 51;

    pub(crate) fn new(bucket: Bucket) -> Option<Self> {
        let inflow = bucket.inflow.get();
        (inflow <= Self::MOST_INFLOW)
            .then(|| Self { bucket, furthest: bucket.capacity + bucket.period * inflow })
    }

    /// Prepares to take `cost` tokens at `now`.
    ///
    /// # Errors
    ///
    /// The decision, where the cost exceeds the burst.
    #[inline]
    pub(crate) fn bid(&self, now: u64, cost: u32) -> Result<Bid<'_>, Decision> {
        let bucket = &self.bucket;
        let cost = u64::from(cost);
        if cost > bucket.burst {
            return Err(Decision::NeverFits { burst: bucket.burst });
        }
        // Centuries from the origin of a clock, time stands still: nothing below overflows.
        let tick = bucket.ticks(now).min(Self::LAST_TICK);
        let units = if bucket.inflow.get() == 1 { tick } else { tick * bucket.inflow.get() };
        let (cost, latest) = (cost * bucket.scale.get(), units + bucket.capacity);
        Ok(Bid { bucket, now, tick, units, cost, latest, furthest: units + self.furthest })
    }
}

impl Bid<'_> {
    /// The word with the cost taken, if it was there.
    #[inline]
    pub(crate) fn take(&self, word: u64) -> Option<u64> {
        let next = word.max(self.units) + self.cost;
        (next <= self.latest).then_some(next)
    }

    /// Whether the bucket is further ahead than one that was emptied at the time of the request.
    #[inline]
    pub(crate) const fn is_ahead(&self, word: u64) -> bool {
        word > self.latest
    }

    /// The word of an empty bucket, if this one is from before the clock was set back: as in `Bucket::missing`,
    /// a moment ahead is another thread, further ahead is not.
    #[inline]
    pub(crate) fn mend(&self, word: u64) -> Option<u64> {
        (word > self.furthest).then_some(self.latest)
    }

    /// The decision that left or found the bucket like `word`.
    #[inline]
    pub(crate) fn decision(&self, word: u64, taken: bool) -> Decision {
        let missing = word.saturating_sub(self.units);
        let look = Look { bucket: self.bucket, now: self.now, tick: self.tick, ahead: 0, missing };
        if taken {
            Decision::allowed(look.tokens(), look.until_whole())
        } else {
            let allowed = self.bucket.capacity - self.cost;
            Decision::Denied { retry_after: look.until_missing_at_most(allowed) }
        }
    }
}

const fn gcd(mut a: u64, mut b: u64) -> u64 {
    while b != 0 {
        (a, b) = (b, a % b);
    }
    a
}
