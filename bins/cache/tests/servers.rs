//! The binary on servers: those that are there, and those that it starts, kills and freezes.

use std::{
    process::{Command, ExitCode},
    time::Duration,
};

use serde_json::Value;
use testkit::{Backend, Failed, RedisServer, Scratch, Setup, Suite};

/// Its name, the flags, and a fault that has to be counted.
type Case = (&'static str, &'static str, Option<&'static str>);

/// On servers that the binary starts: the flags, and a fault that has to be counted.
const OWN: [Case; 8] = [
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
    ("invalidations_are_on_disk", "--backend redis --spawn-store --ack fsync:local", None),
    (
        "invalidations_are_on_the_disks_of_server_and_replica",
        "--backend redis --spawn-replica --ack fsync:local+1",
        None,
    ),
    (
        "a_failover_brings_back_nothing_whose_invalidation_a_replica_acknowledged",
        "--backend redis-cluster --fail-over 2s --fail-over-lag 500ms --ack replicas:1",
        Some("fault: masters killed and replaced"),
    ),
    (
        "a_master_that_was_cut_off_and_comes_back_leaves_nothing_stale",
        "--backend redis-cluster --cut-off 1s --ack replicas:1",
        Some("fault: masters frozen and replaced"),
    ),
];

/// On servers of their own, with another end.
const OTHER_ENDS: [Case; 2] = [
    ("a_failover_without_acknowledgements_names_the_guarantee_that_is_off", "", None),
    ("a_server_that_answers_before_its_disk_is_refused_before_the_run", "", None),
];

/// With rows in a CQL database: the flags.
const CQL: [Case; 2] = [
    ("rows_in_cql", "--backend memory", None),
    ("rows_in_cql_under_waiting_readers", "--negative-ttl 1ms --ttl 100ms", None),
];

/// On the servers that are there.
const SHARED: [Case; 4] = [
    ("entries_on_a_server", "--requests 5k", None),
    ("entries_in_batches", "--requests 20k --batch 32", None),
    ("rows_that_are_not_there", "--requests 5k --absent 20%", None),
    ("evicted_entries", "--requests 5k --evict 1000/s", Some("fault: keys evicted")),
];

fn main() -> ExitCode {
    let own = |backend| {
        let run = |case: &Case, program: &str| {
            let (_, flags, fault) = case;
            held(
                &format!("{flags} --duration 3s --rows 1k --concurrency 16 --redis-server {program}"),
                *fault,
            )
        };
        Setup::compiled(run).at(RedisServer::find(backend))
    };
    let shared = |backend: &'static str| {
        Setup::compiled(move |case: &Case, url: &str| {
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
    let ends = |backend| {
        Setup::compiled(|case: &Case, program: &str| end(case.0, program)).at(RedisServer::find(backend))
    };
    let ends = Suite::new(OTHER_ENDS.to_vec(), |case| case.0)
        .on(Backend::Redis, ends(Backend::Redis))
        .on(Backend::Valkey, ends(Backend::Valkey))
        .deadline(Duration::from_secs(120));
    let cql =
        Suite::new(CQL.to_vec(), |case| case.0).on(Backend::Scylla, cql()).deadline(Duration::from_secs(120));
    let shared = Suite::new(SHARED.to_vec(), |case| case.0)
        .on(Backend::Redis, shared("redis"))
        .on(Backend::Valkey, shared("redis"))
        .on(Backend::RedisCluster, shared("redis-cluster"))
        .deadline(Duration::from_secs(120));
    own.and(ends).and(cql).and(shared).main()
}

#[cfg(not(feature = "scylla"))]
fn cql() -> Setup<Case> {
    Setup::not_compiled("scylla")
}

#[cfg(feature = "scylla")]
fn cql() -> Setup<Case> {
    Setup::compiled(|case: &Case, url: &str| {
        let (_, flags, fault) = case;
        let size = "--requests 2k --rows 1k --writes 20%";
        held(&format!("{flags} --db scylla --db-url {url}/cache_bench {size}"), *fault)
    })
}

fn end(case: &str, program: &str) -> Result<(), Failed> {
    match case {
        "a_failover_without_acknowledgements_names_the_guarantee_that_is_off" => {
            let flags = "--backend redis-cluster --fail-over 2s --fail-over-lag 500ms --duration 3s --rows 1k \
                         --concurrency 16";
            let (code, report, said) = run(&format!("{flags} --redis-server {program}"))?;
            let claims = list(&report, "invariants").any(|item| named(item).starts_with("no stale key"));
            let why = list(&report, "facts").find(|fact| named(fact) == "no guarantee, since");
            let why = why.and_then(|fact| fact["value"].as_str()).unwrap_or_default();
            if code != Some(0) || claims || !why.contains("no replica was waited for") {
                return Err(format!("{code:?}: {said}: {report:#}").into());
            }
        }
        "a_server_that_answers_before_its_disk_is_refused_before_the_run" => {
            let server = RedisServer::builder(program).arg("--appendonly").arg("yes").start()?;
            let version = server.ask(&["INFO", "server"])?.text();
            let flags = format!("--backend redis --url {} --ack fsync:local", server.url());
            if !version.contains("valkey_version:9.1.2") {
                return held(&format!("{flags} --requests 20 --rows 1k"), None);
            }
            let refused =
                Command::new(env!("CARGO_BIN_EXE_cache")).args(flags.split_whitespace()).output()?;
            let said = String::from_utf8_lossy(&refused.stderr).into_owned();
            let helps =
                ["Valkey 9.1.2", "--trust-fsync", "--ack replicas:N"].iter().all(|what| said.contains(what));
            if refused.status.code() != Some(2)
                || !helps
                || said.lines().count() != 1
                || !refused.stdout.is_empty()
            {
                return Err(format!("{}: {said}", refused.status).into());
            }
            held(&format!("{flags} --trust-fsync --requests 100 --rows 1k"), None)?;
        }
        unknown => return Err(format!("no case {unknown}").into()),
    }
    Ok(())
}

/// Runs the binary: its exit code, its report, and what it said.
fn run(flags: &str) -> Result<(Option<i32>, Value, String), Failed> {
    let scratch = Scratch::new()?;
    let path = scratch.path().join("report.json");
    let mut command = Command::new(env!("CARGO_BIN_EXE_cache"));
    let output = command.args(flags.split_whitespace()).arg("--quiet").arg("--json").arg(&path).output()?;
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    let report =
        std::fs::read(&path).map_err(|error| format!("{flags}: {}: {error}: {said}", output.status))?;
    Ok((output.status.code(), serde_json::from_slice(&report)?, said))
}

fn list<'a>(report: &'a Value, name: &str) -> impl Iterator<Item = &'a Value> {
    report[name].as_array().into_iter().flatten()
}

fn named(item: &Value) -> &str {
    item["name"].as_str().unwrap_or_default()
}

/// Runs the binary, which must find nothing stale and claim it, and must have done the `fault`.
fn held(flags: &str, fault: Option<&str>) -> Result<(), Failed> {
    let (code, report, said) = run(flags)?;
    if code != Some(0) {
        return Err(format!("{flags}: {code:?}: {said}{report:#}").into());
    }
    if !list(&report, "invariants").any(|item| named(item).starts_with("no stale key is left")) {
        return Err(format!("{flags}: it is not claimed that nothing is stale: {said}").into());
    }
    match fault {
        Some(fault) if !list(&report, "facts").any(|item| named(item) == fault) => {
            Err(format!("{flags}: no {fault}").into())
        }
        _ => Ok(()),
    }
}
