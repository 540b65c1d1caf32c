//! The binary on servers: those that are there, and those that it starts, kills and freezes.

use std::{
    process::{Command, ExitCode},
    time::Duration,
};

use serde_json::Value;
use testkit::{Backend, Failed, RedisServer, Scratch, Setup, Suite};

/// On servers that the binary starts: the flags, and a fault that has to be counted.
const OWN: [(&str, &str, Option<&str>); 4] = [
    (
        "a_killed_store_leaves_nothing_stale",
        "--backend redis --kill-store 500ms",
        Some("fault: servers killed"),
    ),
    (
        "a_killed_store_behind_copies_leaves_nothing_stale",
        "--backend tiered --kill-store 700ms",
        Some("fault: servers killed"),
    ),
    (
        "a_frozen_store_leaves_nothing_stale",
        "--backend redis --freeze-store 1200ms",
        Some("fault: servers frozen"),
    ),
    ("a_replica_acknowledges_invalidations", "--backend redis --spawn-replica --ack replicas:1", None),
];

/// On the servers that are there.
const SHARED: [(&str, &str, Option<&str>); 4] = [
    ("entries_on_a_server", "--requests 5k", None),
    ("entries_in_batches", "--requests 20k --batch 32", None),
    ("rows_that_are_not_there", "--requests 5k --absent 20%", None),
    ("evicted_entries", "--requests 5k --evict 1000/s", Some("fault: keys evicted")),
];

fn main() -> ExitCode {
    let own = |backend| {
        let run = |case: &(&str, &str, Option<&str>), program: &str| {
            let (_, flags, fault) = case;
            held(
                &format!("{flags} --duration 3s --rows 1k --concurrency 16 --redis-server {program}"),
                *fault,
            )
        };
        Setup::compiled(run).at(RedisServer::find(backend))
    };
    let shared = |backend: &'static str| {
        Setup::compiled(move |case: &(&str, &str, Option<&str>), url: &str| {
            let (_, flags, fault) = case;
            held(&format!("--backend {backend} --url {url} --rows 1k --concurrency 16 {flags}"), *fault)?;
            if backend == "redis" {
                held(&format!("--backend tiered --url {url} --rows 1k --concurrency 16 {flags}"), *fault)?;
            }
            Ok(())
        })
    };
    let own = Suite::new(OWN.to_vec(), |case| case.0)
        .on(Backend::Redis, own(Backend::Redis))
        .on(Backend::Valkey, own(Backend::Valkey))
        .deadline(Duration::from_secs(120));
    let shared = Suite::new(SHARED.to_vec(), |case| case.0)
        .on(Backend::Redis, shared("redis"))
        .on(Backend::Valkey, shared("redis"))
        .on(Backend::RedisCluster, shared("redis-cluster"))
        .deadline(Duration::from_secs(120));
    own.and(shared).main()
}

/// Runs the binary, which must find nothing stale and claim it, and must have done the `fault`.
fn held(flags: &str, fault: Option<&str>) -> Result<(), Failed> {
    let scratch = Scratch::new()?;
    let path = scratch.path().join("report.json");
    let mut command = Command::new(env!("CARGO_BIN_EXE_cache"));
    let output = command.args(flags.split_whitespace()).arg("--quiet").arg("--json").arg(&path).output()?;
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    if output.status.code() != Some(0) {
        let report = String::from_utf8_lossy(&output.stdout);
        return Err(format!("{flags}: {}: {said}{report}", output.status).into());
    }
    let report: Value = serde_json::from_slice(&std::fs::read(&path)?)?;
    let names = |list: &str| -> Vec<String> {
        let list = report[list].as_array().into_iter().flatten();
        list.filter_map(|item| item["name"].as_str().map(str::to_owned)).collect()
    };
    let (facts, invariants) = (names("facts"), names("invariants"));
    if !invariants.iter().any(|name| name == "no stale key is left") {
        return Err(format!("{flags}: it is not claimed that nothing is stale: {said}").into());
    }
    match fault {
        Some(fault) if !facts.iter().any(|name| name == fault) => Err(format!("{flags}: no {fault}").into()),
        _ => Ok(()),
    }
}
