//! Every case of the contract on every backend.

use std::{process::ExitCode, sync::Arc, time::Duration};

use clock::ManualClock;
use rate_limiter::{
    BoxFuture, Memory, Result, Store,
    conformance::{self, Case, Fixture, Time},
};
use testkit::{Backend, Setup, Suite};

fn main() -> ExitCode {
    Suite::new(conformance::cases(), |case| case.name).on(Backend::Memory, memory()).main()
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

fn block_on(case: impl Future<Output = ()>) -> Result<(), testkit::Failed> {
    tokio::runtime::Builder::new_multi_thread().enable_all().build()?.block_on(case);
    Ok(())
}

struct Manual(ManualClock);

impl Time for Manual {
    fn advance(&self, by: Duration) -> BoxFuture<'_, Result<()>> {
        self.0.advance(by);
        Box::pin(async { Ok(()) })
    }
}
