//! Operations that do nothing, but for one that stalls.

use std::time::Duration;

use bench::{BoxError, Class, ClassKind, Invariant, Outcome, Rng, RunFacts, Workload};

/// One operation stalls: what the latency of a service looks like when a server pauses.
pub(crate) struct Stall {
    pub(crate) at: u64,
    pub(crate) length: Duration,
}

impl Workload for Stall {
    type Worker = ();
    type Input = u64;
    type Output = ();

    fn classes(&self) -> &'static [Class] {
        &[Class { name: "done", kind: ClassKind::Success }]
    }

    async fn worker(&self, _id: usize) -> Result<(), BoxError> {
        Ok(())
    }

    fn input(&self, index: u64, _rng: &mut Rng) -> u64 {
        index
    }

    async fn op(&self, (): &mut (), index: &u64) {
        if *index == self.at {
            tokio::time::sleep(self.length).await;
        }
    }

    fn settle(&self, (): &mut (), _index: u64, (): ()) -> Outcome {
        Outcome::Class(0)
    }

    fn verify(&self, _run: &RunFacts) -> Vec<Invariant> {
        Vec::new()
    }
}
