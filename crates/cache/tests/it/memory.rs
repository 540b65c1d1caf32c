//! The store in the memory of the process.

use std::{num::NonZeroU64, time::Duration};

use cache::{ErrorKind, Fill, Filled, Floor, Leased, Memory, Policy, Refusal, Token, Version, Wish};
use clock::{ManualClock, Time};

mod bound;
mod order;

type Store = Memory<u64, u64, ManualClock>;

const fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

fn token(number: u64) -> Token {
    Token(NonZeroU64::new(number).unwrap())
}

fn wish(number: u64) -> Wish {
    Wish { token: token(number), ttl: ms(1_000), seen: None }
}

fn value(value: u64) -> Fill<u64> {
    lasting(value, ms(60_000))
}

fn lasting(value: u64, keep: Duration) -> Fill<u64> {
    let version = Version::new(value + 1).unwrap();
    Fill { value: Some(value), version, fresh: keep, keep, load_time: Duration::ZERO }
}

fn store(capacity: usize, policy: Policy) -> (Store, ManualClock) {
    let clock = ManualClock::at(Time::ZERO + Duration::from_secs(1_000));
    let builder = Memory::builder().capacity(capacity).policy(policy).shards(1).clock(clock.clone());
    (builder.build().unwrap(), clock)
}

fn read(store: &Store, key: u64) -> Option<u64> {
    store.get_now(&key).and_then(|entry| entry.value)
}

const POLICIES: [Policy; 2] = [Policy::Lru, Policy::S3Fifo];

#[test]
fn refuses_what_cannot_work() {
    let kind = |builder: cache::MemoryBuilder| builder.build::<u64, u64>().unwrap_err().kind();
    assert_eq!(kind(Memory::builder().capacity(0)), ErrorKind::Config);
    assert_eq!(kind(Memory::builder().capacity(usize::MAX)), ErrorKind::Config);
    for shards in [0, 3, 8_192] {
        assert_eq!(kind(Memory::builder().shards(shards)), ErrorKind::Config);
    }
    assert_eq!(kind(Memory::builder().capacity(3).shards(4)), ErrorKind::Config);
}

#[test]
fn works_without_any_setting() {
    let store = Memory::builder().build::<String, String>().unwrap();
    let key = "key".to_owned();
    let fill = Fill {
        value: Some("value".to_owned()),
        version: Version::ABSENT,
        fresh: ms(60_000),
        keep: ms(60_000),
        load_time: Duration::ZERO,
    };
    assert_eq!(store.lease_now(&key, wish(1)), Leased::Granted);
    assert_eq!(store.fill_now(&key, token(1), fill), Filled::Stored);
    assert_eq!(store.get_now("key").unwrap().value.as_deref(), Some("value"));
    assert_eq!(store.len(), 1);
}

#[test]
fn an_entry_is_gone_within_a_tick_of_its_end() {
    for policy in POLICIES {
        let (store, clock) = store(10, policy);
        store.put_now(&1, lasting(7, ms(5)));
        clock.advance(ms(5) - Duration::from_nanos(1));
        assert_eq!(read(&store, 1), Some(7));
        clock.advance(Duration::from_nanos(1));
        assert_eq!(read(&store, 1), None);
        assert!(store.is_empty(), "what has expired is dropped when it is met");
        assert_eq!(store.stats().expired, 1);
    }
}

#[test]
fn what_has_expired_goes_before_what_has_not() {
    for policy in POLICIES {
        let (store, clock) = store(20, policy);
        store.put_now(&0, lasting(0, ms(5)));
        (1..20).for_each(|key| store.put_now(&key, value(key)));
        // Three times, so that no policy would have it go.
        (0..3).for_each(|_| assert_eq!(read(&store, 0), Some(0)));
        (1..20).for_each(|key| assert_eq!(read(&store, key), Some(key)));
        clock.advance(ms(5));
        store.put_now(&20, value(20));
        let stats = store.stats();
        assert_eq!((stats.entries, stats.expired, stats.evicted), (20, 1, 0), "{policy:?}");
    }
}

#[test]
fn a_clock_that_goes_back_breaks_nothing() {
    for policy in POLICIES {
        let (store, clock) = store(4, policy);
        store.put_now(&1, lasting(1, ms(10)));
        assert_eq!(store.lease_now(&2, wish(1)), Leased::Granted);
        store.invalidate_now(&3, Floor::UNKNOWN, ms(10));
        clock.set(Time::ZERO);
        assert_eq!(read(&store, 1), Some(1));
        assert!(matches!(store.lease_now(&2, wish(2)), Leased::Held { .. }));
        assert_eq!(store.fill_now(&2, token(1), value(2)), Filled::Stored);
        (10..20).for_each(|key| store.put_now(&key, value(key)));
        assert_eq!(store.len(), 4);
        clock.set(Time::from_nanos(u64::MAX));
        assert_eq!(read(&store, 19), None);
    }
}

#[test]
fn clearing_revokes_what_is_being_loaded() {
    for policy in POLICIES {
        let (store, _) = store(10, policy);
        store.put_now(&1, value(1));
        assert_eq!(store.lease_now(&2, wish(1)), Leased::Granted);
        let entry = store.get_now(&1).unwrap();
        let refresh = Wish { seen: Some(entry.fresh_until), ..wish(2) };
        assert_eq!(store.lease_now(&1, refresh), Leased::Granted);
        store.clear();
        assert!(store.is_empty());
        for (key, token) in [(1, token(2)), (2, token(1))] {
            assert_eq!(store.fill_now(&key, token, value(key)), Filled::Refused(Refusal::Revoked));
            assert_eq!(read(&store, key), None);
        }
    }
}

#[test]
fn clearing_keeps_floors() {
    let (store, clock) = store(10, Policy::Lru);
    store.invalidate_now(&1, Floor::at(Version::new(100).unwrap()), ms(50));
    store.clear();
    assert_eq!(store.stats().bare, 1);
    assert_eq!(store.lease_now(&1, wish(1)), Leased::Granted);
    assert_eq!(store.fill_now(&1, token(1), value(98)), Filled::Refused(Refusal::Older));
    clock.advance(ms(50));
    store.clear();
    assert!(store.is_empty());
}

#[test]
fn statistics_are_exact() {
    for policy in POLICIES {
        let (store, clock) = store(10, policy);
        for key in 0..10 {
            assert_eq!(read(&store, key), None);
            assert_eq!(store.lease_now(&key, wish(1 + key)), Leased::Granted);
        }
        let stats = store.stats();
        assert_eq!((stats.entries, stats.bare, stats.hits, stats.misses), (10, 10, 0, 10));
        for key in 0..8 {
            assert_eq!(store.fill_now(&key, token(1 + key), lasting(key, ms(100 + key))), Filled::Stored);
            assert_eq!(read(&store, key), Some(key));
        }
        store.release_now(&8, token(9));
        store.invalidate_now(&7, Floor::UNKNOWN, ms(1_000));
        let stats = store.stats();
        assert_eq!((stats.entries, stats.bare, stats.hits, stats.misses), (9, 2, 8, 10));
        (20..25).for_each(|key| store.put_now(&key, value(key)));
        let stats = store.stats();
        assert_eq!((stats.entries, stats.bare, stats.evicted, stats.expired), (10, 2, 4, 0));
        clock.advance(ms(200));
        (0..8).for_each(|key| assert_eq!(read(&store, key), None));
        let stats = store.stats();
        assert_eq!((stats.entries, stats.bare, stats.evicted, stats.expired), (7, 2, 4, 3));
        assert_eq!((stats.hits, stats.misses), (8, 18));
        store.remove_now(&7);
        assert_eq!(store.stats().bare, 1);
    }
}
