//! Every algorithm of ours over 100,000 keys, for the record.

use std::time::Duration;

use bench::{BoxError, KeyDistribution};
use peers::{Case, CaseReport, Effort, Inputs, Outcome, Role, Subject};
use rate_limiter::{Algorithm, Limit, Memory, RateLimiter};

use crate::{
    keyed::KEYS,
    quotas::{Amount, HOUR, always},
};

pub(crate) fn cases(
    effort: Effort,
    wanted: &dyn Fn(&str) -> bool,
    reports: &mut Vec<CaseReport>,
) -> Result<(), BoxError> {
    let inputs = Inputs::new((0..KEYS).collect(), KeyDistribution::Uniform, 1)?;
    for outcome in [Outcome::Allow, Outcome::Deny] {
        let name = format!("algorithms, u64, uniform, 1 thr, precise, {outcome:?}").to_lowercase();
        if wanted(&name) {
            let subjects: Result<Vec<_>, _> =
                Algorithm::ALL.into_iter().map(|algorithm| subject(algorithm, outcome)).collect();
            let case = Case { name, inputs: &inputs, outcome, subjects: subjects?, bar: None };
            reports.push(case.run(effort)?);
        }
    }
    Ok(())
}

fn subject(algorithm: Algorithm, outcome: Outcome) -> Result<Subject<u64>, BoxError> {
    let amount = match (algorithm, outcome) {
        // Its log has some five entries when each of 100,000 keys comes every few milliseconds.
        (Algorithm::SlidingWindowLog, Outcome::Allow) => {
            Amount { burst: 1_000, tokens: 1_000, period: Duration::from_millis(20) }
        }
        (_, Outcome::Allow) if algorithm.is_windowed() => {
            Amount { burst: u32::MAX, tokens: u32::MAX, period: HOUR }
        }
        _ => always(outcome),
    };
    let limit = Limit::new(algorithm, amount.ours()?)?;
    let limiter = RateLimiter::new(Memory::builder().build::<u64, Limit>()?, limit);
    Ok(Subject::new(algorithm.as_str(), Role::Ours, move |key| limiter.try_allow(key).unwrap_or(false)))
}
