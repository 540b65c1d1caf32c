//! What is evicted, against a model of each policy that is slow and plain.

use std::collections::VecDeque;

use cache::Policy;
use proptest::{collection::vec, prelude::*};

use super::{read, store, value};

/// Front first.
#[derive(Default)]
struct Lru {
    keys: VecDeque<u64>,
}

impl Lru {
    fn read(&mut self, key: u64) -> bool {
        let place = self.keys.iter().position(|other| *other == key);
        let key = place.and_then(|place| self.keys.remove(place));
        key.map(|key| self.keys.push_front(key)).is_some()
    }

    fn write(&mut self, key: u64, capacity: usize) {
        if !self.read(key) {
            if self.keys.len() == capacity {
                self.keys.pop_back();
            }
            self.keys.push_front(key);
        }
    }
}

/// As the paper has it: front first, each with its uses.
#[derive(Default)]
struct S3Fifo {
    small: VecDeque<(u64, u8)>,
    main: VecDeque<(u64, u8)>,
    /// `None` where a key has come back.
    ghost: VecDeque<Option<u64>>,
}

impl S3Fifo {
    fn read(&mut self, key: u64) -> bool {
        let mut all = self.small.iter_mut().chain(&mut self.main);
        let Some((_, uses)) = all.find(|(other, _)| *other == key) else { return false };
        *uses = (*uses + 1).min(3);
        true
    }

    fn write(&mut self, key: u64, capacity: usize) {
        if self.small.iter().chain(&self.main).any(|(other, _)| *other == key) {
            return;
        }
        if self.small.len() + self.main.len() == capacity {
            self.evict(capacity);
        }
        match self.ghost.iter_mut().find(|other| **other == Some(key)) {
            Some(place) => {
                *place = None;
                self.main.push_front((key, 0));
            }
            None => self.small.push_front((key, 0)),
        }
    }

    fn evict(&mut self, capacity: usize) {
        let small = (capacity / 10).max(1);
        loop {
            if self.small.len() >= small || self.main.is_empty() {
                let (key, uses) = self.small.pop_back().unwrap();
                if uses > 1 {
                    self.main.push_front((key, 0));
                    continue;
                }
                self.ghost.push_front(Some(key));
                self.ghost.truncate(capacity - small);
                return;
            }
            let (key, uses) = self.main.pop_back().unwrap();
            if uses == 0 {
                return;
            }
            self.main.push_front((key, uses - 1));
        }
    }
}

#[derive(Clone, Copy, Debug)]
enum Step {
    Read(u64),
    Write(u64),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    // Some keys come often, others seldom.
    let key = || prop_oneof![0..8_u64, 0..80_u64];
    vec(prop_oneof![key().prop_map(Step::Read), key().prop_map(Step::Write)], 0..600)
}

proptest! {
    #[test]
    fn lru_evicts_what_was_used_longest_ago(capacity in 1_usize..50, steps in steps()) {
        let (store, _) = store(capacity, Policy::Lru);
        let mut model = Lru::default();
        for step in steps {
            match step {
                Step::Read(key) => prop_assert_eq!(read(&store, key).is_some(), model.read(key), "{:?}", step),
                Step::Write(key) => {
                    store.put_now(&key, value(key));
                    model.write(key, capacity);
                }
            }
        }
        prop_assert_eq!(store.len(), model.keys.len());
        prop_assert!(model.keys.iter().all(|key| read(&store, *key) == Some(*key)));
    }

    #[test]
    fn s3_fifo_evicts_what_the_paper_says(capacity in 1_usize..50, steps in steps()) {
        let (store, _) = store(capacity, Policy::S3Fifo);
        let mut model = S3Fifo::default();
        for step in steps {
            match step {
                Step::Read(key) => prop_assert_eq!(read(&store, key).is_some(), model.read(key), "{:?}", step),
                Step::Write(key) => {
                    store.put_now(&key, value(key));
                    model.write(key, capacity);
                }
            }
        }
        let keys: Vec<u64> = model.small.iter().chain(&model.main).map(|(key, _)| *key).collect();
        prop_assert_eq!(store.len(), keys.len());
        prop_assert!(keys.iter().all(|key| read(&store, *key) == Some(*key)));
    }
}
