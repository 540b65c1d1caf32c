//! The contract of a filter in front of a database whose rows come and go.

use std::{fmt, pin::Pin, sync::Arc};

use backends::Result;

/// A filter that a service asks before it asks a cache or a database, and that is never wrong about a row which the
/// database has.
///
/// # Contract
///
/// Whoever writes a row [announces](Self::announce) its key first, then writes, then says that the write is
/// [settled](Announced::settle). From the moment `announce` has returned until the filter is rebuilt, `check` answers
/// `Maybe`; and a rebuild takes with it the keys of all writes that are not settled. So a row that the database has is
/// `Maybe` at any time: before, in the middle of and after a rebuild, and after the death of the process. What is not
/// known (no filter was built yet, its bits were lost, its file is damaged) is `Maybe`, never `Absent`.
///
/// Rows that are deleted stay `Maybe` until the next rebuild. Implementors run the cases of `filters::conformance`
/// (feature `conformance`).
pub trait Membership: fmt::Debug + Send + Sync + 'static {
    /// What this backend does differently from the others.
    fn capability(&self) -> Capability;

    /// The answer for the key of `hash`, where that takes no round trip; `None`: ask by [`check`](Self::check).
    fn look(&self, hash: u64) -> Option<Answer>;

    /// Whether the database may have rows with keys of `hashes`, in their order; over a network, in one round trip a
    /// server.
    ///
    /// # Errors
    ///
    /// What the connection reports. A caller that must go on takes each answer for `Maybe`.
    ///
    /// # Cancel safety
    ///
    /// Cancel-safe.
    fn check(&self, hashes: &[u64]) -> impl Future<Output = Result<Vec<Answer>>> + Send;

    /// Adds the keys of `hashes`, whose rows are about to be written.
    ///
    /// # Errors
    ///
    /// `Overloaded` when there are too many unsettled writes; what the connection, or the disk, reports. Don't write the
    /// rows then: nobody would find them.
    ///
    /// # Cancel safety
    ///
    /// A dropped call has added all, some or none of the keys: they are `Maybe` without a row, which costs a look-up.
    fn announce(&self, hashes: &[u64]) -> impl Future<Output = Result<Announced>> + Send;

    /// What the filter is like now.
    ///
    /// # Errors
    ///
    /// What the connection reports.
    ///
    /// # Cancel safety
    ///
    /// Cancel-safe.
    fn state(&self) -> impl Future<Output = Result<State>> + Send;

    /// Builds the filter anew from all keys that the database has, while it serves: `scan` is read to its end, and then
    /// the new filter takes the place of the old one. Keys that are deleted are out of it then.
    ///
    /// `scan` has to give every row that was there before it began and is there when it ends; rows that are written
    /// meanwhile it may give or not.
    ///
    /// # Errors
    ///
    /// What `scan` or the connection reports, `Conflict` while another rebuild runs, and `Overloaded` while writes that
    /// nobody settled are too many to be carried over. The old filter serves on.
    ///
    /// # Cancel safety
    ///
    /// A dropped call leaves the old filter, or has put the new one in its place.
    fn rebuild(&self, plan: crate::Plan, scan: &mut dyn Scan)
    -> impl Future<Output = Result<Rebuilt>> + Send;

    /// Stops using it: later calls answer `Closed`.
    ///
    /// # Errors
    ///
    /// What the connection, or the disk, reports.
    ///
    /// # Cancel safety
    ///
    /// Cancel-safe.
    fn close(&self) -> impl Future<Output = Result<()>> + Send;
}

/// What a backend does differently from the others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Capability {
    /// `memory`, `redis`, `redis-cluster`.
    pub backend: &'static str,
    /// All processes ask the same filter, and hear of each other's keys. Where not, one process alone may write rows.
    pub shared: bool,
    /// It is there after a restart.
    pub durable: bool,
}

impl Capability {
    /// What a backend in the memory of one process does.
    #[must_use]
    pub const fn new(backend: &'static str) -> Self {
        Self { backend, shared: false, durable: false }
    }

    /// All processes ask the same filter.
    #[must_use]
    pub const fn shared(self, shared: bool) -> Self {
        Self { shared, ..self }
    }

    /// It is there after a restart.
    #[must_use]
    pub const fn durable(self, durable: bool) -> Self {
        Self { durable, ..self }
    }
}

/// What a filter says of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Answer {
    /// The database has no such row.
    Absent,
    /// It may have one.
    Maybe,
}

impl Answer {
    /// [`Maybe`](Self::Maybe), or not.
    #[must_use]
    pub const fn may_be(found: bool) -> Self {
        if found { Self::Maybe } else { Self::Absent }
    }
}

/// What a filter is like.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub struct State {
    /// Which filter serves: one more with each that was built; 0 while none is there and all answers are `Maybe`.
    pub epoch: u64,
    /// Whether the next one is being built.
    pub rebuilding: bool,
    /// Its keys, as far as new ones could be told from old ones.
    pub len: u64,
    /// For how many keys it was made. With more, its rate rises: it is time to rebuild it larger.
    pub planned: u64,
    /// Bytes of its table.
    pub size_bytes: u64,
    /// The false-positive rate that theory gives for now; 1 while there is none.
    pub expected_rate: f64,
    /// Writes that were announced and are not settled, those given up in doubt included.
    pub unsettled: u64,
}

impl State {
    /// That of no filter.
    #[must_use]
    pub const fn none() -> Self {
        let (epoch, rebuilding, len, planned, size_bytes, unsettled) = (0, false, 0, 0, 0, 0);
        Self { epoch, rebuilding, len, planned, size_bytes, expected_rate: 1.0, unsettled }
    }

    /// Whether it has more keys than it was made for.
    #[must_use]
    pub const fn is_overloaded(&self) -> bool {
        self.len > self.planned
    }
}

/// What a rebuild has done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Rebuilt {
    /// Which filter serves now.
    pub epoch: u64,
    /// Keys that the scan gave.
    pub scanned: u64,
    /// Unsettled keys that were carried over when it began.
    pub carried: u64,
}

impl Rebuilt {
    /// Names what a rebuild has done.
    #[must_use]
    pub const fn new(epoch: u64, scanned: u64, carried: u64) -> Self {
        Self { epoch, scanned, carried }
    }
}

/// A write that is under way.
///
/// Dropped without [`settle`](Self::settle), the write is in doubt: the database may do it yet, as after a time-out. A
/// rebuild that begins within a time that the backend sets carries its keys over.
#[must_use = "a write that is not settled is carried over by rebuilds"]
pub struct Announced(Option<Box<dyn Unsettled>>);

/// What a backend does when a write is over.
pub trait Unsettled: Send {
    /// The database has said whether it did it.
    fn settled(self: Box<Self>);

    /// Nobody knows.
    fn in_doubt(self: Box<Self>);
}

impl Announced {
    /// A write of which `unsettled` hears the end.
    pub fn new(unsettled: Box<dyn Unsettled>) -> Self {
        Self(Some(unsettled))
    }

    /// A write of which nobody needs to hear the end.
    pub const fn fire_and_forget() -> Self {
        Self(None)
    }

    /// The database has answered: the row is there, or it will never be by this write.
    pub fn settle(mut self) {
        if let Some(unsettled) = self.0.take() {
            unsettled.settled();
        }
    }
}

impl Drop for Announced {
    fn drop(&mut self) {
        if let Some(unsettled) = self.0.take() {
            unsettled.in_doubt();
        }
    }
}

impl fmt::Debug for Announced {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Announced").finish_non_exhaustive()
    }
}

/// A future in a box.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// All keys that a database has, a lot at a time.
pub trait Scan: Send {
    /// Appends the hashes of some keys to `hashes`; `false` at the end, when none was appended.
    ///
    /// # Errors
    ///
    /// What the database reports; the rebuild ends with it.
    fn next<'a>(&'a mut self, hashes: &'a mut Vec<u64>) -> BoxFuture<'a, Result<bool>>;
}

/// What is at hand already, in one lot.
impl Scan for std::vec::IntoIter<u64> {
    fn next<'a>(&'a mut self, hashes: &'a mut Vec<u64>) -> BoxFuture<'a, Result<bool>> {
        let before = hashes.len();
        hashes.extend(self.by_ref().take(65_536));
        Box::pin(std::future::ready(Ok(hashes.len() > before)))
    }
}

/// [`Membership`] as an object.
pub trait DynMembership: fmt::Debug + Send + Sync + 'static {
    /// [`Membership::capability`].
    fn capability(&self) -> Capability;
    /// [`Membership::look`].
    fn look(&self, hash: u64) -> Option<Answer>;
    /// [`Membership::check`].
    fn check<'a>(&'a self, hashes: &'a [u64]) -> BoxFuture<'a, Result<Vec<Answer>>>;
    /// [`Membership::announce`].
    fn announce<'a>(&'a self, hashes: &'a [u64]) -> BoxFuture<'a, Result<Announced>>;
    /// [`Membership::state`].
    fn state(&self) -> BoxFuture<'_, Result<State>>;
    /// [`Membership::rebuild`].
    fn rebuild<'a>(&'a self, plan: crate::Plan, scan: &'a mut dyn Scan) -> BoxFuture<'a, Result<Rebuilt>>;
    /// [`Membership::close`].
    fn close(&self) -> BoxFuture<'_, Result<()>>;
}

impl<M: Membership> DynMembership for M {
    fn capability(&self) -> Capability {
        Membership::capability(self)
    }

    fn look(&self, hash: u64) -> Option<Answer> {
        Membership::look(self, hash)
    }

    fn check<'a>(&'a self, hashes: &'a [u64]) -> BoxFuture<'a, Result<Vec<Answer>>> {
        Box::pin(Membership::check(self, hashes))
    }

    fn announce<'a>(&'a self, hashes: &'a [u64]) -> BoxFuture<'a, Result<Announced>> {
        Box::pin(Membership::announce(self, hashes))
    }

    fn state(&self) -> BoxFuture<'_, Result<State>> {
        Box::pin(Membership::state(self))
    }

    fn rebuild<'a>(&'a self, plan: crate::Plan, scan: &'a mut dyn Scan) -> BoxFuture<'a, Result<Rebuilt>> {
        Box::pin(Membership::rebuild(self, plan, scan))
    }

    fn close(&self) -> BoxFuture<'_, Result<()>> {
        Box::pin(Membership::close(self))
    }
}

/// What others hold, too.
impl<M: DynMembership + ?Sized> Membership for Arc<M> {
    fn capability(&self) -> Capability {
        (**self).capability()
    }

    fn look(&self, hash: u64) -> Option<Answer> {
        (**self).look(hash)
    }

    async fn check(&self, hashes: &[u64]) -> Result<Vec<Answer>> {
        (**self).check(hashes).await
    }

    async fn announce(&self, hashes: &[u64]) -> Result<Announced> {
        (**self).announce(hashes).await
    }

    async fn state(&self) -> Result<State> {
        (**self).state().await
    }

    async fn rebuild(&self, plan: crate::Plan, scan: &mut dyn Scan) -> Result<Rebuilt> {
        (**self).rebuild(plan, scan).await
    }

    async fn close(&self) -> Result<()> {
        (**self).close().await
    }
}
