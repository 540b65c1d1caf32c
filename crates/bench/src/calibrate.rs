//! What the runner itself costs on this machine.

use std::hint::black_box;

use clock::{Clock, PreciseClock};

use crate::{
    Amount, BoxError, Class, ClassKind, Config, Harness, Invariant, Outcome, Pacing, Progress, Rng, RunFacts,
    Workload, run,
};

/// A workload that does nothing: what remains is the runner.
#[derive(Clone, Copy, Debug, Default)]
pub struct Noop;

impl Workload for Noop {
    type Worker = ();
    type Input = u64;
    type Output = ();

    fn classes(&self) -> &'static [Class] {
        &[Class { name: "done", kind: ClassKind::Success }]
    }

    async fn worker(&self, _id: usize) -> Result<(), BoxError> {
        Ok(())
    }

    fn input(&self, _index: u64, rng: &mut Rng) -> u64 {
        rng.next_u64()
    }

    async fn op(&self, (): &mut (), input: &u64) {
        black_box(input);
    }

    fn settle(&self, (): &mut (), _input: u64, (): ()) -> Outcome {
        Outcome::Class(0)
    }

    fn verify(&self, _run: &RunFacts) -> Vec<Invariant> {
        Vec::new()
    }
}

/// Measures the runner with the concurrency and the sampling of `config`; takes some 0.1 s.
///
/// # Errors
///
/// When the run cannot be started.
pub fn calibrate(config: &Config) -> Result<Harness, BoxError> {
    const ROUNDS: u64 = 5;
    const OPERATIONS: u64 = 400_000;
    let cpus = std::thread::available_parallelism().map_or(1, usize::from);
    let concurrency = config.concurrency.clamp(1, cpus);
    let noop = Config {
        pacing: Pacing::Closed,
        amount: Amount::Requests(OPERATIONS),
        warmup: None,
        concurrency,
        progress: Progress::Quiet,
        digest: false,
        ..config.clone()
    };
    let mut noop_ns = f64::INFINITY;
    // The least of some rounds, since noise only adds.
    for _ in 0..ROUNDS {
        let run = run(Noop, &noop)?;
        noop_ns = noop_ns.min(run.elapsed.as_secs_f64() * 1e9 * concurrency as f64 / OPERATIONS as f64);
    }
    Ok(Harness { clock_ns: clock_ns(&config.clock), noop_ns, share: None })
}

/// Nanoseconds that one reading of `clock` takes: the least of some rounds, too.
fn clock_ns(clock: &PreciseClock) -> f64 {
    const READINGS: u32 = 20_000;
    let round = || {
        let start = clock.now();
        for _ in 0..READINGS {
            black_box(clock.now());
        }
        clock.now().since(start).as_secs_f64() * 1e9 / f64::from(READINGS)
    };
    (0..5).map(|_| round()).fold(f64::INFINITY, f64::min)
}
