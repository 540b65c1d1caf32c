//! The timed part: one subject for a moment.

use std::{
    error, fmt,
    hint::black_box,
    iter,
    sync::{
        Barrier,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::Duration,
};

use clock::{Clock, PreciseClock, Time};

use crate::{Inputs, Subject};

/// Operations between two readings of the clock. Divides the length of every order.
pub const BLOCK: usize = 1 << 12;

/// How long to measure.
#[derive(Clone, Copy, Debug)]
pub struct Effort {
    /// How often each subject gets its turn.
    pub rounds: usize,
    /// The timed part of a turn.
    pub slot: Duration,
    /// What precedes it, so that caches hold this subject's data and not the last one's.
    pub warmup: Duration,
}

/// What every operation of a case must answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Yes.
    Allow,
    /// No.
    Deny,
}

/// A subject did not do what was to be timed.
#[derive(Debug)]
pub struct WrongOutcome {
    subject: String,
    expected: Outcome,
    allowed: usize,
    of: usize,
}

/// What a thread has seen.
#[derive(Default)]
struct Seen {
    block_nanos: Vec<u64>,
    allowed: usize,
    asked: usize,
}

/// Runs `subject` on all threads at once; gives the nanoseconds of one operation on one thread: the median over blocks,
/// which a neighbour that takes the processor for a moment does not move.
pub(crate) fn measure<K: Clone + Sync>(
    subject: &Subject<K>,
    inputs: &Inputs<K>,
    expected: Outcome,
    effort: Effort,
) -> Result<f64, WrongOutcome> {
    let (start, over) = (Barrier::new(inputs.threads()), AtomicBool::new(false));
    let run = |thread| {
        start.wait();
        work(subject, inputs, thread, effort, &over)
    };
    let seen: Vec<Seen> = if inputs.threads() == 1 {
        vec![run(0)]
    } else {
        thread::scope(|scope| {
            let threads: Vec<_> =
                (0..inputs.threads()).map(|thread| scope.spawn(move || run(thread))).collect();
            threads.into_iter().map(|thread| thread.join().expect("a subject panicked")).collect()
        })
    };
    let sum = |count: fn(&Seen) -> usize| seen.iter().map(count).sum::<usize>();
    let (allowed, of) = (sum(|seen| seen.allowed), sum(|seen| seen.asked));
    if allowed != (if expected == Outcome::Allow { of } else { 0 }) {
        return Err(WrongOutcome { subject: subject.name.clone(), expected, allowed, of });
    }
    let mut blocks: Vec<u64> = seen.into_iter().flat_map(|seen| seen.block_nanos).collect();
    blocks.sort_unstable();
    Ok(blocks[blocks.len() / 2] as f64 / BLOCK as f64)
}

/// One thread's blocks, until its time or another's is over: what is counted was contended throughout.
fn work<K: Clone>(
    subject: &Subject<K>,
    inputs: &Inputs<K>,
    thread: usize,
    effort: Effort,
    over: &AtomicBool,
) -> Seen {
    let clock = PreciseClock::new();
    let begin = clock.now();
    let (warm, end) = (begin + effort.warmup, begin + effort.warmup + effort.slot);
    // Copied anew for each block: a key that a request has just brought is in the cache, wherever the
    // subject keeps its own copy.
    let mut keys: Vec<K> = inputs.block(thread, 0, BLOCK).cloned().collect();
    let mut seen = Seen::default();
    for block in 0.. {
        for (key, next) in iter::zip(&mut keys, inputs.block(thread, block, BLOCK)) {
            key.clone_from(next);
        }
        let (from, allowed, to) = timed(subject, &keys, &clock);
        seen.allowed += allowed;
        seen.asked += BLOCK;
        if from >= warm {
            seen.block_nanos.push(u64::try_from(to.since(from).as_nanos()).unwrap_or(u64::MAX));
        }
        if !seen.block_nanos.is_empty() && (to >= end || over.load(Ordering::Relaxed)) {
            break;
        }
    }
    over.store(true, Ordering::Relaxed);
    seen
}

fn timed<K>(subject: &Subject<K>, keys: &[K], clock: &PreciseClock) -> (Time, usize, Time) {
    let from = clock.now();
    let allowed = subject.count_allowed(black_box(keys));
    (from, allowed, clock.now())
}

impl fmt::Display for WrongOutcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { subject, expected, allowed, of } = self;
        write!(f, "{subject} allowed {allowed} of {of} requests where the answer is always {expected:?}")
    }
}

impl error::Error for WrongOutcome {}
