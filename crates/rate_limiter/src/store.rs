use std::{fmt, future::Future, pin::Pin, sync::Arc};

use backends::{Error, ErrorKind, Result};

use crate::{Decision, Limit};

/// What a backend of the rate limiter does: decide on requests, one atomic decision each.
///
/// # Contract
///
/// A key that was never seen has its whole quota. A decision is atomic: concurrent callers on one key
/// get what some serial order of their calls would have given. A denied request takes nothing. A key
/// may be forgotten once its quota is whole again, never earlier. A limit's quota may change from call to
/// call: the key's state is kept, and no more than the new quota is admitted at once. Implementors run the
/// cases of `rate_limiter::conformance` (feature `conformance`).
pub trait Store: fmt::Debug + Send + Sync + 'static {
    /// What this backend does differently from the others.
    fn capability(&self) -> Capability;

    /// Answers `ask` on `key` under `limit`, in one atomic step.
    ///
    /// # Errors
    ///
    /// `Invalid` when the cost is zero, `Closed` after [`close`](Store::close); otherwise what the
    /// connection reports.
    ///
    /// # Cancel safety
    ///
    /// A call whose future is dropped may or may not have taken its cost, never part of it.
    fn ask(&self, key: &[u8], limit: &Limit, ask: Ask) -> impl Future<Output = Result<Answer>> + Send;

    /// Gives back `cost` tokens of `key` that were taken at [`Answer::at`].
    ///
    /// Tokens that have flowed back meanwhile are not given twice: a key never has more than its quota.
    ///
    /// # Errors
    ///
    /// Those of [`ask`](Store::ask).
    ///
    /// # Cancel safety
    ///
    /// A call whose future is dropped has given back all or nothing.
    fn refund(
        &self,
        key: &[u8],
        limit: &Limit,
        cost: u32,
        taken_at: u64,
    ) -> impl Future<Output = Result<()>> + Send;

    /// Asks the backend for a sign of life. Cancel-safe.
    ///
    /// # Errors
    ///
    /// When it cannot serve requests now.
    fn health(&self) -> impl Future<Output = Result<()>> + Send;

    /// Ends the use of the store: later calls answer `Closed`. Closing twice is not an error.
    /// Cancel-safe.
    ///
    /// # Errors
    ///
    /// When what was under way could not be finished within the drain deadline.
    fn close(&self) -> impl Future<Output = Result<()>> + Send;
}

/// A store that answers many requests in one round trip.
pub trait AskMany: Store {
    /// Answers each of `asks` on its key under `limit`, each atomically and for itself; in their order.
    ///
    /// # Errors
    ///
    /// For each request, those of [`ask`](Store::ask).
    ///
    /// # Cancel safety
    ///
    /// Of a call whose future is dropped, any of the requests may have taken their cost.
    fn ask_many(
        &self,
        limit: &Limit,
        asks: &[(&[u8], Ask)],
    ) -> impl Future<Output = Vec<Result<Answer>>> + Send;
}

/// What is asked of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ask {
    /// Take this many tokens, or nothing.
    Take(u32),
    /// Take as many as there are, at most this many, or nothing when there are none.
    TakeUpTo(u32),
    /// Say what `Take` would answer, and take nothing.
    Peek(u32),
}

impl Ask {
    /// The tokens that it names.
    pub(crate) const fn cost(self) -> u32 {
        let (Self::Take(cost) | Self::TakeUpTo(cost) | Self::Peek(cost)) = self;
        cost
    }
}

/// What came of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Answer {
    /// The decision.
    pub decision: Decision,
    /// Tokens that were taken.
    pub taken: u32,
    /// When: microseconds on the clock of the store, for a [`refund`](Store::refund).
    pub at: u64,
}

/// What may differ between backends, as data.
///
/// ```
/// use rate_limiter::Capability;
///
/// const CAPABILITY: Capability = Capability::new("my-store").server_clock().durable();
/// assert!(CAPABILITY.server_clock && !CAPABILITY.linearizable);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Capability {
    /// The name of the backend, as errors and metrics carry it.
    pub backend: &'static str,
    /// Decisions on one key are linearizable, also while a server fails over.
    pub linearizable: bool,
    /// The time is the server's, so that clocks of callers do not matter.
    pub server_clock: bool,
    /// What was taken is still taken after a restart of the process.
    pub durable: bool,
    /// How many keys one atomic decision may span. Requests on more are reserved key by key, and given back
    /// when one is refused.
    pub keys_per_decision: usize,
    /// The most keys that are remembered at once; `None` when memory alone is the limit.
    pub max_keys: Option<usize>,
}

impl Capability {
    /// A backend that promises nothing but the contract.
    #[must_use]
    pub const fn new(backend: &'static str) -> Self {
        Self {
            backend,
            linearizable: false,
            server_clock: false,
            durable: false,
            keys_per_decision: 1,
            max_keys: None,
        }
    }

    /// Decisions on one key are linearizable.
    #[must_use]
    pub const fn linearizable(self) -> Self {
        Self { linearizable: true, ..self }
    }

    /// The time is the server's.
    #[must_use]
    pub const fn server_clock(self) -> Self {
        Self { server_clock: true, ..self }
    }

    /// State survives a restart of the process.
    #[must_use]
    pub const fn durable(self) -> Self {
        Self { durable: true, ..self }
    }

    /// At most `keys` are remembered at once.
    #[must_use]
    pub const fn max_keys(self, keys: usize) -> Self {
        Self { max_keys: Some(keys), ..self }
    }
}

/// A boxed future, as the object-safe twin returns it.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// The object-safe twin of [`Store`], for a backend that is chosen at run time. Every `Store` is one,
/// and an `Arc<dyn DynStore>` is a `Store` again.
pub trait DynStore: fmt::Debug + Send + Sync + 'static {
    /// See [`Store::capability`].
    fn capability(&self) -> Capability;
    /// See [`Store::ask`], also for cancel safety.
    fn ask<'a>(&'a self, key: &'a [u8], limit: &'a Limit, ask: Ask) -> BoxFuture<'a, Result<Answer>>;
    /// See [`Store::refund`], also for cancel safety.
    fn refund<'a>(
        &'a self,
        key: &'a [u8],
        limit: &'a Limit,
        cost: u32,
        taken_at: u64,
    ) -> BoxFuture<'a, Result<()>>;
    /// See [`Store::health`].
    fn health(&self) -> BoxFuture<'_, Result<()>>;
    /// See [`Store::close`].
    fn close(&self) -> BoxFuture<'_, Result<()>>;
}

impl<S: Store> DynStore for S {
    fn capability(&self) -> Capability {
        Store::capability(self)
    }

    fn ask<'a>(&'a self, key: &'a [u8], limit: &'a Limit, ask: Ask) -> BoxFuture<'a, Result<Answer>> {
        Box::pin(Store::ask(self, key, limit, ask))
    }

    fn refund<'a>(
        &'a self,
        key: &'a [u8],
        limit: &'a Limit,
        cost: u32,
        taken_at: u64,
    ) -> BoxFuture<'a, Result<()>> {
        Box::pin(Store::refund(self, key, limit, cost, taken_at))
    }

    fn health(&self) -> BoxFuture<'_, Result<()>> {
        Box::pin(Store::health(self))
    }

    fn close(&self) -> BoxFuture<'_, Result<()>> {
        Box::pin(Store::close(self))
    }
}

/// What a backend answers after it was closed.
#[cold]
pub(crate) fn closed(backend: &'static str, op: &'static str) -> Error {
    Error::new(ErrorKind::Closed, backend, op, "the store was closed")
}

/// What a backend answers to a request of cost 0.
#[cold]
pub(crate) fn no_cost(backend: &'static str) -> Error {
    Error::new(ErrorKind::Invalid, backend, "acquire", "a request of cost 0; ask for at least 1")
}

impl Store for Arc<dyn DynStore> {
    fn capability(&self) -> Capability {
        (**self).capability()
    }

    async fn ask(&self, key: &[u8], limit: &Limit, ask: Ask) -> Result<Answer> {
        (**self).ask(key, limit, ask).await
    }

    async fn refund(&self, key: &[u8], limit: &Limit, cost: u32, taken_at: u64) -> Result<()> {
        (**self).refund(key, limit, cost, taken_at).await
    }

    async fn health(&self) -> Result<()> {
        (**self).health().await
    }

    async fn close(&self) -> Result<()> {
        (**self).close().await
    }
}
