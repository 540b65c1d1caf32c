//! The closed loop: a worker starts its next operation when the last has ended.

use std::{sync::Arc, time::Duration};

use clock::{Clock, Time};
use tokio::task::JoinSet;

use super::{Buffer, Phase};
use crate::{
    Workload,
    recorder::{Record, Timing},
};

pub(super) fn spawn<W: Workload>(
    phase: &Arc<Phase<W>>,
    workers: Vec<W::Worker>,
    start: Time,
    tasks: &mut JoinSet<W::Worker>,
) {
    for (id, worker) in workers.into_iter().enumerate() {
        let phase = Arc::clone(phase);
        tasks.spawn(async move { ClosedLoop::new(phase, id, worker, start).run().await });
    }
}

/// Operations are run in batches: inputs are made before a batch is timed and outcomes settled after,
/// so that the end of one operation is the start of the next and one clock reading serves both.
struct ClosedLoop<W: Workload> {
    phase: Arc<Phase<W>>,
    id: usize,
    worker: W::Worker,
    deadline: Option<Time>,
    inputs: Vec<W::Input>,
    outputs: Vec<(W::Output, Option<Timing>)>,
    buffer: Buffer,
}

impl<W: Workload> ClosedLoop<W> {
    fn new(phase: Arc<Phase<W>>, id: usize, worker: W::Worker, start: Time) -> Self {
        let deadline = phase.duration.map(|duration| start + duration);
        Self {
            id,
            worker,
            deadline,
            inputs: Vec::with_capacity(Buffer::MOST),
            outputs: Vec::with_capacity(Buffer::MOST),
            buffer: Buffer::new(start),
            phase,
        }
    }

    async fn run(mut self) -> W::Worker {
        /// A batch this long would make samples coarse and the end of the run ragged.
        const LONG: Duration = Duration::from_millis(1);
        let mut size = 1;
        loop {
            let claimed = self.phase.claim(size);
            if claimed.is_empty() || self.phase.is_stopped() {
                break;
            }
            let first = claimed.start;
            self.inputs.extend(claimed.map(|index| self.phase.input(index)));
            let started = self.phase.clock.now();
            let ended = self.run_batch(first, started).await;
            self.settle_batch(first, ended);
            if self.deadline.is_some_and(|deadline| ended >= deadline) {
                break;
            }
            size = if ended.since(started) > LONG {
                (size / 2).max(1)
            } else {
                (size * 2).min(Buffer::MOST as u64)
            };
            // Other workers of this thread take their turn.
            tokio::task::yield_now().await;
        }
        let now = self.phase.clock.now();
        self.buffer.flush(&self.phase, self.id, now);
        self.worker
    }

    async fn run_batch(&mut self, first: u64, started: Time) -> Time {
        let Self { phase, worker, inputs, outputs, deadline, .. } = self;
        let mut last = started;
        for (index, input) in (first..).zip(&*inputs) {
            let timed = phase.sample_every == 1 || index % phase.sample_every == 0;
            if phase.sample_every > 1 && timed {
                last = phase.clock.now();
            }
            let output = phase.workload.op(worker, input).await;
            let timing = timed.then(|| {
                let now = phase.clock.now();
                let service = now.as_nanos().saturating_sub(last.as_nanos());
                last = now;
                Timing { service, response: None }
            });
            outputs.push((output, timing));
            if deadline.is_some_and(|deadline| last >= deadline) {
                break;
            }
        }
        if phase.sample_every == 1 { last } else { phase.clock.now() }
    }

    fn settle_batch(&mut self, first: u64, now: Time) {
        let Self { phase, id, worker, inputs, outputs, buffer, .. } = self;
        for ((index, input), (output, timing)) in (first..).zip(inputs.drain(..)).zip(outputs.drain(..)) {
            phase.fold(index, &input);
            let class = phase.settle(*id, worker, input, output);
            buffer.push(phase, *id, Record { class, timing }, now);
        }
    }
}
