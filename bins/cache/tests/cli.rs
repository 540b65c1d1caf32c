//! The binary as a user meets it: its exit codes, its messages, its reports.

#![expect(clippy::unwrap_used, reason = "a test may fail by panicking")]

use std::{
    io::{BufRead, BufReader, Read},
    process::{Command, Output, Stdio},
};

use serde_json::Value;
use testkit::Scratch;

fn command(args: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_cache"));
    command.args(args.split_whitespace());
    command
}

fn run(args: &str) -> Output {
    command(args).output().unwrap()
}

fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

/// Runs with `args` and gives back the exit code, the JSON report and what was said beside it.
fn report(args: &str) -> (i32, Value, String) {
    let scratch = Scratch::new().unwrap();
    let path = scratch.path().join("report.json");
    let output = command(args).arg("--quiet").arg("--json").arg(&path).output().unwrap();
    let json = std::fs::read(&path).unwrap_or_else(|error| panic!("{error}: {}", stderr(&output)));
    (output.status.code().unwrap(), serde_json::from_slice(&json).unwrap(), stderr(&output))
}

fn fact<'a>(report: &'a Value, name: &str) -> Option<&'a str> {
    let facts = report["facts"].as_array().unwrap();
    facts.iter().find(|fact| fact["name"] == name).map(|fact| fact["value"].as_str().unwrap())
}

fn has_invariant(report: &Value, name: &str) -> bool {
    report["invariants"].as_array().unwrap().iter().any(|invariant| invariant["name"] == name)
}

/// The number that a figure begins with.
fn first_number(text: &str) -> u64 {
    text.split(' ').next().unwrap().replace(',', "").parse().unwrap()
}

#[test]
fn what_makes_no_sense_is_refused_with_a_reason() {
    for (args, why) in [
        ("--rows 0", "0 rows"),
        ("--rows 999999999999", "cannot be checked"),
        ("--capacity 0", "at least one entry"),
        ("--capacity 200%", "not a share"),
        ("--policy arc", "lru or s3-fifo"),
        ("--protocol hope", "lease, delete-after or delete-first"),
        ("--ack all", "use none, replicas:N"),
        ("--ack replicas:0", "use none, replicas:N"),
        ("--ack replicas:1", "use --backend redis"),
        ("--backend redis --protocol delete-after --ack replicas:1", "use --protocol lease"),
        ("--backend redis --ack replicas:1 --trust-fsync", "use --ack fsync:local"),
        ("--writes 101%", "not a share"),
        ("--distribution zipf:-1", "use uniform, zipf"),
        ("--batch 0", "from 1 to 10,000"),
        ("--payload 8", "from 16 bytes"),
        ("--ttl 0s", "at least a millisecond"),
        ("--ttl 5", "with a unit"),
        ("--replica-lag 50%", "50%:20ms"),
        ("--evict 100", "100/s"),
        ("--virtual-time", "leave it out"),
        ("--url redis://127.0.0.1", "--url does not go with --backend memory"),
        ("--kill-store 1s", "use --backend redis or tiered"),
        ("--backend redis --fail-over 1s", "use --backend redis-cluster"),
        ("--backend redis-cluster --fail-over-lag 1s", "--fail-over <TIME>"),
        ("--backend redis-cluster --cut-off 1s --url redis-cluster://127.0.0.1", "starts itself"),
        ("--backend redis-cluster --freeze-store 1s", "use --backend redis or tiered"),
        ("--backend redis --kill-store 1s --url redis://127.0.0.1", "starts itself"),
        ("--backend redis --redis-server /bin/true", "is no redis-server"),
        ("--backend redis --capacity 10%", "the server decides"),
        ("--backend tiered --policy lru", "use --backend memory"),
        ("--backend redis --url mysql://127.0.0.1", "--url"),
        ("--db-url scylla://127.0.0.1/k", "--db-url does not go with --db memory"),
        ("--consistency one", "use --db scylla"),
        ("--backend mysql", "possible values"),
        ("--backend kafka", "cargo run --release --bin cache -- --backend memory"),
        ("--backend scylla", "--db scylla"),
        ("--db redis", "--bin cache -- --backend redis"),
    ] {
        let output = run(args);
        assert_eq!(output.status.code(), Some(2), "{args}: {}", stderr(&output));
        assert!(stderr(&output).contains(why), "{args}: {}", stderr(&output));
        assert_eq!(stderr(&output).lines().count(), 1, "{args}: {}", stderr(&output));
        assert!(output.stdout.is_empty(), "{args}");
    }
}

#[cfg(not(feature = "scylla"))]
#[test]
fn a_database_that_is_not_built_in_is_named_with_the_command() {
    for db in ["scylla", "scylla-cluster"] {
        let output = run(&format!("--db {db}"));
        assert_eq!(output.status.code(), Some(2));
        let command = format!("cargo run --release --bin cache --features scylla -- --db {db}");
        assert!(stderr(&output).contains(&command), "{}", stderr(&output));
    }
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
fn a_run_reports_and_finds_nothing_stale() {
    for more in ["", "--batch 16", "--absent 20%", "--stale-for 1s --ttl 1ms", "--policy lru --capacity 1%"] {
        let (code, report, said) = report(&format!("--requests 100k --rows 10k {more}"));
        assert_eq!(code, 0, "{more}: {report:#}");
        assert_eq!(said, "", "{more}");
        let held = |name| has_invariant(&report, name);
        assert!(held("no stale key is left") && held("no read went back behind a write that had returned"));
        let classes: u64 =
            report["classes"].as_array().unwrap().iter().map(|class| class["count"].as_u64().unwrap()).sum();
        assert_eq!(report["summary"]["operations"], classes);
        assert!(fact(&report, "hit rate").unwrap().contains("if it held the hottest keys"), "{more}");
    }
}

#[test]
fn rows_that_are_not_there_are_remembered() {
    let (_, report, _) = report("--requests 100k --rows 10k --absent 20%");
    let negative = first_number(fact(&report, "negative hits").unwrap());
    // A fifth of the reads, of which most find that somebody has asked before.
    assert!((5_000..20_000).contains(&negative), "{negative}");
}

/// Many loads and writes of each key at once, and nothing evicted: by chance, some hundred keys are stale in the end.
const RACE: &str = "--db-latency 8ms --concurrency 2000 --requests 80k --rows 4k --distribution uniform \
                    --capacity 40k --writes 30%";

#[test]
fn deleting_after_the_write_leaves_stale_keys_and_says_so() {
    let (code, report, said) = report(&format!("{RACE} --protocol delete-after"));
    assert_eq!(code, 0, "{report:#}");
    let stale = first_number(fact(&report, "stale keys left").unwrap());
    assert!(stale > 0, "{report:#}");
    assert!(said.contains("stale keys are left") && said.contains("delete-after"), "{said}");
    assert!(fact(&report, "no guarantee, since").unwrap().contains("delete-after"));
    assert!(!has_invariant(&report, "no stale key is left"), "what does not hold is not claimed");
}

#[test]
fn the_lease_leaves_none_under_the_same_flags() {
    let (code, report, said) = report(&format!("{RACE} --protocol lease"));
    assert_eq!((code, said.as_str()), (0, ""), "{report:#}");
    assert!(has_invariant(&report, "no stale key is left"));
    let refused = fact(&report, "fills refused").unwrap();
    assert!(first_number(refused) > 0, "the race did not happen: {refused}");
}

#[test]
fn invalidations_that_are_lost_are_found() {
    let (code, report, said) =
        report("--requests 50k --rows 1k --capacity 100% --lose-invalidations 10% --evict 1000/s");
    assert_eq!(code, 0, "{report:#}");
    assert!(first_number(fact(&report, "stale keys left").unwrap()) > 0, "{report:#}");
    assert!(said.contains("lost on purpose"), "{said}");
}

#[test]
fn a_replica_that_lags_is_named_as_the_gap() {
    let lag = "--replica-lag 50%:20ms --db-latency 2ms --evict 10k/s";
    let (code, report, _) =
        report(&format!("{lag} --requests 20k --rows 1k --capacity 100% --concurrency 64 --writes 20%"));
    assert_eq!(code, 0, "{report:#}");
    assert!(fact(&report, "no guarantee, since").unwrap().contains("replica"), "{report:#}");
    assert!(first_number(fact(&report, "fault: loads from a replica").unwrap()) > 0);
    assert!(first_number(fact(&report, "fault: keys evicted").unwrap()) > 0);
}

#[test]
fn an_interrupted_run_gives_the_partial_report() {
    let mut child =
        command("--duration 1h --rows 10k").stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    // The first line of progress: the run is under way.
    let mut progress = BufReader::new(child.stderr.take().unwrap());
    progress.read_line(&mut String::new()).unwrap();
    let pid = child.id().to_string();
    assert!(Command::new("kill").args(["-INT", &pid]).status().unwrap().success());
    let mut text = String::new();
    child.stdout.take().unwrap().read_to_string(&mut text).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(130), "{text}");
    assert!(text.contains("verdict: interrupted") && text.contains("no stale key is left"), "{text}");
}
