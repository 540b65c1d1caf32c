//! The filter in front of the cache, timed.

use std::{sync::Arc, time::Duration};

use anyhow::Context;
use bench::{BoxError, Fact, Rng, Stage, Usage};
use clock::{Clock, PreciseClock};
use filters::{
    Announced, Answer, BoxFuture, Capability, HostedBloom, Local, Membership, Plan, Rebuilt, Result, Scan,
    State, fingerprint,
};

use crate::{Args, backend::FilterName, database::Rows, servers};

/// A filter whose calls are timed.
#[derive(Debug)]
pub(crate) struct Watched {
    pub(crate) inner: Arc<dyn filters::DynMembership>,
    /// The same, to be taken off the server after the run.
    hosted: Option<Arc<HostedBloom>>,
    /// It answers without a round trip.
    at_once: bool,
    pub(crate) asks: Stage,
    announces: Stage,
}

/// What became of it before the run.
#[derive(Clone, Debug)]
pub(crate) enum Begun {
    Built {
        rows: u64,
        took: Duration,
    },
    /// An earlier process has left it.
    Found {
        keys: u64,
    },
}

impl Watched {
    fn new(
        inner: Arc<dyn filters::DynMembership>,
        hosted: Option<Arc<HostedBloom>>,
    ) -> Result<Self, BoxError> {
        const EVERY_IN_MEMORY: u64 = 16;
        let at_once = inner.look(0).is_some();
        let every = if at_once { EVERY_IN_MEMORY } else { 1 };
        Ok(Self { inner, hosted, at_once, asks: Stage::new(every)?, announces: Stage::new(1)? })
    }

    /// Leaves nothing on a server.
    pub(crate) async fn remove(&self) -> Result<()> {
        match &self.hosted {
            Some(hosted) => hosted.remove().await,
            None => Ok(()),
        }
    }

    pub(crate) fn facts(&self) -> impl Iterator<Item = Fact> {
        self.asks.fact("filter: queries").into_iter().chain(self.announces.fact("filter: announcements"))
    }
}

/// The filter of the flags, with all rows of the database in it.
pub(crate) async fn open(args: &Args, rows: &Rows) -> anyhow::Result<Option<(Arc<Watched>, Begun)>> {
    let hasher = args.hasher();
    let mut hosted = None;
    let inner: Arc<dyn filters::DynMembership> = match args.filter.filter {
        FilterName::None => return Ok(None),
        FilterName::Local(kind) => {
            let late = args.expected_inserts().max(64);
            let builder = Local::builder().kind(kind).hasher(fingerprint(&hasher)).late_keys(late);
            let builder = match &args.filter.folder {
                // What was stored for other rows, or as another structure, is not this filter.
                Some(folder) => builder.folder(folder.join(format!("{kind}-{}", args.rows.items))),
                None => builder,
            };
            Arc::new(builder.build()?)
        }
        FilterName::Hosted => {
            let filter = servers::hosted(args).await?;
            hosted = Some(Arc::clone(&filter));
            filter
        }
    };
    let state = inner.state().await?;
    let begun = if args.filter.folder.is_some() && state.epoch > 0 {
        Begun::Found { keys: state.len }
    } else {
        build(args, rows, &*inner).await?
    };
    let watched = Watched::new(inner, hosted).map_err(anyhow::Error::from_boxed)?;
    Ok(Some((Arc::new(watched), begun)))
}

async fn build(args: &Args, rows: &Rows, filter: &dyn filters::DynMembership) -> anyhow::Result<Begun> {
    let clock = PreciseClock::new();
    let plan = args.plan(args.planned()).map_err(Usage)?;
    let mut scan = Losing::of(rows.scan(args.hasher()).await?, args);
    let began = clock.now();
    let rebuilt = filter.rebuild(plan, &mut scan).await.context("the filter cannot be built")?;
    Ok(Begun::Built { rows: rebuilt.scanned, took: clock.now().since(began) })
}

/// A scan that leaves some keys out, as `--lose-keys` asks.
pub(crate) struct Losing {
    pub(crate) scan: Box<dyn Scan>,
    pub(crate) share: f64,
    pub(crate) seed: u64,
}

impl Losing {
    pub(crate) fn of(scan: Box<dyn Scan>, args: &Args) -> Self {
        Self { scan, share: args.faults.lose_keys.unwrap_or_default(), seed: args.run.seed }
    }
}

impl Scan for Losing {
    fn next<'a>(&'a mut self, hashes: &'a mut Vec<u64>) -> BoxFuture<'a, Result<bool>> {
        Box::pin(async move {
            let before = hashes.len();
            while self.scan.next(hashes).await? {
                if self.share > 0.0 {
                    let kept = |hash: &u64| Rng::new(self.seed ^ 0x6c6f_7365, *hash).unit() >= self.share;
                    let new: Vec<u64> = hashes.drain(before..).filter(kept).collect();
                    hashes.extend(new);
                }
                if hashes.len() > before {
                    return Ok(true);
                }
            }
            Ok(false)
        })
    }
}

impl Membership for Watched {
    fn capability(&self) -> Capability {
        self.inner.capability()
    }

    #[inline]
    fn look(&self, hash: u64) -> Option<Answer> {
        if !self.at_once {
            return None;
        }
        let began = self.asks.begin();
        let answer = self.inner.look(hash);
        self.asks.end(began);
        if let Some(answer) = answer {
            crate::asked::Seen::answered(answer);
        }
        answer
    }

    async fn check(&self, hashes: &[u64]) -> Result<Vec<Answer>> {
        let answers = self.asks.time(self.inner.check(hashes)).await?;
        crate::asked::Seen::answered_many(&answers);
        Ok(answers)
    }

    async fn announce(&self, hashes: &[u64]) -> Result<Announced> {
        self.announces.time(self.inner.announce(hashes)).await
    }

    async fn state(&self) -> Result<State> {
        self.inner.state().await
    }

    async fn rebuild(&self, plan: Plan, scan: &mut dyn Scan) -> Result<Rebuilt> {
        self.inner.rebuild(plan, scan).await
    }

    async fn close(&self) -> Result<()> {
        self.inner.close().await
    }
}
