//! What faults of a server do to entries: servers are killed, frozen and flushed, and hold what others wrote.

use std::process::ExitCode;

use testkit::{Backend, RedisServer, Setup, Suite};

#[cfg(feature = "redis")]
mod acks;
#[cfg(feature = "redis")]
mod entries;
#[cfg(feature = "redis")]
mod faults;
#[cfg(feature = "redis")]
mod processes;

/// With servers of their own.
const OWN: [&str; 11] = [
    "a_flushed_script_is_not_noticed",
    "a_fill_after_a_restart_that_forgot_is_refused",
    "a_fill_after_a_restart_that_remembered_is_stored",
    "a_server_without_memory_still_forgets_content",
    "who_may_not_publish_changes_nothing",
    "a_replica_acknowledges_an_invalidation",
    "a_frozen_replica_acknowledges_nothing",
    "an_acknowledgement_survives_a_flushed_script",
    "an_invalidation_is_on_disk",
    "a_server_that_answers_before_its_disk_is_refused",
    "without_a_link_no_copy_is_used",
];

/// On the servers that are there.
const SHARED: [&str; 9] = [
    "what_cannot_be_decoded_is_a_miss",
    "two_codecs_side_by_side",
    "a_newer_format_is_left_alone_by_a_get",
    "braces_in_keys_do_not_matter",
    "a_value_is_no_larger_than_allowed",
    "an_invalidation_is_published",
    "after_close_everything_is_closed",
    "a_thousand_waiters_in_four_processes_make_one_load",
    "copies_in_other_processes_are_dropped",
];

fn main() -> ExitCode {
    #[cfg(feature = "redis")]
    if let Some(end) = processes::part() {
        return end;
    }
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
                "a_flushed_script_is_not_noticed" => faults::flushed(program).await,
                "a_fill_after_a_restart_that_forgot_is_refused" => faults::restarted(program, false).await,
                "a_fill_after_a_restart_that_remembered_is_stored" => faults::restarted(program, true).await,
                "a_server_without_memory_still_forgets_content" => faults::full(program).await,
                "who_may_not_publish_changes_nothing" => faults::forbidden(program).await,
                "a_replica_acknowledges_an_invalidation" => acks::acknowledged(program).await,
                "a_frozen_replica_acknowledges_nothing" => acks::frozen(program).await,
                "an_invalidation_is_on_disk" => acks::on_disk(program).await,
                "a_server_that_answers_before_its_disk_is_refused" => acks::dishonest(program).await,
                "without_a_link_no_copy_is_used" => processes::unlinked(program).await,
                "an_acknowledgement_survives_a_flushed_script" => acks::flushed(program).await,
                unknown => Err(format!("no case {unknown}").into()),
            }
        })
    })
}

#[cfg(feature = "redis")]
fn shared() -> Setup<&'static str> {
    Setup::compiled(|case: &&str, url| {
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
        runtime.block_on(entries::run(case, url))
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
