//! Rates and times.

use std::{error, fmt, hint::black_box};

use bench::BoxError;
use filters::rate::Observed;
use rustix::time::{ClockId, clock_gettime};

use crate::subjects::{Subject, Who, hash};

/// What is timed, and a column of the table each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Op {
    Build,
    Hit,
    Miss,
    KeyedHit,
    KeyedMiss,
    BatchedHit,
    BatchedMiss,
}

impl Op {
    pub(crate) const ALL: [Self; 7] = [
        Self::Build,
        Self::Hit,
        Self::Miss,
        Self::KeyedHit,
        Self::KeyedMiss,
        Self::BatchedHit,
        Self::BatchedMiss,
    ];

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Build => "build",
            Self::Hit => "hit",
            Self::Miss => "miss",
            Self::KeyedHit => "hit, xxh3",
            Self::KeyedMiss => "miss, xxh3",
            Self::BatchedHit => "batched hit",
            Self::BatchedMiss => "batched miss",
        }
    }

    /// What the peer is measured at that has no batches.
    pub(crate) const fn at_peer(self) -> Self {
        match self {
            Self::BatchedHit => Self::Hit,
            Self::BatchedMiss => Self::Miss,
            other => other,
        }
    }
}

/// What was measured of one filter. Times are nanoseconds of processor time a key, one of each round.
#[derive(Debug)]
pub(crate) struct Row {
    pub(crate) who: Who,
    pub(crate) bits: f64,
    pub(crate) positions: u32,
    pub(crate) rate: Observed,
    pub(crate) theory: Option<f64>,
    pub(crate) nanos: [Vec<f64>; Op::ALL.len()],
}

/// A key was missed.
#[derive(Debug)]
pub(crate) struct FalseNegatives {
    name: &'static str,
    missed: usize,
}

/// Keys and strangers.
pub(crate) struct Inputs {
    hashes: Vec<u64>,
    /// Keys, and strangers, in random order; and their hashes.
    hits: Vec<u64>,
    misses: Vec<u64>,
    hit_hashes: Vec<u64>,
    miss_hashes: Vec<u64>,
}

/// Strangers are from here on.
const STRANGERS: u64 = 1 << 40;

impl Inputs {
    pub(crate) fn new(keys: u64, queries: u64) -> Self {
        let hits: Vec<u64> = (0..queries).map(|query| hash(query ^ 1 << 62) % keys).collect();
        let misses: Vec<u64> = (STRANGERS..STRANGERS + queries).collect();
        let hashes = |keys: &[u64]| keys.iter().map(|key| hash(*key)).collect();
        let (hit_hashes, miss_hashes) = (hashes(&hits), hashes(&misses));
        Self { hashes: (0..keys).map(hash).collect(), hits, misses, hit_hashes, miss_hashes }
    }
}

/// Has all of `whos` take their turns, `rounds` times.
pub(crate) fn times(
    inputs: &Inputs,
    whos: &[Who],
    bits: f64,
    rounds: usize,
    trials: u64,
) -> Result<Vec<Row>, BoxError> {
    let mut rows: Vec<Row> = Vec::new();
    let keys = inputs.hashes.len() as u64;
    // Small filters are built several times in a turn.
    let builds = (1_000_000 / keys).max(1);
    let mut found = Vec::with_capacity(4_096);
    for round in 0..=rounds {
        for who in whos {
            let plan = who.plan(keys, bits)?;
            let begun = cpu_nanos();
            for _ in 1..builds {
                black_box(who.build(plan, &inputs.hashes)?);
            }
            let Some(subject) = who.build(plan, &inputs.hashes)? else { continue };
            let build = (cpu_nanos() - begun) / (builds * keys) as f64;
            if round == 0 {
                // The first round warms up, and checks.
                check(*who, &*subject, &inputs.hashes, &mut found)?;
                rows.push(Row {
                    who: *who,
                    bits: subject.size_bytes() as f64 * 8.0 / keys as f64,
                    positions: plan.positions(),
                    rate: observe(&*subject, trials, &mut found),
                    theory: subject.theory(),
                    nanos: Default::default(),
                });
                continue;
            }
            let Some(row) = rows.iter_mut().find(|row| row.who == *who) else { continue };
            for (op, nanos) in Op::ALL.into_iter().zip(&mut row.nanos) {
                let taken =
                    if op == Op::Build { Some(build) } else { ask(op, &*subject, inputs, &mut found) };
                nanos.extend(taken);
            }
        }
    }
    Ok(rows)
}

/// Nanoseconds that a question takes.
fn ask(op: Op, subject: &dyn Subject, inputs: &Inputs, found: &mut Vec<bool>) -> Option<f64> {
    let repeats = (1_000_000 / inputs.hits.len()).max(1);
    let mut turn = || {
        Some(match op {
            Op::Build => return None,
            Op::Hit => subject.single(black_box(&inputs.hit_hashes)),
            Op::Miss => subject.single(black_box(&inputs.miss_hashes)),
            Op::KeyedHit => subject.keyed(black_box(&inputs.hits)),
            Op::KeyedMiss => subject.keyed(black_box(&inputs.misses)),
            Op::BatchedHit => subject.batched(black_box(&inputs.hit_hashes), found)?,
            Op::BatchedMiss => subject.batched(black_box(&inputs.miss_hashes), found)?,
        })
    };
    let begun = cpu_nanos();
    for _ in 0..repeats {
        black_box(turn()?);
    }
    Some((cpu_nanos() - begun) / (repeats * inputs.hits.len()) as f64)
}

/// The rates alone of a classical filter, ours and the peer's.
pub(crate) fn rates(inputs: &Inputs, bits: f64, trials: u64) -> Result<Vec<Row>, BoxError> {
    times(inputs, &[Who::Ours(filters::Kind::Bloom), Who::Fastbloom], bits, 0, trials)
}

fn check(
    who: Who,
    subject: &dyn Subject,
    hashes: &[u64],
    found: &mut Vec<bool>,
) -> Result<(), FalseNegatives> {
    let single = subject.single(hashes);
    let least = subject.batched(hashes, found).unwrap_or(single).min(single);
    if least < hashes.len() {
        return Err(FalseNegatives { name: who.name(), missed: hashes.len() - least });
    }
    Ok(())
}

fn observe(subject: &dyn Subject, trials: u64, found: &mut Vec<bool>) -> Observed {
    let mut positives = 0;
    let mut lot = Vec::with_capacity(65_536);
    let end = STRANGERS + trials;
    for begin in (STRANGERS..end).step_by(65_536) {
        lot.clear();
        lot.extend((begin..end.min(begin + 65_536)).map(hash));
        positives += subject.batched(&lot, found).unwrap_or_else(|| subject.single(&lot)) as u64;
    }
    Observed { positives, trials }
}

/// Processor time of this thread: neighbours that take the processor don't count.
fn cpu_nanos() -> f64 {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    time.tv_sec as f64 * 1e9 + time.tv_nsec as f64
}

impl fmt::Display for FalseNegatives {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} missed {} keys", self.name, self.missed)
    }
}

impl error::Error for FalseNegatives {}
