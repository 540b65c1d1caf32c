//! Decisions that a server makes, or that are leased from one.

use std::{
    fs,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use anyhow::Context;
use bench::{
    Amount, BoxError, Class, Config, Fact, Invariant, Keys, Outcome, Report, Rng, RunFacts, Workload,
};
use clock::{Clock, PreciseClock, Time};
use rate_limiter::{Ask, AskMany, Decision, DynStore, Limit, RedisStore, Result, lease::Leased};

use crate::{
    classes::{BATCH, CLASSES, FAILED, class_of},
    tally::{Tally, Told},
};

/// How a decision is come by.
pub(crate) enum Way {
    /// A round trip each.
    Each(Arc<dyn DynStore>),
    /// A round trip for many.
    Many(Arc<RedisStore>),
    /// A round trip each, which ends when so many replicas have what it took.
    Acknowledged(Arc<RedisStore>, u32),
    /// From permits that were taken in lots.
    Leased(Arc<Leased<Arc<dyn DynStore>>>),
}

/// Decisions on keys drawn from a distribution, `batch` at a time.
pub(crate) struct Remote {
    shared: Arc<Shared>,
}

/// What the report is written from, too.
pub(crate) struct Shared {
    way: Way,
    limit: Limit,
    keys: Keys,
    batch: usize,
    /// With other processes, which take from the same quotas.
    is_shared: bool,
    tally: Tally,
    under_acknowledged: AtomicU64,
    clock: PreciseClock,
    start: Time,
}

/// For replicas to acknowledge.
const PATIENCE: Duration = Duration::from_secs(1);

impl Remote {
    pub(crate) fn new(way: Way, limit: Limit, keys: Keys, batch: usize, is_shared: bool) -> Self {
        let clock = PreciseClock::new();
        let tally = Tally::new(keys.count());
        let (start, under_acknowledged) = (clock.now(), AtomicU64::new(0));
        let shared = Shared { way, limit, keys, batch, is_shared, tally, under_acknowledged, clock, start };
        Self { shared: Arc::new(shared) }
    }

    pub(crate) fn shared(&self) -> Arc<Shared> {
        Arc::clone(&self.shared)
    }
}

/// As many operations as make up the decisions that were asked for.
pub(crate) fn in_batches(config: &Config, batch: usize) -> Config {
    let divided = |amount: Amount| match amount {
        Amount::Requests(requests) => Amount::Requests(requests.div_ceil(batch as u64)),
        Amount::Duration(_) => amount,
    };
    Config { amount: divided(config.amount), warmup: config.warmup.map(divided), ..config.clone() }
}

impl Shared {
    /// Tells the report what only this side knows.
    pub(crate) fn tell(&self, report: &mut Report) {
        let mut fact = |name: &str, value: String| {
            report.facts.push(Fact { name: name.to_owned(), value });
        };
        let (allowed, denied) = self.tally.sum();
        fact("decisions", (allowed + denied).to_string());
        fact(
            "admitted",
            format!("{allowed} ({:.1} %)", 100.0 * allowed as f64 / (allowed + denied).max(1) as f64),
        );
        match &self.way {
            Way::Leased(leased) => {
                let stats = leased.stats();
                fact("trips for a lot", format!("{}, {} failed", stats.trips, stats.failed));
                fact(
                    "permits leased",
                    format!("{}, {} given back, {} lost", stats.leased, stats.given_back, stats.lost),
                );
            }
            Way::Acknowledged(_, replicas) => {
                let under = self.under_acknowledged.load(Ordering::Relaxed);
                fact(&format!("grants that fewer than {replicas} replicas acknowledged"), under.to_string());
            }
            Way::Each(_) | Way::Many(_) => {}
        }
        if self.batch > 1 {
            let seconds = report.summary.elapsed_s;
            let decisions = report.summary.operations as f64 * self.batch as f64;
            report.facts.push(Fact {
                name: "decisions a second".to_owned(),
                value: format!("{:.0}, {} at a time", decisions / seconds, self.batch),
            });
        }
    }

    /// Writes what each key was granted, for whoever adds up several processes.
    pub(crate) fn write_tally(&self, path: &Path) -> anyhow::Result<()> {
        fs::write(path, self.tally.to_csv()).with_context(|| format!("cannot write {}", path.display()))
    }
}

impl Workload for Remote {
    type Worker = ();
    type Input = Vec<u64>;
    type Output = Vec<Result<bool>>;

    fn classes(&self) -> &'static [Class] {
        CLASSES
    }

    async fn worker(&self, _id: usize) -> Result<(), BoxError> {
        Ok(())
    }

    fn input(&self, _index: u64, rng: &mut Rng) -> Vec<u64> {
        (0..self.shared.batch).map(|_| self.shared.keys.choose(rng)).collect()
    }

    async fn op(&self, (): &mut (), keys: &Vec<u64>) -> Vec<Result<bool>> {
        let shared = &*self.shared;
        let limit = &shared.limit;
        if let Way::Many(store) = &shared.way {
            let names: Vec<[u8; 8]> = keys.iter().map(|key| key.to_be_bytes()).collect();
            let asks: Vec<_> = names.iter().map(|name| (&name[..], Ask::Take(1))).collect();
            let answers = store.ask_many(limit, &asks).await;
            return answers.into_iter().map(|answer| Ok(answer?.decision.is_allowed())).collect();
        }
        let mut decisions = Vec::with_capacity(keys.len());
        for key in keys {
            let key = key.to_be_bytes();
            decisions.push(match &shared.way {
                Way::Each(store) => {
                    let answer = (**store).ask(&key, limit, Ask::Take(1)).await;
                    answer.map(|answer| answer.decision.is_allowed())
                }
                Way::Leased(leased) => match leased.try_acquire(&key, limit, 1) {
                    Ok(Some(decision)) => Ok(decision.is_allowed()),
                    Ok(None) => {
                        let answer = DynStore::ask(&**leased, &key, limit, Ask::Take(1)).await;
                        answer.map(|answer| answer.decision.is_allowed())
                    }
                    Err(error) => Err(error),
                },
                Way::Acknowledged(store, replicas) => {
                    let answer = store.ask_acknowledged(&key, limit, Ask::Take(1), *replicas, PATIENCE).await;
                    answer.map(|acknowledged| {
                        let allowed = matches!(acknowledged.answer.decision, Decision::Allowed { .. });
                        if allowed && acknowledged.replicas < *replicas {
                            shared.under_acknowledged.fetch_add(1, Ordering::Relaxed);
                        }
                        allowed
                    })
                }
                Way::Many(_) => continue,
            });
        }
        decisions
    }

    fn settle(&self, (): &mut (), keys: Vec<u64>, decisions: Vec<Result<bool>>) -> Outcome {
        let mut outcome = BATCH;
        let mut failure = None;
        for (key, decision) in keys.iter().zip(decisions) {
            match decision {
                Ok(allowed) => {
                    self.shared.tally.count(*key, allowed);
                    outcome = class_of(allowed);
                }
                Err(error) => {
                    self.shared.tally.fail();
                    failure = Some(error.to_string().into());
                }
            }
        }
        match failure {
            Some(message) => Outcome::Error(FAILED, message),
            None if keys.len() > 1 => Outcome::Class(BATCH),
            None => Outcome::Class(outcome),
        }
    }

    fn verify(&self, run: &RunFacts) -> Vec<Invariant> {
        let shared = &*self.shared;
        let elapsed = shared.clock.now().since(shared.start);
        let run = RunFacts { operations: run.operations * shared.batch as u64, ..*run };
        // A lot that another worker was just given, or one that has yet to flow in, is not there for a moment.
        // Of what other processes took, only they know.
        let denied_early = shared.is_shared || matches!(shared.way, Way::Leased(_));
        shared.tally.check(&shared.limit, elapsed, &run, Told { denied_early, ..Told::default() })
    }
}

#[cfg(test)]
mod tests {
    use bench::KeyDistribution;
    use rate_limiter::Memory;

    use super::*;

    /// Which invariants break when another process has taken most of what there is.
    fn broken(is_shared: bool) -> Vec<String> {
        let limit = Limit::token_bucket("1/h burst 5".parse().unwrap()).unwrap();
        let store = Memory::builder().build::<Vec<u8>, Limit>().unwrap();
        assert!(store.try_acquire(&0_u64.to_be_bytes()[..], &limit, 4).unwrap().is_allowed());
        let keys = Keys::new(1, KeyDistribution::Uniform).unwrap();
        let workload = Remote::new(Way::Each(Arc::new(store)), limit, keys, 1, is_shared);
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        for _ in 0..3 {
            let decisions = runtime.block_on(workload.op(&mut (), &vec![0]));
            workload.settle(&mut (), vec![0], decisions);
        }
        let run = RunFacts { operations: 3, elapsed: Duration::from_secs(1), interrupted: false };
        let broken = workload.verify(&run).into_iter().filter(|invariant| !invariant.held);
        broken.map(|invariant| invariant.name).collect()
    }

    #[test]
    fn only_other_processes_may_have_used_up_the_burst() {
        assert_eq!(broken(false), ["no key was denied before its burst was used"]);
        assert_eq!(broken(true), [""; 0]);
    }
}
