//! The contract of a backend.

use std::{fmt, pin::Pin, sync::Arc, time::Duration};

use backends::Result;

use crate::{
    Floor, Version,
    slot::{Filled, Leased, Token},
};

/// What a backend of the cache does: keep entries, grant the right to fill, and take it away.
///
/// # Contract
///
/// Each call is one atomic step on one key, as [`slot`](crate::slot) says. Nothing has to be kept: a store may forget
/// any key at any time (for want of room, at a restart), with its content, its lease and its floor together. Once
/// [`invalidate`](Self::invalidate) has returned, no content that was there before is served, and no fill under a lease
/// that was granted before is stored. Implementors run the cases of `cache::conformance` (feature `conformance`).
pub trait Store<K, V>: fmt::Debug + Send + Sync + 'static {
    /// What this backend does differently from the others.
    fn capability(&self) -> Capability;

    /// The entry of `key`, fresh or stale.
    ///
    /// # Errors
    ///
    /// `Closed` after [`close`](Self::close); otherwise what the connection reports. An entry that cannot be decoded is
    /// none, and counted.
    ///
    /// # Cancel safety
    ///
    /// Cancel-safe.
    fn get(&self, key: &K) -> impl Future<Output = Result<Option<Entry<V>>>> + Send;

    /// The entries of `keys`, in their order; over a network, in one round trip a server.
    ///
    /// # Errors
    ///
    /// For each key, those of [`get`](Self::get).
    ///
    /// # Cancel safety
    ///
    /// Cancel-safe.
    fn get_many(&self, keys: &[K]) -> impl Future<Output = Vec<Result<Option<Entry<V>>>>> + Send;

    /// Asks for the right to fill `key`.
    ///
    /// # Errors
    ///
    /// Those of [`get`](Self::get).
    ///
    /// # Cancel safety
    ///
    /// A dropped call may have been granted the lease, which then runs out.
    fn lease(&self, key: &K, wish: Wish) -> impl Future<Output = Result<Leased<Entry<V>>>> + Send;

    /// Stores what was loaded under the lease of `token`, if that still holds.
    ///
    /// # Errors
    ///
    /// Those of [`get`](Self::get), and `Invalid` for a value above the size limit.
    ///
    /// # Cancel safety
    ///
    /// A dropped call has stored all or nothing.
    fn fill(&self, key: &K, token: Token, fill: Fill<V>) -> impl Future<Output = Result<Filled>> + Send;

    /// Gives up a lease; one that does not hold any more is no error.
    ///
    /// # Errors
    ///
    /// Those of [`get`](Self::get).
    ///
    /// # Cancel safety
    ///
    /// A dropped call has released it or not; it runs out in any case.
    fn release(&self, key: &K, token: Token) -> impl Future<Output = Result<()>> + Send;

    /// Drops the content of `key`, revokes its lease, and refuses fills up to `floor` for the time `keep`. Tells how
    /// durable that is; whether it is enough for `ack` is for the caller to compare.
    ///
    /// # Errors
    ///
    /// Those of [`get`](Self::get), and `Unsupported` for an `ack` that the backend cannot give.
    ///
    /// # Cancel safety
    ///
    /// A dropped call has happened or not.
    fn invalidate(
        &self,
        key: &K,
        floor: Floor,
        keep: Duration,
        ack: Ack,
    ) -> impl Future<Output = Result<Acks>> + Send;

    /// Stores without a lease and whatever the floor: for the [protocols](crate::Protocol) that other caches have.
    ///
    /// # Errors
    ///
    /// Those of [`fill`](Self::fill).
    ///
    /// # Cancel safety
    ///
    /// A dropped call has stored all or nothing.
    fn put(&self, key: &K, fill: Fill<V>) -> impl Future<Output = Result<()>> + Send;

    /// Forgets the key, with its floor: for the [protocols](crate::Protocol) that other caches have, and for tests,
    /// where it is an eviction.
    ///
    /// # Errors
    ///
    /// Those of [`get`](Self::get).
    ///
    /// # Cancel safety
    ///
    /// A dropped call has happened or not.
    fn remove(&self, key: &K) -> impl Future<Output = Result<()>> + Send;

    /// Asks the backend for a sign of life. Cancel-safe.
    ///
    /// # Errors
    ///
    /// When it cannot serve requests now.
    fn health(&self) -> impl Future<Output = Result<()>> + Send;

    /// Ends the use of the store: later calls answer `Closed`. Closing twice is not an error. Cancel-safe.
    ///
    /// # Errors
    ///
    /// When what was under way could not be finished within the drain deadline.
    fn close(&self) -> impl Future<Output = Result<()>> + Send;
}

/// An entry, as a store gives it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry<V> {
    /// The value; `None` when the row is known to be absent.
    pub value: Option<V>,
    /// The version that was loaded.
    pub version: Version,
    /// Milliseconds until it is stale; zero or less when it is.
    pub fresh_ms: i64,
    /// Milliseconds until it is gone.
    pub expires_ms: u64,
    /// When it becomes stale, in milliseconds on the clock of the store: the name of this filling, for [`Wish::seen`].
    pub fresh_until: u64,
    /// How many milliseconds its load took.
    pub load_ms: u32,
}

/// The wish for a lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wish {
    /// What is to name the lease.
    pub token: Token,
    /// How long it is to hold, at most.
    pub ttl: Duration,
    /// The [`fresh_until`](Entry::fresh_until) of the entry that is to be replaced, if there is one.
    pub seen: Option<u64>,
}

/// What was loaded, and how long it is good.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fill<V> {
    /// The value; `None` for an absent row.
    pub value: Option<V>,
    /// Its version.
    pub version: Version,
    /// How long it is fresh.
    pub fresh: Duration,
    /// How long it is kept; at least as long as it is fresh.
    pub keep: Duration,
    /// How long the load took.
    pub load_time: Duration,
}

/// How durable an invalidation has to be: what a failover of the server may not undo.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Ack {
    /// On the server that answered. A failover may bring the entry back, until it expires.
    #[default]
    None,
    /// Received by so many replicas (`WAIT`). A failover to another replica may bring the entry back.
    Replicas(u32),
    /// On disk (`WAITAOF`), on servers that were seen to wait for it before they say so.
    Fsync {
        /// On that of the server itself.
        local: bool,
        /// On those of so many replicas.
        replicas: u32,
    },
}

/// How durable an invalidation is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct Acks {
    /// Replicas that have it: in memory for [`Ack::Replicas`], on disk for [`Ack::Fsync`].
    pub replicas: u32,
    /// Whether it is on the disk of the server itself, as far as that was asked for.
    pub fsynced: bool,
}

impl Acks {
    /// So many replicas have it; `fsynced`: and so has the disk of the server itself.
    #[must_use]
    pub const fn new(replicas: u32, fsynced: bool) -> Self {
        Self { replicas, fsynced }
    }

    /// Whether that is what was wanted.
    #[must_use]
    pub const fn satisfy(self, want: Ack) -> bool {
        match want {
            Ack::None => true,
            Ack::Replicas(replicas) => self.replicas >= replicas,
            Ack::Fsync { local, replicas } => (!local || self.fsynced) && self.replicas >= replicas,
        }
    }
}

/// What may differ between backends, as data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Capability {
    /// The name of the backend, as errors and metrics carry it.
    pub backend: &'static str,
    /// Other processes have the same entries and leases.
    pub shared: bool,
    /// The most entries; `None` when memory alone, or the server, is the limit.
    pub max_entries: Option<usize>,
    /// It can be asked for [`Ack::Replicas`].
    pub replicas: bool,
    /// It can be asked for [`Ack::Fsync`].
    pub fsync: bool,
}

impl Capability {
    /// A backend that promises nothing but the contract.
    #[must_use]
    pub const fn new(backend: &'static str) -> Self {
        Self { backend, shared: false, max_entries: None, replicas: false, fsync: false }
    }

    /// Other processes have the same entries and leases.
    #[must_use]
    pub const fn shared(self) -> Self {
        Self { shared: true, ..self }
    }

    /// At most so many entries.
    #[must_use]
    pub const fn max_entries(self, entries: usize) -> Self {
        Self { max_entries: Some(entries), ..self }
    }

    /// It can be asked for [`Ack::Replicas`].
    #[must_use]
    pub const fn replicas(self) -> Self {
        Self { replicas: true, ..self }
    }

    /// It can be asked for [`Ack::Fsync`].
    #[must_use]
    pub const fn fsync(self) -> Self {
        Self { fsync: true, ..self }
    }

    /// Whether it can be asked for `ack`.
    #[must_use]
    pub const fn gives(&self, ack: Ack) -> bool {
        match ack {
            Ack::None => true,
            Ack::Replicas(_) => self.replicas,
            Ack::Fsync { .. } => self.fsync,
        }
    }
}

/// A store that tells what others have invalidated, for who keeps copies.
pub trait Announce<K>: Send + Sync + 'static {
    /// Listens; the first event says whether there is a link.
    ///
    /// # Errors
    ///
    /// `Closed`, or where the backend cannot announce.
    fn listen(&self) -> Result<Box<dyn Announcements<K>>>;
}

/// What others do.
pub trait Announcements<K>: Send {
    /// The next event, in their order; `None` when no more can come. Cancel-safe.
    ///
    /// Whoever reads too slowly is told [`Lost`](Announcement::Lost).
    fn next(&mut self) -> BoxFuture<'_, Option<Announcement<K>>>;
}

/// One event of a link.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Announcement<K> {
    /// From now on every invalidation is told.
    Linked,
    /// `key` was invalidated up to `floor`.
    Invalidated {
        /// The key.
        key: K,
        /// What is in doubt.
        floor: Floor,
    },
    /// Invalidations may be missed from now on, or have been: no copy can be trusted until the next `Linked`.
    Lost,
}

/// A boxed future, as the object-safe twins return it.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

macro_rules! twin {
    ($($(#[$doc:meta])* fn $name:ident($($arg:ident: $type:ty),*) -> $output:ty;)*) => {
        /// The object-safe twin of [`Store`], for a backend that is chosen at run time. Every `Store` is one, and an
        /// `Arc<dyn DynStore>` is a `Store` again.
        pub trait DynStore<K, V>: fmt::Debug + Send + Sync + 'static {
            /// See [`Store::capability`].
            fn capability(&self) -> Capability;
            $($(#[$doc])* fn $name<'a>(&'a self, $($arg: $type),*) -> BoxFuture<'a, $output> where K: 'a, V: 'a;)*
        }

        impl<K: Sync, V: Send, S: Store<K, V>> DynStore<K, V> for S {
            fn capability(&self) -> Capability {
                Store::capability(self)
            }

            $(fn $name<'a>(&'a self, $($arg: $type),*) -> BoxFuture<'a, $output> where K: 'a, V: 'a {
                Box::pin(Store::$name(self, $($arg),*))
            })*
        }
    };
}

twin! {
    /// See [`Store::get`].
    fn get(key: &'a K) -> Result<Option<Entry<V>>>;
    /// See [`Store::get_many`].
    fn get_many(keys: &'a [K]) -> Vec<Result<Option<Entry<V>>>>;
    /// See [`Store::lease`].
    fn lease(key: &'a K, wish: Wish) -> Result<Leased<Entry<V>>>;
    /// See [`Store::fill`].
    fn fill(key: &'a K, token: Token, fill: Fill<V>) -> Result<Filled>;
    /// See [`Store::release`].
    fn release(key: &'a K, token: Token) -> Result<()>;
    /// See [`Store::invalidate`].
    fn invalidate(key: &'a K, floor: Floor, keep: Duration, ack: Ack) -> Result<Acks>;
    /// See [`Store::put`].
    fn put(key: &'a K, fill: Fill<V>) -> Result<()>;
    /// See [`Store::remove`].
    fn remove(key: &'a K) -> Result<()>;
    /// See [`Store::health`].
    fn health() -> Result<()>;
    /// See [`Store::close`].
    fn close() -> Result<()>;
}

macro_rules! forward {
    ($($name:ident($($arg:ident: $type:ty),*) -> $output:ty;)*) => {
        impl<K: Send + Sync + 'static, V: Send + 'static> Store<K, V> for Arc<dyn DynStore<K, V>> {
            fn capability(&self) -> Capability {
                (**self).capability()
            }

            $(async fn $name(&self, $($arg: $type),*) -> $output {
                (**self).$name($($arg),*).await
            })*
        }

        /// A store that several caches share.
        impl<K: Send + Sync + 'static, V: Send + 'static, S: Store<K, V>> Store<K, V> for Arc<S> {
            fn capability(&self) -> Capability {
                (**self).capability()
            }

            $(async fn $name(&self, $($arg: $type),*) -> $output {
                (**self).$name($($arg),*).await
            })*
        }
    };
}

forward! {
    get(key: &K) -> Result<Option<Entry<V>>>;
    get_many(keys: &[K]) -> Vec<Result<Option<Entry<V>>>>;
    lease(key: &K, wish: Wish) -> Result<Leased<Entry<V>>>;
    fill(key: &K, token: Token, fill: Fill<V>) -> Result<Filled>;
    release(key: &K, token: Token) -> Result<()>;
    invalidate(key: &K, floor: Floor, keep: Duration, ack: Ack) -> Result<Acks>;
    put(key: &K, fill: Fill<V>) -> Result<()>;
    remove(key: &K) -> Result<()>;
    health() -> Result<()>;
    close() -> Result<()>;
}
