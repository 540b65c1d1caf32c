//! Every case of the contract on every backend.

use std::process::ExitCode;

use filters::conformance::{self, Case};
use testkit::{Backend, Setup, Suite};

fn main() -> ExitCode {
    Suite::new(conformance::cases(), |case| case.name)
        .on(Backend::Redis, redis())
        .on(Backend::Valkey, redis())
        .on(Backend::RedisCluster, redis())
        .main()
}

#[cfg(not(feature = "redis"))]
fn redis() -> Setup<Case> {
    Setup::not_compiled("redis")
}

#[cfg(feature = "redis")]
fn redis() -> Setup<Case> {
    use std::sync::Arc;

    use filters::redis::HostedBloom;

    Setup::compiled(|case: &Case, url| {
        let config = backends::Config::parse(url)?;
        let builder = HostedBloom::builder().prefix(testkit::unique("filter"));
        block_on(async {
            let connect = || async { builder.clone().build(backends::Redis::connect(&config).await?) };
            let (filter, other) = (connect().await?, connect().await?);
            case.run(conformance::Fixture::new(Arc::new(filter)).with_other(Arc::new(other))).await;
            connect().await?.remove().await
        })??;
        Ok(())
    })
    .gated_by(move |case| (case.needs)(&filters::Capability::new("redis").shared(true)))
}

#[cfg(feature = "redis")]
fn block_on<T>(case: impl Future<Output = T>) -> Result<T, testkit::Failed> {
    Ok(tokio::runtime::Builder::new_multi_thread().enable_all().build()?.block_on(case))
}
