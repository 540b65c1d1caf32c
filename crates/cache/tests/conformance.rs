//! Every case of the contract on every backend.

use std::{process::ExitCode, sync::Arc, time::Duration};

use cache::{
    BoxFuture, Memory, Policy, Result, Store,
    conformance::{self, Case, Fixture, Time},
};
use clock::ManualClock;
use testkit::{Backend, Setup, Suite};

fn main() -> ExitCode {
    Suite::new(conformance::cases(), |case| case.name)
        .on(Backend::Memory, memory())
        .on(Backend::Redis, redis())
        .on(Backend::Valkey, redis())
        .on(Backend::RedisCluster, redis())
        .main()
}

/// Each case under both policies.
fn memory() -> Setup<Case> {
    let builder = || Memory::builder().capacity(1_000);
    let capability = |memory: Memory<String, String>| memory.capability();
    let capability = builder().build().map(capability).map_err(|error| error.to_string());
    Setup::compiled(move |case: &Case, _url| {
        for policy in [Policy::Lru, Policy::S3Fifo] {
            let clock = ManualClock::new();
            let store = builder().policy(policy).clock(clock.clone()).build::<String, String>()?;
            block_on(case.run(Fixture::new(Arc::new(store), Arc::new(Manual(clock)), "")))?;
        }
        Ok(())
    })
    .gated_by(move |case| match &capability {
        Ok(capability) => (case.needs)(capability),
        Err(_) => Err("a store"),
    })
}

#[cfg(not(feature = "redis"))]
fn redis() -> Setup<Case> {
    Setup::not_compiled("redis")
}

#[cfg(feature = "redis")]
fn redis() -> Setup<Case> {
    let capability = cache::Capability::new("redis").shared().replicas();
    Setup::compiled(|case: &Case, url| {
        // The time of a case is its own: the shipped scripts, with another source of the time.
        let clock = ManualClock::at(clock::Time::ZERO + Duration::from_secs(1_700_000_000));
        let config = backends::Config::parse(url)?;
        let time = clock.clone();
        block_on(async {
            let redis = backends::Redis::connect(&config).await?;
            let builder = cache::RedisStore::<String, String>::builder().prefix(testkit::unique("cache"));
            let now = move || clock::Clock::now(&time).as_micros() / 1_000;
            let store = builder.time(now).build::<String, String>(redis);
            case.run(Fixture::new(Arc::new(store), Arc::new(Manual(clock)), "")).await;
            Ok::<(), backends::Error>(())
        })??;
        Ok(())
    })
    .gated_by(move |case| (case.needs)(&capability))
}

fn block_on<T>(case: impl Future<Output = T>) -> Result<T, testkit::Failed> {
    Ok(tokio::runtime::Builder::new_multi_thread().enable_all().build()?.block_on(case))
}

struct Manual(ManualClock);

impl Time for Manual {
    fn advance(&self, by: Duration) -> BoxFuture<'_, Result<()>> {
        self.0.advance(by);
        Box::pin(async { Ok(()) })
    }
}
