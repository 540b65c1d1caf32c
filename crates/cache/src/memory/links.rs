//! Queues of indices, doubly linked. Apart from what the indices stand for: all the links of a shard stay in the cache of
//! the processor, so that moving one costs little.

/// No index.
const NIL: u32 = u32::MAX;

/// The queues that an entry may be in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Queue {
    /// A lease or a floor, without content.
    Bare,
    /// Content that is on trial.
    Small,
    /// Content.
    Main,
}

#[derive(Clone, Copy)]
struct Link {
    /// Towards the front.
    prev: u32,
    /// Towards the back; of an index that is free, the next free one.
    next: u32,
    queue: Queue,
    uses: u8,
}

#[derive(Clone, Copy)]
struct Ends {
    front: u32,
    back: u32,
    len: u32,
}

pub(super) struct Links {
    links: Vec<Link>,
    queues: [Ends; 3],
    free: u32,
}

/// Uses that are counted.
const MOST_USES: u8 = 3;

impl Links {
    pub(super) const fn new() -> Self {
        Self { links: Vec::new(), queues: [Ends { front: NIL, back: NIL, len: 0 }; 3], free: NIL }
    }

    /// An index that was free, or `None` when the next one is new.
    pub(super) const fn is_any_free(&self) -> bool {
        self.free != NIL
    }

    /// Puts a free index, or a new one, at the front of `queue`.
    pub(super) fn take(&mut self, queue: Queue) -> u32 {
        let link = Link { prev: NIL, next: NIL, queue, uses: 0 };
        let index = self.free;
        let index = if index == NIL {
            self.links.push(link);
            self.links.len() as u32 - 1
        } else {
            self.free = self.links[index as usize].next;
            self.links[index as usize] = link;
            index
        };
        self.push_front(index, queue);
        index
    }

    /// Makes an index free.
    pub(super) fn give(&mut self, index: u32) {
        self.unlink(index);
        self.links[index as usize].next = self.free;
        self.free = index;
    }

    /// Room for `additional` indices and no more.
    pub(super) fn reserve_exact(&mut self, additional: usize) {
        self.links.reserve_exact(additional);
    }

    pub(super) fn len(&self, queue: Queue) -> usize {
        self.queues[queue as usize].len as usize
    }

    /// The one that has been in `queue` longest.
    pub(super) fn back(&self, queue: Queue) -> Option<u32> {
        let back = self.queues[queue as usize].back;
        (back != NIL).then_some(back)
    }

    pub(super) fn queue(&self, index: u32) -> Queue {
        self.links[index as usize].queue
    }

    pub(super) fn uses(&self, index: u32) -> u8 {
        self.links[index as usize].uses
    }

    pub(super) fn set_uses(&mut self, index: u32, uses: u8) {
        self.links[index as usize].uses = uses;
    }

    /// Counts a use.
    #[inline]
    pub(super) fn used(&mut self, index: u32) {
        let link = &mut self.links[index as usize];
        // A line of memory that does not change is not written back.
        if link.uses < MOST_USES {
            link.uses += 1;
        }
    }

    /// Moves an index to the front of `queue`, from wherever it is.
    #[inline]
    pub(super) fn move_to_front(&mut self, index: u32, queue: Queue) {
        if self.queues[queue as usize].front != index {
            self.unlink(index);
            self.push_front(index, queue);
        }
    }

    #[inline]
    fn push_front(&mut self, index: u32, queue: Queue) {
        let ends = &mut self.queues[queue as usize];
        let next = ends.front;
        ends.front = index;
        ends.len += 1;
        if next == NIL {
            ends.back = index;
        } else {
            self.links[next as usize].prev = index;
        }
        let link = &mut self.links[index as usize];
        (link.prev, link.next, link.queue) = (NIL, next, queue);
    }

    #[inline]
    fn unlink(&mut self, index: u32) {
        let Link { prev, next, queue, .. } = self.links[index as usize];
        let ends = &mut self.queues[queue as usize];
        ends.len -= 1;
        if prev == NIL {
            ends.front = next;
        } else {
            self.links[prev as usize].next = next;
        }
        let ends = &mut self.queues[queue as usize];
        if next == NIL {
            ends.back = prev;
        } else {
            self.links[next as usize].prev = prev;
        }
    }
}
