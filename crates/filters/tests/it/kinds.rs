//! What all kinds have in common.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    thread,
};

use filters::{AnyFilter, Filter, Kind, Plan, rate::Observed};

use crate::common::hash;

const KINDS: [Kind; 7] = Kind::ALL;
const KEYS: u64 = 20_000;

fn full(kind: Kind) -> AnyFilter {
    let hashes: Vec<u64> = (0..KEYS).map(hash).collect();
    AnyFilter::build(kind, Plan::for_bits(KEYS, 10.0).expect("a plan"), &hashes).expect("a filter")
}

#[test]
fn no_key_is_missed() {
    for kind in KINDS {
        let filter = full(kind);
        assert!((0..KEYS).all(|key| filter.contains_hash(hash(key))), "{kind}");
    }
}

#[test]
fn strangers_pass_at_the_expected_rate() {
    for kind in KINDS {
        let filter = full(kind);
        let trials = 200_000;
        let positives = (KEYS..KEYS + trials).filter(|key| filter.contains_hash(hash(*key))).count() as u64;
        let observed = Observed { positives, trials };
        let expected = filter.expected_rate();
        let (low, high) = observed.interval();
        let is_near = (observed.rate() / expected - 1.0).abs() < 0.15 || (low..high).contains(&expected);
        assert!(is_near, "{kind}: {observed:?}, expected {expected}");
    }
}

#[test]
fn a_batch_answers_as_single_questions_do() {
    for kind in KINDS {
        let filter = full(kind);
        let hashes: Vec<u64> = (0..1_000).map(|index| hash(index * 31)).collect();
        let mut found = vec![true; 3];
        for len in [0, 1, 7, 64, 65, 1_000] {
            filter.contains_hashes(&hashes[..len], &mut found);
            let single: Vec<bool> = hashes[..len].iter().map(|hash| filter.contains_hash(*hash)).collect();
            assert_eq!(found, single, "{kind}");
        }
    }
}

/// Filters beyond the caches are filled and asked in another way.
#[test]
fn large_filters_answer_as_small_ones_do() {
    for kind in KINDS {
        let hashes: Vec<u64> = (0..KEYS).map(hash).collect();
        let plan = Plan::for_bits(100 * KEYS, 20.0).unwrap();
        for positions in [1, 2, 7, 32] {
            let filter = AnyFilter::build(kind, plan.with_positions(positions).unwrap(), &hashes).unwrap();
            if filter.as_insert().is_some() {
                assert!(filter.size_bytes() > 4 << 20, "{kind}");
            }
            let mixed: Vec<u64> = (KEYS - 500..KEYS + 5_533).map(hash).collect();
            let mut found = Vec::new();
            filter.contains_hashes(&mixed, &mut found);
            assert!(found[..500].iter().all(|found| *found), "{kind}, {positions} positions");
            assert!(mixed.iter().zip(&found).all(|(hash, found)| filter.contains_hash(*hash) == *found));
            assert!(filter.len() <= KEYS && filter.len() > KEYS * 9 / 10, "{kind}: {}", filter.len());
        }
    }
}

#[test]
fn one_by_one_makes_the_same_filter_as_at_once() {
    for kind in KINDS.into_iter().filter(|kind| !kind.is_static()) {
        let single = AnyFilter::build(kind, Plan::for_bits(KEYS, 10.0).unwrap(), &[]).unwrap();
        let insert = single.as_insert().unwrap();
        let new = (0..KEYS).filter(|key| insert.insert_hash(hash(*key))).count() as u64;
        assert_eq!((new, single.encode(7)), (single.len(), full(kind).encode(7)), "{kind}");
    }
}

#[test]
fn threads_that_add_at_once_lose_no_key() {
    const FILTERS: u64 = 300;
    const EACH: u64 = 100;
    let plan = Plan::for_bits(2 * EACH, 10.0).unwrap();
    for kind in KINDS.into_iter().filter(|kind| !kind.is_static()) {
        // Few words, so that the two meet; and many filters, as a full one would hide what was lost.
        let filters: Vec<_> = (0..FILTERS).map(|_| AnyFilter::build(kind, plan, &[]).unwrap()).collect();
        let arrived = AtomicU64::new(0);
        thread::scope(|scope| {
            for part in 0..2 {
                let (filters, arrived) = (&filters, &arrived);
                scope.spawn(move || {
                    for (turn, filter) in (1..).zip(filters) {
                        let insert = filter.as_insert().unwrap();
                        arrived.fetch_add(1, Ordering::AcqRel);
                        while arrived.load(Ordering::Acquire) < 2 * turn {
                            thread::yield_now();
                        }
                        (part * EACH..(part + 1) * EACH).for_each(|key| _ = insert.insert_hash(hash(key)));
                    }
                });
            }
        });
        let hashes: Vec<u64> = (0..2 * EACH).map(hash).collect();
        let full = AnyFilter::build(kind, plan, &hashes).unwrap().encode(7);
        for filter in &filters {
            assert!(hashes.iter().all(|hash| filter.contains_hash(*hash)), "{kind}");
            assert!(filter.encode(7)[64..] == full[64..], "{kind}");
        }
    }
}

#[test]
fn more_keys_than_planned_are_told() {
    for kind in KINDS.into_iter().filter(|kind| !kind.is_static()) {
        let filter = AnyFilter::build(kind, Plan::for_bits(100, 20.0).unwrap(), &[]).unwrap();
        assert!(filter.is_empty() && filter.expected_rate() < 1e-12);
        let insert = filter.as_insert().unwrap();
        let mut keys = 0..;
        while filter.len() < 100 {
            insert.insert_hash(hash(keys.next().unwrap()));
        }
        assert!(!filter.is_overloaded(), "{kind}");
        let planned = filter.expected_rate();
        while filter.len() < 101 {
            insert.insert_hash(hash(keys.next().unwrap()));
        }
        assert!(filter.is_overloaded() && filter.expected_rate() > planned, "{kind}");
    }
}

#[test]
fn stored_filters_come_back() {
    for kind in KINDS {
        let filter = full(kind);
        let bytes = filter.encode(7);
        let back = AnyFilter::decode(&bytes, 7).unwrap();
        assert_eq!((back.kind(), back.len(), back.planned()), (kind, filter.len(), filter.planned()));
        assert!((0..3 * KEYS).all(|key| back.contains_hash(hash(key)) == filter.contains_hash(hash(key))));
        assert_eq!(back.encode(7), bytes, "{kind}");
        assert!(AnyFilter::decode(&bytes, 8).is_err(), "{kind}: another hasher");
    }
}

#[test]
fn damaged_bytes_are_refused() {
    for kind in KINDS {
        let bytes = full(kind).encode(7);
        for at in (0..64).chain((64..bytes.len()).step_by(997)) {
            let mut damaged = bytes.clone();
            damaged[at] ^= 0x10;
            assert!(AnyFilter::decode(&damaged, 7).is_err(), "{kind}: byte {at}");
        }
        assert!(AnyFilter::decode(&bytes[..bytes.len() - 1], 7).is_err());
        assert!(AnyFilter::decode(&[], 7).is_err());
    }
}
