//! The rule: what one key of a cache goes through.
//!
//! A miss takes a *lease*; only who holds it may fill. An invalidation takes the lease away and leaves a *floor*; a fill
//! must be strictly newer. Each closes what the other leaves open:
//!
//! | | the race of a late fill | a replica that lags | an evicted entry |
//! |---|---|---|---|
//! | lease alone (memcache, NSDI 2013) | closed | open | closed |
//! | floor alone (a tombstone with a version) | closed | closed | open |
//! | both | closed | closed | closed |
//!
//! Lag *and* eviction at once are closed where a load reads what the latest write wrote, R + W > RF.
//!
//! Times are milliseconds on the clock of the store. The scripts in `redis/` do the same, on a server.

use std::num::NonZeroU64;

use crate::{Floor, Version};

/// What is known of one key. Of a key that was never seen, [`Slot::default`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Slot<V> {
    content: Option<Content<V>>,
    /// Fills of this version or a lower one are refused, until [`floor_until`](Self::floor_until).
    floor: Version,
    floor_until: u64,
    lease: Option<Token>,
    leased_until: u64,
}

/// What was filled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Content<V> {
    /// The value; `None` when the row is known to be absent.
    pub value: Option<V>,
    /// The version that was loaded; of an absent row, [`Version::ABSENT`].
    pub version: Version,
    /// From then on it is stale: still served while it is being loaded anew.
    pub fresh_until: u64,
    /// From then on it is gone.
    pub expires_at: u64,
    /// How long the load took, in milliseconds.
    pub load_ms: u32,
}

/// Who may fill: a number that no other lease of the key has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Token(pub NonZeroU64);

/// The answer to a wish to fill.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Leased<C> {
    /// The lease is the caller's: load, then fill or release.
    Granted,
    /// Someone else loads; the lease ends in so many milliseconds, if not before.
    Held {
        /// Milliseconds.
        for_ms: u64,
    },
    /// Someone else has loaded.
    Filled(C),
}

/// The answer to a fill.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Filled {
    /// It is served from now on.
    Stored,
    /// Nothing was stored.
    Refused(Refusal),
}

/// Why a fill was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Refusal {
    /// The lease was revoked by an invalidation, ran out or was evicted: what was loaded may be stale.
    Revoked,
    /// What was loaded is older than what a write has left: a replica lags.
    Older,
    /// What was loaded has the version of the floor, or is absent while there is a floor: it may be what the write
    /// wrote, or something stale with the same version. Right for whoever asked, not to be kept.
    Tie,
}

impl<V> Default for Slot<V> {
    fn default() -> Self {
        Self { content: None, floor: Version::ABSENT, floor_until: 0, lease: None, leased_until: 0 }
    }
}

impl<V> Slot<V> {
    /// What may be served at `now`, stale or not.
    #[inline]
    pub fn get(&self, now: u64) -> Option<&Content<V>> {
        self.content.as_ref().filter(|content| now < content.expires_at)
    }

    /// Asks to fill. `seen` is the [`fresh_until`](Content::fresh_until) of the content that is to be replaced, if it was
    /// one: then other content is news.
    pub fn lease(&mut self, now: u64, token: Token, ms: u64, seen: Option<u64>) -> Leased<&Content<V>> {
        let leased = self.lease.is_some() && now < self.leased_until;
        // In two steps: the borrow checker does not see that the content is returned at once.
        if self.get(now).is_some_and(|content| seen != Some(content.fresh_until)) {
            return self.get(now).map_or(Leased::Granted, Leased::Filled);
        }
        if leased {
            return Leased::Held { for_ms: self.leased_until - now };
        }
        (self.lease, self.leased_until) = (Some(token), now.saturating_add(ms));
        Leased::Granted
    }

    /// Stores `content` if the lease still holds, and it is strictly newer than the floor. The lease ends.
    pub fn fill(&mut self, now: u64, token: Token, content: Content<V>) -> Filled {
        if self.lease != Some(token) || now >= self.leased_until {
            return Filled::Refused(Refusal::Revoked);
        }
        self.lease = None;
        if now < self.floor_until && content.version <= self.floor {
            let tie = content.version == self.floor || content.value.is_none();
            return Filled::Refused(if tie { Refusal::Tie } else { Refusal::Older });
        }
        if self.get(now).is_some_and(|present| content.version < present.version) {
            return Filled::Refused(Refusal::Older);
        }
        // What is newer than the content is newer than the floor.
        (self.content, self.floor_until) = (Some(content), 0);
        Filled::Stored
    }

    /// Gives up the lease, if it still holds.
    pub fn release(&mut self, token: Token) {
        if self.lease == Some(token) {
            self.lease = None;
        }
    }

    /// Forgets the content, revokes the lease and leaves a floor for `keep_ms`: the highest of `floor`, of the one that is
    /// there, and of what is older than the content.
    pub fn invalidate(&mut self, now: u64, floor: Floor, keep_ms: u64) {
        let before = if now < self.floor_until { self.floor } else { Version::ABSENT };
        // The write may be older than what was filled since: what is older than that stays refused.
        let filled = self.get(now).map_or(Floor::UNKNOWN, |content| Floor::below(content.version));
        (self.content, self.lease) = (None, None);
        self.floor = before.max(floor.version()).max(filled.version());
        self.floor_until = self.floor_until.max(now.saturating_add(keep_ms));
    }

    /// Stores `content`, whatever there was: what caches do that have neither lease nor floor.
    pub fn put(&mut self, content: Content<V>) {
        *self = Self { content: Some(content), ..Self::default() };
    }

    /// When nothing is known of the key any more, so that it may be forgotten.
    pub fn ends_at(&self) -> u64 {
        let content = self.content.as_ref().map_or(0, |content| content.expires_at);
        let lease = self.lease.map_or(0, |_| self.leased_until);
        content.max(lease).max(self.floor_until)
    }
}
