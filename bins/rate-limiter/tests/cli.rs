//! The binary as a user meets it: its exit codes, its messages, its reports.

#![expect(clippy::unwrap_used, reason = "a test may fail by panicking")]

use std::{
    io::{BufRead, BufReader, Read},
    process::{Command, Output, Stdio},
};

use serde_json::Value;
use testkit::Scratch;

fn command(args: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_rate-limiter"));
    // Quoted parts are one argument, as in a shell.
    for (place, part) in args.split('\'').enumerate() {
        if place % 2 == 1 {
            command.arg(part)
        } else {
            command.args(part.split_whitespace())
        };
    }
    command
}

fn run(args: &str) -> Output {
    command(args).output().unwrap()
}

fn stdout(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

/// Runs with `args` and gives back the exit code and the JSON report.
fn report(args: &str) -> (i32, Value) {
    let scratch = Scratch::new().unwrap();
    let path = scratch.path().join("report.json");
    let output = command(args).arg("--quiet").arg("--json").arg(&path).output().unwrap();
    let json = std::fs::read(&path).unwrap_or_else(|error| panic!("{error}: {}", stderr(&output)));
    (output.status.code().unwrap(), serde_json::from_slice(&json).unwrap())
}

#[test]
fn what_makes_no_sense_is_refused_with_a_reason() {
    for (args, why) in [
        ("--quota 0/s", "zero tokens"),
        ("--quota -5/s", "write it like 100/s"),
        ("--quota '10/s burst 0'", "burst of zero"),
        ("--quota 99999999999/s", "1,000,000,000"),
        ("--quota '1/s burst 18446744073709551615'", "cannot be counted"),
        ("--quota '999999937/s burst 99999999999999'", "cannot be counted"),
        ("--requests 0", "at least 1"),
        ("--requests -1", "not a number"),
        ("--seed -1", "invalid digit"),
        ("--fail-on rate>=0.9", "add --rate"),
        ("--virtual-time --rate 10 --drop-late", "cannot be used with"),
        ("--json same --report same", "two reports cannot both go to same"),
        ("--requests 99999999999999999999", "not a number"),
        ("--requests many", "write it like 1000, 250k or 10M"),
        ("--keys 0", "0 keys"),
        ("--keys 999999999999", "the most is"),
        ("--concurrency 0", "at least 1"),
        ("--concurrency 9999999", "too many"),
        ("--distribution zipf:-1", "use uniform, zipf"),
        ("--algorithm leaky", "known: token-bucket, gcra"),
        ("--algorithm fixed-window --quota '10/s burst 5'", "leave the burst out"),
        ("--algorithm all --json out.json", "name one algorithm"),
        ("--backend mysql", "possible values"),
        ("--batch 8", "--batch does not go with --backend memory"),
        ("--lease 8", "--lease does not go with --backend memory"),
        ("--backend redis --wait 1 --batch 8", "--wait goes with neither"),
        ("--backend redis --batch 0", "from 1 to 10,000"),
        ("--backend redis --lease many", "not a number"),
        ("--backend redis --url mysql://127.0.0.1", "--url"),
        ("--backend redis --virtual-time --rate 10", "has a clock of its own"),
        ("--rate 0", "not a rate"),
        ("--rate nan", "not a rate"),
        ("--arrivals poisson", "--rate"),
        ("--rate 10 --rate-shape sine:2:1", "swing from 0 to below 1"),
        ("--fail-on p98<5ms", "unknown metric"),
        ("--duration 0s", "zero makes no sense"),
        ("--duration 5", "with a unit"),
        ("--hold-rate 0.9", "--rate"),
    ] {
        let output = run(args);
        assert_eq!(output.status.code(), Some(2), "{args}: {}", stderr(&output));
        assert!(stderr(&output).contains(why), "{args}: {}", stderr(&output));
        assert_eq!(stderr(&output).lines().count(), 1, "{args}: {}", stderr(&output));
        assert!(output.stdout.is_empty(), "{args}: {}", stdout(&output));
    }
}

#[test]
fn a_backend_that_cannot_keep_limits_names_one_that_can() {
    let output = run("--backend kafka");
    assert_eq!(output.status.code(), Some(2));
    let message = stderr(&output);
    assert_eq!(message.lines().count(), 1, "{message}");
    assert!(message.contains("cargo run --release --bin rate-limiter -- --backend memory"), "{message}");
}

#[test]
fn a_server_that_is_not_there_is_said_in_a_line() {
    for backend in ["redis", "redis-cluster"] {
        // Nobody listens on port 1.
        let output = run(&format!("--backend {backend} --url {backend}://127.0.0.1:1 --requests 10"));
        assert_eq!(output.status.code(), Some(1), "{}", stderr(&output));
        assert_eq!(stderr(&output).lines().count(), 1, "{}", stderr(&output));
        assert!(stderr(&output).contains("unavailable"), "{}", stderr(&output));
    }
}

#[test]
fn a_run_reports_and_checks_every_admission() {
    let (code, report) = report("--requests 200k --keys 1k");
    assert_eq!(code, 0, "{report:#}");
    assert_eq!(report["summary"]["operations"], 200_000);
    let names: Vec<&str> =
        report["invariants"].as_array().unwrap().iter().map(|i| i["name"].as_str().unwrap()).collect();
    assert_eq!(names.len(), 5, "{names:?}");
    let allowed = report["classes"][0]["count"].as_u64().unwrap();
    let denied = report["classes"][1]["count"].as_u64().unwrap();
    assert_eq!(allowed + denied, 200_000);
    assert!(report["classes"][0]["service"]["count"].as_u64() == Some(allowed));
    assert!(report["classes"][1]["service"]["count"].as_u64() == Some(denied));
}

#[test]
fn every_algorithm_keeps_its_bound() {
    let output = run("--algorithm all --requests 200k --keys 1k --quiet");
    let table = stdout(&output);
    assert_eq!(output.status.code(), Some(0), "{table}{}", stderr(&output));
    assert_eq!(table.lines().count(), 8, "{table}");
    assert!(table.lines().skip(1).all(|row| row.ends_with("held")), "{table}");
    // A short period, so that windows end and logs are forgotten while it runs.
    let output = run("--algorithm all --duration 1s --keys 100 --quiet --quota 500/10ms");
    assert_eq!(output.status.code(), Some(0), "{}", stdout(&output));
}

#[test]
fn virtual_time_gives_the_same_outcome_at_any_concurrency() {
    let of = |args: &str| {
        let (code, report) = report(&format!("--virtual-time --requests 100k --keys 500 {args}"));
        assert_eq!(code, 0);
        let counts: Vec<Value> = (0..2).map(|class| report["classes"][class]["count"].clone()).collect();
        (counts, report["summary"]["input_digest"].clone())
    };
    let one = of("--concurrency 1");
    assert_eq!(of("--concurrency 8"), one);
    assert_ne!(of("--concurrency 1 --seed 2"), one);
    let quota = "--quota '100/s burst 10' --rate 5k --arrivals poisson";
    assert_eq!(of(&format!("{quota} --concurrency 1")), of(&format!("{quota} --concurrency 8")));
}

#[test]
fn thresholds_and_rates_have_exit_codes() {
    assert_eq!(run("--requests 10k --quiet --fail-on p50<1ns").status.code(), Some(3));
    assert_eq!(run("--requests 10k --quiet --fail-on error_rate<=0,p50<1h").status.code(), Some(0));
    // Far more than any machine gives.
    assert_eq!(
        run("--requests 200k --rate 900M --hold-rate --quiet --fail-on p50<1h").status.code(),
        Some(5)
    );
}

#[test]
fn a_report_that_cannot_be_written_is_a_failure_that_names_the_file() {
    let output = run("--requests 1k --quiet --json /proc/nowhere/report.json");
    assert_eq!(output.status.code(), Some(1));
    assert!(stderr(&output).contains("/proc/nowhere/report.json"), "{}", stderr(&output));
    assert!(stdout(&output).contains("verdict: ok"), "the run is lost");
}

#[test]
fn a_reader_that_leaves_early_is_not_an_error() {
    let mut child = command("--requests 1k --quiet").stdout(Stdio::piped()).spawn().unwrap();
    drop(child.stdout.take());
    assert_eq!(child.wait().unwrap().code(), Some(0));
}

#[test]
fn an_interrupted_run_gives_the_partial_report() {
    let mut child = command("--duration 1h").stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    // The first line of progress: the run is under way.
    let mut progress = BufReader::new(child.stderr.take().unwrap());
    progress.read_line(&mut String::new()).unwrap();
    let pid = child.id().to_string();
    assert!(Command::new("kill").args(["-INT", &pid]).status().unwrap().success());
    let mut text = String::new();
    child.stdout.take().unwrap().read_to_string(&mut text).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(130), "{text}");
    assert!(text.contains("verdict: interrupted"), "{text}");
    assert!(text.contains("no key was admitted more than its quota"), "{text}");
}

#[test]
fn an_interrupt_at_any_moment_is_not_lost() {
    for delay in [0, 10, 30, 60, 100, 200] {
        let mut child = command("--duration 1h --keys 1M --quiet").stdout(Stdio::piped()).spawn().unwrap();
        // The moments differ on each machine; what is asserted holds at all of them.
        let pid = child.id().to_string();
        let script = format!("sleep 0.{delay:03}; kill -INT {pid}");
        assert!(Command::new("sh").args(["-c", &script]).status().unwrap().success());
        let mut text = String::new();
        child.stdout.take().unwrap().read_to_string(&mut text).unwrap();
        let status = child.wait().unwrap();
        // Before the first line of `main` the signal ends the process, as it does by default.
        let killed = status.code().is_none() && text.is_empty();
        assert!(killed || status.code() == Some(130), "after {delay} ms: {status}: {text}");
    }
}
