//! What all kinds have in common.

use filters::{AnyFilter, Filter, Kind, Plan, rate::Observed};

use crate::common::hash;

const KINDS: [Kind; 4] = [Kind::Bloom, Kind::Fuse8, Kind::Fuse16, Kind::Ribbon];
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
