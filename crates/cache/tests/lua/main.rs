//! The scripts, as they are shipped, on real servers, against the rule in Rust: step by step the same answers.
//!
//! `LUA_STEPS` is how many random steps there are, 8,000 unless it says otherwise; `LUA_SEED` is which ones.

use std::process::ExitCode;

use testkit::{Backend, Setup, Suite};

#[cfg(feature = "redis")]
mod differential;
#[cfg(feature = "redis")]
mod server;

fn main() -> ExitCode {
    let cases = vec![
        "every_step_is_that_of_the_rule",
        "a_lease_leaves_the_payload_and_the_time_to_live",
        "a_key_ends_when_nothing_is_known_of_it",
        "the_time_is_the_servers",
    ];
    Suite::new(cases, |case| case)
        .on(Backend::Redis, setup())
        .on(Backend::Valkey, setup())
        .on(Backend::RedisCluster, setup())
        .deadline(std::time::Duration::from_secs(1_800))
        .main()
}

#[cfg(feature = "redis")]
fn setup() -> Setup<&'static str> {
    Setup::compiled(|case: &&str, url| {
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
        runtime.block_on(async {
            match *case {
                "every_step_is_that_of_the_rule" => differential::run(url).await,
                case => server::run(case, url).await,
            }
        })
    })
}

#[cfg(not(feature = "redis"))]
fn setup() -> Setup<&'static str> {
    Setup::not_compiled("redis")
}
