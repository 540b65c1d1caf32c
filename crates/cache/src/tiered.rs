//! Memory in front of a store that processes share.
//!
//! A copy is one more cache in front of a source, and is kept by the same [rule](crate::slot): its lease is taken before
//! the shared store is asked, and an invalidation that arrives meanwhile revokes it. Other processes' invalidations come
//! over a link; without it no copy is used, and what was there is dropped, since any of it may be stale.

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use backends::Result;
use clock::{Clock, CoarseClock};
use tokio::{runtime::Handle, task::JoinHandle};

use crate::{
    Ack, Acks, Announce, Announcement, Announcements, Capability, Entry, Fill, Filled, Floor, Key, Leased,
    Memory, MemoryStats, Store, Token, Wish, chance::Chance,
};

/// Copies in memory of what a shared store has.
pub struct Tiered<K: Key, V: Clone + Send + Sync + 'static, T, C: Clock = CoarseClock> {
    copies: Arc<Copies<K, V, C>>,
    shared: T,
    /// How long a copy is used at most.
    ttl: Duration,
    chance: Chance,
    link: JoinHandle<()>,
}

struct Copies<K: Key, V: Clone + Send + Sync + 'static, C: Clock> {
    memory: Memory<K, Copy<V>, C>,
    linked: AtomicBool,
    lost: AtomicU64,
}

/// A copy keeps the name that its filling has in the shared store.
#[derive(Clone, Debug)]
struct Copy<V> {
    value: Option<V>,
    fresh_until: u64,
}

/// A link that keeps up forgets an invalidated key no later than that; an entry that was under way when it was told is
/// older.
const FLOOR: Duration = Duration::from_secs(3);
/// For the shared store to answer.
const LEASE: Duration = Duration::from_secs(3);

impl<K: Key, V: Clone + Send + Sync + 'static, T: Store<K, V> + Announce<K>> Tiered<K, V, T> {
    /// Keeps up to `capacity` copies of the entries of `shared`, each for `ttl` at most: that is how long a copy may be
    /// stale when an announcement is lost that neither side notices. Needs a Tokio runtime.
    ///
    /// # Errors
    ///
    /// `Config` for a capacity of zero; `Closed`, or where `shared` cannot announce.
    pub fn new(shared: T, capacity: usize, ttl: Duration) -> Result<Self> {
        Self::with(Memory::builder().capacity(capacity).build()?, shared, ttl)
    }
}

impl<K: Key, V: Clone + Send + Sync + 'static, T: Store<K, V> + Announce<K>, C: Clock> Tiered<K, V, T, C> {
    fn with(memory: Memory<K, Copy<V>, C>, shared: T, ttl: Duration) -> Result<Self> {
        let announcements = shared.listen()?;
        let copies = Arc::new(Copies { memory, linked: AtomicBool::new(false), lost: AtomicU64::new(0) });
        let link = Handle::try_current().map_err(|error| {
            let message = "keeping copies needs a Tokio runtime";
            crate::Error::new(crate::ErrorKind::Config, "tiered", "build", message).with_source(error)
        })?;
        let link = link.spawn(follow(Arc::clone(&copies), announcements));
        Ok(Self { copies, shared, ttl, chance: Chance::new(), link })
    }

    /// What the copies have done.
    pub fn stats(&self) -> MemoryStats {
        self.copies.memory.stats()
    }

    /// Whether copies are used: the link to other processes is up.
    pub fn is_linked(&self) -> bool {
        self.copies.linked.load(Ordering::Acquire)
    }

    /// How often the link was lost, and the copies with it.
    pub fn links_lost(&self) -> u64 {
        self.copies.lost.load(Ordering::Relaxed)
    }

    /// The shared store.
    pub fn shared(&self) -> &T {
        &self.shared
    }

    /// The lease of a copy, if it is to be had.
    fn lease_copy(&self, key: &K) -> Option<Token> {
        let wish = Wish { token: self.chance.token(), ttl: LEASE, seen: None };
        self.copies.lease(key, wish).then_some(wish.token)
    }

    /// Ends the lease of a copy, with one of what the shared store had.
    fn copy(&self, key: &K, token: Option<Token>, found: &Result<Option<Entry<V>>>) {
        match (found, token) {
            (Ok(Some(entry)), Some(token)) => self.keep(key, token, entry),
            (_, Some(token)) => self.copies.memory.release_now(key, token),
            (_, None) => {}
        }
    }

    /// Keeps a copy of `entry`, which was asked for under the lease of `token`.
    fn keep(&self, key: &K, token: Token, entry: &Entry<V>) {
        let fresh = Duration::from_millis(u64::try_from(entry.fresh_ms).unwrap_or_default());
        let keep = self.ttl.min(Duration::from_millis(entry.expires_ms));
        let copy = Copy { value: entry.value.clone(), fresh_until: entry.fresh_until };
        let load_time = Duration::from_millis(entry.load_ms.into());
        let fill = Fill { value: Some(copy), version: entry.version, fresh, keep, load_time };
        self.copies.memory.fill_now(key, token, fill);
    }
}

/// What a copy tells of the entry that it is one of.
fn entry<V>(copy: Entry<Copy<V>>) -> Option<Entry<V>> {
    let Copy { value, fresh_until } = copy.value?;
    let Entry { version, fresh_ms, expires_ms, load_ms, .. } = copy;
    Some(Entry { value, version, fresh_ms, expires_ms, fresh_until, load_ms })
}

/// Does to the copies what others did to the entries.
async fn follow<K: Key, V: Clone + Send + Sync + 'static, C: Clock>(
    copies: Arc<Copies<K, V, C>>,
    mut announcements: Box<dyn Announcements<K>>,
) {
    let guard = Follows(copies);
    let copies = &guard.0;
    while let Some(announcement) = announcements.next().await {
        match announcement {
            Announcement::Invalidated { key, floor } => copies.memory.invalidate_now(&key, floor, FLOOR),
            Announcement::Linked => {
                // What a load under way has read may be older than the link.
                copies.memory.clear();
                copies.linked.store(true, Ordering::Release);
            }
            Announcement::Lost => copies.lose(),
        }
    }
}

/// Someone follows; however that ends, no copy is used after it.
struct Follows<K: Key, V: Clone + Send + Sync + 'static, C: Clock>(Arc<Copies<K, V, C>>);

impl<K: Key, V: Clone + Send + Sync + 'static, C: Clock> Drop for Follows<K, V, C> {
    fn drop(&mut self) {
        self.0.lose();
    }
}

impl<K: Key, V: Clone + Send + Sync + 'static, C: Clock> Copies<K, V, C> {
    fn lose(&self) {
        if self.linked.swap(false, Ordering::AcqRel) {
            self.lost.fetch_add(1, Ordering::Relaxed);
        }
        self.memory.clear();
    }

    fn lease(&self, key: &K, wish: Wish) -> bool {
        self.linked.load(Ordering::Acquire) && matches!(self.memory.lease_now(key, wish), Leased::Granted)
    }

    fn get(&self, key: &K) -> Option<Entry<Copy<V>>> {
        if self.linked.load(Ordering::Acquire) { self.memory.get_now(key) } else { None }
    }
}

impl<K: Key, V: Clone + Send + Sync + 'static, T: Store<K, V> + Announce<K>, C: Clock> Store<K, V>
    for Tiered<K, V, T, C>
{
    fn capability(&self) -> Capability {
        Capability { backend: "tiered", ..self.shared.capability() }
    }

    async fn get(&self, key: &K) -> Result<Option<Entry<V>>> {
        if let Some(copy) = self.copies.get(key) {
            return Ok(entry(copy));
        }
        // Before the shared store is asked: an invalidation from now on keeps the answer from being copied.
        let token = self.lease_copy(key);
        let found = self.shared.get(key).await;
        self.copy(key, token, &found);
        found
    }

    async fn get_many(&self, keys: &[K]) -> Vec<Result<Option<Entry<V>>>> {
        let mut found: Vec<_> = keys.iter().map(|key| Ok(self.copies.get(key).and_then(entry))).collect();
        let missing = |found: &Result<Option<Entry<V>>>| matches!(found, Ok(None));
        let places: Vec<usize> = (0..keys.len()).filter(|place| missing(&found[*place])).collect();
        if places.is_empty() {
            return found;
        }
        let wanted: Vec<K> = places.iter().map(|place| keys[*place].clone()).collect();
        let tokens: Vec<_> = wanted.iter().map(|key| self.lease_copy(key)).collect();
        let shared = self.shared.get_many(&wanted).await;
        for (((place, key), token), answer) in places.into_iter().zip(&wanted).zip(tokens).zip(shared) {
            self.copy(key, token, &answer);
            found[place] = answer;
        }
        found
    }

    async fn lease(&self, key: &K, wish: Wish) -> Result<Leased<Entry<V>>> {
        let leased = self.shared.lease(key, wish).await?;
        if let Leased::Filled(_) = leased {
            // There is something newer than the copy.
            self.copies.memory.remove_now(key);
        }
        Ok(leased)
    }

    async fn fill(&self, key: &K, token: Token, fill: Fill<V>) -> Result<Filled> {
        let filled = self.shared.fill(key, token, fill).await;
        // The copy is the next reader's to make, under a lease of its own.
        self.copies.memory.remove_now(key);
        filled
    }

    async fn release(&self, key: &K, token: Token) -> Result<()> {
        self.shared.release(key, token).await
    }

    async fn invalidate(&self, key: &K, floor: Floor, keep: Duration, ack: Ack) -> Result<Acks> {
        let acks = self.shared.invalidate(key, floor, keep, ack).await;
        // After the shared store, which would be asked again in between; and whatever it said.
        self.copies.memory.invalidate_now(key, floor, FLOOR);
        acks
    }

    async fn put(&self, key: &K, fill: Fill<V>) -> Result<()> {
        let put = self.shared.put(key, fill).await;
        self.copies.memory.remove_now(key);
        put
    }

    async fn remove(&self, key: &K) -> Result<()> {
        let removed = self.shared.remove(key).await;
        self.copies.memory.remove_now(key);
        removed
    }

    async fn health(&self) -> Result<()> {
        self.shared.health().await
    }

    async fn close(&self) -> Result<()> {
        self.link.abort();
        self.copies.lose();
        self.shared.close().await
    }
}

impl<K: Key, V: Clone + Send + Sync + 'static, T, C: Clock> Drop for Tiered<K, V, T, C> {
    fn drop(&mut self) {
        self.link.abort();
    }
}

impl<K: Key, V: Clone + Send + Sync + 'static, T: fmt::Debug, C: Clock> fmt::Debug for Tiered<K, V, T, C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tiered").field("shared", &self.shared).field("ttl", &self.ttl).finish_non_exhaustive()
    }
}
