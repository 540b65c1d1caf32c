//! The binary on the servers that are there.

use std::{
    process::{Command, ExitCode},
    time::Duration,
};

use serde_json::Value;
use testkit::{Backend, Failed, Scratch, Setup, Suite};

/// Entries on a server, rows in memory.
const ENTRIES: [(&str, &str); 7] = [
    ("a_filter_before_entries_on_a_server", "--requests 5k"),
    ("in_batches", "--requests 20k --batch 32"),
    ("without_a_filter", "--requests 3k --filter none"),
    ("rebuilt_while_rows_come", "--requests 5k --writes 20% --rebuild-every 50ms"),
    ("a_filter_on_the_server", "--requests 3k --filter hosted"),
    ("a_filter_on_the_server_in_batches", "--requests 20k --filter hosted --batch 32"),
    ("a_filter_on_the_server_rebuilt", "--requests 3k --filter hosted --writes 20% --rebuild-every 50ms"),
];

/// Rows on a server, entries in memory.
const ROWS: [(&str, &str); 2] = [
    ("rows_on_a_server", "--requests 3k"),
    ("rebuilt_from_a_server_while_rows_come", "--requests 3k --writes 10% --rebuild-every 100ms"),
];

fn main() -> ExitCode {
    let entries = |backend: &'static str| {
        Setup::compiled(move |case: &(&str, &str), url: &str| {
            held(&format!("--backend {backend} --url {url} --items 1k --concurrency 16 {}", case.1))
        })
    };
    let rows = |db: &'static str| {
        if !cfg!(feature = "scylla") {
            return Setup::not_compiled("scylla");
        }
        Setup::compiled(move |case: &(&str, &str), url: &str| {
            let url = format!("{url}/cache_filter_test");
            held(&format!("--db {db} --db-url {url} --items 1k --concurrency 16 {}", case.1))
        })
    };
    let entries = Suite::new(ENTRIES.to_vec(), |case| case.0)
        .on(Backend::Redis, entries("redis"))
        .on(Backend::Valkey, entries("redis"))
        .on(Backend::RedisCluster, entries("redis-cluster"))
        .deadline(Duration::from_secs(120));
    let rows = Suite::new(ROWS.to_vec(), |case| case.0)
        .on(Backend::Scylla, rows("scylla"))
        .on(Backend::ScyllaCluster, rows("scylla-cluster"))
        .deadline(Duration::from_secs(300));
    entries.and(rows).main()
}

/// Runs the binary, which must deny no row, and claim it.
fn held(flags: &str) -> Result<(), Failed> {
    let scratch = Scratch::new()?;
    let path = scratch.path().join("report.json");
    let mut command = Command::new(env!("CARGO_BIN_EXE_cache-filter"));
    let output = command.args(flags.split_whitespace()).arg("--quiet").arg("--json").arg(&path).output()?;
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    if output.status.code() != Some(0) {
        let report = String::from_utf8_lossy(&output.stdout);
        return Err(format!("{flags}: {}: {said}{report}", output.status).into());
    }
    let report: Value = serde_json::from_slice(&std::fs::read(&path)?)?;
    let invariants: Vec<&str> = report["invariants"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|held| held["name"].as_str())
        .collect();
    let with_filter: &[&str] =
        if flags.contains("--filter none") { &[] } else { &["the filter knows every row of the database"] };
    for wanted in with_filter.iter().chain(&["no row that is there was denied", "the counts add up"]) {
        if !invariants.contains(wanted) {
            return Err(format!("{flags}: it is not claimed that {wanted}: {said}").into());
        }
    }
    Ok(())
}
