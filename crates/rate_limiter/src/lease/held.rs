//! What is held of each key.

use std::{
    collections::HashMap,
    hash::BuildHasher,
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
    time::Duration,
};

use backends::{Error, ErrorKind, Result};
use parking_lot::Mutex;
use tokio::sync::watch;

use super::{BACKEND, LeaseStats};
use crate::{Answer, Ask, Decision, Limit, rule::span, store::closed};

/// How many trips a request waits for before it goes to the source itself.
pub(super) const PATIENCE: usize = 3;
const SHARDS: usize = 64;
/// A lot that lasts for less is too small, one that lasts for four times as long too large.
const AIM: u64 = 10_000;

/// The leases of all keys.
pub(super) struct Lots {
    shards: Box<[Shard]>,
    hasher: hashbrown::DefaultHashBuilder,
    most_per_shard: usize,
    closed: AtomicBool,
    trips: AtomicU64,
    leased: AtomicU64,
    direct: AtomicU64,
    given_back: AtomicU64,
    lost: AtomicU64,
    failed: AtomicU64,
}

type Shard = Mutex<HashMap<Box<[u8]>, Lot>>;

/// One lease. Times are microseconds on the clock of this process, but for `at`.
struct Lot {
    permits: u32,
    /// When they were taken, on the clock of the source.
    at: u64,
    /// What they were taken under; none before the first trip.
    limit: Option<Limit>,
    ends_at: u64,
    /// Nothing is to be had before.
    denied_until: u64,
    size: u32,
    got_at: u64,
    /// There while a trip is under way.
    trip: Option<Notice>,
}

/// Told when a trip is over, and whether it failed.
#[derive(Clone)]
pub(super) struct Notice(watch::Sender<Outcome>);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    UnderWay,
    Over,
    Failed(ErrorKind),
}

/// A trip that is under way.
pub(super) struct Wait(watch::Receiver<Outcome>);

/// What a look at a lease gives.
pub(super) enum Found {
    Here(Answer),
    /// Look again after this trip.
    Trip(Wait),
    /// The source is to be asked.
    Nothing,
}

/// What is held of a key when its lease ends.
pub(super) struct Held {
    pub(super) key: Box<[u8]>,
    pub(super) limit: Limit,
    pub(super) permits: u32,
    pub(super) at: u64,
}

impl Wait {
    pub(super) async fn over(mut self) -> Result<()> {
        let outcome = self.0.wait_for(|outcome| *outcome != Outcome::UnderWay).await;
        match outcome.map(|outcome| *outcome) {
            Ok(Outcome::Over | Outcome::UnderWay) => Ok(()),
            Ok(Outcome::Failed(kind)) => Err(no_lease(kind)),
            // The runtime was shut down.
            Err(_) => Err(no_lease(ErrorKind::Unavailable)),
        }
    }
}

fn no_lease(kind: ErrorKind) -> Error {
    Error::new(kind, BACKEND, "acquire", "the source of permits could not be asked")
        .with_retry(backends::Retry::Safe)
}

impl Notice {
    pub(super) fn tell(&self, outcome: Outcome) {
        self.0.send_replace(outcome);
    }
}

impl Lot {
    const fn new() -> Self {
        Self { permits: 0, at: 0, limit: None, ends_at: 0, denied_until: 0, size: 1, got_at: 0, trip: None }
    }

    fn answer(&self, ask: Ask) -> Option<Answer> {
        let there = self.permits;
        let taken = match ask {
            Ask::Take(cost) | Ask::Peek(cost) => (cost <= there).then_some(cost)?,
            Ask::TakeUpTo(most) => (there > 0).then_some(most.min(there))?,
        };
        let decision = Decision::allowed((there - taken).into(), Duration::ZERO);
        let taken = if matches!(ask, Ask::Peek(_)) { 0 } else { taken };
        Some(Answer { decision, taken, at: self.at })
    }
}

impl Lots {
    pub(super) fn new(max_keys: usize) -> Self {
        Self {
            shards: (0..SHARDS).map(|_| Mutex::default()).collect(),
            hasher: hashbrown::DefaultHashBuilder::default(),
            most_per_shard: max_keys.div_ceil(SHARDS),
            closed: AtomicBool::new(false),
            trips: AtomicU64::new(0),
            leased: AtomicU64::new(0),
            direct: AtomicU64::new(0),
            given_back: AtomicU64::new(0),
            lost: AtomicU64::new(0),
            failed: AtomicU64::new(0),
        }
    }

    pub(super) fn check_open(&self, op: &'static str) -> Result<()> {
        if self.closed.load(Ordering::Relaxed) { Err(closed(BACKEND, op)) } else { Ok(()) }
    }

    fn shard(&self, key: &[u8]) -> &Shard {
        &self.shards[self.hasher.hash_one(key) as usize % SHARDS]
    }

    /// Answers from the lease of `key`; with what a trip is to tell, if one is to start.
    pub(super) fn look(&self, key: &[u8], now: u64, ask: Ask) -> Result<(Found, Option<Notice>)> {
        self.check_open("acquire")?;
        let is_peek = matches!(ask, Ask::Peek(_));
        let mut shard = self.shard(key).lock();
        let lot = match shard.get_mut(key) {
            Some(lot) => lot,
            None if is_peek => return Ok((Found::Nothing, None)),
            None => {
                if shard.len() >= self.most_per_shard {
                    shard.retain(|_, lot| lot.trip.is_some() || lot.permits > 0 || lot.denied_until > now);
                }
                if shard.len() >= self.most_per_shard {
                    return Ok((Found::Nothing, None));
                }
                shard.entry(key.into()).or_insert_with(Lot::new)
            }
        };
        if now < lot.ends_at
            && let Some(answer) = lot.answer(ask)
        {
            lot.permits -= answer.taken;
            // The next lot comes before this one is used up.
            let is_low = lot.permits < lot.size / 2 && lot.trip.is_none() && lot.denied_until <= now;
            return Ok((Found::Here(answer), is_low.then(|| lot.start_trip())));
        }
        if is_peek {
            return Ok((Found::Nothing, None));
        }
        if now < lot.denied_until {
            let retry_after = Duration::from_micros(lot.denied_until - now);
            let decision = Decision::Denied { retry_after };
            return Ok((Found::Here(Answer { decision, taken: 0, at: lot.at }), None));
        }
        let (notice, is_new) = match &lot.trip {
            Some(notice) => (notice.clone(), false),
            None => (lot.start_trip(), true),
        };
        let wait = Wait(notice.0.subscribe());
        Ok((Found::Trip(wait), is_new.then_some(notice)))
    }

    /// What a trip begins with: what is to be given back of the lot before, and how many permits to take.
    pub(super) fn set_out(&self, key: &[u8], now: u64, cost: u32, largest: u32) -> (Option<Held>, u32) {
        self.trips.fetch_add(1, Ordering::Relaxed);
        let mut shard = self.shard(key).lock();
        let Some(lot) = shard.get_mut(key) else { return (None, cost) };
        let age = now.saturating_sub(lot.got_at);
        lot.size = match age {
            age if age < AIM => lot.size.saturating_mul(2),
            age if age > 4 * AIM => lot.size / 2,
            _ => lot.size,
        }
        .clamp(1, largest);
        let has_ended = now >= lot.ends_at && lot.permits > 0;
        let held = match &lot.limit {
            Some(limit) if has_ended => {
                Some(Held { key: key.into(), limit: limit.clone(), permits: lot.permits, at: lot.at })
            }
            _ => None,
        };
        if has_ended {
            lot.permits = 0;
        }
        (held, lot.size.max(cost))
    }

    /// What a trip ends with.
    pub(super) fn arrive(
        &self,
        key: &[u8],
        limit: &Limit,
        now: u64,
        lasts: Duration,
        result: &Result<Answer>,
        asked: u32,
    ) -> bool {
        let mut shard = self.shard(key).lock();
        let is_closed = self.closed.load(Ordering::Relaxed);
        let Some(lot) = shard.get_mut(key).filter(|_| !is_closed) else { return false };
        let notice = lot.trip.take();
        let outcome = match result {
            Ok(answer) => {
                self.leased.fetch_add(answer.taken.into(), Ordering::Relaxed);
                lot.permits = lot.permits.saturating_add(answer.taken);
                lot.at = answer.at;
                lot.limit = Some(limit.clone());
                lot.got_at = now;
                lot.ends_at = now + span(lasts.as_micros());
                if answer.taken < asked {
                    // It is used up: there is no sense in asking again for each token that flows in.
                    let wait = answer.decision.retry_after().unwrap_or_default();
                    lot.denied_until = now + span(wait.as_micros()).max(time_for(limit, lot.size));
                }
                Outcome::Over
            }
            Err(error) => {
                self.failed.fetch_add(1, Ordering::Relaxed);
                Outcome::Failed(error.kind())
            }
        };
        drop(shard);
        if let Some(notice) = notice {
            notice.tell(outcome);
        }
        true
    }

    /// A trip ended without an answer: its task was dropped.
    pub(super) fn abandon(&self, key: &[u8]) {
        if let Some(lot) = self.shard(key).lock().get_mut(key) {
            lot.trip = None;
        }
    }

    /// Puts `cost` permits back into a lease that lasts.
    pub(super) fn put_back(&self, key: &[u8], now: u64, cost: u32) -> Result<bool> {
        if cost == 0 {
            return Err(Error::new(ErrorKind::Invalid, BACKEND, "refund", "a refund of nothing"));
        }
        self.check_open("refund")?;
        let mut shard = self.shard(key).lock();
        let lot = shard.get_mut(key).filter(|lot| now < lot.ends_at);
        Ok(lot.is_some_and(|lot| {
            lot.permits = lot.permits.saturating_add(cost);
            true
        }))
    }

    pub(super) fn count_direct(&self, permits: u32) {
        self.direct.fetch_add(permits.into(), Ordering::Relaxed);
    }

    pub(super) fn count_given_back(&self, permits: u32, was_taken: bool) {
        let counter = if was_taken { &self.given_back } else { &self.lost };
        counter.fetch_add(permits.into(), Ordering::Relaxed);
    }

    /// Ends all leases.
    pub(super) fn close(&self) -> Vec<Held> {
        self.closed.store(true, Ordering::Relaxed);
        let mut all = Vec::new();
        for shard in &self.shards {
            for (key, lot) in shard.lock().drain() {
                if let Some(notice) = &lot.trip {
                    notice.tell(Outcome::Failed(ErrorKind::Closed));
                }
                if let Some(limit) = lot.limit.filter(|_| lot.permits > 0) {
                    all.push(Held { key, limit, permits: lot.permits, at: lot.at });
                }
            }
        }
        all
    }

    pub(super) fn stats(&self) -> LeaseStats {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        LeaseStats {
            trips: read(&self.trips),
            leased: read(&self.leased),
            direct: read(&self.direct),
            given_back: read(&self.given_back),
            lost: read(&self.lost),
            failed: read(&self.failed),
        }
    }
}

impl Lot {
    fn start_trip(&mut self) -> Notice {
        let notice = Notice(watch::Sender::new(Outcome::UnderWay));
        self.trip = Some(notice.clone());
        notice
    }
}

/// Microseconds in which `permits` flow in under the slowest quota of `limit`.
fn time_for(limit: &Limit, permits: u32) -> u64 {
    let of_part = |part: &crate::Part| {
        part.quota().period().as_micros() * u128::from(permits) / u128::from(part.quota().tokens())
    };
    span(limit.parts().map(of_part).max().unwrap_or(0))
}
