//! Never more entries than the capacity.

use std::{
    sync::atomic::{AtomicBool, Ordering},
    thread,
};

use cache::{Filled, Floor, Leased, Memory, Policy};
use clock::PreciseClock;

use super::{POLICIES, ms, read, store, token, value, wish};

#[test]
fn there_are_never_more_entries_than_the_capacity() {
    const CAPACITY: usize = 3_001;
    for policy in POLICIES {
        let builder = Memory::builder().capacity(CAPACITY).policy(policy).clock(PreciseClock::new());
        let store = builder.build::<u64, u64>().unwrap();
        let ended = AtomicBool::new(false);
        let most = thread::scope(|scope| {
            let watch = scope.spawn(|| {
                let mut most = 0;
                while !ended.load(Ordering::Relaxed) {
                    most = most.max(store.len()).max(store.stats().entries);
                }
                most
            });
            let writers = [1, 2].map(|writer| {
                let store = &store;
                scope.spawn(move || {
                    for i in 0..60_000 {
                        let key = i * 7 * writer % 20_000;
                        match i % 5 {
                            0 => store.invalidate_now(&key, Floor::UNKNOWN, ms(3)),
                            1 => store.put_now(&key, value(key)),
                            _ => {
                                if store.lease_now(&key, wish(i + 1)) == Leased::Granted {
                                    store.fill_now(&key, token(i + 1), value(key));
                                }
                            }
                        }
                    }
                })
            });
            writers.into_iter().for_each(|writer| writer.join().unwrap());
            ended.store(true, Ordering::Relaxed);
            watch.join().unwrap()
        });
        assert!((CAPACITY / 2..=CAPACITY).contains(&most), "{policy:?}: {most} entries were there");
    }
}

#[test]
fn one_entry_is_room_enough_for_one_key() {
    for policy in POLICIES {
        let (store, _) = store(1, policy);
        for key in 0..10 {
            assert_eq!(store.lease_now(&key, wish(key + 1)), Leased::Granted);
            assert_eq!(store.fill_now(&key, token(key + 1), value(key)), Filled::Stored);
            assert_eq!((read(&store, key), store.len()), (Some(key), 1));
        }
    }
}

#[test]
fn keys_that_are_never_filled_do_not_push_out_content() {
    for policy in POLICIES {
        let (store, _) = store(1_000, policy);
        (0..900).for_each(|key| store.put_now(&key, value(key)));
        for key in 0..100_000 {
            assert_eq!(store.lease_now(&(10_000 + key), wish(key + 1)), Leased::Granted);
        }
        let left = (0..900).filter(|key| read(&store, *key).is_some()).count();
        assert!(left >= 899, "{policy:?}: {left} of 900 are left");
    }
}

#[test]
fn loads_that_are_under_way_keep_their_leases_while_the_store_is_full() {
    for policy in POLICIES {
        let (store, _) = store(1_000, policy);
        (0..1_000).for_each(|key| store.put_now(&key, value(key)));
        for first in (10_000..20_000).step_by(100) {
            for key in first..first + 100 {
                assert_eq!(store.lease_now(&key, wish(key)), Leased::Granted);
            }
            for key in first..first + 100 {
                assert_eq!(store.fill_now(&key, token(key), value(key)), Filled::Stored, "{policy:?}");
            }
        }
    }
}

#[test]
fn shards_share_the_capacity_out_to_the_last_entry() {
    for capacity in [1, 7, 511, 512, 513, 1_024, 10_007] {
        let builder = Memory::builder().capacity(capacity).policy(Policy::Lru).clock(PreciseClock::new());
        let store = builder.build::<u64, u64>().unwrap();
        (0..40 * capacity as u64).for_each(|key| store.put_now(&key, value(key)));
        assert_eq!(store.len(), capacity);
    }
}
