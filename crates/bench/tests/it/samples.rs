//! Reports to test with.

use std::collections::BTreeMap;

use bench::{
    Ceiling, ClassKind, ClassReport, Fact, Harness, Invariant, Latency, Machine, Quantile, Report,
    SCHEMA_VERSION, Sample, Series, Summary, ThresholdResult, Verdict,
};

/// An open loop with everything that a report can hold, in which nothing ended from 5 s to 6 s.
pub(crate) fn full() -> Report {
    let service = latency(9_000, 3.0, 900);
    let response = latency(9_000, 30.0, 900_000_000);
    let class = |name: &str, kind, count: u64, messages: &[&str]| ClassReport {
        name: name.to_owned(),
        kind,
        count,
        service: Some(latency(count, 2.0, 800)),
        response: Some(latency(count, 20.0, 800_000_000)),
        messages: messages.iter().map(ToString::to_string).collect(),
    };
    Report {
        schema: SCHEMA_VERSION,
        benchmark: "rate-limiter".to_owned(),
        version: "0.1.0".to_owned(),
        config: [("loop", "open, 1000/s constant"), ("seed", "1")]
            .map(|(k, v)| (k.to_owned(), v.to_owned()))
            .into(),
        machine: Machine {
            os: "linux-x86_64".to_owned(),
            cpu: Some("a processor".to_owned()),
            cpus: 2,
            load: Some(0.5),
        },
        summary: Summary {
            operations: 9_000,
            planned: Some(10_000),
            elapsed_s: 10.0,
            ops_per_s: 900.0,
            concurrency: 4,
            offered_per_s: Some(1_000.0),
            on_schedule: Some(0.801),
            dropped: 400,
            error_rate: 500.0 / 9_000.0,
            cpu_s: 2.5,
            peak_rss_bytes: Some(4 << 20),
            interrupted: false,
            input_digest: Some("00112233aabbccdd".to_owned()),
        },
        service: Some(service),
        response: Some(response),
        classes: vec![
            class("allowed", ClassKind::Success, 6_000, &[]),
            class("denied", ClassKind::Rejected, 2_500, &[]),
            class("timeout", ClassKind::Error, 500, &["no answer within 1 s"]),
        ],
        timeline: (1..=100).map(|tenth| sample(tenth, !(51..=60).contains(&tenth))).collect(),
        series: Series { seconds: vec![0.1], operations: vec![100], mean_ns: vec![5.5], cpu_s: vec![0.01] },
        harness: Harness { clock_ns: 12.0, noop_ns: 45.0, share: Some(0.1) },
        ceilings: vec![Ceiling { name: "redis-benchmark".to_owned(), ops_per_s: 3_600.0 }],
        facts: vec![Fact { name: "bytes a key".to_owned(), value: "48 B".to_owned() }],
        invariants: vec![Invariant {
            name: "no key exceeds its quota".to_owned(),
            held: true,
            detail: "64 keys".to_owned(),
        }],
        thresholds: vec![
            ThresholdResult { text: "p99<5ms".to_owned(), kept: false, found: Some(900_000_000.0) },
            ThresholdResult { text: "error_rate<0.1".to_owned(), kept: true, found: Some(0.055) },
            ThresholdResult { text: "throughput>1".to_owned(), kept: true, found: Some(900.0) },
        ],
        verdict: Verdict { exit_code: 3, text: "threshold crossed: p99<5ms does not hold".to_owned() },
    }
}

/// A closed loop of one class.
pub(crate) fn closed() -> Report {
    let mut report = full();
    report.response = None;
    report.classes.truncate(1);
    report.classes[0].response = None;
    report.summary.operations = 9_000;
    report.summary.offered_per_s = None;
    report.summary.on_schedule = None;
    report.summary.dropped = 0;
    report.summary.error_rate = 0.0;
    report.config.insert("loop".to_owned(), "closed".to_owned());
    report.thresholds.clear();
    report.verdict = Verdict { exit_code: 0, text: "ok".to_owned() };
    report
}

/// A run that was interrupted before anything happened, on a machine that tells nothing.
pub(crate) fn empty() -> Report {
    let mut report = closed();
    report.service = None;
    report.classes[0] = ClassReport { count: 0, service: None, ..report.classes[0].clone() };
    report.timeline.clear();
    report.series = Series::default();
    report.harness = Harness::default();
    report.config = BTreeMap::new();
    report.machine = Machine { os: String::new(), cpu: None, cpus: 1, load: None };
    (report.ceilings, report.facts, report.invariants) = (Vec::new(), Vec::new(), Vec::new());
    report.summary = Summary {
        operations: 0,
        planned: None,
        elapsed_s: 0.0,
        ops_per_s: 0.0,
        cpu_s: 0.0,
        peak_rss_bytes: None,
        interrupted: true,
        input_digest: None,
        ..report.summary
    };
    report.verdict = Verdict { exit_code: 130, text: "interrupted".to_owned() };
    report
}

/// Figures as large as their types, and more of everything than fits.
pub(crate) fn huge() -> Report {
    let mut report = full();
    let most = || Some(flat(u64::MAX, u64::MAX));
    (report.service, report.response) = (most(), most());
    let class = |place: usize| ClassReport {
        name: format!("{place} {}", "long ".repeat(200)),
        kind: [ClassKind::Success, ClassKind::Rejected, ClassKind::Error][place % 3],
        count: u64::MAX - place as u64,
        service: most(),
        response: most(),
        messages: vec!["message ".repeat(1_000); 3],
    };
    report.classes = (0..30).map(class).collect();
    report.timeline = (1..=28_000)
        .map(|second| Sample {
            at_s: f64::from(second),
            ops_per_s: 1e18,
            counts: vec![u64::MAX; 30],
            p50_ns: 1,
            p99_ns: u64::MAX,
            max_ns: u64::MAX,
        })
        .collect();
    report.summary.operations = u64::MAX;
    report.summary.planned = Some(u64::MAX);
    report.summary.dropped = u64::MAX;
    report.summary.ops_per_s = 1e300;
    report.summary.offered_per_s = Some(1e300);
    report.summary.elapsed_s = 1e12;
    report.summary.peak_rss_bytes = Some(u64::MAX);
    report.config.insert("store".to_owned(), "redis://127.0.0.1:7000,".repeat(10_000));
    report.verdict.text = "why ".repeat(10_000);
    report
}

/// Operations that took no time at all.
pub(crate) fn zero_latencies() -> Report {
    let mut report = closed();
    report.service = Some(flat(1, 0));
    report.classes[0].service = Some(flat(1, 0));
    report.timeline =
        vec![Sample { at_s: 0.1, ops_per_s: 10.0, counts: vec![1], p50_ns: 0, p99_ns: 0, max_ns: 0 }];
    report
}

/// What no run gives, but a mistake might.
pub(crate) fn no_numbers() -> Report {
    let mut report = full();
    for figure in [
        &mut report.summary.elapsed_s,
        &mut report.summary.ops_per_s,
        &mut report.summary.error_rate,
        &mut report.summary.cpu_s,
        &mut report.harness.clock_ns,
        &mut report.harness.noop_ns,
        &mut report.ceilings[0].ops_per_s,
    ] {
        *figure = f64::NAN;
    }
    report.timeline[3].at_s = f64::NAN;
    report.timeline[5].ops_per_s = f64::INFINITY;
    report.summary.on_schedule = Some(f64::INFINITY);
    report.summary.offered_per_s = Some(f64::NEG_INFINITY);
    report.thresholds[0].found = Some(f64::NAN);
    report.machine.load = Some(f64::INFINITY);
    if let Some(service) = &mut report.service {
        service.mean_ns = f64::NAN;
        service.stdev_ns = f64::INFINITY;
        service.spectrum[4].quantile = f64::NAN;
    }
    if let Some(response) = &mut report.response {
        response.percentiles[2].quantile = f64::NAN;
    }
    report
}

fn sample(tenth: u32, busy: bool) -> Sample {
    let busy = u64::from(busy);
    Sample {
        at_s: f64::from(tenth) / 10.0,
        ops_per_s: if busy == 1 { 1_000.0 } else { 0.0 },
        counts: vec![66 * busy, 28 * busy, 6 * busy],
        p50_ns: 14_000 * busy,
        p99_ns: 600_000 * busy,
        max_ns: 2_000_000 * busy,
    }
}

/// From `least` up to `most`, with each nine some times as slow as the one before.
fn latency(count: u64, least: f64, most: u64) -> Latency {
    let nines = (count as f64).log10();
    let at = |quantile: f64| {
        let share = (-(1.0 - quantile).log10() / nines).min(1.0);
        Quantile { quantile, ns: (least * (most as f64 / least).powf(share)) as u64 }
    };
    Latency {
        count,
        mean_ns: 2.0 * least,
        stdev_ns: least,
        min_ns: least as u64,
        max_ns: most,
        percentiles: [0.0, 0.5, 0.75, 0.9, 0.95, 0.99, 0.999, 0.9999, 0.99999, 1.0].map(at).to_vec(),
        spectrum: (0..=(10.0 * nines) as i32)
            .map(|step| 1.0 - 10_f64.powf(f64::from(-step) / 10.0))
            .chain([1.0])
            .map(at)
            .collect(),
    }
}

/// The same latency at every quantile.
fn flat(count: u64, ns: u64) -> Latency {
    let mut flat = latency(10, 1.0, 10);
    for point in flat.percentiles.iter_mut().chain(&mut flat.spectrum) {
        point.ns = ns;
    }
    Latency { count, mean_ns: ns as f64, stdev_ns: 0.0, min_ns: ns, max_ns: ns, ..flat }
}
