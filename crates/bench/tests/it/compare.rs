//! Reports held against each other.

use bench::{
    Amount, Config, ExitStatus, Machine, Pacing, Progress, Report,
    calibrate::Noop,
    compare::{Comparison, Measure, Verdict},
    run,
    significance::Criterion,
};
use clock::PreciseClock;

/// A real report, with an even series of as many intervals as a run of some seconds has.
fn report(ops_per_s: u64) -> Report {
    let config = Config {
        pacing: Pacing::Closed,
        amount: Amount::Requests(1_000),
        warmup: None,
        concurrency: 1,
        seed: 1,
        sample_every: 1,
        digest: false,
        progress: Progress::Quiet,
        clock: PreciseClock::new(),
    };
    let run = run(Noop, &config).unwrap();
    let classes = bench::Workload::classes(&Noop);
    let mut report = Report::new("noop", "1", classes, &config, &run, Machine::this());
    let intervals = 200;
    report.series.seconds = vec![0.01; intervals];
    report.series.cpu_s = vec![0.009; intervals];
    // A ripple of 2 %, so that there is something to test against.
    report.series.operations = (0..intervals as u64).map(|i| ops_per_s / 100 * (100 + i % 3) / 100).collect();
    report.series.mean_ns = report.series.operations.iter().map(|ops| 1e7 / *ops as f64).collect();
    (report.summary.elapsed_s, report.summary.cpu_s) = (2.0, 1.8);
    report
}

fn compare(a: &[Report], b: &[Report]) -> Comparison {
    Comparison::new(a, b, Criterion::default())
}

#[test]
fn a_slower_run_is_a_regression_and_a_faster_one_is_not() {
    let base = [report(1_000_000)];
    let slower = compare(&base, &[report(930_000)]);
    assert_eq!(slower.status(), ExitStatus::Regression);
    assert!(slower.measures.iter().all(|result| result.verdict() == Verdict::Worse), "{slower:?}");
    assert!(slower.show(&base, &base).to_string().ends_with("B is worse\n"));
    let faster = compare(&base, &[report(1_070_000)]);
    assert_eq!(faster.status(), ExitStatus::Ok);
    assert!(faster.measures.iter().all(|result| result.verdict() == Verdict::Better), "{faster:?}");
    assert_eq!(compare(&base, &[report(1_005_000)]).status(), ExitStatus::Ok);
}

#[test]
fn with_many_runs_what_differs_between_runs_is_noise() {
    // Each pair 5 % apart, one way and the other: within the runs alone each would be certain.
    let side = |odd: u64| -> Vec<Report> {
        (0..10).map(|i| report(if i % 2 == odd { 1_000_000 } else { 950_000 })).collect()
    };
    let comparison = compare(&side(0), &side(1));
    assert!(comparison.measures.iter().all(|result| result.verdict() == Verdict::Unclear), "{comparison:?}");
    // A machine that slows down over the runs slows both sides: every pair tells the same.
    let drifting =
        |share: u64| -> Vec<Report> { (10..20).map(|i| report(i * 50_000 * share / 100)).collect() };
    assert_eq!(compare(&drifting(100), &drifting(94)).status(), ExitStatus::Regression);
}

#[test]
fn processor_time_decides_where_it_is_used_and_throughput_where_it_is_not() {
    let decides = |reports: &[Report]| {
        compare(reports, reports).measures.iter().find(|result| result.decides).map(|result| result.measure)
    };
    assert_eq!(decides(&[report(1_000)]), Some(Measure::ByProcessorTime));
    let mut waiting = report(1_000);
    waiting.summary.cpu_s = 0.1;
    assert_eq!(decides(&[waiting]), Some(Measure::Throughput));
}

#[test]
fn what_is_not_the_same_is_said() {
    let (a, mut b) = (report(1_000_000), report(1_000_000));
    b.config.insert("keys".to_owned(), "7".to_owned());
    b.machine.cpus = 64;
    let caveats = compare(&[a], &[b]).caveats.join("\n");
    assert!(caveats.contains("keys differs: not set and 7") && caveats.contains("64 x"), "{caveats}");
}
