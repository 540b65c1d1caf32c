//! Every kind of filter on the same keys, in one table.

use std::{hint::black_box, time::Duration};

use bench::{ExitStatus, Rng, Usage, format::grouped};
use clock::{Clock, PreciseClock};
use filters::{AnyFilter, ErrorKind, Filter, Kind, Plan, rate::Observed};

use crate::{
    Args,
    backend::FilterName,
    facts::{percent, theory},
    row::{ABSENT, STRANGERS},
};

/// Strangers that are asked for at least: a rate of one in a thousand is known to a tenth then.
const LEAST_STRANGERS: u64 = 1_000_000;
/// Keys that are asked for one by one, at most.
const MOST_TIMED: usize = 4_000_000;
/// Keys that are asked for at once.
const LOT: usize = 1_024;

/// One line of the table.
struct Row {
    kind: Kind,
    size: usize,
    observed: Observed,
    theory: f64,
    denied: u64,
    build: Duration,
    hit_ns: f64,
    miss_ns: f64,
    batched_ns: f64,
}

/// Builds each kind from the same keys and asks it for them and for strangers.
pub(crate) fn show(args: &Args) -> anyhow::Result<ExitStatus> {
    let (items, hasher) = (args.rows.items, args.hasher());
    let plan = args.plan(items).map_err(Usage)?;
    let present: Vec<u64> = (0..items).map(|key| hasher.of(key)).collect();
    let strangers = items.clamp(LEAST_STRANGERS, 10_000_000);
    let stranger = |index| ABSENT + Rng::new(args.run.seed, index).below(STRANGERS);
    let absent: Vec<u64> = (0..strangers).map(|index| hasher.of(stranger(index))).collect();
    bench::print(&format!(
        "{} keys, {} strangers; planned {:.2} bits a key, {} positions; hash {}\n\n{:<10}{:>10}{:>10}{:>12}{:>26}{:>12}{:>11}{:>9}{:>9}{:>9}{:>11}\n",
        grouped(items),
        grouped(strangers),
        plan.bits(),
        plan.positions(),
        args.filter.hash,
        "kind",
        "bits/key",
        "MiB",
        "rate",
        "95 % interval",
        "theory",
        "false neg",
        "build s",
        "hit ns",
        "miss ns",
        "batched ns"
    ))?;
    let mut status = ExitStatus::Ok;
    for kind in Kind::ALL {
        match measure(kind, plan, &present, &absent) {
            Ok(row) => {
                if row.denied > 0 {
                    status = ExitStatus::Invariant;
                }
                bench::print(&row.show(items))?;
            }
            // Of a rate or a number of keys that the structure is not made for.
            Err(error) if matches!(error.kind(), ErrorKind::Invalid | ErrorKind::Unsupported) => {
                bench::print(&format!("{kind:<10}  {error}\n"))?;
            }
            Err(error) => return Err(error.into()),
        }
    }
    let verdict = match status {
        ExitStatus::Ok => "held: no kind denied a key",
        _ => "BROKEN: keys were denied; none of the figures counts",
    };
    bench::print(&format!("\n{verdict}\n"))?;
    Ok(status)
}

fn measure(kind: Kind, plan: Plan, present: &[u64], absent: &[u64]) -> filters::Result<Row> {
    let clock = PreciseClock::new();
    let began = clock.now();
    let filter = AnyFilter::build(kind, plan, present)?;
    let build = clock.now().since(began);
    let one_by_one = |hashes: &[u64]| {
        let part = |hashes: &[u64]| {
            for hash in hashes {
                black_box(filter.contains_hash(*hash));
            }
        };
        typical(&clock, &hashes[..hashes.len().min(MOST_TIMED)], part)
    };
    let found = |hashes: &[u64]| {
        let (mut found, mut count) = (Vec::with_capacity(LOT), 0);
        let part = |hashes: &[u64]| {
            for lot in hashes.chunks(LOT) {
                filter.contains_hashes(lot, &mut found);
                count += found.iter().filter(|found| **found).count() as u64;
            }
        };
        let nanos = typical(&clock, hashes, part);
        (count, nanos)
    };
    let (hit_ns, miss_ns) = (one_by_one(present), one_by_one(absent));
    let (positives, batched_ns) = found(absent);
    let denied = present.len() as u64 - found(present).0;
    let (bytes, keys) = (filter.size_bytes() as u64, present.len() as u64);
    let theory = theory(FilterName::Local(kind), bytes, keys, plan.positions());
    Ok(Row {
        kind,
        size: filter.size_bytes(),
        observed: Observed { positives, trials: absent.len() as u64 },
        theory: theory.unwrap_or_else(|| filter.expected_rate()),
        denied,
        build,
        hit_ns,
        miss_ns,
        batched_ns,
    })
}

/// Nanoseconds for each of `hashes`, by the median of some parts: other processes slow down a few of them.
fn typical(clock: &PreciseClock, hashes: &[u64], mut part: impl FnMut(&[u64])) -> f64 {
    const PARTS: usize = 64;
    let timed = hashes.chunks(hashes.len().div_ceil(PARTS).max(1)).map(|hashes| {
        let began = clock.now();
        part(hashes);
        clock.now().since(began).as_nanos() as f64 / hashes.len() as f64
    });
    let mut timed: Vec<f64> = timed.collect();
    timed.sort_by(f64::total_cmp);
    timed.get(timed.len() / 2).copied().unwrap_or_default()
}

impl Row {
    fn show(&self, items: u64) -> String {
        let (low, high) = self.observed.interval();
        format!(
            "{:<10}{:>10.2}{:>10.2}{:>12}{:>26}{:>12}{:>11}{:>9.2}{:>9.1}{:>9.1}{:>11.1}\n",
            self.kind,
            self.size as f64 * 8.0 / items as f64,
            self.size as f64 / f64::from(1 << 20),
            percent(self.observed.rate()),
            format!("{} to {}", percent(low), percent(high)),
            percent(self.theory),
            grouped(self.denied),
            self.build.as_secs_f64(),
            self.hit_ns,
            self.miss_ns,
            self.batched_ns
        )
    }
}
