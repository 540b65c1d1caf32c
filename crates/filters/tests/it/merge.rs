//! Filters of one shape are added up.

use filters::{Blocked, Bloom, Filter, Insert, Merge, Plan, RFilter};
use proptest::prelude::*;

use crate::common::hash;

fn is_union<F: Insert + Merge>(new: impl Fn() -> F, left: &[u64], right: &[u64]) -> bool {
    let of = |keys: &[u64]| {
        let filter = new();
        keys.iter().for_each(|key| _ = filter.insert_hash(hash(*key)));
        filter
    };
    let merged = of(left);
    merged.merge(&of(right)).expect("one shape");
    let union = of(&[left, right].concat());
    // What comes after the header: the number of keys is an upper bound.
    merged.encode(7)[64..] == union.encode(7)[64..] && merged.len() >= union.len()
}

proptest! {
    #[test]
    fn merged_filters_are_that_of_all_keys(
        left in prop::collection::vec(0..2_000_u64, 0..300),
        right in prop::collection::vec(0..2_000_u64, 0..300),
        bits in 1.0..30.0_f64,
    ) {
        let plan = Plan::for_bits(300, bits).unwrap();
        prop_assert!(is_union(|| Bloom::new(plan).unwrap(), &left, &right));
        prop_assert!(is_union(|| Blocked::new(plan).unwrap(), &left, &right));
        prop_assert!(is_union(|| RFilter::new(plan).unwrap(), &left, &right));
    }
}

#[test]
fn filters_of_other_shapes_are_refused() {
    let plan = Plan::for_bits(1_000, 10.0).unwrap();
    for other in [Plan::for_bits(2_000, 10.0).unwrap(), plan.with_positions(3).unwrap()] {
        let (bloom, blocked) = (Bloom::new(plan).unwrap(), Blocked::new(plan).unwrap());
        (0..100).for_each(|key| _ = (bloom.insert_hash(hash(key)), blocked.insert_hash(hash(key))));
        let before = (bloom.encode(7), blocked.encode(7));
        assert!(bloom.merge(&Bloom::new(other).unwrap()).is_err());
        assert!(blocked.merge(&Blocked::new(other).unwrap()).is_err());
        assert_eq!((bloom.encode(7), blocked.encode(7)), before);
    }
    let small = RFilter::new(plan).unwrap();
    assert!(small.merge(&RFilter::new(Plan::for_bits(9_000, 10.0).unwrap()).unwrap()).is_err());
}
