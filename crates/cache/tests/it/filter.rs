//! A membership filter in front of the cache.

use std::sync::Arc;

use cache::{Cache, ErrorKind, Memory, WriteError};
use filters::{Answer, KeyHasher, Local, Membership, Plan, Xxh3};

use crate::rows::Rows;

type Client = Cache<u64, String, Rows, Memory<u64, String>>;

const HASHER: Xxh3 = Xxh3::seeded(7);

fn hash(key: u64) -> u64 {
    HASHER.hash(key.to_string().as_bytes())
}

fn client(rows: &Rows, filter: &Local) -> Client {
    let store = Memory::builder().capacity(1_000).build().unwrap();
    Cache::builder(rows.clone(), store).filter(Arc::new(filter.clone()), HASHER).build().unwrap()
}

/// A filter with the keys 0 to 9.
async fn filter() -> Local {
    let filter = Local::builder().build().unwrap();
    let keys: Vec<u64> = (0..10).map(hash).collect();
    filter.rebuild(Plan::for_bits(100, 20.0).unwrap(), &mut keys.into_iter()).await.unwrap();
    filter
}

#[tokio::test]
async fn keys_that_the_filter_denies_reach_no_database() {
    let (rows, filter) = (Rows::new().with(1, "one").with(50, "past the filter"), filter().await);
    let cache = client(&rows, &filter);
    assert_eq!(cache.get(&1).await.unwrap().as_deref(), Some("one"));
    assert_eq!(cache.get(&2).await.unwrap(), None, "may be there, and is not");
    assert_eq!(rows.loads(), 2);
    assert_eq!(cache.get(&50).await.unwrap(), None);
    let values = cache.get_many(&[50, 1, 51, 2]).await;
    let values: Vec<_> = values.into_iter().map(Result::unwrap).collect();
    assert_eq!(values, [None, Some("one".to_owned()), None, None]);
    assert_eq!(rows.loads(), 2);
    assert_eq!((cache.stats().filtered, cache.stats().misses), (3, 2));
}

#[tokio::test]
async fn a_row_is_found_as_soon_as_it_is_written() {
    let (rows, filter) = (Rows::new(), filter().await);
    let cache = client(&rows, &filter);
    assert_eq!(cache.get(&70).await.unwrap(), None);
    rows.hold_writes();
    let write = {
        let cache = cache.clone();
        tokio::spawn(async move { cache.write(&70, "new".to_owned()).await })
    };
    while filter.answer(hash(70)) == Answer::Absent {
        tokio::task::yield_now().await;
    }
    assert_eq!(filter.state().await.unwrap().unsettled, 1);
    rows.let_writes_through();
    write.await.unwrap().unwrap();
    assert_eq!(cache.get(&70).await.unwrap().as_deref(), Some("new"));
    assert_eq!(filter.state().await.unwrap().unsettled, 0);
    cache.delete(&70).await.unwrap();
    assert_eq!(cache.get(&70).await.unwrap(), None);
    assert_eq!(filter.answer(hash(70)), Answer::Maybe, "until it is rebuilt");
}

#[tokio::test]
async fn a_row_that_the_filter_does_not_take_is_not_written() {
    let (rows, filter) = (Rows::new().with(1, "one"), filter().await);
    let cache = client(&rows, &filter);
    let writes = rows.writes();
    filter.close().await.unwrap();
    match cache.write(&80, "new".to_owned()).await {
        Err(WriteError::NotAnnounced(error)) => assert_eq!(error.kind(), ErrorKind::Closed),
        other => panic!("{other:?}"),
    }
    assert_eq!(rows.writes(), writes);
    // What cannot be asked denies nothing.
    let values = cache.get_many(&[1, 80]).await;
    assert_eq!(values[0].as_ref().unwrap().as_deref(), Some("one"));
    assert_eq!(cache.stats().filter_errors, 1);
}
