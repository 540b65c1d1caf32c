//! Every algorithm against a model that does what its definition says, the slow way, in 128 bits; and
//! what holds for any quota that can be built.

use std::{fmt::Debug, time::Duration};

use proptest::prelude::*;
use rate_limiter::{
    Decision, Quota, Rule, State, fixed_window::FixedWindow, leaky_bucket::LeakyBucketQueue,
    sliding_window_counter::SlidingWindowCounter, sliding_window_log::SlidingWindowLog,
    token_bucket::TokenBucket,
};

/// What a request of `cost` at a time is answered by definition.
trait Model {
    fn of(quota: &Quota, start: u64) -> Self;
    fn take(&mut self, now: u64, cost: u32) -> bool;
}

/// Counts in units of 1 / period token: refill, then take.
struct BucketModel {
    level: u128,
    at: u64,
    tokens: u128,
    period: u128,
    burst: u128,
}

impl Model for BucketModel {
    fn of(quota: &Quota, start: u64) -> Self {
        let (tokens, period) = (u128::from(quota.tokens()), quota.period().as_micros());
        let burst = u128::from(quota.burst());
        Self { level: burst * period, at: start, tokens, period, burst }
    }

    fn take(&mut self, now: u64, cost: u32) -> bool {
        self.level += u128::from(now - self.at) * self.tokens;
        self.level = self.level.min(self.burst * self.period);
        self.at = now;
        let cost = u128::from(cost) * self.period;
        let allowed = cost <= self.level;
        if allowed {
            self.level -= cost;
        }
        allowed
    }
}

/// Everything that was ever admitted: enough for all rules that look back.
struct History {
    admitted: Vec<(u64, u64)>,
    tokens: u64,
    period: u64,
}

impl History {
    fn of(quota: &Quota) -> Self {
        Self { admitted: Vec::new(), tokens: quota.tokens(), period: quota.period().as_micros() as u64 }
    }

    /// Tokens admitted from `from` to before `to`.
    fn between(&self, from: u64, to: u64) -> u64 {
        self.admitted.iter().filter(|(at, _)| (from..to).contains(at)).map(|(_, cost)| cost).sum()
    }

    fn admit(&mut self, now: u64, cost: u32, allowed: bool) -> bool {
        if allowed {
            self.admitted.push((now, u64::from(cost)));
        }
        allowed
    }
}

struct WindowModel(History);

impl Model for WindowModel {
    fn of(quota: &Quota, _start: u64) -> Self {
        Self(History::of(quota))
    }

    fn take(&mut self, now: u64, cost: u32) -> bool {
        let start = now / self.0.period * self.0.period;
        let taken = self.0.between(start, start + self.0.period);
        self.0.admit(now, cost, taken + u64::from(cost) <= self.0.tokens)
    }
}

struct CounterModel(History);

impl Model for CounterModel {
    fn of(quota: &Quota, _start: u64) -> Self {
        Self(History::of(quota))
    }

    fn take(&mut self, now: u64, cost: u32) -> bool {
        let History { tokens, period, .. } = self.0;
        let start = now / period * period;
        let taken = u128::from(self.0.between(start, start + period));
        let before = u128::from(self.0.between(start.saturating_sub(period), start));
        let left = u128::from(start + period - now);
        let weighted = (taken + u128::from(cost)) * u128::from(period) + before * left;
        self.0.admit(now, cost, weighted <= u128::from(tokens) * u128::from(period))
    }
}

struct LogModel(History);

impl Model for LogModel {
    fn of(quota: &Quota, _start: u64) -> Self {
        Self(History::of(quota))
    }

    fn take(&mut self, now: u64, cost: u32) -> bool {
        // Admitted less than a period ago.
        let taken = self.0.between((now + 1).saturating_sub(self.0.period), now + 1);
        self.0.admit(now, cost, taken + u64::from(cost) <= self.0.tokens)
    }
}

/// Quotas that are counted on the finest tick, hence exactly.
fn quotas(max_micros: u64) -> impl Strategy<Value = Quota> {
    let period = prop_oneof![Just(1), Just(1_000), Just(1_000_000), 1_u64..max_micros];
    (1_u64..=2_000, period)
        .prop_filter_map("rate", |(tokens, micros)| Quota::new(tokens, Duration::from_micros(micros)).ok())
}

/// Pauses from nothing to long idleness, often near the period, and costs from one to more than fits.
fn requests() -> impl Strategy<Value = Vec<(f64, u32)>> {
    let pause = prop_oneof![Just(0.0), 0.0..0.01, 0.0..0.5, 0.9..1.1, 0.0..10.0];
    let cost = prop_oneof![3 => Just(1_u32), 1 => 1_u32..1_500];
    prop::collection::vec((pause, cost), 1..150)
}

fn agrees<R: Rule, M: Model>(
    rule: &R,
    quota: &Quota,
    start: u64,
    requests: &[(f64, u32)],
) -> Result<(), TestCaseError> {
    let period = quota.period().as_micros() as f64;
    let mut model = M::of(quota, start);
    let (mut state, mut now) = (R::State::default(), start);
    for (pause, cost) in requests {
        now += (pause * period) as u64;
        let before = state.clone();
        let peeked = rule.peek(&state, now, *cost);
        let decision = rule.take(&mut state, now, *cost);
        prop_assert_eq!(peeked.is_allowed(), decision.is_allowed());
        prop_assert_eq!(decision.is_allowed(), model.take(now, *cost), "cost {} at {}", cost, now);
        match decision {
            Decision::Allowed { remaining, .. } => prop_assert_eq!(rule.available(&state, now), remaining),
            Decision::NeverFits { burst } => prop_assert!(u64::from(*cost) > burst),
            Decision::Denied { retry_after } => {
                let wait = retry_after.as_micros() as u64;
                prop_assert!(wait > 0);
                prop_assert!(!rule.peek(&before, now + wait - 1, *cost).is_allowed(), "earlier than told");
                prop_assert!(rule.peek(&state, now + wait, *cost).is_allowed(), "later than told");
            }
        }
        // A key that may be forgotten decides as if it had been.
        let fresh = state.fresh_at().max(now);
        prop_assert_eq!(rule.available(&state, fresh), rule.available(&R::State::default(), fresh));
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_000))]

    #[test]
    fn token_bucket(quota in quotas(3_600_000_000), burst in 1_u64..=1_000, requests in requests(), start in 0_u64..1 << 50) {
        let quota = quota.with_burst(burst).unwrap();
        agrees::<_, BucketModel>(&TokenBucket::new(&quota).unwrap(), &quota, start, &requests)?;
        agrees::<_, BucketModel>(&LeakyBucketQueue::new(&quota).unwrap(), &quota, start, &requests)?;
    }

    #[test]
    fn fixed_window(quota in quotas(3_600_000_000), requests in requests(), start in 0_u64..1 << 50) {
        agrees::<_, WindowModel>(&FixedWindow::new(&quota).unwrap(), &quota, start, &requests)?;
    }

    #[test]
    fn sliding_window_counter(quota in quotas(3_600_000_000), requests in requests(), start in 0_u64..1 << 50) {
        agrees::<_, CounterModel>(&SlidingWindowCounter::new(&quota).unwrap(), &quota, start, &requests)?;
    }

    #[test]
    fn sliding_window_log(quota in quotas(3_600_000_000), requests in requests(), start in 0_u64..1 << 50) {
        agrees::<_, LogModel>(&SlidingWindowLog::new(&quota).unwrap(), &quota, start, &requests)?;
    }

    /// What leaves a queue is spaced: one after the other, each as long after as its cost takes.
    #[test]
    fn what_leaves_a_queue_is_spaced(quota in quotas(1_000_000), requests in requests()) {
        let queue = LeakyBucketQueue::new(&quota).unwrap();
        let period = quota.period().as_micros() as f64;
        let (mut state, mut now, mut free) = (Default::default(), 1_u64 << 40, 0_f64);
        for (pause, cost) in requests {
            now += (pause * period) as u64;
            if let Decision::Allowed { delay, .. } = queue.take(&mut state, now, cost) {
                let leaves = now as f64 + delay.as_micros() as f64;
                prop_assert!(leaves + 1e-3 >= free, "leaves at {leaves}, the one before takes until {free}");
                free = free.max(leaves.min(free + 1.0)) + f64::from(cost) * period / quota.tokens() as f64;
            }
        }
    }

    /// Rates of every size, also those that need a coarser tick: at most 1 ppm off.
    #[test]
    fn admits_within_its_bounds(
        tokens in prop_oneof![1_u64..100, 1_u64..1_000_000_000],
        seconds in prop_oneof![1_u64..60, 1_u64..31_536_000],
        burst in 1_u64..=1_000_000,
        greed in prop::collection::vec((0_u64..1 << 34, 1_u32..1_000), 1..100),
    ) {
        let quota = Quota::new(tokens, Duration::from_secs(seconds)).unwrap().with_burst(burst).unwrap();
        // An empty bucket that takes longer than 146,000 years to fill is refused.
        let fills_in = u128::from(burst) * u128::from(seconds) * 1_000_000 / u128::from(tokens);
        prop_assume!(fills_in < 1 << 62);
        let bucket = TokenBucket::new(&quota).unwrap();
        let start = 1 << 50;
        let (mut state, mut now, mut admitted) = (Default::default(), start, 0_u128);
        for (pause, cost) in greed {
            now += pause;
            // Greedy: whatever fits, the largest first.
            let mut cost = cost.min(u32::try_from(burst).unwrap());
            while cost > 0 {
                if bucket.take(&mut state, now, cost).is_allowed() { admitted += u128::from(cost) } else { cost /= 2 }
            }
        }
        let inflow = u128::from(now - start) * u128::from(tokens) / (u128::from(seconds) * 1_000_000);
        let most = u128::from(burst) + inflow + inflow / 1_000_000 + 1;
        prop_assert!(admitted <= most, "{admitted} admitted, at most {most}");
    }

    /// Taken and given back at any time, a key never has more than its quota, and at once it is as before.
    #[test]
    fn a_refund_never_exceeds_the_quota(quota in quotas(1_000_000), requests in requests(), start in 0_u64..1 << 50) {
        refunds(&TokenBucket::new(&quota).unwrap(), &quota, &requests, start)?;
        refunds(&FixedWindow::new(&quota).unwrap(), &quota, &requests, start)?;
        refunds(&SlidingWindowCounter::new(&quota).unwrap(), &quota, &requests, start)?;
        refunds(&SlidingWindowLog::new(&quota).unwrap(), &quota, &requests, start)?;
    }
}

fn refunds<R: Rule + Debug>(
    rule: &R,
    quota: &Quota,
    requests: &[(f64, u32)],
    start: u64,
) -> Result<(), TestCaseError> {
    let period = quota.period().as_micros() as f64;
    let (mut state, mut now) = (R::State::default(), start);
    for (place, (pause, cost)) in requests.iter().enumerate() {
        let available = rule.available(&state, now);
        if rule.take(&mut state, now, *cost).is_allowed() {
            let taken_at = now;
            if place % 2 == 0 {
                now += (pause * period) as u64;
                rule.refund(&mut state, now, taken_at, *cost);
                prop_assert!(rule.available(&state, now) <= quota.tokens());
            } else {
                rule.refund(&mut state, now, taken_at, *cost);
                prop_assert_eq!(rule.available(&state, now), available, "{:?}", rule);
                now += (pause * period) as u64;
            }
        }
    }
    Ok(())
}

#[test]
fn greedy_demand_gets_its_due() {
    for (quota, seconds) in
        [("3/s", 1_000_u64), ("999999937/s burst 1000000", 1), ("7/13s", 100_000), ("1/day", 864_000)]
    {
        let quota: Quota = quota.parse().unwrap();
        let bucket = TokenBucket::new(&quota).unwrap();
        let (mut state, mut now, mut admitted) = (Default::default(), 0_u64, 0_u64);
        let end = seconds * 1_000_000;
        let chunk = u32::try_from((quota.tokens() / 10_000).max(1)).unwrap();
        while now <= end {
            match bucket.take(&mut state, now, chunk).retry_after() {
                None => admitted += u64::from(chunk),
                Some(wait) => now += u64::try_from(wait.as_micros()).unwrap(),
            }
        }
        let exact = quota.most_within(Duration::from_secs(seconds));
        let due = exact - exact / 1_000_000 - u128::from(chunk);
        assert!(u128::from(admitted) >= due, "{quota}: {admitted} of {exact}");
        assert!(u128::from(admitted) <= exact + exact / 1_000_000, "{quota}: {admitted} of {exact}");
    }
}

#[test]
fn a_rate_that_does_not_reduce_is_counted_on_a_coarser_tick() {
    // Rounding the scale to the nearest would push the capacity past 2^53.
    let quota: Quota = "325634537/11133361s burst 987823".parse().unwrap();
    TokenBucket::new(&quota).unwrap();
}

#[test]
fn any_rate_from_one_a_month_to_a_billion_a_second_builds() {
    let day = 86_400_000_000;
    for micros in [1, 7, 1_000, 999_983, 1_000_000, 60_000_000, day, 30 * day] {
        for tokens in [1, 3, 1_000, 999_983, 999_999_937] {
            let Ok(quota) = Quota::new(tokens, Duration::from_micros(micros)) else { continue };
            FixedWindow::new(&quota).unwrap();
            SlidingWindowLog::new(&quota).unwrap();
            if tokens <= 1_000_000 {
                SlidingWindowCounter::new(&quota).unwrap_or_else(|error| panic!("{quota}: {error}"));
            }
            for burst in [1, 1_000, 999_983, 1_000_000] {
                let quota = quota.with_burst(burst).unwrap();
                TokenBucket::new(&quota).unwrap_or_else(|error| panic!("{quota}: {error}"));
            }
        }
    }
}
