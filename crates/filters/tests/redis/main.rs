//! What faults of a server do to a hosted filter: servers are killed, restarted and promoted, and lose keys.

use std::process::ExitCode;

use testkit::{Backend, RedisServer, Setup, Suite};

#[cfg(feature = "redis")]
mod cluster;
#[cfg(feature = "redis")]
mod faults;
#[cfg(feature = "redis")]
mod handles;
#[cfg(feature = "redis")]
mod stress;

/// With servers of their own.
const OWN: [&str; 6] = [
    "a_server_that_starts_empty_knows_nothing",
    "a_server_that_remembers_denies_as_before",
    "a_flushed_script_is_not_noticed",
    "a_frozen_replica_acknowledges_nothing",
    "a_slot_moves_and_no_key_is_lost",
    "a_replica_is_promoted_and_no_acknowledged_key_is_lost",
];

/// On the servers that are there.
const SHARED: [&str; 12] = [
    "a_segment_without_a_head_is_unknown_alone",
    "a_table_that_is_lost_stays_lost",
    "a_table_lost_while_it_is_built_is_not_served",
    "a_swap_that_a_failover_takes_back_denies_no_key",
    "a_rebuild_that_died_is_taken_over",
    "a_rebuild_that_was_taken_over_changes_nothing",
    "keys_that_are_no_longer_in_doubt_are_not_carried_over",
    "too_many_keys_in_doubt_are_overload",
    "handles_of_another_shape_are_refused",
    "what_others_wrote_is_told_apart",
    "nothing_is_left_of_a_filter_that_was_removed",
    "announcements_checks_and_rebuilds_at_once_lose_no_key",
];

fn main() -> ExitCode {
    let own = |backend| own().at(RedisServer::find(backend));
    let own = Suite::new(OWN.to_vec(), |case| case)
        .on(Backend::Redis, own(Backend::Redis))
        .on(Backend::Valkey, own(Backend::Valkey));
    let shared = Suite::new(SHARED.to_vec(), |case| case)
        .on(Backend::Redis, shared())
        .on(Backend::Valkey, shared())
        .on(Backend::RedisCluster, shared());
    own.and(shared).main()
}

#[cfg(feature = "redis")]
fn own() -> Setup<&'static str> {
    Setup::compiled(|case: &&str, program| {
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
        runtime.block_on(async {
            match *case {
                "a_server_that_starts_empty_knows_nothing" => faults::restarted(program, false).await,
                "a_server_that_remembers_denies_as_before" => faults::restarted(program, true).await,
                "a_flushed_script_is_not_noticed" => faults::flushed(program).await,
                "a_frozen_replica_acknowledges_nothing" => faults::frozen(program).await,
                "a_slot_moves_and_no_key_is_lost" => cluster::moves(program).await,
                "a_replica_is_promoted_and_no_acknowledged_key_is_lost" => cluster::promoted(program).await,
                unknown => Err(format!("no case {unknown}").into()),
            }
        })
    })
}

#[cfg(feature = "redis")]
fn shared() -> Setup<&'static str> {
    Setup::compiled(|case: &&str, url| {
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
        runtime.block_on(async {
            match *case {
                "announcements_checks_and_rebuilds_at_once_lose_no_key" => stress::run(url).await,
                case => handles::run(case, url).await,
            }
        })
    })
}

#[cfg(not(feature = "redis"))]
fn own() -> Setup<&'static str> {
    Setup::not_compiled("redis")
}

#[cfg(not(feature = "redis"))]
fn shared() -> Setup<&'static str> {
    Setup::not_compiled("redis")
}
