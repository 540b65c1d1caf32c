//! Ribbon filters of many sizes, rates and keys.

use filters::{Filter, Plan, Ribbon, rate::Observed};

use crate::common::hash;

fn of(keys: impl IntoIterator<Item = u64>, plan: Plan) -> Ribbon {
    let hashes: Vec<u64> = keys.into_iter().map(hash).collect();
    let filter = Ribbon::build(plan, &hashes).expect("a filter");
    assert!(hashes.iter().all(|hash| filter.contains_hash(*hash)), "a key of {} is missed", hashes.len());
    filter
}

#[test]
fn a_few_keys_and_none_make_a_filter() {
    let plan = Plan::for_rate(1_000, 0.01).unwrap();
    for keys in (0..200).chain([500, 1_000, 1_500, 3_000]) {
        assert_eq!(of(0..keys, plan).len(), keys);
    }
    let empty = of(0..0, plan);
    assert!((0..10_000).all(|key| !empty.contains_hash(hash(key))));
    assert_eq!((empty.expected_rate(), empty.size_bytes()), (0.0, 0));
}

#[test]
fn every_result_has_its_rate_and_its_size() {
    let keys = 50_000;
    for bits in 1..=16 {
        let filter = of(0..keys, Plan::for_rate(keys, 0.5f64.powi(bits)).unwrap());
        assert_eq!(filter.result_bits(), bits as u32);
        let trials = 100_000;
        let positives = (keys..keys + trials).filter(|key| filter.contains_hash(hash(*key))).count() as u64;
        let (low, high) = Observed { positives, trials }.interval();
        let expected = filter.expected_rate();
        assert!(0.97 * low < expected && expected < 1.03 * high, "{bits}: {low} to {high}");
        let size = filter.size_bytes() as f64 * 8.0 / keys as f64;
        assert!(size < 1.05 * f64::from(bits) + 0.14, "{bits}: {size}");
    }
}

#[test]
fn a_plan_of_bits_gives_what_fits() {
    for (bits, result) in [(2.0, 1), (7.4, 7), (7.2, 6), (10.0, 9), (64.0, 16)] {
        let plan = Plan::for_bits(100_000, bits).unwrap();
        let filter = of(0..100_000, plan);
        assert_eq!(filter.result_bits(), result, "{bits}");
        assert!(filter.size_bytes() as f64 * 8.0 / 100_000.0 < bits * 1.01);
    }
    assert!(Ribbon::build(Plan::for_bits(10, 1.0).unwrap(), &[]).is_err());
    assert!(Ribbon::build(Plan::for_rate(10, 1e-6).unwrap(), &[]).is_err());
}

#[test]
fn what_is_there_twice_counts_once() {
    let plan = Plan::for_rate(10_000, 0.01).unwrap();
    let once = of(0..10_000, plan);
    let often = of((0..50_000).map(|key| key * 7 % 10_000), plan);
    assert!((0.99..=1.0).contains(&(often.len() as f64 / 10_000.0)), "{}", often.len());
    assert!(often.size_bytes() as f64 / once.size_bytes() as f64 <= 1.02);
    assert_eq!(of(std::iter::repeat_n(3, 100_000), plan).len(), 1);
}

#[test]
fn hashes_that_are_no_hashes_serve_as_well() {
    let plan = Plan::for_rate(20_000, 0.01).unwrap();
    for shift in [0, 20, 44] {
        let hashes: Vec<u64> = (0..20_000).map(|key| key << shift).collect();
        let filter = Ribbon::build(plan, &hashes).unwrap();
        assert!(hashes.iter().all(|hash| filter.contains_hash(*hash)));
        let positives =
            (20_000..120_000u64).filter(|key| filter.contains_hash(key.rotate_left(shift))).count() as u64;
        let rate = Observed { positives, trials: 100_000 }.rate();
        assert!((rate / filter.expected_rate() - 1.0).abs() < 0.15, "{shift}: {rate}");
    }
}

#[test]
fn a_thousand_builds_succeed_with_the_first_seed() {
    // The construction's seed is stored behind the sizes.
    for build in 0..1_000u64 {
        let keys = 10_000 + build % 10 * 100;
        let first = build << 32;
        let filter = of(first..first + keys, Plan::for_rate(keys, 0.01).unwrap());
        assert_eq!(filter.encode(7)[40..48], [0; 8], "build {build}");
    }
}
