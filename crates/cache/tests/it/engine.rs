//! One process, one store in memory.

use std::{sync::Arc, time::Duration};

use cache::{Ack, Builder, Cache, ErrorKind, Floor, Memory, Store, WriteError};
use clock::ManualClock;

use crate::{
    rows::{Mishap, Rows},
    unreliable::Unreliable,
};

type Local = Memory<u64, String, ManualClock>;
type Client<T = Arc<Local>> = Cache<u64, String, Rows, T>;

fn local() -> (ManualClock, Arc<Local>) {
    let clock = ManualClock::new();
    let memory = Memory::builder().capacity(1_000).clock(clock.clone()).build().unwrap();
    (clock, Arc::new(memory))
}

fn exact(rows: &Rows, store: &Arc<Local>) -> Builder<Rows, Arc<Local>> {
    Cache::builder(rows.clone(), Arc::clone(store)).jitter(0.0).early_refresh(0.0)
}

fn client(rows: &Rows) -> (ManualClock, Client) {
    let (clock, store) = local();
    (clock, exact(rows, &store).build().unwrap())
}

fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

/// Lets everything that can go on go on.
async fn settle() {
    for _ in 0..200 {
        tokio::task::yield_now().await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_thousand_waiters_of_a_cold_key_make_one_load() {
    let rows = Rows::new().with(1, "one");
    let (_clock, cache) = client(&rows);
    rows.hold();
    let waiters: Vec<_> = (0..1_000)
        .map(|_| {
            let cache = cache.clone();
            tokio::spawn(async move { cache.get(&1).await.unwrap() })
        })
        .collect();
    settle().await;
    rows.let_through();
    for waiter in waiters {
        assert_eq!(waiter.await.unwrap().as_deref(), Some("one"));
    }
    assert_eq!(rows.loads(), 1);
    assert_eq!((cache.stats().misses, cache.stats().coalesced), (1_000, 999));
    assert_eq!(cache.get(&1).await.unwrap().as_deref(), Some("one"));
    assert_eq!((cache.stats().hits, rows.loads()), (1, 1));
}

#[tokio::test(start_paused = true)]
async fn two_caches_on_one_store_make_one_load() {
    let rows = Rows::new().with(1, "one");
    let (_clock, store) = local();
    let caches: Vec<Client> = (0..4).map(|_| exact(&rows, &store).build().unwrap()).collect();
    rows.hold();
    let waiters: Vec<_> = (0..1_000)
        .map(|number: usize| {
            let cache = caches[number % caches.len()].clone();
            tokio::spawn(async move { cache.get(&1).await.unwrap() })
        })
        .collect();
    settle().await;
    rows.let_through();
    for waiter in waiters {
        assert_eq!(waiter.await.unwrap().as_deref(), Some("one"));
    }
    assert_eq!(rows.loads(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_load_that_began_before_a_write_does_not_fill_after_it() {
    let rows = Rows::new().with(1, "old");
    let (_clock, cache) = client(&rows);
    rows.hold();
    let early = tokio::spawn({
        let cache = cache.clone();
        async move { cache.get(&1).await.unwrap() }
    });
    settle().await;
    cache.write(&1, "new".to_owned()).await.unwrap();
    // Whoever asks after the write does not join the load that began before it.
    let late = tokio::spawn({
        let cache = cache.clone();
        async move { cache.get(&1).await.unwrap() }
    });
    settle().await;
    rows.let_through();
    assert_eq!(early.await.unwrap().as_deref(), Some("old"), "it asked before the write");
    assert_eq!(late.await.unwrap().as_deref(), Some("new"));
    assert_eq!(cache.get(&1).await.unwrap().as_deref(), Some("new"));
    assert_eq!(cache.stats().refused_revoked, 1);
}

#[tokio::test(start_paused = true)]
async fn who_waited_with_another_process_for_an_old_load_looks_again() {
    let rows = Rows::new().with(1, "old");
    let (_clock, store) = local();
    let caches: [Client; 2] = [exact(&rows, &store).build().unwrap(), exact(&rows, &store).build().unwrap()];
    let [reading, writing] = caches;
    rows.hold();
    let get = |cache: &Client| {
        let cache = cache.clone();
        tokio::spawn(async move { cache.get(&1).await.unwrap() })
    };
    let leader = get(&reading);
    settle().await;
    writing.write(&1, "new".to_owned()).await.unwrap();
    // This process does not know of the write, and joins the load under way.
    let follower = get(&reading);
    settle().await;
    rows.let_through();
    assert_eq!(leader.await.unwrap().as_deref(), Some("old"));
    assert_eq!(follower.await.unwrap().as_deref(), Some("new"), "it asked after the write had returned");
}

#[tokio::test(start_paused = true)]
async fn a_failed_load_reaches_all_who_wait_and_is_not_cached() {
    let rows = Rows::new().with(1, "one");
    let (_clock, cache) = client(&rows);
    rows.next_load(Mishap::Fails);
    rows.hold();
    let waiters: Vec<_> = (0..10)
        .map(|_| {
            let cache = cache.clone();
            tokio::spawn(async move { cache.get(&1).await })
        })
        .collect();
    settle().await;
    rows.let_through();
    for waiter in waiters {
        let error = waiter.await.unwrap().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unavailable);
        assert!(error.to_string().contains("no luck"), "{error}");
    }
    settle().await;
    assert_eq!(rows.loads(), 1);
    assert_eq!(cache.get(&1).await.unwrap().as_deref(), Some("one"));
    assert_eq!((cache.stats().failed_loads, cache.stats().loads), (1, 1));
}

#[tokio::test(start_paused = true)]
async fn a_panicking_loader_frees_those_who_wait_and_the_lease() {
    let rows = Rows::new().with(1, "one");
    let (_clock, cache) = client(&rows);
    rows.next_load(Mishap::Panics);
    rows.hold();
    let get = || {
        let cache = cache.clone();
        tokio::spawn(async move { cache.get(&1).await })
    };
    let leader = get();
    settle().await;
    let follower = get();
    settle().await;
    rows.let_through();
    assert!(leader.await.unwrap_err().is_panic(), "the panic is the leader's own");
    assert_eq!(follower.await.unwrap().unwrap_err().kind(), ErrorKind::Unavailable);
    settle().await;
    assert_eq!(cache.get(&1).await.unwrap().as_deref(), Some("one"));
    assert_eq!(cache.get(&1).await.unwrap().as_deref(), Some("one"));
    assert_eq!((cache.stats().hits, rows.loads()), (1, 2));
}

#[tokio::test(start_paused = true)]
async fn a_cancelled_loader_hands_over_to_one_who_waits() {
    let rows = Rows::new().with(1, "one");
    let (_clock, cache) = client(&rows);
    rows.hold();
    let get = || {
        let cache = cache.clone();
        tokio::spawn(async move { cache.get(&1).await.unwrap() })
    };
    let leader = get();
    settle().await;
    let follower = get();
    settle().await;
    leader.abort();
    settle().await;
    rows.let_through();
    assert_eq!(follower.await.unwrap().as_deref(), Some("one"));
    assert_eq!(cache.get(&1).await.unwrap().as_deref(), Some("one"));
    assert_eq!((cache.stats().hits, rows.loads()), (1, 2), "what the follower loaded was filled in");
}

#[tokio::test(start_paused = true)]
async fn an_absent_row_is_remembered_for_a_time_of_its_own_until_it_is_written() {
    let rows = Rows::new();
    let (clock, store) = local();
    let cache = exact(&rows, &store).negative_ttl(Some(ms(100))).build().unwrap();
    assert_eq!(cache.get(&1).await.unwrap(), None);
    assert_eq!(cache.get(&1).await.unwrap(), None);
    assert_eq!((rows.loads(), cache.stats().negative_hits), (1, 1));
    clock.advance(ms(101));
    assert_eq!(cache.get(&1).await.unwrap(), None);
    assert_eq!(rows.loads(), 2);
    cache.write(&1, "one".to_owned()).await.unwrap();
    assert_eq!(cache.get(&1).await.unwrap().as_deref(), Some("one"));
    cache.delete(&1).await.unwrap();
    assert_eq!(cache.get(&1).await.unwrap(), None);

    let forgetful = exact(&rows, &local().1).negative_ttl(None).build().unwrap();
    assert_eq!((forgetful.get(&1).await.unwrap(), forgetful.get(&1).await.unwrap()), (None, None));
    assert_eq!(forgetful.stats().misses, 2);
}

#[tokio::test(start_paused = true)]
async fn something_stale_is_served_while_one_loads_it_anew() {
    let rows = Rows::new().with(1, "one");
    let (clock, store) = local();
    let cache = exact(&rows, &store).ttl(ms(100)).stale_for(ms(1_000)).build().unwrap();
    assert_eq!(cache.get(&1).await.unwrap().as_deref(), Some("one"));
    rows.set(1, Some("two"));
    clock.advance(ms(150));
    rows.hold();
    for _ in 0..10 {
        assert_eq!(cache.get(&1).await.unwrap().as_deref(), Some("one"), "nobody waits");
        settle().await;
    }
    assert_eq!((rows.loads(), cache.stats().refreshes, cache.stats().stale_hits), (2, 1, 10));
    rows.let_through();
    settle().await;
    assert_eq!(cache.get(&1).await.unwrap().as_deref(), Some("two"));
    clock.advance(ms(1_200));
    rows.set(1, Some("three"));
    assert_eq!(cache.get(&1).await.unwrap().as_deref(), Some("three"), "after that it is gone");
}

#[tokio::test(start_paused = true)]
async fn what_a_write_made_stale_is_not_served_while_it_is_loaded() {
    let rows = Rows::new().with(1, "one");
    let (clock, store) = local();
    let cache = exact(&rows, &store).ttl(ms(100)).stale_for(ms(1_000)).build().unwrap();
    cache.get(&1).await.unwrap();
    clock.advance(ms(150));
    rows.hold();
    cache.get(&1).await.unwrap();
    settle().await;
    cache.write(&1, "two".to_owned()).await.unwrap();
    rows.let_through();
    settle().await;
    assert_eq!(
        cache.get(&1).await.unwrap().as_deref(),
        Some("two"),
        "the refresh under way had read the old row"
    );
}

#[tokio::test(start_paused = true)]
async fn entries_are_loaded_anew_before_they_become_stale() {
    let rows = Rows::new().with(1, "one");
    let (clock, store) = local();
    let eager =
        Cache::builder(rows.clone(), Arc::clone(&store)).jitter(0.0).early_refresh(1_000.0).ttl(ms(10_000));
    let cache = eager.build().unwrap();
    cache.get(&1).await.unwrap();
    clock.advance(ms(9_990));
    for _ in 0..20 {
        assert_eq!(cache.get(&1).await.unwrap().as_deref(), Some("one"));
        settle().await;
    }
    assert!(cache.stats().refreshes >= 1);
    clock.advance(ms(5_000));
    cache.get(&1).await.unwrap();
    assert_eq!((cache.stats().misses, cache.stats().stale_hits), (1, 0), "nobody has waited again");
}

#[tokio::test(start_paused = true)]
async fn what_was_filled_together_does_not_expire_together() {
    let rows = (0..500).fold(Rows::new(), |rows, key| rows.with(key, "row"));
    let (clock, store) = local();
    let builder =
        Cache::builder(rows.clone(), Arc::clone(&store)).jitter(0.5).early_refresh(0.0).ttl(ms(1_000));
    let cache = builder.seed(1).build().unwrap();
    let keys: Vec<u64> = (0..500).collect();
    cache.get_many(&keys).await;
    let mut left = Vec::new();
    for _ in 0..10 {
        left.push(keys.iter().filter(|key| store.get_now(*key).is_some()).count());
        clock.advance(ms(100));
    }
    assert_eq!(left[..5], [500; 5], "not before half of the time");
    assert!(left.windows(2).all(|pair| pair[0] - pair[1] < 150), "{left:?}");
    assert!(keys.iter().all(|key| store.get_now(key).is_none()), "none later than the whole");
}

#[tokio::test(start_paused = true)]
async fn a_batch_asks_the_store_once_and_loads_only_what_is_missing() {
    let rows = (0..200).fold(Rows::new(), |rows, key| rows.with(key, &key.to_string()));
    let (_clock, cache) = client(&rows);
    cache.get(&7).await.unwrap();
    rows.next_load(Mishap::Fails);
    let keys: Vec<u64> = (0..201).collect();
    let values = cache.get_many(&keys).await;
    let failed = values.iter().filter(|value| value.is_err()).count();
    let right = keys.iter().zip(&values).filter(|(key, value)| {
        let expected = (**key < 200).then(|| key.to_string());
        value.as_ref().is_ok_and(|value| *value == expected)
    });
    assert_eq!((right.count(), failed), (200, 1));
    assert_eq!((rows.loads(), cache.stats().hits), (201, 1));
}

#[tokio::test(start_paused = true)]
async fn a_write_whose_caller_is_dropped_invalidates_nevertheless() {
    let rows = Rows::new().with(1, "old");
    let (_clock, cache) = client(&rows);
    cache.get(&1).await.unwrap();
    rows.hold_writes();
    let write = tokio::spawn({
        let cache = cache.clone();
        async move { cache.write(&1, "new".to_owned()).await }
    });
    settle().await;
    write.abort();
    settle().await;
    rows.let_writes_through();
    settle().await;
    assert_eq!(cache.get(&1).await.unwrap().as_deref(), Some("new"));
}

#[tokio::test(start_paused = true)]
async fn an_invalidation_that_could_not_be_delivered_is_tried_again_and_not_served_here_meanwhile() {
    let rows = Rows::new().with(1, "old").with(2, "old");
    let store = Arc::new(Unreliable::new(local().1));
    let cache: Client<_> = Cache::builder(rows.clone(), Arc::clone(&store)).max_pending(1).build().unwrap();
    cache.get(&1).await.unwrap();
    cache.get(&2).await.unwrap();
    store.fail_invalidations(true);
    let failed = cache.write(&1, "new".to_owned()).await.unwrap_err();
    assert!(matches!(failed, WriteError::NotInvalidated { queued: true, .. }), "{failed}");
    let failed = cache.write(&2, "new".to_owned()).await.unwrap_err();
    assert!(matches!(failed, WriteError::NotInvalidated { queued: false, .. }), "{failed}");
    assert_eq!((cache.pending(), cache.stats().invalidations_dropped), (1, 1));
    assert_eq!(cache.get(&1).await.unwrap().as_deref(), Some("new"), "past the entry, which is old");
    assert_eq!(store.get(&1).await.unwrap().unwrap().value.as_deref(), Some("old"));
    store.fail_invalidations(false);
    tokio::time::sleep(Duration::from_secs(5)).await;
    assert_eq!(cache.pending(), 0);
    assert!(store.get(&1).await.unwrap().is_none());
}

#[tokio::test(start_paused = true)]
async fn while_the_store_fails_reads_are_loads() {
    let rows = Rows::new().with(1, "one");
    let store = Arc::new(Unreliable::new(local().1));
    let cache: Client<_> = Cache::builder(rows.clone(), Arc::clone(&store)).build().unwrap();
    store.fail_everything(true);
    assert_eq!(cache.get(&1).await.unwrap().as_deref(), Some("one"));
    let values = cache.get_many(&[1]).await;
    assert_eq!(values.into_iter().map(Result::unwrap).collect::<Vec<_>>(), [Some("one".to_owned())]);
    assert_eq!(rows.loads(), 2);
    assert!(cache.stats().store_errors >= 2);
}

#[tokio::test(start_paused = true)]
async fn a_fill_that_fails_gives_its_lease_back() {
    let rows = Rows::new().with(1, "one");
    let store = Arc::new(Unreliable::new(local().1));
    let cache: Client<_> = Cache::builder(rows.clone(), Arc::clone(&store)).build().unwrap();
    store.fail_fills(true);
    cache.get(&1).await.unwrap();
    settle().await;
    store.fail_fills(false);
    let before = tokio::time::Instant::now();
    cache.get(&1).await.unwrap();
    assert!(before.elapsed() < ms(100), "nobody waits for a lease that nobody uses");
    cache.get(&1).await.unwrap();
    assert_eq!((rows.loads(), cache.stats().hits), (2, 1));
}

#[tokio::test(start_paused = true)]
async fn a_floor_of_doubt_keeps_a_row_out_for_its_time() {
    let rows = Rows::new();
    let version = rows.set(1, Some("one"));
    let (clock, store) = local();
    let cache = exact(&rows, &store).floor(ms(500)).build().unwrap();
    cache.invalidate(&1, Floor::at(version)).await.unwrap();
    for _ in 0..3 {
        assert_eq!(cache.get(&1).await.unwrap().as_deref(), Some("one"));
    }
    assert_eq!((cache.stats().refused_tie, cache.stats().hits), (3, 0));
    clock.advance(ms(501));
    cache.get(&1).await.unwrap();
    cache.get(&1).await.unwrap();
    assert_eq!(cache.stats().hits, 1);
}

#[tokio::test]
async fn what_cannot_work_is_refused_when_it_is_built() {
    type Set = Builder<Rows, Arc<Local>>;
    let kind = |change: fn(Set) -> Set| {
        let built = change(exact(&Rows::new(), &local().1)).build::<u64, String>();
        built.map(|_| ()).unwrap_err().kind()
    };
    assert_eq!(kind(|builder| builder.ttl(Duration::ZERO)), ErrorKind::Config);
    assert_eq!(kind(|builder| builder.negative_ttl(Some(Duration::ZERO))), ErrorKind::Config);
    assert_eq!(kind(|builder| builder.jitter(1.0)), ErrorKind::Config);
    assert_eq!(kind(|builder| builder.jitter(f64::NAN)), ErrorKind::Config);
    assert_eq!(kind(|builder| builder.early_refresh(-1.0)), ErrorKind::Config);
    assert_eq!(kind(|builder| builder.lease(Duration::ZERO)), ErrorKind::Config);
    assert_eq!(kind(|builder| builder.lease(Duration::MAX)), ErrorKind::Config);
    assert_eq!(kind(|builder| builder.max_batch_loads(0)), ErrorKind::Config);
    assert_eq!(kind(|builder| builder.ack(Ack::Replicas(1))), ErrorKind::Unsupported);
}

#[tokio::test]
async fn a_closed_cache_says_so_and_leaves_the_database_alone() {
    let rows = Rows::new().with(1, "one");
    let (_clock, cache) = client(&rows);
    cache.get(&1).await.unwrap();
    cache.close().await.unwrap();
    let (loads, writes) = (rows.loads(), rows.writes());
    assert_eq!(cache.get(&1).await.unwrap_err().kind(), ErrorKind::Closed);
    assert_eq!(cache.get(&2).await.unwrap_err().kind(), ErrorKind::Closed);
    let many = cache.get_many(&[1, 2]).await.into_iter().map(|value| value.unwrap_err().kind());
    assert_eq!(many.collect::<Vec<_>>(), [ErrorKind::Closed; 2]);
    assert_eq!(cache.health().await.unwrap_err().kind(), ErrorKind::Closed);
    let refused = [
        cache.write(&1, "new".to_owned()).await,
        cache.delete(&1).await,
        cache.invalidate(&1, Floor::UNKNOWN).await,
    ];
    for refused in refused {
        match refused {
            Err(WriteError::Closed(error)) => assert_eq!(error.kind(), ErrorKind::Closed),
            other => panic!("{other:?}"),
        }
    }
    assert_eq!((rows.loads(), rows.writes(), cache.pending()), (loads, writes, 0));
    cache.close().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_key_whose_invalidation_waits_is_not_loaded_after_close() {
    let rows = Rows::new().with(1, "old");
    let store = Arc::new(Unreliable::new(local().1));
    let cache: Client<_> = Cache::builder(rows.clone(), Arc::clone(&store)).build().unwrap();
    store.fail_invalidations(true);
    cache.write(&1, "new".to_owned()).await.unwrap_err();
    assert_eq!(cache.close().await.unwrap_err().kind(), ErrorKind::Conflict, "it was not delivered");
    let loads = rows.loads();
    assert_eq!(cache.get(&1).await.unwrap_err().kind(), ErrorKind::Closed);
    assert_eq!(cache.get_many(&[1]).await.remove(0).unwrap_err().kind(), ErrorKind::Closed);
    assert_eq!(rows.loads(), loads);
}

#[tokio::test(start_paused = true)]
async fn a_write_that_the_end_overtakes_does_not_claim_that_someone_invalidates() {
    let rows = Rows::new().with(1, "old");
    let (_clock, cache) = client(&rows);
    rows.hold_writes();
    let write = tokio::spawn({
        let cache = cache.clone();
        async move { cache.write(&1, "new".to_owned()).await }
    });
    settle().await;
    cache.close().await.unwrap();
    rows.let_writes_through();
    let failed = write.await.unwrap().unwrap_err();
    assert!(matches!(failed, WriteError::NotInvalidated { queued: false, .. }), "{failed}");
    assert_eq!(cache.pending(), 0);
}

#[tokio::test]
async fn a_store_that_was_closed_past_the_cache_is_noticed_once() {
    let rows = Rows::new().with(1, "old");
    let (_clock, store) = local();
    let cache = exact(&rows, &store).build::<u64, String>().unwrap();
    Store::close(&store).await.unwrap();
    let failed = cache.write(&1, "new".to_owned()).await.unwrap_err();
    assert!(matches!(failed, WriteError::NotInvalidated { queued: false, .. }), "{failed}");
    let writes = rows.writes();
    let refused = cache.write(&1, "newer".to_owned()).await.unwrap_err();
    assert!(matches!(refused, WriteError::Closed(_)), "{refused}");
    assert_eq!((rows.writes(), cache.pending()), (writes, 0));
}

#[cfg(feature = "metrics")]
#[test]
fn what_happens_is_counted_for_others_to_see() {
    use metrics_util::debugging::{DebugValue, DebuggingRecorder};

    let recorder = DebuggingRecorder::new();
    let snapshotter = recorder.snapshotter();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    metrics::with_local_recorder(&recorder, || {
        runtime.block_on(async {
            let (_clock, cache) = client(&Rows::new().with(1, "one"));
            for _ in 0..3 {
                cache.get(&1).await.unwrap();
            }
        });
    });
    let counted = |outcome: &str| {
        let label = |key: &metrics::Key, name, value| {
            key.labels().any(|label| label.key() == name && label.value() == value)
        };
        let counters = snapshotter.snapshot().into_vec();
        let found = counters.into_iter().find(|(key, ..)| {
            let key = key.key();
            key.name() == "patterns.cache.events"
                && label(key, "outcome", outcome)
                && label(key, "backend", "memory")
        });
        found.map(|(.., value)| value)
    };
    assert_eq!(counted("hits"), Some(DebugValue::Counter(2)));
}
