//! Virtual time: one operation after the other, on a clock that is moved to each one's due time.

use std::{sync::Arc, time::Duration};

use clock::{Clock, ManualClock, Time};
use tokio::task::JoinSet;

use super::{Buffer, Phase};
use crate::{
    Plan, Workload,
    recorder::{Record, Timing},
};

pub(super) fn spawn<W: Workload>(
    phase: &Arc<Phase<W>>,
    workers: Vec<W::Worker>,
    plan: Plan,
    clock: ManualClock,
    tasks: &mut JoinSet<W::Worker>,
) {
    let phase = Arc::clone(phase);
    tasks.spawn(async move {
        let mut workers = workers;
        let origin = clock.now();
        let mut buffer = Buffer::new(phase.clock.now());
        for due in plan.schedule(phase.seed) {
            let due = Duration::from_nanos(due);
            let index = phase.claim(1).start;
            if index >= phase.end || phase.duration.is_some_and(|limit| due >= limit) || phase.is_stopped() {
                break;
            }
            clock.set(origin + due);
            let id = usize::try_from(index).unwrap_or(usize::MAX) % workers.len();
            let record = step(&phase, &mut workers[id], id, index).await;
            buffer.push(&phase, id, record, phase.clock.now());
        }
        buffer.flush(&phase, 0, phase.clock.now());
        workers.swap_remove(0)
    });
}

async fn step<W: Workload>(phase: &Phase<W>, worker: &mut W::Worker, id: usize, index: u64) -> Record {
    let input = phase.input(index);
    let began: Time = phase.clock.now();
    let output = phase.workload.op(worker, &input).await;
    let service = phase.clock.now().as_nanos().saturating_sub(began.as_nanos());
    phase.fold(index, &input);
    let class = phase.settle(id, worker, input, output);
    Record { class, timing: Some(Timing { service, response: None }) }
}
