//! Every case of the contract on every backend.

#[cfg(feature = "redis")]
use std::time::Duration;
use std::{process::ExitCode, sync::Arc};

use filters::{
    Capability, Local,
    conformance::{self, Case, Fixture},
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
    Setup::compiled(|case: &Case, _url| {
        let filter = Local::builder().build()?;
        block_on(case.run(Fixture::new(Arc::new(filter.clone()), Arc::new(filter))))
    })
    .gated_by(|case| (case.needs)(&Capability::new("memory")))
}

#[cfg(not(feature = "redis"))]
fn redis() -> Setup<Case> {
    Setup::not_compiled("redis")
}

#[cfg(feature = "redis")]
fn redis() -> Setup<Case> {
    use filters::redis::HostedBloom;

    Setup::compiled(|case: &Case, url| {
        let config = backends::Config::parse(url)?.request_timeout(Duration::from_secs(30));
        let builder = HostedBloom::builder().prefix(testkit::unique("filter"));
        block_on(async {
            let connect = || async { builder.clone().build(backends::Redis::connect(&config).await?) };
            let (filter, other) = (connect().await?, connect().await?);
            case.run(Fixture::new(Arc::new(filter), Arc::new(other))).await;
            connect().await?.remove().await
        })??;
        Ok(())
    })
    .gated_by(move |case| (case.needs)(&Capability::new("redis").shared(true)))
}

fn block_on<T>(case: impl Future<Output = T>) -> Result<T, testkit::Failed> {
    Ok(tokio::runtime::Builder::new_multi_thread().enable_all().build()?.block_on(case))
}
