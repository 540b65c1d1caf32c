//! What each key was granted, checked against its quota after the run.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use bench::{Invariant, RunFacts};
use rate_limiter::Limit;

use crate::greedy;

/// Sixteen bytes a key: what a machine can be expected to have for checking.
pub(crate) const MOST_KEYS: u64 = 200_000_000;

/// Admissions and denials of every key.
pub(crate) struct Tally {
    keys: Box<[Counts]>,
    /// Decisions that failed: whether anything was taken is not known.
    failed: AtomicU64,
}

/// What the counts alone do not tell.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Told {
    pub(crate) crowded_out: u64,
    /// A denial may come before the burst is used up, since others hold a part of it.
    pub(crate) denied_early: bool,
    /// What the [watched key](greedy::KEY) must have been granted.
    pub(crate) least: Option<u64>,
}

#[derive(Default)]
struct Counts {
    allowed: AtomicU64,
    denied: AtomicU64,
}

impl Tally {
    pub(crate) fn new(keys: u64) -> Self {
        Self { keys: (0..keys).map(|_| Counts::default()).collect(), failed: AtomicU64::new(0) }
    }

    pub(crate) fn fail(&self) {
        self.failed.fetch_add(1, Ordering::Relaxed);
    }

    /// All admissions, and all denials.
    pub(crate) fn sum(&self) -> (u64, u64) {
        self.counts().fold((0, 0), |sum, counts| (sum.0 + counts.0, sum.1 + counts.1))
    }

    /// What each key was granted, a line each.
    pub(crate) fn to_csv(&self) -> String {
        let granted = self.counts().enumerate().filter(|(_, (allowed, _))| *allowed > 0);
        granted.map(|(key, (allowed, _))| format!("{key},{allowed}\n")).collect()
    }

    /// What `key` was granted so far.
    pub(crate) fn granted(&self, key: u64) -> u64 {
        let counts = usize::try_from(key).ok().and_then(|key| self.keys.get(key));
        counts.map_or(0, |counts| counts.allowed.load(Ordering::Relaxed))
    }

    fn counts(&self) -> impl Iterator<Item = (u64, u64)> {
        self.keys
            .iter()
            .map(|counts| (counts.allowed.load(Ordering::Relaxed), counts.denied.load(Ordering::Relaxed)))
    }

    pub(crate) fn count(&self, key: u64, allowed: bool) {
        // A key beyond the table cannot come: the keys are drawn below its length.
        if let Some(counts) = usize::try_from(key).ok().and_then(|key| self.keys.get(key)) {
            let counter = if allowed { &counts.allowed } else { &counts.denied };
            counter.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Holds every key against the bound of `limit`, which started whole and flowed for `elapsed`.
    pub(crate) fn check(
        &self,
        limit: &Limit,
        elapsed: Duration,
        run: &RunFacts,
        told: Told,
    ) -> Vec<Invariant> {
        let Told { crowded_out, denied_early, least } = told;
        let most = limit.most_within(elapsed);
        let quotas: Vec<String> = limit.parts().map(|part| part.quota().to_string()).collect();
        let quotas = quotas.join(", ");
        let burst = limit.parts().map(|part| part.quota().burst()).min().unwrap_or(0);
        let counts: Vec<(u64, u64)> = self.counts().collect();
        let over = counts.iter().filter(|(allowed, _)| u128::from(*allowed) > most).count();
        let highest = counts.iter().map(|(allowed, _)| *allowed).max().unwrap_or(0);
        let failed = self.failed.load(Ordering::Relaxed);
        let counted = counts.iter().map(|(allowed, denied)| allowed + denied).sum::<u64>() + failed;
        let mut invariants = vec![Invariant {
            name: "no key was admitted more than its quota".to_owned(),
            held: over == 0,
            detail: format!(
                "{over} of {} keys above {most} ({quotas} for {:.3} s); the highest was {highest}",
                counts.len(),
                elapsed.as_secs_f64()
            ),
        }];
        // What an interrupted operation took is missing in the count.
        if !run.interrupted {
            if !denied_early {
                let early = counts.iter().filter(|(allowed, denied)| *denied > 0 && *allowed < burst).count();
                invariants.push(Invariant {
                    name: "no key was denied before its burst was used".to_owned(),
                    held: early == 0,
                    detail: format!("{early} of {} keys denied below {burst}", counts.len()),
                });
            }
            if let Some(least) = least {
                let granted = self.granted(greedy::KEY);
                invariants.push(Invariant {
                    name: "the busiest key was granted what flowed in".to_owned(),
                    held: granted >= least,
                    detail: format!("{granted} granted, of at least {least}"),
                });
            }
            invariants.push(Invariant {
                name: "no key was crowded out of the store".to_owned(),
                held: crowded_out == 0,
                detail: format!("{crowded_out} requests of new keys found no place"),
            });
            invariants.push(Invariant {
                name: "every operation was counted once".to_owned(),
                held: counted == run.operations,
                detail: format!("{counted} counted, {} run", run.operations),
            });
        }
        invariants
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn checked(allowed: u64, denied: u64) -> Vec<bool> {
        let tally = Tally::new(2);
        (0..allowed).for_each(|_| tally.count(1, true));
        (0..denied).for_each(|_| tally.count(1, false));
        let elapsed = Duration::from_secs(2);
        let run = RunFacts { operations: allowed + denied, elapsed, interrupted: false };
        let limit = Limit::token_bucket("10/s burst 5".parse().unwrap()).unwrap();
        tally
            .check(&limit, elapsed, &run, Told::default())
            .into_iter()
            .map(|invariant| invariant.held)
            .collect()
    }

    #[test]
    fn one_grant_too_many_is_found_and_one_denial_too_early() {
        assert_eq!(checked(25, 100), [true; 4]);
        assert_eq!(checked(26, 100), [false, true, true, true]);
        assert_eq!(checked(4, 1), [true, false, true, true]);
    }
}
