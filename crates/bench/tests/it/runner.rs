//! What a run reports, and that it reports what happened.

use std::{
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
    time::Duration,
};

use bench::{
    Amount, Arrivals, BoxError, Class, ClassKind, Config, ExitStatus, Invariant, Late, Machine, Outcome,
    Pacing, Plan, Progress, Report, Rng, RunFacts, Shape, Threshold, Workload, run,
};
use clock::{Clock, ManualClock, PreciseClock};

const CLASSES: &[Class] = &[
    Class { name: "even", kind: ClassKind::Success },
    Class { name: "odd", kind: ClassKind::Rejected },
    Class { name: "failed", kind: ClassKind::Error },
];

/// Draws a number and says whether it is even; every `fail_every`th operation fails, and the first from
/// `stall` on takes a second.
struct Draw {
    fail_every: u64,
    stall: Option<u64>,
    stalled: AtomicBool,
    settled: AtomicU64,
    broken: AtomicBool,
}

impl Draw {
    fn new() -> Self {
        Self {
            fail_every: u64::MAX,
            stall: None,
            stalled: AtomicBool::new(false),
            settled: AtomicU64::new(0),
            broken: AtomicBool::new(false),
        }
    }
}

impl Workload for Draw {
    type Worker = usize;
    type Input = (u64, u64);
    type Output = ();

    fn classes(&self) -> &'static [Class] {
        CLASSES
    }

    async fn worker(&self, id: usize) -> Result<usize, BoxError> {
        if id == 99 { Err("worker 99 cannot connect".into()) } else { Ok(id) }
    }

    fn input(&self, index: u64, rng: &mut Rng) -> (u64, u64) {
        (index, rng.below(1_000))
    }

    async fn op(&self, _worker: &mut usize, (index, _): &(u64, u64)) {
        let due = self.stall.is_some_and(|stall| *index >= stall);
        if due && !self.stalled.swap(true, Ordering::Relaxed) {
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
    }

    fn settle(&self, _worker: &mut usize, (index, number): (u64, u64), (): ()) -> Outcome {
        self.settled.fetch_add(1, Ordering::Relaxed);
        if index % self.fail_every == self.fail_every - 1 {
            return Outcome::Error(2, format!("operation {index} failed").into());
        }
        Outcome::Class((number % 2) as u8)
    }

    fn verify(&self, run: &RunFacts) -> Vec<Invariant> {
        let settled = self.settled.load(Ordering::Relaxed);
        let held = settled == run.operations && !self.broken.load(Ordering::Relaxed);
        vec![Invariant { name: "settled once".to_owned(), held, detail: format!("{settled} settled") }]
    }
}

fn config() -> Config {
    Config {
        pacing: Pacing::Closed,
        amount: Amount::Requests(100_000),
        warmup: None,
        concurrency: 2,
        seed: 1,
        sample_every: 1,
        digest: true,
        progress: Progress::Quiet,
        clock: PreciseClock::new(),
    }
}

fn open(rate: f64, late: Late) -> Pacing {
    Pacing::Open { plan: Plan { rate, arrivals: Arrivals::Constant, shape: Shape::Flat }, late }
}

fn report(workload: Draw, config: &Config) -> Report {
    let run = run(workload, config).unwrap();
    Report::new("test", "0", CLASSES, config, &run, Machine::this())
}

fn counts(report: &Report) -> Vec<u64> {
    report.classes.iter().map(|class| class.count).collect()
}

#[test]
fn every_operation_is_counted_once_in_every_view() {
    let workload = Draw { fail_every: 10, ..Draw::new() };
    let config = Config { warmup: Some(Amount::Requests(1_000)), concurrency: 5, ..config() };
    let report = report(workload, &config);
    assert_eq!(report.summary.operations, 100_000);
    assert_eq!(counts(&report).iter().sum::<u64>(), 100_000);
    assert_eq!(counts(&report)[2], 10_000);
    assert_eq!(report.timeline.iter().flat_map(|sample| &sample.counts).sum::<u64>(), 100_000);
    assert_eq!(report.series.operations.iter().sum::<u64>(), 100_000);
    assert_eq!(report.service.as_ref().unwrap().count, 100_000);
    assert!((report.summary.error_rate - 0.1).abs() < 1e-9);
    assert_eq!(report.classes[2].messages.len(), 3);
    assert!(report.invariants[0].held, "{:?}", report.invariants);
}

#[test]
fn the_seed_alone_decides_the_inputs() {
    let of = |seed, concurrency| report(Draw::new(), &Config { seed, concurrency, ..config() });
    let (one, eight, other) = (of(1, 1), of(1, 8), of(2, 8));
    assert_eq!(one.summary.input_digest, eight.summary.input_digest);
    assert_eq!(counts(&one), counts(&eight));
    assert_ne!(one.summary.input_digest, other.summary.input_digest);
    let warm = report(Draw::new(), &Config { warmup: Some(Amount::Requests(500)), ..config() });
    assert_eq!(warm.summary.input_digest, one.summary.input_digest);
}

#[test]
fn some_are_timed_when_some_are_asked_for() {
    let report = report(Draw::new(), &Config { sample_every: 64, ..config() });
    assert_eq!(report.summary.operations, 100_000);
    assert_eq!(report.service.unwrap().count, 100_000_u64.div_ceil(64));
}

/// Ten seconds at 1,000 a second, of which one is lost: the operations that were due in it wait from
/// one second down to nothing, so the slowest hundredth of all waits 0.9 s and more.
#[test]
fn a_stall_shows_in_every_operation_that_it_held_up() {
    let workload = Draw { stall: Some(5_000), ..Draw::new() };
    let config = Config {
        pacing: open(1_000.0, Late::Queue),
        amount: Amount::Requests(10_000),
        concurrency: 1,
        digest: false,
        ..config()
    };
    let mut report = report(workload, &config);
    let p99 = report.response.as_ref().unwrap().at(0.99).unwrap();
    assert!((855_000_000..945_000_000).contains(&p99), "response p99 {p99} ns");
    let service = report.service.as_ref().unwrap().at(0.99).unwrap();
    assert!(service < 5_000_000, "service p99 {service} ns");
    assert_eq!((report.summary.operations, report.summary.planned), (10_000, Some(10_000)));
    assert_eq!(report.judge(&[Threshold::rate_held(0.99)]), ExitStatus::Rate);
    assert_eq!(report.judge(&[Threshold::rate_held(0.5)]), ExitStatus::Ok);
}

/// A closed loop times each operation by itself: one stall is one slow operation.
#[test]
fn a_stall_in_a_closed_loop_is_one_slow_operation() {
    let workload = Draw { stall: Some(50_000), ..Draw::new() };
    let report = report(workload, &Config { concurrency: 1, digest: false, ..config() });
    let service = report.service.as_ref().unwrap();
    assert!(service.max_ns >= 990_000_000, "{}", service.max_ns);
    assert!(service.at(0.9999).unwrap() < 500_000_000, "{}", service.at(0.9999).unwrap());
    assert!(service.at(0.5).unwrap() < 100_000, "{}", service.at(0.5).unwrap());
}

#[test]
fn a_plan_that_cannot_be_kept_ends_in_time_and_says_so() {
    let amount = Amount::Duration(Duration::from_millis(300));
    let config = Config { pacing: open(900e6, Late::Queue), amount, digest: false, ..config() };
    let summary = report(Draw::new(), &config).summary;
    assert!(summary.elapsed_s < 10.0, "{} s", summary.elapsed_s);
    assert!(summary.planned.unwrap() >= 260_000_000, "{:?}", summary.planned);
    assert!(summary.operations < summary.planned.unwrap());
}

#[test]
fn late_operations_are_dropped_and_counted_when_asked() {
    let workload = Draw { stall: Some(500), ..Draw::new() };
    let config = Config {
        pacing: open(1_000.0, Late::Drop),
        amount: Amount::Requests(2_000),
        concurrency: 1,
        digest: false,
        ..config()
    };
    let summary = report(workload, &config).summary;
    assert_eq!(summary.operations + summary.dropped, 2_000);
    assert!(summary.dropped >= 900, "{} dropped", summary.dropped);
}

#[test]
fn an_open_loop_by_time_ends_in_time_and_accounts_for_its_plan() {
    for arrivals in [Arrivals::Constant, Arrivals::Poisson] {
        let plan = Plan { rate: 2_000.0, arrivals, shape: Shape::Flat };
        let config = Config {
            pacing: Pacing::Open { plan, late: Late::Queue },
            amount: Amount::Duration(Duration::from_millis(500)),
            concurrency: 4,
            ..config()
        };
        let summary = report(Draw::new(), &config).summary;
        // What was due at the very end may have had no time to start.
        let planned = summary.planned.unwrap();
        assert!((850..1_150).contains(&planned), "{planned}");
        assert!((1..=planned).contains(&summary.operations), "{} of {planned}", summary.operations);
        assert!((0.4..5.0).contains(&summary.elapsed_s), "{}", summary.elapsed_s);
    }
}

#[test]
fn virtual_time_moves_the_workloads_clock_and_nothing_else() {
    let of = |concurrency| {
        let clock = ManualClock::new();
        let plan = Plan { rate: 1_000.0, arrivals: Arrivals::Poisson, shape: Shape::Flat };
        let pacing = Pacing::Virtual { plan, clock: clock.clone() };
        let amount = Amount::Duration(Duration::from_secs(60));
        let report = report(Draw::new(), &Config { pacing, amount, concurrency, ..config() });
        (counts(&report), report.summary.input_digest, clock.now())
    };
    let (counts, _, end) = of(1);
    assert!((59_000..61_000).contains(&counts.iter().sum::<u64>()));
    assert!(end.as_nanos() > 59_900_000_000);
    assert_eq!(of(8), of(1));
}

#[test]
fn a_broken_invariant_outweighs_every_threshold() {
    let workload = Draw { broken: AtomicBool::new(true), ..Draw::new() };
    let mut report = report(workload, &config());
    let thresholds = ["max<1ns".parse().unwrap()];
    assert_eq!(report.judge(&thresholds), ExitStatus::Invariant);
    report.invariants.clear();
    assert_eq!(report.judge(&thresholds), ExitStatus::Threshold);
    assert_eq!(report.judge(&["throughput>1".parse().unwrap()]), ExitStatus::Ok);
}

#[test]
fn a_worker_that_cannot_be_prepared_ends_the_run() {
    let error = run(Draw::new(), &Config { concurrency: 100, ..config() }).unwrap_err();
    assert_eq!(error.to_string(), "worker 99 cannot connect");
}

#[test]
fn memory_does_not_grow_with_operations() {
    let peak = |requests| {
        let amount = Amount::Requests(requests);
        report(Draw::new(), &Config { amount, digest: false, ..config() }).summary.peak_rss_bytes.unwrap()
    };
    let (few, many) = (peak(20_000), peak(2_000_000));
    assert!(many < few + (4 << 20), "{few} then {many} bytes");
}
