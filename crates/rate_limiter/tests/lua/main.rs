//! The scripts, as they are shipped, in a real server, against the rules in Rust: step by step the same decisions and
//! the same states. And what only a server can show: expiry, errors, what is replicated.
//!
//! `LUA_STEPS` is how many random steps each algorithm gets, 20,000 unless it says otherwise.

use std::process::ExitCode;

use testkit::{Backend, RedisServer, Setup, Suite};

#[cfg(feature = "redis")]
mod differential;
#[cfg(feature = "redis")]
mod oracle;
#[cfg(feature = "redis")]
mod server;
#[cfg(feature = "redis")]
mod single;

fn main() -> ExitCode {
    let own_server = |backend| setup().at(RedisServer::find(backend));
    let cases = vec![
        "token_bucket",
        "gcra",
        "leaky_bucket",
        "leaky_bucket_queue",
        "fixed_window",
        "sliding_window_counter",
        "sliding_window_log",
        "long_sliding_window_log",
        "all_of",
        "all_of_long_logs",
        "changing_algorithms",
        "a_key_is_kept_until_it_is_fresh",
        "a_denial_writes_nothing",
        "what_is_not_ours_is_left_alone",
        "the_time_is_the_servers",
    ];
    Suite::new(cases, |case| case)
        .on(Backend::Redis, own_server(Backend::Redis))
        .on(Backend::Valkey, own_server(Backend::Valkey))
        .deadline(std::time::Duration::from_secs(1_800))
        .main()
}

#[cfg(feature = "redis")]
fn setup() -> Setup<&'static str> {
    Setup::compiled(|case: &&str, program| {
        let server = RedisServer::builder(program).arg("--appendonly").arg("no").start()?;
        let mut connection = server::Server::connect(server.addr())?;
        single::run(case, &mut connection)
            .unwrap_or_else(|| differential::run(case, &mut connection))
            .map_err(Into::into)
    })
}

#[cfg(not(feature = "redis"))]
fn setup() -> Setup<&'static str> {
    Setup::not_compiled("redis")
}
