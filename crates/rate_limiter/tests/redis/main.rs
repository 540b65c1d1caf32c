//! What faults of a server do to decisions: servers are killed, frozen and flushed while they are asked.

use std::process::ExitCode;

use testkit::{Backend, RedisServer, Setup, Suite};

#[cfg(all(feature = "redis", feature = "fallback", feature = "tower"))]
mod faults;

const CASES: [&str; 13] = [
    "a_killed_server_comes_back_with_what_it_persisted",
    "a_flushed_script_is_not_noticed",
    "many_decisions_at_once_are_exact",
    "processes_with_different_clocks_share_one_quota",
    "decisions_go_on_while_the_server_is_killed",
    "decisions_go_on_while_the_server_is_frozen",
    "decisions_go_on_while_nobody_answers",
    "the_http_layer_limits_by_a_server",
    "what_a_replica_has_acknowledged_outlives_the_master",
    "what_no_replica_has_acknowledged_may_be_lost",
    "a_slot_moves_while_its_limits_are_asked_for",
    "there_is_no_burst_when_the_server_is_back",
    "a_wait_that_stalls_delays_nobody_else",
];

fn main() -> ExitCode {
    #[cfg(all(feature = "redis", feature = "fallback", feature = "tower"))]
    if let Some(code) = faults::processes::child() {
        return code;
    }
    let own_server = |backend| setup().at(RedisServer::find(backend));
    Suite::new(CASES.to_vec(), |case| case)
        .on(Backend::Redis, own_server(Backend::Redis))
        .on(Backend::Valkey, own_server(Backend::Valkey))
        .main()
}

#[cfg(all(feature = "redis", feature = "fallback", feature = "tower"))]
fn setup() -> Setup<&'static str> {
    Setup::compiled(|case: &&str, program| {
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
        runtime.block_on(faults::run(case, program))
    })
}

#[cfg(not(all(feature = "redis", feature = "fallback", feature = "tower")))]
fn setup() -> Setup<&'static str> {
    Setup::not_compiled("redis,fallback,tower")
}
