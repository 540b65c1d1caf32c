//! The open loop: operations start when the plan says so, or as soon after as a worker is free.

use std::{
    sync::{Arc, atomic::Ordering},
    thread,
    time::Duration,
};

use clock::{Clock, Time};
use parking_lot::Mutex;
use tokio::{sync::Semaphore, task::JoinSet};

use super::{Buffer, Phase};
use crate::{
    Late, Plan, Workload,
    plan::Schedule,
    recorder::{Record, Timing},
};

/// Starting within this is starting on schedule; a scheduler's jitter is not a missed rate.
const ON_SCHEDULE: Duration = Duration::from_millis(10);
/// `Late::Drop` waits this long for a worker.
const PATIENCE: Duration = Duration::from_millis(1);

pub(super) fn spawn<W: Workload>(
    phase: &Arc<Phase<W>>,
    workers: Vec<W::Worker>,
    start: Time,
    plan: Plan,
    late: Late,
    tasks: &mut JoinSet<W::Worker>,
) {
    let first = phase.next.load(Ordering::Relaxed);
    let seed = phase.seed ^ first;
    let arrivals = Arc::new(Arrivals {
        queue: Mutex::new(Queue { schedule: plan.schedule(seed), next: first, end: phase.end }),
        due: Semaphore::new(0),
        limit: phase.duration.map_or(u64::MAX, |limit| u64::try_from(limit.as_nanos()).unwrap_or(u64::MAX)),
    });
    let count = workers.len();
    for (id, worker) in workers.into_iter().enumerate() {
        let (phase, arrivals) = (Arc::clone(phase), Arc::clone(&arrivals));
        tasks.spawn(async move { run(&phase, &arrivals, id, worker, start, late).await });
    }
    let phase = Arc::clone(phase);
    // A thread of its own: the timers of tokio are a millisecond coarse, and run late when all
    // workers are busy.
    thread::spawn(move || pace(&phase, &arrivals, plan, seed, start, first, count));
}

/// What is due. Workers take it in order; only the number of what waits is kept, however late they are.
struct Arrivals {
    queue: Mutex<Queue>,
    /// One permit for each operation that is due and not taken.
    due: Semaphore,
    /// Nanoseconds after which nothing is due any more.
    limit: u64,
}

struct Queue {
    schedule: Schedule,
    next: u64,
    end: u64,
}

impl Arrivals {
    /// The next operation and when it was due.
    fn take(&self) -> Option<(u64, u64)> {
        let mut queue = self.queue.lock();
        if queue.next >= queue.end {
            return None;
        }
        let due = queue.schedule.next().filter(|due| *due < self.limit)?;
        queue.next += 1;
        Some((queue.next - 1, due))
    }
}

async fn run<W: Workload>(
    phase: &Phase<W>,
    arrivals: &Arrivals,
    id: usize,
    mut worker: W::Worker,
    start: Time,
    late: Late,
) -> W::Worker {
    let mut buffer = Buffer::new(start);
    loop {
        if arrivals.due.available_permits() == 0 {
            // About to wait: what is buffered should be seen.
            buffer.flush(phase, id, phase.clock.now());
        }
        tokio::select! {
            biased;
            () = phase.stopped.notified() => break,
            permit = arrivals.due.acquire() => match permit {
                Ok(permit) => permit.forget(),
                Err(_closed) => break,
            },
        }
        if phase.is_stopped() {
            break;
        }
        if phase.clock.now().since(start).as_nanos() >= u128::from(arrivals.limit) {
            // The time is over: what was due and did not start never will.
            break;
        }
        let Some((index, due)) = arrivals.take() else { break };
        phase.next.fetch_max(index + 1, Ordering::Relaxed);
        let due = start + Duration::from_nanos(due);
        let input = phase.input(index);
        let began = phase.clock.now();
        let waited = began.since(due);
        if late == Late::Drop && waited > PATIENCE {
            phase.recorder.add_dropped(id);
            continue;
        }
        if waited <= ON_SCHEDULE {
            phase.recorder.add_on_schedule(id);
        }
        let output = phase.workload.op(&mut worker, &input).await;
        let now = phase.clock.now();
        let nanos = |since: Time| now.as_nanos().saturating_sub(since.as_nanos());
        let timing = Timing { service: nanos(began), response: Some(nanos(due)) };
        phase.fold(index, &input);
        let class = phase.settle(id, &mut worker, input, output);
        let timing = (index % phase.sample_every == 0).then_some(timing);
        buffer.push(phase, id, Record { class, timing }, now);
    }
    buffer.flush(phase, id, phase.clock.now());
    worker
}

/// Releases operations when they are due, and at the end every worker.
fn pace<W: Workload>(
    phase: &Phase<W>,
    arrivals: &Arrivals,
    plan: Plan,
    seed: u64,
    start: Time,
    first: u64,
    workers: usize,
) {
    let count = phase.end - first;
    let due_times = plan.schedule(seed).take_while(|due| *due < arrivals.limit);
    for (due, place) in due_times.zip(1..=count) {
        if !wait_until(phase, start + Duration::from_nanos(due), plan.rate) {
            break;
        }
        phase.due.store(place, Ordering::Relaxed);
        arrivals.due.add_permits(1);
        let behind =
            place % 1_024 == 0 && phase.clock.now().since(start).as_nanos() >= u128::from(arrivals.limit);
        if behind {
            // More is due than can even be counted: the plan says how much.
            let planned = plan.rate * Duration::from_nanos(arrivals.limit).as_secs_f64();
            phase.due.store(place.max(planned as u64), Ordering::Relaxed);
            break;
        }
    }
    arrivals.due.add_permits(workers);
}

/// Waits for `due`; `false` when the run was stopped.
///
/// At rates that leave time to sleep, the last moments are spent yielding, so that an operation is
/// released within microseconds. At higher rates that would take a whole processor from what is
/// measured: there an operation is released up to 0.1 ms late, which counts into its response time.
fn wait_until<W: Workload>(phase: &Phase<W>, due: Time, rate: f64) -> bool {
    /// A sleeping thread wakes up to this much late.
    const SLACK: Duration = Duration::from_micros(100);
    const LONGEST: Duration = Duration::from_millis(50);
    const PRECISE_UP_TO: f64 = 2_000.0;
    loop {
        if phase.is_stopped() {
            return false;
        }
        let left = due.since(phase.clock.now());
        if left.is_zero() {
            return true;
        }
        if left > 2 * SLACK {
            thread::sleep((left - SLACK).min(LONGEST));
        } else if rate > PRECISE_UP_TO {
            thread::sleep(left.min(SLACK / 2));
        } else {
            thread::yield_now();
        }
    }
}
