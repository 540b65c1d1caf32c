//! Without keys.

use std::sync::atomic::{AtomicU64, Ordering};

use bench::BoxError;
use clock::{Clock, PreciseClock};
use governor::{RateLimiter as Governor, clock::Clock as GovernorClock};
use peers::{Case, CaseReport, Effort, Inputs, Outcome, Role, Subject};
use rate_limiter::{Direct, Limit};

use crate::{
    clocks::{Clocks, Lent},
    quotas::{Amount, always},
};

const BAR: f64 = 1.0;

pub(crate) fn cases(
    clocks: &Clocks,
    effort: Effort,
    wanted: &dyn Fn(&str) -> bool,
    reports: &mut Vec<CaseReport>,
) -> Result<(), BoxError> {
    for threads in [1, 2] {
        let inputs = Inputs::none(threads);
        for outcome in [Outcome::Allow, Outcome::Deny] {
            for clock in ["precise", "coarse"] {
                let name = format!("direct, {clock}, {outcome:?}, {threads} thr").to_lowercase();
                if wanted(&name) {
                    let subjects =
                        if clock == "precise" { precise(outcome) } else { coarse(clocks, outcome) };
                    let case = Case { name, inputs: &inputs, outcome, subjects: subjects?, bar: Some(BAR) };
                    reports.push(case.run(effort)?);
                }
            }
        }
    }
    Ok(())
}

fn precise(outcome: Outcome) -> Result<Vec<Subject<()>>, BoxError> {
    let amount = always(outcome);
    let mut subjects = ours(PreciseClock::new(), amount)?;
    subjects.push(governor(governor::clock::DefaultClock::default(), amount)?);
    subjects.push(leaky_bucket(amount));
    let iop = ratelimit(ratelimit::StdClock::new(), amount)?;
    subjects.push(iop);
    subjects.push(floor(PreciseClock::new(), outcome));
    Ok(subjects)
}

fn coarse(clocks: &Clocks, outcome: Outcome) -> Result<Vec<Subject<()>>, BoxError> {
    let amount = always(outcome);
    let mut subjects = ours(clocks.coarse.clone(), amount)?;
    subjects.push(governor(clocks.upkeep.clone(), amount)?);
    let iop = ratelimit(Lent(clocks.coarse.clone()), amount)?;
    subjects.push(iop);
    subjects.push(floor(clocks.coarse.clone(), outcome));
    Ok(subjects)
}

fn ours(clock: impl Clock, amount: Amount) -> Result<Vec<Subject<()>>, BoxError> {
    let limiter = Direct::with_clock(Limit::token_bucket(amount.ours()?)?, clock);
    Ok(vec![Subject::new("Direct", Role::Ours, move |()| limiter.try_allow())])
}

fn governor(
    clock: impl GovernorClock + Clone + Send + Sync + 'static,
    amount: Amount,
) -> Result<Subject<()>, BoxError> {
    let limiter = Governor::direct_with_clock(amount.governor()?, clock);
    Ok(Subject::new("governor", Role::Rival, move |()| limiter.check().is_ok()))
}

fn leaky_bucket(amount: Amount) -> Subject<()> {
    let limiter = leaky_bucket::RateLimiter::builder()
        .max(amount.burst as usize)
        .initial(amount.burst as usize)
        .refill(amount.tokens as usize)
        .interval(amount.period)
        .build();
    Subject::new("leaky-bucket", Role::Other, move |()| limiter.try_acquire(1))
}

fn ratelimit(
    clock: impl ratelimit::Clock + Send + Sync + 'static,
    amount: Amount,
) -> Result<Subject<()>, BoxError> {
    let limiter = ratelimit::Builder::with_clock(amount.tokens.into(), clock)
        .period(amount.period)
        .max_tokens(amount.burst.into())
        .initial_available(amount.burst.into())
        .build()?;
    Ok(Subject::new("ratelimit", Role::Other, move |()| limiter.try_wait().is_ok()))
}

/// The least that a decision needs: the time, and a word that others change too.
fn floor(clock: impl Clock, outcome: Outcome) -> Subject<()> {
    let word = AtomicU64::new(0);
    Subject::new("floor", Role::Other, move |()| touch(&word, clock.now().as_micros(), outcome))
}

/// A compare-and-swap for what is allowed, a load for what is denied.
#[inline]
pub(crate) fn touch(word: &AtomicU64, now: u64, outcome: Outcome) -> bool {
    let mut seen = word.load(Ordering::Relaxed);
    if outcome == Outcome::Deny {
        return seen > now;
    }
    while let Err(other) =
        word.compare_exchange_weak(seen, seen.max(now) + 1, Ordering::Relaxed, Ordering::Relaxed)
    {
        seen = other;
    }
    true
}
