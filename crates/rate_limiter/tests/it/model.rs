//! The token bucket against a model in exact rational arithmetic, and its two bounds.

use std::time::Duration;

use proptest::prelude::*;
use rate_limiter::{
    Decision, Quota,
    token_bucket::{State, TokenBucket},
};

/// A bucket that counts in units of 1 / period token, in 128 bits, by definition: refill, then take.
struct Model {
    level: u128,
    at: u64,
    tokens: u128,
    period: u128,
    burst: u128,
}

impl Model {
    fn new(quota: &Quota) -> Self {
        let (tokens, period) = (u128::from(quota.tokens()), quota.period().as_micros());
        let burst = u128::from(quota.burst());
        Self { level: burst * period, at: 0, tokens, period, burst }
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

/// Quotas that are counted on the finest tick, hence exactly.
fn quotas() -> impl Strategy<Value = Quota> {
    let period = prop_oneof![Just(1), Just(1_000), Just(1_000_000), Just(60_000_000), 1_u64..3_600_000_000];
    (1_u64..=2_000, period, 1_u64..=1_000).prop_filter_map("rate", |(tokens, micros, burst)| {
        Quota::new(tokens, Duration::from_micros(micros)).ok()?.with_burst(burst).ok()
    })
}

/// Pauses from nothing to long idleness, and costs from one to more than fits.
fn requests() -> impl Strategy<Value = Vec<(u64, u32)>> {
    let pause = prop_oneof![Just(0), 0_u64..50, 0_u64..100_000, 0_u64..10_000_000_000];
    let cost = prop_oneof![3 => Just(1_u32), 1 => 1_u32..1_500];
    prop::collection::vec((pause, cost), 1..200)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn decides_as_the_model_does(quota in quotas(), requests in requests(), start in 0_u64..1 << 50) {
        let bucket = TokenBucket::new(&quota).unwrap();
        let mut model = Model::new(&quota);
        model.at = start;
        let (mut state, mut now) = (State::default(), start);
        for (pause, cost) in requests {
            now += pause;
            let (next, decision) = bucket.step(state, now, cost);
            prop_assert_eq!(decision.is_allowed(), model.take(now, cost), "cost {} at {}", cost, now);
            match decision {
                Decision::Allowed { remaining, .. } => {
                    prop_assert_eq!(u128::from(remaining), model.level / model.period);
                }
                Decision::Denied { .. } => prop_assert_eq!(next, state),
                Decision::NeverFits { burst } => prop_assert!(u64::from(cost) > burst),
            }
            state = next;
        }
    }

    #[test]
    fn waiting_exactly_retry_after_succeeds(quota in quotas(), requests in requests(), start in 0_u64..1 << 50) {
        let bucket = TokenBucket::new(&quota).unwrap();
        let (mut state, mut now) = (State::default(), start);
        for (pause, cost) in requests {
            now += pause;
            let (next, decision) = bucket.step(state, now, cost);
            state = next;
            if let Decision::Denied { retry_after } = decision {
                let wait = u64::try_from(retry_after.as_micros()).unwrap();
                prop_assert!(wait > 0);
                prop_assert!(!bucket.step(state, now + wait - 1, cost).1.is_allowed(), "earlier than told");
                prop_assert!(bucket.step(state, now + wait, cost).1.is_allowed(), "later than told");
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
        let (mut state, mut now, mut admitted) = (State::default(), start, 0_u128);
        for (pause, cost) in greed {
            now += pause;
            // Greedy: whatever fits, the largest first.
            let mut cost = cost.min(u32::try_from(burst).unwrap());
            while cost > 0 {
                let (next, decision) = bucket.step(state, now, cost);
                state = next;
                if decision.is_allowed() { admitted += u128::from(cost) } else { cost /= 2 }
            }
        }
        let inflow = u128::from(now - start) * u128::from(tokens) / (u128::from(seconds) * 1_000_000);
        let most = u128::from(burst) + inflow + inflow / 1_000_000 + 1;
        prop_assert!(admitted <= most, "{admitted} admitted, at most {most}");
    }
}

#[test]
fn greedy_demand_gets_its_due() {
    for (quota, seconds) in
        [("3/s", 1_000_u64), ("999999937/s burst 1000000", 1), ("7/13s", 100_000), ("1/day", 864_000)]
    {
        let quota: Quota = quota.parse().unwrap();
        let bucket = TokenBucket::new(&quota).unwrap();
        let (mut state, mut now, mut admitted) = (State::default(), 0_u64, 0_u64);
        let end = seconds * 1_000_000;
        let chunk = u32::try_from((quota.tokens() / 10_000).max(1)).unwrap();
        while now <= end {
            let (next, decision) = bucket.step(state, now, chunk);
            state = next;
            match decision.retry_after() {
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
fn any_rate_from_one_a_month_to_a_billion_a_second_builds() {
    let day = 86_400_000_000;
    for micros in [1, 7, 1_000, 999_983, 1_000_000, 60_000_000, day, 30 * day] {
        for tokens in [1, 3, 1_000, 999_983, 999_999_937] {
            let Ok(quota) = Quota::new(tokens, Duration::from_micros(micros)) else { continue };
            for burst in [1, 1_000, 999_983, 1_000_000] {
                let quota = quota.with_burst(burst).unwrap();
                TokenBucket::new(&quota).unwrap_or_else(|error| panic!("{quota}: {error}"));
            }
        }
    }
}
