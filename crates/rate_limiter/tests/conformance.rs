//! Every case of the contract on every backend.

use std::{process::ExitCode, sync::Arc, time::Duration};

use clock::{Clock, ManualClock};
use rate_limiter::{
    BoxFuture, Memory, Result, Store,
    conformance::{self, Case, Fixture, Time},
};
use testkit::{Backend, Setup, Suite};

fn main() -> ExitCode {
    Suite::new(conformance::cases(), |case| case.name)
        .on(Backend::Memory, memory())
        .on(Backend::Redis, redis())
        .on(Backend::Valkey, redis())
        .on(Backend::RedisCluster, redis())
        .main()
}

fn memory() -> Setup<Case> {
    let capability = Memory::<Vec<u8>>::default().capability();
    Setup::compiled(|case: &Case, _url| {
        let clock = ManualClock::new();
        let store = Memory::builder().clock(clock.clone()).build()?;
        block_on(case.run(Fixture::new(Arc::new(store), Arc::new(Manual(clock)), "")))
    })
    .gated_by(move |case| (case.needs)(&capability))
}

#[cfg(not(feature = "redis"))]
fn redis() -> Setup<Case> {
    Setup::not_compiled("redis")
}

#[cfg(feature = "redis")]
fn redis() -> Setup<Case> {
    use rate_limiter::redis::RedisStore;

    let capability = rate_limiter::Capability::new("redis").server_clock();
    Setup::compiled(|case: &Case, url| {
        // The time of a case is its own: the shipped scripts, with another source of the time.
        let clock = ManualClock::at(clock::Time::ZERO + Duration::from_secs(1_700_000_000));
        let config = backends::Config::parse(url)?;
        let time = clock.clone();
        block_on(async {
            let redis = backends::Redis::connect(&config).await?;
            let store = RedisStore::builder().time(move || time.now().as_micros()).build(redis);
            let fixture = Fixture::new(Arc::new(store), Arc::new(Manual(clock)), testkit::unique("limit"));
            case.run(fixture).await;
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
