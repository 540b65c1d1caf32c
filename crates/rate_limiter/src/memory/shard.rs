use hashbrown::HashTable;

use super::{
    change::Change,
    slots::{Place, Ring, Slots, Tag},
};
use crate::{
    Rule, State, Stats,
    sync::{AtomicU64, Mutex, Ordering},
};

/// A shard with so many keys is rebuilt in some 20 us: that is the longest pause of a request.
const MOST_PER_SHARD: usize = 1_792;
/// With fewer keys a shard, chance would fill one shard long before the others.
const LEAST_PER_SHARD: usize = 1_024;
/// More do not help any machine's cores to meet less often.
const ENOUGH_SHARDS: usize = 256;

/// How many shards hold `max_keys`: a power of two.
pub(super) fn count_for(max_keys: usize) -> usize {
    let for_cores = (max_keys / LEAST_PER_SHARD).clamp(1, ENOUGH_SHARDS);
    let for_pauses = max_keys.div_ceil(MOST_PER_SHARD).next_power_of_two();
    for_pauses.max((for_cores + 1).next_power_of_two() / 2)
}

/// What a thread must hold the lock of a shard for: new keys, and states that do not fit in a word.
///
/// A key is either in the ring of the shard or among the wide ones.
pub(super) struct Shard<S> {
    wide: HashTable<(Tag, S)>,
    /// Keys in the ring.
    in_ring: usize,
    /// Slots of the ring that are not empty.
    filled: usize,
    /// The latest time at which a new key came: microseconds.
    latest: u64,
    crowded_out: u64,
    evicted: u64,
}

/// Every place is taken by a key in use.
pub(super) struct Crowded;

/// When something happens, and how it is to be judged.
struct Moment<'a, R> {
    rule: &'a R,
    /// Microseconds.
    now: u64,
}

/// Which keys a rebuilt ring keeps.
enum Keep<'a, R> {
    /// Also fresh ones, which nobody needs the place of: they may come again.
    All,
    InUse(&'a Moment<'a, R>),
}

/// What the keys of one shard share.
pub(super) struct Context<'a> {
    pub(super) slots: &'a Slots,
    pub(super) shard: usize,
    pub(super) room: usize,
    /// Rebuilding before then would free nothing: microseconds.
    pub(super) none_fresh_until: &'a AtomicU64,
    /// For keys that are on the move.
    pub(super) moving: &'a Mutex<Vec<(Tag, u64)>>,
}

impl Context<'_> {
    fn ring(&self) -> Ring<'_> {
        self.slots.ring(self.shard)
    }

    fn expect_fresh_at(&self, at: u64) {
        // Looked at first: it hardly ever changes.
        if at < self.none_fresh_until.load(Ordering::Relaxed) {
            self.none_fresh_until.fetch_min(at, Ordering::Relaxed);
        }
    }
}

impl<S: State> Shard<S> {
    pub(super) const fn new() -> Self {
        Self { wide: HashTable::new(), in_ring: 0, filled: 0, latest: 0, crowded_out: 0, evicted: 0 }
    }

    pub(super) fn stats(&self) -> Stats {
        Stats { crowded_out: self.crowded_out, evicted: self.evicted, keys: self.keys() }
    }

    /// The latest time at which a new key came: microseconds.
    pub(super) const fn latest(&self) -> u64 {
        self.latest
    }

    fn keys(&self) -> usize {
        self.in_ring + self.wide.len()
    }

    /// Changes the state of `tag`, wherever it is; a new key is remembered unless it is fresh afterwards.
    pub(super) fn change<R: Rule<State = S>, T: Change<R>>(
        &mut self,
        context: &Context<'_>,
        tag: Tag,
        change: &T,
    ) -> Result<T::Result, Crowded> {
        let ring = context.ring();
        if let Some(slot) = ring.find(tag) {
            if let Some(changed) = slot.change(tag, change, None) {
                if changed.is_sooner_fresh {
                    context.expect_fresh_at(0);
                }
                return Ok(changed.result);
            }
            // The state no longer fits in a word.
            let mut state = S::unpack(ring.remove(slot));
            self.in_ring -= 1;
            // Up to now, it could be changed without the lock.
            let result = change.apply(&mut state, change.read_clock());
            self.put_wide(context, tag, state);
            return Ok(result);
        }
        // Nobody comes first with a later reading: of what follows, all is changed under the lock.
        let now = change.read_clock();
        if let Some((_, state)) = self.wide.find_mut(tag.hash(), |(other, _)| *other == tag) {
            let result = change.apply(state, now);
            context.expect_fresh_at(state.fresh_at());
            return Ok(result);
        }
        let mut state = S::default();
        let result = change.apply(&mut state, now);
        if state.fresh_at() <= now {
            return Ok(result);
        }
        let at = Moment { rule: change.rule(), now };
        let is_in = match state.pack() {
            Some(word) => self.insert(context, &at, tag, word),
            None => self.insert_wide(context, &at, tag, state),
        };
        self.latest = now;
        if is_in {
            Ok(result)
        } else {
            self.crowded_out += 1;
            Err(Crowded)
        }
    }

    /// Whether there was room for a key that is not there.
    fn insert<R: Rule<State = S>>(
        &mut self,
        context: &Context<'_>,
        at: &Moment<'_, R>,
        tag: Tag,
        word: u64,
    ) -> bool {
        if self.keys() < context.room && !context.ring().has_room(self.filled) {
            self.rebuild(context, &Keep::All::<R>);
        }
        if !self.put(context, at.now, tag, word) {
            self.forget(context, at);
            return self.put(context, at.now, tag, word);
        }
        true
    }

    fn put(&mut self, context: &Context<'_>, now: u64, tag: Tag, word: u64) -> bool {
        let ring = context.ring();
        let has_room = self.keys() < context.room;
        let slot = match ring.place::<S>(tag, if has_room { None } else { Some(now) }) {
            Place::Evicted(slot) => {
                self.evicted += 1;
                slot
            }
            Place::Dead(slot) if has_room => {
                self.in_ring += 1;
                slot
            }
            Place::Empty(slot) if has_room => {
                (self.in_ring, self.filled) = (self.in_ring + 1, self.filled + 1);
                slot
            }
            _ => return false,
        };
        ring.put(slot, tag, word);
        context.expect_fresh_at(S::unpack(word).fresh_at());
        true
    }

    fn insert_wide<R: Rule<State = S>>(
        &mut self,
        context: &Context<'_>,
        at: &Moment<'_, R>,
        tag: Tag,
        state: S,
    ) -> bool {
        if self.keys() >= context.room {
            self.forget(context, at);
        }
        let has_room = self.keys() < context.room;
        if has_room {
            self.put_wide(context, tag, state);
        }
        has_room
    }

    fn put_wide(&mut self, context: &Context<'_>, tag: Tag, state: S) {
        context.expect_fresh_at(state.fresh_at());
        if self.wide.len() == self.wide.capacity() {
            // Left to itself, a table full of what was removed would double beyond the room.
            let mut larger = HashTable::with_capacity((2 * self.wide.len()).clamp(4, context.room.max(4)));
            for entry in self.wide.drain() {
                larger.insert_unique(entry.0.hash(), entry, |(tag, _)| tag.hash());
            }
            self.wide = larger;
        }
        self.wide.insert_unique(tag.hash(), (tag, state), |(tag, _)| tag.hash());
    }

    /// Forgets the keys whose quota is whole again.
    fn forget<R: Rule<State = S>>(&mut self, context: &Context<'_>, at: &Moment<'_, R>) {
        if at.now >= context.none_fresh_until.load(Ordering::Relaxed) || self.was_set_back(at.now) {
            self.rebuild(context, &Keep::InUse(at));
        }
    }

    /// Whether the clock was set back since the last new key came.
    const fn was_set_back(&self, now: u64) -> bool {
        /// Threads overtake each other by less.
        const SET_BACK: u64 = 1_000_000;
        self.latest > now.saturating_add(SET_BACK)
    }

    /// Moves the keys to keep to a ring that is large enough.
    fn rebuild<R: Rule<State = S>>(&mut self, context: &Context<'_>, keep: &Keep<'_, R>) {
        let before = self.keys();
        let is_set_back = matches!(keep, Keep::InUse(at) if self.was_set_back(at.now));
        let mut next = u64::MAX;
        let mut stays = |state: &mut S| {
            let stays = match keep {
                Keep::All => true,
                &Keep::InUse(&Moment { rule, now }) => {
                    if is_set_back {
                        rule.mend(state, now);
                    }
                    state.fresh_at() > now
                }
            };
            if stays {
                next = next.min(state.fresh_at());
            }
            stays
        };
        self.wide.retain(|(_, state)| stays(state));
        let mut moving = context.moving.lock();
        moving.clear();
        context.slots.clear(context.shard, &mut moving, |word| {
            let mut state = S::unpack(word);
            // A mended state is no wider than it was.
            stays(&mut state).then(|| state.pack().unwrap_or(word))
        });
        (self.in_ring, self.filled) = (moving.len(), moving.len());
        self.evicted += (before - self.keys()) as u64;
        // Before anyone can make one of them fresh earlier.
        context.none_fresh_until.store(next, Ordering::Relaxed);
        context.slots.fill(context.shard, &moving);
    }
}
