//! The cases that every backend of [`Membership`](crate::Membership) must pass; for whoever writes one.
//!
//! A case gets a [`Fixture`]: two handles of a filter that nobody has used yet; where processes share it, they are
//! connected on their own. It panics when the contract is broken. What happens while a rebuild runs is done by the scan of that rebuild, so
//! that there is nothing to wait for.

use std::{collections::VecDeque, fmt, sync::Arc};

use crate::{
    Announced, Answer, BoxFuture, Capability, DynMembership, Error, ErrorKind, Plan, Rebuilt, Result, Scan,
    State,
};

/// Each function as a case.
macro_rules! cases {
    ($($name:ident),+ $(,)?) => {
        vec![$(Case::new(stringify!($name), |f| Box::pin($name(f)))),+]
    };
}

mod checks;
mod rebuilds;
mod shared;

/// What a case works with.
#[derive(Clone, Debug)]
pub struct Fixture {
    filter: Arc<dyn DynMembership>,
    other: Arc<dyn DynMembership>,
}

/// One thing that every backend does.
pub struct Case {
    /// In snake case.
    pub name: &'static str,
    /// What a backend must be capable of for the case to make sense: an error names what is missing.
    pub needs: fn(&Capability) -> Result<(), &'static str>,
    run: fn(Fixture) -> BoxFuture<'static, ()>,
}

/// Every case.
#[must_use]
pub fn cases() -> Vec<Case> {
    [checks::cases, rebuilds::cases, shared::cases].into_iter().flat_map(|cases| cases()).collect()
}

impl Case {
    const fn new(name: &'static str, run: fn(Fixture) -> BoxFuture<'static, ()>) -> Self {
        Self { name, needs: |_| Ok(()), run }
    }

    const fn needs(self, needs: fn(&Capability) -> Result<(), &'static str>) -> Self {
        Self { needs, ..self }
    }

    /// Runs the case; panics when the contract is broken.
    pub async fn run(&self, fixture: Fixture) {
        (self.run)(fixture).await;
    }
}

impl fmt::Debug for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Case").field("name", &self.name).finish_non_exhaustive()
    }
}

impl Fixture {
    /// A fixture of two handles of a filter that nobody has used yet.
    pub fn new(filter: Arc<dyn DynMembership>, other: Arc<dyn DynMembership>) -> Self {
        Self { filter, other }
    }

    /// The other handle as the first, and the other way round.
    fn swapped(&self) -> Self {
        Self { filter: Arc::clone(&self.other), other: Arc::clone(&self.filter) }
    }

    async fn check(&self, hashes: &[u64]) -> Vec<Answer> {
        let answers = done(self.filter.check(hashes).await);
        assert_eq!(answers.len(), hashes.len());
        for (hash, answer) in hashes.iter().zip(&answers) {
            let look = self.filter.look(*hash);
            assert!(look.is_none_or(|look| look == *answer), "a look says {look:?}, and a check {answer:?}");
        }
        answers
    }

    /// All of `hashes` have to be `Maybe`.
    async fn finds(&self, hashes: &[u64]) {
        let answers = self.check(hashes).await;
        let lost = answers.iter().filter(|answer| **answer == Answer::Absent).count();
        assert_eq!(lost, 0, "of {} keys", hashes.len());
    }

    /// How many of `hashes` are `Maybe`, as a share.
    async fn share(&self, hashes: &[u64]) -> f64 {
        let answers = self.check(hashes).await;
        answers.iter().filter(|answer| **answer == Answer::Maybe).count() as f64 / hashes.len() as f64
    }

    /// Nearly all of `hashes` have to be `Absent`.
    async fn denies(&self, hashes: &[u64]) {
        let share = self.share(hashes).await;
        assert!(share < 0.05, "{share} of {} strangers are taken for keys", hashes.len());
    }

    async fn announce(&self, hashes: &[u64]) -> Announced {
        done(self.filter.announce(hashes).await)
    }

    async fn state(&self) -> State {
        done(self.filter.state().await)
    }

    /// A rebuild for `items` keys at 1 %, from what `scan` gives.
    async fn try_rebuild(&self, items: u64, scan: impl Into<Steps>) -> Result<Rebuilt> {
        self.filter.rebuild(plan(items), &mut scan.into()).await
    }

    async fn rebuild(&self, items: u64, scan: impl Into<Steps>) -> Rebuilt {
        done(self.try_rebuild(items, scan).await)
    }
}

type Step = Box<dyn FnOnce() -> BoxFuture<'static, Result<Vec<u64>>> + Send>;

/// A scan that does something before each lot.
#[derive(Default)]
struct Steps(VecDeque<Step>);

impl Steps {
    fn lot(self, hashes: Vec<u64>) -> Self {
        self.doing(move || async { Ok(hashes) })
    }

    fn doing<F: Future<Output = Result<Vec<u64>>> + Send + 'static>(
        mut self,
        step: impl FnOnce() -> F + Send + 'static,
    ) -> Self {
        self.0.push_back(Box::new(move || Box::pin(step())));
        self
    }

    fn failing(self) -> Self {
        self.doing(|| async {
            Err(Error::new(ErrorKind::Unavailable, "rows", "scan", "the database is gone"))
        })
    }
}

impl From<Vec<u64>> for Steps {
    fn from(hashes: Vec<u64>) -> Self {
        let lots = hashes.chunks(1_000).map(<[u64]>::to_vec);
        lots.fold(Self::default(), Self::lot)
    }
}

impl Scan for Steps {
    fn next<'a>(&'a mut self, hashes: &'a mut Vec<u64>) -> BoxFuture<'a, Result<bool>> {
        Box::pin(async {
            let Some(step) = self.0.pop_front() else { return Ok(false) };
            hashes.extend(step().await?);
            Ok(true)
        })
    }
}

fn plan(items: u64) -> Plan {
    done(Plan::for_rate(items, 0.01))
}

/// The hashes of keys of a kind of their own.
fn keys(kind: u64, count: u64) -> Vec<u64> {
    (0..count).map(|number| xxhash_rust::xxh3::xxh3_64_with_seed(&number.to_le_bytes(), kind)).collect()
}

/// Keys that no case announces and no scan gives.
fn strangers() -> Vec<u64> {
    keys(1_000, 2_000)
}

fn done<T>(result: Result<T>) -> T {
    result.unwrap_or_else(|error| panic!("{error}"))
}

fn kind_of<T: fmt::Debug>(result: Result<T>) -> ErrorKind {
    match result {
        Ok(value) => panic!("expected an error, got {value:?}"),
        Err(error) => error.kind(),
    }
}
