//! The keys that were evicted last, as fingerprints.

use hashbrown::HashTable;

/// A ring of fingerprints, and where each is in it. Two keys have the same fingerprint with a chance of 2^-32: then one
/// that is new is taken for one that was evicted.
pub(super) struct Ghost {
    /// 0 for none.
    ring: Vec<u32>,
    places: HashTable<u32>,
    next: usize,
    room: usize,
}

impl Ghost {
    /// Remembers `room` keys.
    pub(super) const fn new(room: usize) -> Self {
        Self { ring: Vec::new(), places: HashTable::new(), next: 0, room }
    }

    pub(super) fn insert(&mut self, hash: u64) {
        if self.room == 0 {
            return;
        }
        let print = print(hash);
        let place = self.next;
        self.next = (place + 1) % self.room;
        if place == self.ring.len() {
            self.ring.push(print);
        } else {
            let before = std::mem::replace(&mut self.ring[place], print);
            if let Ok(entry) = self.places.find_entry(spread(before), |i| *i as usize == place) {
                entry.remove();
            }
        }
        let ring = &self.ring;
        self.places.insert_unique(spread(print), place as u32, |i| spread(ring[*i as usize]));
    }

    /// Whether the key is remembered; not any more, from then on.
    pub(super) fn remove(&mut self, hash: u64) -> bool {
        let print = print(hash);
        let ring = &mut self.ring;
        let Ok(entry) = self.places.find_entry(spread(print), |i| ring[*i as usize] == print) else {
            return false;
        };
        let (place, _) = entry.remove();
        ring[place as usize] = 0;
        true
    }

    pub(super) fn clear(&mut self) {
        *self = Self::new(self.room);
    }
}

/// Of the bits of the hash, those that neither choose the shard nor the tag in its table.
fn print(hash: u64) -> u32 {
    ((hash >> 8) as u32).max(1)
}

const fn spread(print: u32) -> u64 {
    (print as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15)
}
