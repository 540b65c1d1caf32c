//! How many reads find their key, where there is room for one key in ten.

use std::{
    error, fmt,
    num::NonZeroU64,
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::Duration,
};

use bench::{BoxError, KeyDistribution, Keys, Rng};
use cache::{Leased, Memory, Policy, Token, Wish};
use serde::Serialize;

use crate::hits::fill;

const CAPACITY: usize = 100_000;
const KEYS: u64 = 1_000_000;
const SEED: u64 = 11;
/// After so many requests, as many keys as half of them are read once and never again.
const BETWEEN_SCANS: u64 = 100_000;
const SCAN: u64 = BETWEEN_SCANS / 2;
const TTL: Duration = Duration::from_secs(3_600);

/// The shares of one sequence of requests, in percent.
#[derive(Debug, Serialize)]
pub(crate) struct Rates {
    name: &'static str,
    rates: Vec<Rate>,
    /// By how many points S3-FIFO and LRU may stay behind moka.
    bars: [f64; 2],
}

#[derive(Debug, Serialize)]
struct Rate {
    name: &'static str,
    percent: f64,
    /// The most entries that another thread has seen meanwhile.
    most_entries: usize,
}

/// More entries than the capacity were seen in ours.
#[derive(Debug)]
pub(crate) struct OverCapacity(usize);

pub(crate) fn measure(requests: u64, wanted: &dyn Fn(&str) -> bool) -> Result<Vec<Rates>, BoxError> {
    let sequences =
        [("rate, zipf:0.99", false, [1.0, 4.0]), ("rate, zipf:0.99 with scans", true, [2.0, 4.0])];
    let mut all = Vec::new();
    for (name, scans, bars) in sequences {
        if wanted(name) {
            let keys = sequence(requests, scans)?;
            let rates = vec![
                ours("S3Fifo", Policy::S3Fifo, &keys)?,
                ours("Lru", Policy::Lru, &keys)?,
                quick_cache(&keys),
                moka(&keys),
            ];
            all.push(Rates { name, rates, bars });
        }
    }
    Ok(all)
}

fn sequence(requests: u64, scans: bool) -> Result<Vec<u64>, BoxError> {
    let zipf = Keys::new(KEYS, KeyDistribution::Zipf { exponent: 0.99 })?;
    let mut keys = Vec::new();
    let mut once = KEYS..;
    for request in 0..requests {
        if scans && request > 0 && request.is_multiple_of(BETWEEN_SCANS) {
            keys.extend(once.by_ref().take(SCAN as usize));
        }
        keys.push(zipf.choose(&mut Rng::new(SEED, request)));
    }
    Ok(keys)
}

/// Reads every key, filling it where it is missing, while another thread looks how many entries there are. The first
/// fifth fills the cache and is not counted.
fn run(name: &'static str, keys: &[u64], len: impl Fn() -> usize + Sync, read: impl Fn(u64) -> bool) -> Rate {
    let ended = AtomicBool::new(false);
    thread::scope(|scope| {
        let watch = scope.spawn(|| {
            let mut most = 0;
            while !ended.load(Ordering::Relaxed) {
                most = most.max(len());
                thread::yield_now();
            }
            most.max(len())
        });
        let (warm, counted) = keys.split_at(keys.len() / 5);
        warm.iter().for_each(|key| _ = read(*key));
        let hits = counted.iter().filter(|key| read(**key)).count();
        ended.store(true, Ordering::Relaxed);
        let percent = 100.0 * hits as f64 / counted.len() as f64;
        Rate { name, percent, most_entries: watch.join().expect("the count of entries does not panic") }
    })
}

/// As a cache does it: a miss takes a lease, and fills.
fn ours(name: &'static str, policy: Policy, keys: &[u64]) -> Result<Rate, BoxError> {
    let memory = Memory::builder().capacity(CAPACITY).policy(policy).build::<u64, u64>()?;
    let wish = Wish { token: Token(NonZeroU64::MIN), ttl: TTL, seen: None };
    let rate = run(
        name,
        keys,
        || memory.len(),
        |key| {
            let hit = memory.get_now(&key).is_some();
            if !hit && memory.lease_now(&key, wish) == Leased::Granted {
                memory.fill_now(&key, wish.token, fill(key));
            }
            hit
        },
    );
    if rate.most_entries > CAPACITY {
        return Err(OverCapacity(rate.most_entries).into());
    }
    Ok(rate)
}

fn quick_cache(keys: &[u64]) -> Rate {
    let cache = quick_cache::sync::Cache::<u64, u64>::new(CAPACITY);
    run(
        "quick_cache",
        keys,
        || cache.len(),
        |key| {
            let hit = cache.get(&key).is_some();
            if !hit {
                cache.insert(key, key);
            }
            hit
        },
    )
}

fn moka(keys: &[u64]) -> Rate {
    let cache = moka::sync::Cache::builder().max_capacity(CAPACITY as u64).time_to_live(TTL).build();
    run(
        "moka",
        keys,
        || cache.entry_count() as usize,
        |key| {
            let hit = cache.get(&key).is_some();
            if !hit {
                cache.insert(key, key);
            }
            hit
        },
    )
}

impl Rates {
    /// Whether both of ours keep their bars.
    pub(crate) fn met(&self) -> bool {
        [0, 1].into_iter().all(|ours| self.behind(ours) <= self.bars[ours])
    }

    /// By how many points ours is behind moka.
    fn behind(&self, ours: usize) -> f64 {
        let moka = self.rates.iter().find(|rate| rate.name == "moka");
        moka.map_or(f64::NAN, |moka| moka.percent - self.rates[ours].percent)
    }
}

impl fmt::Display for Rates {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "\n| {} | hits | behind moka | bar | | most entries of {CAPACITY} |", self.name)?;
        writeln!(f, "|---|---|---|---|---|---|")?;
        for (place, Rate { name, percent, most_entries }) in self.rates.iter().enumerate() {
            let behind = self.behind(place);
            let bar = self.bars.get(place).map_or_else(String::new, |bar| format!("<= {bar}"));
            let met = self.bars.get(place).map_or("", |bar| if behind <= *bar { "met" } else { "MISSED" });
            writeln!(f, "| {name} | {percent:.2} % | {behind:.2} | {bar} | {met} | {most_entries} |")?;
        }
        Ok(())
    }
}

impl fmt::Display for OverCapacity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} entries were seen where there is room for {CAPACITY}", self.0)
    }
}

impl error::Error for OverCapacity {}
