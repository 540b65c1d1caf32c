//! Filters that forget.

use std::{collections::HashMap, sync::Barrier, thread};

use filters::{Counting, Filter, Insert, Merge, Plan, Remove};
use proptest::prelude::*;

use crate::common::hash;

fn small() -> Counting {
    Counting::new(Plan::for_bits(200, 10.0).expect("a plan")).expect("a filter")
}

#[test]
fn what_was_added_and_taken_out_leaves_nothing() {
    let filter = small();
    (0..200).for_each(|key| _ = filter.insert_hash(hash(key)));
    assert_eq!(filter.stuck(), 0);
    (0..200).for_each(|key| assert!(filter.remove_hash(hash(key))));
    assert_eq!(filter.encode(7)[64..], small().encode(7)[64..]);
    assert!((0..200).all(|key| !filter.contains_hash(hash(key)) && !filter.remove_hash(hash(key))));
}

#[test]
fn full_counters_stick_and_are_counted() {
    let filter = small();
    let key = hash(1);
    (0..14).for_each(|_| _ = filter.insert_hash(key));
    assert_eq!((filter.len(), filter.stuck()), (1, 0));
    (0..3).for_each(|_| _ = filter.insert_hash(key));
    assert_eq!(filter.stuck(), 7);
    // 17 were added, and only 15 could be counted: nobody may say after 16 that none is left.
    (0..100).for_each(|_| assert!(filter.remove_hash(key)));
    assert!(filter.contains_hash(key));
    assert_eq!(filter.stuck(), 7);
}

#[test]
fn keys_added_at_once_are_counted_as_one_by_one() {
    let keys = || (0..200).chain([3; 40]).chain(100..300).map(hash);
    let (single, mut at_once) = (small(), small());
    keys().for_each(|hash| _ = single.insert_hash(hash));
    at_once.extend(keys());
    assert!(single.stuck() >= 7);
    assert_eq!(single.encode(7), at_once.encode(7));
}

#[test]
fn threads_that_add_and_take_out_leave_the_keys_of_others() {
    let filter = small();
    let start = Barrier::new(2);
    thread::scope(|scope| {
        for part in 0..2 {
            let (filter, start) = (&filter, &start);
            scope.spawn(move || {
                start.wait();
                for round in 0..2_000 {
                    let (stays, goes) = (hash(2 * (round % 50) + part), hash(1_000 + 2 * round + part));
                    if round < 50 {
                        filter.insert_hash(stays);
                    }
                    filter.insert_hash(goes);
                    assert!(filter.remove_hash(goes) && filter.contains_hash(stays));
                }
            });
        }
    });
    (0..100).for_each(|key| assert!(filter.remove_hash(hash(key))));
    assert_eq!(filter.stuck(), 0);
    assert_eq!(filter.encode(7)[64..], small().encode(7)[64..]);
}

proptest! {
    /// As long as only what was added is taken out, no key is missed.
    #[test]
    fn no_key_is_missed(steps in prop::collection::vec((any::<bool>(), 0..60_u64), 1..600)) {
        let filter = Counting::new(Plan::for_bits(20, 8.0).unwrap()).unwrap();
        let mut model = HashMap::new();
        for (adds, key) in steps {
            let times: &mut u32 = model.entry(key).or_default();
            if adds {
                filter.insert_hash(hash(key));
                *times += 1;
            } else if *times > 0 {
                prop_assert!(filter.remove_hash(hash(key)));
                *times -= 1;
            }
            for (key, times) in &model {
                prop_assert!(*times == 0 || filter.contains_hash(hash(*key)), "{key}");
            }
        }
    }

    #[test]
    fn counters_of_both_are_added(left in prop::collection::vec(0..40_u64, 0..200), right in prop::collection::vec(0..40_u64, 0..200)) {
        let of = |keys: &[u64]| {
            let filter = small();
            keys.iter().for_each(|key| _ = filter.insert_hash(hash(*key)));
            filter
        };
        let merged = of(&left);
        merged.merge(&of(&right)).unwrap();
        prop_assert_eq!(&merged.encode(7)[64..], &of(&[left, right].concat()).encode(7)[64..]);
    }
}
