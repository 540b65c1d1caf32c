//! The timed part: one subject for a moment.

use std::{
    error, fmt,
    fs::File,
    hint::black_box,
    iter,
    os::unix::fs::FileExt,
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
pub(crate) const BLOCK: usize = 1 << 11;

/// A turn with fewer blocks during which all threads ran tells nothing, and is repeated.
const ENOUGH_BLOCKS: usize = 8;
const ATTEMPTS: usize = 20;

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
    /// Those in which no other process took the processor.
    blocks: Vec<Block>,
    allowed: usize,
    asked: usize,
}

#[derive(Clone, Copy)]
struct Block {
    from: Time,
    to: Time,
}

/// Tells how long the calling thread has waited for a processor so far; waiting for a lock is not that.
struct Waited(Option<File>);

/// Runs `subject` on all threads at once; gives the nanoseconds of one operation on one thread: the median
/// over blocks, which a neighbour that takes the processor for a moment does not move.
pub(crate) fn measure<K: Clone + Sync>(
    subject: &Subject<K>,
    inputs: &Inputs<K>,
    expected: Outcome,
    effort: Effort,
) -> Result<f64, WrongOutcome> {
    for _ in 0..ATTEMPTS {
        let seen = attempt(subject, inputs, effort);
        let sum = |count: fn(&Seen) -> usize| seen.iter().map(count).sum::<usize>();
        let (allowed, of) = (sum(|seen| seen.allowed), sum(|seen| seen.asked));
        if allowed != (if expected == Outcome::Allow { of } else { 0 }) {
            return Err(WrongOutcome { subject: subject.name.clone(), expected, allowed, of });
        }
        let mut nanos = contended(&seen);
        if nanos.len() >= ENOUGH_BLOCKS {
            nanos.sort_unstable();
            return Ok(nanos[nanos.len() / 2] as f64 / BLOCK as f64);
        }
    }
    // The threads never ran at once: no figure is better than one of other circumstances.
    Ok(f64::NAN)
}

fn attempt<K: Clone + Sync>(subject: &Subject<K>, inputs: &Inputs<K>, effort: Effort) -> Vec<Seen> {
    let (start, over) = (Barrier::new(inputs.threads()), AtomicBool::new(false));
    let run = |thread| {
        start.wait();
        work(subject, inputs, thread, effort, &over)
    };
    if inputs.threads() == 1 {
        return vec![run(0)];
    }
    thread::scope(|scope| {
        let run = &run;
        let threads: Vec<_> = (0..inputs.threads()).map(|thread| scope.spawn(move || run(thread))).collect();
        threads.into_iter().map(|thread| thread.join().expect("a subject panicked")).collect()
    })
}

/// The nanoseconds of the blocks during which every other thread ran, too: it began a block then, or one
/// block's time before or after.
fn contended(seen: &[Seen]) -> Vec<u64> {
    let mut nanos = Vec::new();
    for (thread, own) in seen.iter().enumerate() {
        for block in &own.blocks {
            let length = block.to.since(block.from);
            let runs = |other: &Seen| {
                let next = other.blocks.partition_point(|other| other.from + length < block.from);
                other.blocks.get(next).is_some_and(|other| other.from <= block.to + length)
            };
            if seen.iter().enumerate().all(|(other, blocks)| other == thread || runs(blocks)) {
                nanos.push(u64::try_from(length.as_nanos()).unwrap_or(u64::MAX));
            }
        }
    }
    nanos
}

/// One thread's blocks, until its time or another's is over.
fn work<K: Clone>(
    subject: &Subject<K>,
    inputs: &Inputs<K>,
    thread: usize,
    effort: Effort,
    over: &AtomicBool,
) -> Seen {
    let (clock, waited) = (PreciseClock::new(), Waited::of_this_thread());
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
        let (before, from) = (waited.so_far(), clock.now());
        seen.allowed += subject.count_allowed(black_box(&keys));
        let (to, after) = (clock.now(), waited.so_far());
        seen.asked += BLOCK;
        let interrupted = (after - before) * 20 > to.since(from);
        if from >= warm && !interrupted {
            seen.blocks.push(Block { from, to });
        }
        if to >= end || over.load(Ordering::Relaxed) {
            break;
        }
    }
    over.store(true, Ordering::Relaxed);
    seen
}

impl Waited {
    fn of_this_thread() -> Self {
        Self(File::open("/proc/thread-self/schedstat").ok())
    }

    /// Always zero where the operating system does not tell.
    fn so_far(&self) -> Duration {
        let mut text = [0; 64];
        let length = self.0.as_ref().and_then(|file| file.read_at(&mut text, 0).ok()).unwrap_or(0);
        let text = str::from_utf8(&text[..length]).unwrap_or_default();
        Duration::from_nanos(text.split(' ').nth(1).and_then(|nanos| nanos.parse().ok()).unwrap_or(0))
    }
}

impl fmt::Display for WrongOutcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { subject, expected, allowed, of } = self;
        write!(f, "{subject} allowed {allowed} of {of} requests where the answer is always {expected:?}")
    }
}

impl error::Error for WrongOutcome {}
