//! The binary as a user meets it: its exit codes, its messages, its reports.

#![expect(clippy::unwrap_used, reason = "a test may fail by panicking")]

use std::{
    io::{BufRead, BufReader, Read},
    process::{Command, Output, Stdio},
};

use serde_json::Value;
use testkit::Scratch;

fn command(args: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_cache-filter"));
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

fn has_held(report: &Value, name: &str) -> bool {
    let invariants = report["invariants"].as_array().unwrap();
    invariants.iter().any(|invariant| invariant["name"] == name && invariant["held"] == true)
}

fn count(report: &Value, class: &str) -> u64 {
    let classes = report["classes"].as_array().unwrap();
    classes.iter().find(|found| found["name"] == class).map_or(0, |found| found["count"].as_u64().unwrap())
}

/// The number that a figure begins with.
fn first_number(text: &str) -> f64 {
    text.split(' ').next().unwrap().replace([',', ';'], "").parse().unwrap()
}

#[test]
fn what_makes_no_sense_is_refused_with_a_reason() {
    for (args, why) in [
        ("--items 0", "0 rows"),
        ("--items 99999999999", "use 1 to"),
        ("--bits 0.5", "--bits"),
        ("--bits 65", "--bits"),
        ("--positions 0", "--positions"),
        ("--fpr 0.01 --bits 10", "cannot be used with"),
        ("--fpr 0.01 --positions 7", "cannot be used with"),
        ("--fpr 0.01 --memory 1MB", "cannot be used with"),
        ("--memory 1MB --bits 10", "cannot be used with"),
        ("--memory 95", "95MB or 64MiB"),
        ("--memory 95MB", "--items 11875000 or more"),
        ("--fpr 0", "--fpr"),
        ("--fpr 1e-15 --items 10M", "collide"),
        ("--filter cuckoo", "use none, bloom"),
        ("--filter none --bits 10", "there is nothing to build"),
        ("--filter none --rebuild-every 1s", "there is nothing to build"),
        ("--filter hosted --folder /tmp/nowhere", "the server keeps it"),
        ("--filter fuse8 --positions 7", "always has the same"),
        ("--filter fuse16 --bits 10", "always has the same"),
        ("--filter rfilter --positions 7", "always has the same"),
        ("--hash md5", "possible values"),
        ("--present-share 101%", "not a share"),
        ("--writes x", "not a share"),
        ("--lose-keys 2", "not a share"),
        ("--rebuild-every 0s", "at least a millisecond"),
        ("--distribution zipf:-1", "use uniform, zipf"),
        ("--batch 0", "from 1 to 10,000"),
        ("--payload 4", "from 8 bytes"),
        ("--capacity 0", "at least one entry"),
        ("--policy arc", "lru or s3-fifo"),
        ("--virtual-time", "leave it out"),
        ("--url redis://127.0.0.1", "--url does not go with --backend memory"),
        ("--backend redis --capacity 10%", "the server decides"),
        ("--backend redis --policy lru", "use --backend memory"),
        ("--backend redis --url mysql://127.0.0.1", "--url"),
        ("--db-url scylla://127.0.0.1/k", "--db-url does not go with --db memory"),
        ("--backend mysql", "possible values"),
        ("--backend kafka", "cargo run --release --bin cache-filter -- --backend redis"),
        ("--backend scylla", "--db scylla"),
        ("--db redis", "--bin cache-filter -- --backend redis"),
        ("--compare-filters --json a.json", "one table"),
        ("--compare-filters --writes 5%", "one table"),
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
        let command = format!("cargo run --release --bin cache-filter --features scylla -- --db {db}");
        assert!(stderr(&output).contains(&command), "{}", stderr(&output));
    }
}

#[test]
fn a_server_that_is_not_there_is_said_in_a_line() {
    for backend in ["redis", "redis-cluster"] {
        // Nobody listens on port 1.
        let output =
            run(&format!("--backend {backend} --url {backend}://127.0.0.1:1 --requests 10 --items 10"));
        assert_eq!(output.status.code(), Some(1), "{}", stderr(&output));
        assert_eq!(stderr(&output).lines().count(), 1, "{}", stderr(&output));
        assert!(stderr(&output).contains("unavailable"), "{}", stderr(&output));
    }
}

#[test]
fn a_run_reports_its_rate_beside_the_theory_and_denies_no_row() {
    for more in ["", "--batch 16", "--hash sip --hash-seed 9", "--present-share 80%", "--memory 12500B"] {
        let (code, report, said) = report(&format!("--requests 100k --items 10k {more}"));
        assert_eq!((code, said.as_str()), (0, ""), "{more}: {report:#}");
        for invariant in [
            "no row that is there was denied",
            "every value is that of its row",
            "the counts add up",
            "the filter knows every row of the database",
            "rows are found after the run",
        ] {
            assert!(has_held(&report, invariant), "{more}: {invariant}: {report:#}");
        }
        let rate = fact(&report, "false-positive rate").unwrap();
        // (1 - e^(-7/10))^7, of a table of whole words.
        let theory = first_number(rate.split_once("; theory ").unwrap().1);
        assert!(rate.contains("95 % interval") && (theory - 0.819).abs() < 0.003, "{more}: {rate}");
        // Ten bits a key: 0.82 %, of 90,000 or of 20,000 strangers.
        assert!((0.6..1.1).contains(&first_number(rate)), "{more}: {rate}");
        assert!(fact(&report, "false negatives").unwrap().starts_with("0 of "), "{more}");
        assert!(fact(&report, "filter: memory").unwrap().contains("10.0"), "{more}: {report:#}");
    }
}

#[test]
fn the_filter_spares_the_database_what_a_run_without_it_asks_in_vain() {
    let (code, with, _) = report("--requests 50k --items 10k");
    assert_eq!(code, 0, "{with:#}");
    let (code, without, _) = report("--requests 50k --items 10k --filter none");
    assert_eq!(code, 0, "{without:#}");
    // The same seed asks for the same keys.
    let absent = count(&with, "denied") + count(&with, "in vain");
    assert_eq!(count(&without, "in vain"), absent);
    assert!((44_000..46_000).contains(&absent), "{absent}");
    let saved = first_number(fact(&with, "database calls saved").unwrap());
    assert_eq!(saved as u64, absent - count(&with, "in vain"));
    assert!(fact(&without, "database calls saved").unwrap().starts_with("0 of "), "{without:#}");
    assert!(fact(&with, "break-even").is_some() && fact(&without, "break-even").is_some());
    assert_eq!(fact(&without, "false-positive rate"), None);
}

#[test]
fn rows_that_come_while_it_is_rebuilt_are_found() {
    let (code, report, said) =
        report("--duration 2s --items 20k --writes 20% --rebuild-every 20ms --concurrency 32 --capacity 1k");
    assert_eq!((code, said.as_str()), (0, ""), "{report:#}");
    assert!(first_number(fact(&report, "filter: rebuilds").unwrap()) >= 1.0, "{report:#}");
    assert!(first_number(fact(&report, "rows inserted").unwrap()) > 100.0);
    assert!(has_held(&report, "no row that is there was denied"));
}

#[test]
fn every_kind_serves_while_it_is_rebuilt_and_rows_come() {
    for kind in ["bloom", "blocked", "counting", "fuse8", "fuse16", "ribbon", "rfilter"] {
        let flags = "--requests 30k --items 5k --writes 5% --rebuild-every 50ms --concurrency 8";
        let (code, report, said) = report(&format!("{flags} --filter {kind}"));
        assert_eq!((code, said.as_str()), (0, ""), "{kind}: {report:#}");
        assert!(has_held(&report, "the filter knows every row of the database"), "{kind}");
    }
}

#[test]
fn a_filter_that_lacks_rows_breaks_the_run() {
    for more in ["", "--batch 16", "--rebuild-every 10ms --duration 500ms"] {
        let requests = if more.contains("--duration") { "" } else { "--requests 20k" };
        let (code, report, _) = report(&format!("{requests} --items 10k --lose-keys 5% {more}"));
        assert_eq!(code, 6, "{more}: {report:#}");
        let invariants = report["invariants"].as_array().unwrap();
        let broken: Vec<&str> = invariants
            .iter()
            .filter(|invariant| invariant["held"] == false)
            .map(|invariant| invariant["name"].as_str().unwrap())
            .collect();
        assert_eq!(
            broken,
            [
                "no row that is there was denied",
                "the filter knows every row of the database",
                "rows are found after the run"
            ],
            "{more}"
        );
    }
}

#[test]
fn a_folder_gives_the_filter_to_the_next_run() {
    let scratch = Scratch::new().unwrap();
    let folder = scratch.path().join("filter");
    let flags = format!("--requests 20k --items 5k --writes 5% --folder {}", folder.display());
    let (code, first, _) = report(&flags);
    assert_eq!(code, 0, "{first:#}");
    assert!(fact(&first, "filter: keys").unwrap().contains("built from 5,000 rows"), "{first:#}");
    let (code, second, _) = report(&flags);
    assert_eq!(code, 0, "{second:#}");
    assert!(fact(&second, "filter: keys").unwrap().contains("as an earlier process left it"), "{second:#}");
    // With another hasher, what is stored is not believed.
    let (code, third, said) = report(&format!("{flags} --hash sip"));
    assert_eq!(code, 0, "{third:#}");
    assert!(said.contains("may be others in its next release"), "{said}");
    assert!(fact(&third, "filter: keys").unwrap().contains("built from 5,000 rows"), "{third:#}");
}

#[test]
fn every_kind_is_compared_on_the_same_keys() {
    let output = run("--compare-filters --items 20k");
    let table = String::from_utf8(output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(0), "{table}");
    let bloom = table.lines().find(|line| line.starts_with("bloom ")).unwrap();
    let columns: Vec<&str> = bloom.split_whitespace().collect();
    assert!((9.9..10.1).contains(&columns[1].parse::<f64>().unwrap()), "{bloom}");
    assert!((0.7..0.95).contains(&columns[3].parse::<f64>().unwrap()), "{bloom}");
    for kind in ["blocked", "counting", "fuse8", "fuse16", "ribbon", "rfilter"] {
        assert!(
            table
                .lines()
                .any(|line| line.starts_with(kind) && line.ends_with(|end: char| end.is_ascii_digit()))
        );
    }
    assert!(table.contains("held: no kind denied a key"), "{table}");
}

#[test]
fn an_interrupted_run_gives_the_partial_report() {
    let mut child =
        command("--duration 1h --items 10k").stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    // The first line of progress: the run is under way.
    let mut progress = BufReader::new(child.stderr.take().unwrap());
    progress.read_line(&mut String::new()).unwrap();
    let pid = child.id().to_string();
    assert!(Command::new("kill").args(["-INT", &pid]).status().unwrap().success());
    let mut text = String::new();
    child.stdout.take().unwrap().read_to_string(&mut text).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(130), "{text}");
    assert!(
        text.contains("verdict: interrupted") && text.contains("no row that is there was denied"),
        "{text}"
    );
}
