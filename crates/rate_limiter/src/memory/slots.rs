//! The keys whose state fits in a word: a table that is read and updated without a lock.
//!
//! Each shard has a ring of slots, the larger the more keys it has. Rings of one size lie side by side, so that
//! few keys take few pages. A key is found by linear probing. Which key a slot belongs to changes only under the
//! lock of its shard, and while it changes the word is `BUSY`; the word itself is changed by compare-and-swap, by
//! anyone.
//!
//! A thread without the lock may look in a ring that is being rebuilt, and miss a key: it asks again under the
//! lock. What it finds is right: a slot with the tag of its key and a word that is not `BUSY` is the only
//! one of that key.

use super::change::Change;
use crate::{
    Rule, State,
    sync::{AtomicU64, Ordering},
};

/// The tag of a slot that was never used since the ring was built: a search ends here.
const EMPTY: u64 = 0;
/// The tag of a slot whose key has left: a search goes on.
const DEAD: u64 = 1;
/// Set in the word of every other key that a slot is given to: so that a thread which has read the word of one
/// cannot exchange an equal word of the next.
const GENERATION: u64 = 1 << 63;
/// The word of a slot that is being given to another key, but for the generation.
const BUSY: u64 = !GENERATION;

/// A key's hash, as far as it identifies the key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Tag(u64);

impl Tag {
    #[inline]
    pub(super) fn of(hash: u64) -> Self {
        Self(hash.max(DEAD + 1))
    }

    pub(super) const fn hash(self) -> u64 {
        self.0
    }

    /// Chooses one of `shards`, a power of two. By the upper half of the hash: with some seeds, the lowest bits
    /// are spread so unevenly over successive numbers that shards overflow.
    #[inline]
    pub(super) const fn shard(self, shards: usize) -> usize {
        (self.0 >> 32) as usize & (shards - 1)
    }

    /// Where its search begins; other bits than those that choose the shard.
    #[inline]
    const fn home(self) -> usize {
        (self.0 >> 52) as usize
    }
}

/// One key and its state.
#[derive(Debug, Default)]
#[cfg_attr(not(patterns_loom), derive(bytemuck::Zeroable))]
#[repr(C)]
pub(super) struct Slot {
    tag: AtomicU64,
    word: AtomicU64,
}

/// What a change of a slot gave.
pub(super) struct Changed<T> {
    pub(super) result: T,
    /// The key will be fresh earlier than it was going to be.
    pub(super) is_sooner_fresh: bool,
}

impl Slot {
    /// Changes the state, if the slot is that of `tag` and the new state fits in a word.
    ///
    /// Nor where the state is ahead of `now`. Without a time, the clock is read after the state: if that is still
    /// ahead, the clock was set back.
    #[inline(always)]
    pub(super) fn change<R: Rule, T: Change<R>>(
        &self,
        tag: Tag,
        change: &T,
        now: Option<u64>,
    ) -> Option<Changed<T::Result>> {
        let mut seen = self.word.load(Ordering::Acquire);
        loop {
            let (word, generation) = (seen & !GENERATION, seen & GENERATION);
            // In this order: a word from before the slot was given to this key is of another generation.
            if word == BUSY || self.tag.load(Ordering::Acquire) != tag.0 {
                return None;
            }
            let (next, result) = match now {
                Some(now) => change.apply_packed(word, now)?,
                None => change.apply_unpacked(word, change.read_clock())?,
            };
            if next == word {
                return Some(Changed { result, is_sooner_fresh: false });
            }
            let next = next | generation;
            match self.word.compare_exchange_weak(seen, next, Ordering::AcqRel, Ordering::Acquire) {
                Ok(_) => {
                    let fresh_at = |word| R::State::packed_fresh_at(word & !GENERATION);
                    return Some(Changed { result, is_sooner_fresh: fresh_at(next) < fresh_at(seen) });
                }
                Err(other) => seen = other,
            }
        }
    }

    /// Takes the slot from its key if the state is as good as none at `now`. Under the lock.
    fn evict<S: State>(&self, now: u64) -> bool {
        let word = self.word.load(Ordering::Acquire);
        S::packed_fresh_at(word & !GENERATION) <= now
            && self.word.compare_exchange(word, word | BUSY, Ordering::AcqRel, Ordering::Relaxed).is_ok()
    }

    /// Takes the slot from its key, and gives its word. Under the lock.
    fn seize(&self) -> u64 {
        self.word.fetch_or(BUSY, Ordering::AcqRel) & !GENERATION
    }
}

/// The slots of all shards.
#[derive(Debug)]
pub(super) struct Slots {
    all: Box<[Slot]>,
    per_shard: usize,
    /// For each shard, where its ring begins, times 64, and the power of two that is its size.
    rings: Box<[AtomicU64]>,
}

/// The slots that a shard uses.
#[derive(Clone, Copy)]
pub(super) struct Ring<'a> {
    all: &'a [Slot],
    start: usize,
    /// The size less one.
    mask: usize,
}

/// Where a key that is not in the ring may go.
pub(super) enum Place<'a> {
    /// A slot that was just taken from a key.
    Evicted(&'a Slot),
    /// A slot that a key has left.
    Dead(&'a Slot),
    /// The end of the search.
    Empty(&'a Slot),
    /// The ring has no empty slot.
    None,
}

const SMALLEST_RING: usize = 8;

/// A ring may be filled to two thirds: a search that finds nothing reads five slots then, of four a cache line.
const fn fits(keys: usize, slots: usize) -> bool {
    keys * 3 <= slots * 2
}

/// Where the rings of `len` slots begin, behind all smaller ones.
#[inline]
const fn start_of(shards: usize, len: usize) -> usize {
    shards * (len - SMALLEST_RING)
}

impl Slots {
    /// For `shards` of up to `room` keys each; `None` when there is not enough memory. It is taken from the
    /// system as it is used.
    pub(super) fn new(shards: usize, room: usize) -> Option<Self> {
        let mut per_shard = SMALLEST_RING;
        while !fits(room, per_shard) {
            per_shard *= 2;
        }
        #[cfg(not(patterns_loom))]
        let all = bytemuck::allocation::try_zeroed_slice_box(start_of(shards, 2 * per_shard)).ok()?;
        #[cfg(patterns_loom)]
        let all = (0..start_of(shards, 2 * per_shard)).map(|_| Slot::default()).collect();
        let slots = Self { all, per_shard, rings: (0..shards).map(|_| AtomicU64::new(0)).collect() };
        for shard in 0..shards {
            slots.set_ring(shard, SMALLEST_RING);
        }
        Some(slots)
    }

    #[inline]
    pub(super) fn ring(&self, shard: usize) -> Ring<'_> {
        let ring = self.rings[shard].load(Ordering::Relaxed);
        Ring { all: &self.all, start: (ring >> 6) as usize, mask: (1 << (ring & 63)) - 1 }
    }

    fn set_ring(&self, shard: usize, len: usize) {
        let start = start_of(self.rings.len(), len) + shard * len;
        self.rings[shard].store((start as u64) << 6 | u64::from(len.trailing_zeros()), Ordering::Relaxed);
    }

    /// Takes all keys out of the ring of `shard`, so that it can be filled again, with `sort` deciding what
    /// of each is kept: into `kept`. Under the lock.
    pub(super) fn clear(
        &self,
        shard: usize,
        kept: &mut Vec<(Tag, u64)>,
        mut sort: impl FnMut(u64) -> Option<u64>,
    ) {
        let ring = self.ring(shard);
        for slot in &self.all[ring.start..=ring.start + ring.mask] {
            let tag = slot.tag.load(Ordering::Relaxed);
            if tag > DEAD {
                let word = slot.seize();
                kept.extend(sort(word).map(|word| (Tag(tag), word)));
            }
            slot.tag.store(EMPTY, Ordering::Release);
        }
    }

    /// Fills the ring of `shard`, which is clear, with `keys`, and leaves room for as many again if it can.
    /// Under the lock.
    pub(super) fn fill(&self, shard: usize, keys: &[(Tag, u64)]) {
        let mut len = self.ring(shard).len();
        while len < self.per_shard && !fits(keys.len() * 3 / 2, len) {
            len *= 2;
        }
        self.set_ring(shard, len);
        let ring = self.ring(shard);
        for &(tag, word) in keys {
            if let Place::Empty(slot) = ring.first_free(tag) {
                ring.put(slot, tag, word);
            }
        }
    }
}

impl<'a> Ring<'a> {
    pub(super) const fn len(self) -> usize {
        self.mask + 1
    }

    /// Whether one slot more may be filled.
    pub(super) const fn has_room(self, filled: usize) -> bool {
        fits(filled + 1, self.len())
    }

    /// The slots in the order in which `tag` is looked for.
    #[inline]
    fn chain(self, tag: Tag) -> impl Iterator<Item = &'a Slot> {
        (0..self.len()).map(move |step| &self.all[self.start + ((tag.home() + step) & self.mask)])
    }

    /// The slot of `tag`, if it has one; without the lock, it may be missed.
    #[inline]
    pub(super) fn find(self, tag: Tag) -> Option<&'a Slot> {
        for slot in self.chain(tag) {
            match slot.tag.load(Ordering::Acquire) {
                found if found == tag.0 => return Some(slot),
                EMPTY => return None,
                _ => {}
            }
        }
        None
    }

    /// A place for `tag`, which is not there; with a time, that of a key which is fresh then, if one is on
    /// the way. Under the lock.
    pub(super) fn place<S: State>(self, tag: Tag, evict_at: Option<u64>) -> Place<'a> {
        for slot in self.chain(tag) {
            match slot.tag.load(Ordering::Relaxed) {
                EMPTY => return Place::Empty(slot),
                DEAD => return Place::Dead(slot),
                _ if evict_at.is_some_and(|now| slot.evict::<S>(now)) => return Place::Evicted(slot),
                _ => {}
            }
        }
        Place::None
    }

    fn first_free(self, tag: Tag) -> Place<'a> {
        let empty = self.chain(tag).find(|slot| slot.tag.load(Ordering::Relaxed) == EMPTY);
        empty.map_or(Place::None, Place::Empty)
    }

    /// Gives `slot`, whose word nobody may exchange, to `tag`. Under the lock.
    pub(super) fn put(self, slot: &Slot, tag: Tag, word: u64) {
        let word = word | !slot.word.load(Ordering::Relaxed) & GENERATION;
        if slot.tag.load(Ordering::Relaxed) == EMPTY {
            // Nobody looks at its word before the tag is there.
            slot.word.store(word, Ordering::Release);
            slot.tag.store(tag.0, Ordering::Release);
        } else {
            slot.tag.store(tag.0, Ordering::Release);
            slot.word.store(word, Ordering::Release);
        }
    }

    /// Takes the key out of `slot`, and gives its word. Under the lock.
    pub(super) fn remove(self, slot: &Slot) -> u64 {
        let word = slot.seize();
        slot.tag.store(DEAD, Ordering::Release);
        word
    }
}
