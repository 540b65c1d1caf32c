//! The filter of one process, through rebuilds and restarts.

mod deaths;
mod schedules;

use std::{fs, sync::Arc, time::Duration};

use clock::ManualClock;
use filters::{
    Answer::{Absent, Maybe},
    BoxFuture, Error, ErrorKind, Kind, Local, Membership, Plan, Result, Scan,
};
use testkit::Scratch;

use crate::common::hash;

pub(crate) fn hashes(keys: std::ops::Range<u64>) -> Vec<u64> {
    keys.map(hash).collect()
}

pub(crate) fn plan(items: u64) -> Plan {
    Plan::for_bits(items, 16.0).expect("a plan")
}

pub(crate) const KINDS: [Kind; 3] = [Kind::Bloom, Kind::Blocked, Kind::Ribbon];

#[tokio::test]
async fn nothing_is_known_before_the_first_rebuild() {
    let filter = Local::builder().build().unwrap();
    assert_eq!(filter.answer(hash(1)), Maybe);
    assert_eq!(filter.check(&hashes(0..3)).await.unwrap(), [Maybe; 3]);
    let state = filter.state().await.unwrap();
    assert_eq!((state.epoch, state.expected_rate), (0, 1.0));
}

#[tokio::test]
async fn a_rebuild_takes_in_what_the_scan_gives_and_writes_under_way() {
    for kind in KINDS {
        let clock = Arc::new(ManualClock::new());
        let filter = Local::builder()
            .kind(kind)
            .clock(clock.clone())
            .in_doubt(Duration::from_secs(60))
            .build()
            .unwrap();
        let open = filter.announce(&[hash(1_000)]).await.unwrap();
        drop(filter.announce(&[hash(1_001)]).await.unwrap());
        filter.announce(&[hash(1_002)]).await.unwrap().settle();
        let rebuilt = filter.rebuild(plan(1_000), &mut hashes(0..1_000).into_iter()).await.unwrap();
        assert_eq!((rebuilt.epoch, rebuilt.scanned, rebuilt.carried), (1, 1_000, 2), "{kind}");
        assert!((0..1_002).all(|key| filter.answer(hash(key)) == Maybe), "{kind}");
        assert_eq!(filter.answer(hash(1_002)), Absent, "settled, and the scan did not give it");
        open.settle();
        // The doubt is over: deleted rows are forgotten.
        clock.advance(Duration::from_secs(61));
        let rebuilt = filter.rebuild(plan(1_000), &mut hashes(0..500).into_iter()).await.unwrap();
        assert_eq!((rebuilt.epoch, rebuilt.carried), (2, 0));
        let strangers = (500..1_002).filter(|key| filter.answer(hash(*key)) == Maybe).count();
        assert!(strangers < 25, "{kind}: {strangers}");
    }
}

#[tokio::test]
async fn a_filter_says_when_it_has_more_keys_than_planned() {
    for kind in KINDS {
        let filter = Local::builder().kind(kind).build().unwrap();
        filter.rebuild(plan(1_000), &mut hashes(0..900).into_iter()).await.unwrap();
        assert!(!filter.state().await.unwrap().is_overloaded(), "{kind}");
        filter.announce(&hashes(900..1_900)).await.unwrap().settle();
        assert!(filter.state().await.unwrap().is_overloaded(), "{kind}");
    }
}

#[tokio::test]
async fn too_many_unsettled_writes_are_refused() {
    let filter = Local::builder().unsettled(10).build().unwrap();
    let nine = filter.announce(&hashes(0..9)).await.unwrap();
    assert_eq!(filter.announce(&hashes(9..11)).await.unwrap_err().kind(), ErrorKind::Overloaded);
    nine.settle();
    filter.announce(&hashes(9..11)).await.unwrap().settle();
    assert_eq!(filter.state().await.unwrap().unsettled, 0);
}

/// Gives a few keys, then fails.
struct Broken;

impl Scan for Broken {
    fn next<'a>(&'a mut self, hashes: &'a mut Vec<u64>) -> BoxFuture<'a, Result<bool>> {
        hashes.push(hash(5_000));
        Box::pin(async { Err(Error::new(ErrorKind::Unavailable, "scylla", "scan", "gone")) })
    }
}

#[tokio::test]
async fn a_rebuild_that_fails_leaves_the_old_filter() {
    let scratch = Scratch::new().unwrap();
    for files in [false, true] {
        let builder = Local::builder();
        let filter = if files { builder.folder(scratch.path()) } else { builder }.build().unwrap();
        filter.rebuild(plan(1_000), &mut hashes(0..1_000).into_iter()).await.unwrap();
        assert_eq!(
            filter.rebuild(plan(1_000), &mut Broken).await.unwrap_err().kind(),
            ErrorKind::Unavailable
        );
        let state = filter.state().await.unwrap();
        assert_eq!((state.epoch, state.rebuilding), (1, false));
        assert!((0..1_000).all(|key| filter.answer(hash(key)) == Maybe));
        assert_eq!(filter.answer(hash(5_000)), Absent);
        filter.announce(&[hash(6_000)]).await.unwrap().settle();
        assert_eq!(filter.answer(hash(6_000)), Maybe);
        let rebuilt = filter.rebuild(plan(1_000), &mut hashes(0..1_000).into_iter()).await.unwrap();
        assert_eq!(rebuilt.epoch, 2);
    }
}

#[tokio::test]
async fn after_close_calls_say_so() {
    let filter = Local::builder().build().unwrap();
    filter.close().await.unwrap();
    filter.close().await.unwrap();
    assert_eq!(filter.check(&[1]).await.unwrap_err().kind(), ErrorKind::Closed);
    assert_eq!(filter.announce(&[1]).await.unwrap_err().kind(), ErrorKind::Closed);
    let rebuilt = filter.rebuild(plan(10), &mut hashes(0..1).into_iter()).await;
    assert_eq!(rebuilt.unwrap_err().kind(), ErrorKind::Closed);
}

#[tokio::test]
async fn a_folder_belongs_to_one_process() {
    let scratch = Scratch::new().unwrap();
    let first = Local::builder().folder(scratch.path()).build().unwrap();
    let second = Local::builder().folder(scratch.path()).build();
    assert_eq!(second.unwrap_err().kind(), ErrorKind::Conflict);
    drop(first);
    Local::builder().folder(scratch.path()).build().unwrap();
}

/// A folder with a filter of 1,000 keys, and ten that came later.
async fn stored(kind: Kind, close: bool) -> Scratch {
    let scratch = Scratch::new().expect("a folder");
    let filter = Local::builder().kind(kind).folder(scratch.path()).build().expect("a filter");
    filter.rebuild(plan(1_000), &mut hashes(0..1_000).into_iter()).await.expect("a rebuild");
    filter.announce(&hashes(1_000..1_010)).await.expect("an announcement").settle();
    if close {
        filter.close().await.expect("an end");
    }
    scratch
}

#[tokio::test]
async fn a_filter_outlives_its_process() {
    for (kind, close) in KINDS.into_iter().flat_map(|kind| [(kind, false), (kind, true)]) {
        let scratch = stored(kind, close).await;
        let filter = Local::builder().kind(kind).folder(scratch.path()).build().unwrap();
        assert_eq!(filter.state().await.unwrap().epoch, 1, "{kind} {close}");
        assert!((0..1_010).all(|key| filter.answer(hash(key)) == Maybe), "{kind} {close}");
        let strangers = (2_000..4_000).filter(|key| filter.answer(hash(*key)) == Maybe).count();
        assert!(strangers < 50, "{kind} {close}: {strangers}");
        // What the last process announced may still be on its way.
        let rebuilt = filter.rebuild(plan(1_000), &mut hashes(0..1_000).into_iter()).await.unwrap();
        assert_eq!((rebuilt.epoch, rebuilt.carried), (2, 10));
        assert!((1_000..1_010).all(|key| filter.answer(hash(key)) == Maybe));
    }
}

#[tokio::test]
async fn damaged_files_are_not_believed() {
    for kind in KINDS {
        for name in ["current", "1.filter", "1.journal"] {
            let scratch = stored(kind, false).await;
            let path = scratch.path().join(name);
            let mut bytes = fs::read(&path).unwrap();
            let middle = bytes.len() / 2;
            bytes[middle] ^= 0x40;
            fs::write(&path, bytes).unwrap();
            believes_nothing(kind, &scratch, name).await;
            let scratch = stored(kind, false).await;
            fs::remove_file(scratch.path().join(name)).unwrap();
            believes_nothing(kind, &scratch, name).await;
        }
        let scratch = stored(kind, true).await;
        let other = Local::builder().kind(kind).folder(scratch.path()).hasher(99).build().unwrap();
        assert_eq!(other.answer(hash(5_000)), Maybe, "another hasher");
    }
}

async fn believes_nothing(kind: Kind, scratch: &Scratch, name: &str) {
    let filter = Local::builder().kind(kind).folder(scratch.path()).build().expect("damage is no error");
    assert!((0..5_000).all(|key| filter.answer(hash(key)) == Maybe), "{kind}: {name}");
    // And it can be had again.
    filter.rebuild(plan(1_000), &mut hashes(0..1_000).into_iter()).await.expect("a rebuild");
    assert_eq!(filter.answer(hash(5_000)), Absent);
}
