//! Over 100,000 keys.

use std::{hash::Hash, sync::atomic::AtomicU64};

use bench::{BoxError, KeyDistribution};
use clock::{Clock, PreciseClock};
use governor::{RateLimiter as Governor, clock::Clock as GovernorClock};
use parking_lot::Mutex;
use peers::{Case, CaseReport, Effort, Inputs, Outcome, Role, Subject};
use rate_limiter::{Limit, Memory, RateLimiter, token_bucket::TokenBucket};
use throttlecrab::{PeriodicStore, RateLimiter as Throttlecrab};

use crate::{
    clocks::Clocks,
    direct::touch,
    quotas::{Amount, always},
};

const BAR: f64 = 0.5;
pub(crate) const KEYS: u64 = 100_000;
const ZIPF: KeyDistribution = KeyDistribution::Zipf { exponent: 0.99 };

/// What a request is counted by.
pub(crate) trait Key: Hash + Eq + Clone + Send + Sync + 'static {
    /// The key as the peers that know only text take it.
    fn text(&self) -> Option<&str>;

    /// Its place in an array, where it has one.
    fn place(&self) -> Option<usize>;
}

impl Key for u64 {
    fn text(&self) -> Option<&str> {
        None
    }

    fn place(&self) -> Option<usize> {
        usize::try_from(*self).ok()
    }
}

impl Key for String {
    fn text(&self) -> Option<&str> {
        Some(self)
    }

    fn place(&self) -> Option<usize> {
        None
    }
}

pub(crate) fn cases(
    clocks: &Clocks,
    effort: Effort,
    wanted: &dyn Fn(&str) -> bool,
    reports: &mut Vec<CaseReport>,
) -> Result<(), BoxError> {
    for threads in [1, 2] {
        for distribution in [KeyDistribution::Uniform, ZIPF] {
            let numbers = Inputs::new((0..KEYS).collect(), distribution, threads)?;
            let name = format!("u64, {distribution}, {threads} thr");
            of_keys(&name, &numbers, clocks, effort, wanted, reports)?;
            let texts = (0..KEYS).map(|key| format!("tenant-7:user-{key:08}")).collect();
            let texts = Inputs::<String>::new(texts, distribution, threads)?;
            let name = format!("String, {distribution}, {threads} thr");
            of_keys(&name, &texts, clocks, effort, wanted, reports)?;
        }
    }
    Ok(())
}

fn of_keys<K: Key>(
    name: &str,
    inputs: &Inputs<K>,
    clocks: &Clocks,
    effort: Effort,
    wanted: &dyn Fn(&str) -> bool,
    reports: &mut Vec<CaseReport>,
) -> Result<(), BoxError> {
    for outcome in [Outcome::Allow, Outcome::Deny] {
        for clock in ["precise", "coarse"] {
            let outcome_name = if outcome == Outcome::Allow { "allow" } else { "deny" };
            let name = format!("{name}, {clock}, {outcome_name}");
            if wanted(&name) {
                let subjects = match clock {
                    "precise" => precise(inputs, outcome),
                    _ => subjects(inputs, outcome, &clocks.coarse, &clocks.upkeep),
                };
                let case = Case { name, inputs, outcome, subjects: subjects?, bar: Some(BAR) };
                reports.push(case.run(effort)?);
            }
        }
    }
    Ok(())
}

fn precise<K: Key>(inputs: &Inputs<K>, outcome: Outcome) -> Result<Vec<Subject<K>>, BoxError> {
    let clock = governor::clock::DefaultClock::default();
    let mut subjects = subjects(inputs, outcome, &PreciseClock::new(), &clock)?;
    if inputs.keys()[0].text().is_some() {
        subjects.push(throttlecrab(always(outcome)));
    }
    Ok(subjects)
}

fn subjects<K: Key, C, G>(
    inputs: &Inputs<K>,
    outcome: Outcome,
    clock: &C,
    governors: &G,
) -> Result<Vec<Subject<K>>, BoxError>
where
    C: Clock + Clone,
    G: GovernorClock + Clone + Send + Sync + 'static,
{
    let amount = always(outcome);
    let mut subjects = ours(clock, amount)?;
    subjects.extend(governor(governors, amount)?);
    if inputs.keys()[0].place().is_some() {
        subjects.push(floor(clock.clone(), inputs.keys().len(), outcome));
    }
    Ok(subjects)
}

pub(crate) fn ours<K: Key>(
    clock: &(impl Clock + Clone),
    amount: Amount,
) -> Result<Vec<Subject<K>>, BoxError> {
    let quota = amount.ours()?;
    let memory = || Memory::builder().clock(clock.clone());
    let limiter = RateLimiter::new(memory().build::<K, Limit>()?, Limit::token_bucket(quota)?);
    let (typed, rule) = (memory().build::<K, TokenBucket>()?, TokenBucket::new(&quota)?);
    Ok(vec![
        Subject::new("RateLimiter", Role::Ours, move |key: &K| limiter.try_allow(key).unwrap_or(false)),
        Subject::new("Memory, typed", Role::Ours, move |key: &K| {
            typed.try_allow(key, &rule).unwrap_or(false)
        }),
    ])
}

fn governor<K: Key, G>(clock: &G, amount: Amount) -> Result<[Subject<K>; 3], BoxError>
where
    G: GovernorClock + Clone + Send + Sync + 'static,
{
    let quota = amount.governor()?;
    let dashmap = Governor::dashmap_with_clock(quota, clock.clone());
    let hashmap = Governor::hashmap_with_clock(quota, clock.clone());
    let hasher = foldhash::fast::RandomState::default();
    let hashed = Governor::dashmap_with_clock_and_hasher(quota, clock.clone(), hasher);
    Ok([
        Subject::new("governor dashmap", Role::Rival, move |key: &K| dashmap.check_key(key).is_ok()),
        Subject::new("governor hashmap", Role::Rival, move |key: &K| hashmap.check_key(key).is_ok()),
        Subject::new("governor dashmap with our hash", Role::Other, move |key: &K| {
            hashed.check_key(key).is_ok()
        }),
    ])
}

/// It is not shared as it comes: a lock is the least that a service needs.
fn throttlecrab<K: Key>(amount: Amount) -> Subject<K> {
    let limiter = Mutex::new(Throttlecrab::new(PeriodicStore::with_capacity(2 * KEYS as usize)));
    // Where the burst is one, it forgets a key at once and denies nothing.
    let (burst, tokens) = (i64::from(amount.burst.max(2)), i64::from(amount.tokens));
    let period = i64::try_from(amount.period.as_secs()).unwrap_or(i64::MAX);
    Subject::new("throttlecrab", Role::Other, move |key: &K| {
        #[expect(clippy::disallowed_methods, reason = "the time that this peer asks for")]
        let now = std::time::SystemTime::now();
        let key = key.text().unwrap_or_default();
        limiter.lock().rate_limit(key, burst, tokens, period, 1, now).is_ok_and(|(allowed, _)| allowed)
    })
}

/// No table at all.
fn floor<K: Key>(clock: impl Clock, keys: usize, outcome: Outcome) -> Subject<K> {
    let words: Box<[AtomicU64]> = (0..keys).map(|_| AtomicU64::new(0)).collect();
    Subject::new("floor", Role::Other, move |key: &K| {
        let word = key.place().and_then(|place| words.get(place));
        word.is_some_and(|word| touch(word, clock.now().as_micros(), outcome))
    })
}
