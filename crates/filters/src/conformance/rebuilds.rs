//! What a rebuild keeps and drops.

use std::{
    future::poll_fn,
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::Poll,
};

use super::{Case, Fixture, Steps, done, keys, kind_of, plan, strangers};
use crate::ErrorKind;

pub(super) fn cases() -> Vec<Case> {
    cases![
        each_rebuild_is_another_epoch,
        deleted_rows_are_gone_after_a_rebuild,
        a_rebuild_from_no_rows_denies_everyone,
        the_smallest_filter_works,
        rows_that_a_scan_gives_twice_count_once,
        the_old_filter_serves_while_the_next_is_built,
        a_key_announced_during_a_rebuild_is_found_before_and_after,
        keys_announced_at_every_step_of_a_rebuild_are_found,
        an_unsettled_write_is_carried_over,
        a_write_in_doubt_is_carried_over,
        an_unsettled_write_is_carried_over_twice,
        a_write_before_the_first_filter_is_carried_over,
        a_failed_scan_leaves_the_old_filter,
        a_failed_first_scan_leaves_nothing_known,
        a_key_announced_during_a_failed_rebuild_is_found,
        a_dropped_rebuild_leaves_the_old_filter,
        a_key_announced_during_a_dropped_rebuild_is_found,
        a_second_rebuild_is_a_conflict,
        a_filter_grows_and_shrinks,
    ]
}

async fn each_rebuild_is_another_epoch(f: Fixture) {
    for epoch in 1..=4 {
        assert_eq!(f.rebuild(100, keys(epoch, 100)).await.epoch, epoch);
        assert_eq!(f.state().await.epoch, epoch);
        f.finds(&keys(epoch, 100)).await;
    }
}

async fn deleted_rows_are_gone_after_a_rebuild(f: Fixture) {
    f.rebuild(4_000, keys(1, 4_000)).await;
    f.finds(&keys(1, 4_000)).await;
    f.rebuild(4_000, keys(1, 2_000)).await;
    f.finds(&keys(1, 2_000)).await;
    f.denies(&keys(1, 4_000)[2_000..]).await;
}

async fn a_rebuild_from_no_rows_denies_everyone(f: Fixture) {
    f.rebuild(1_000, keys(1, 1_000)).await;
    f.rebuild(1_000, Steps::default()).await;
    assert_eq!(f.share(&keys(1, 1_000)).await, 0.0);
    assert_eq!(f.state().await.len, 0);
}

async fn the_smallest_filter_works(f: Fixture) {
    f.rebuild(1, keys(1, 1)).await;
    f.finds(&keys(1, 1)).await;
    f.announce(&keys(2, 1)).await.settle();
    f.finds(&keys(2, 1)).await;
    f.rebuild(1, keys(1, 1)).await;
    f.finds(&keys(1, 1)).await;
}

async fn rows_that_a_scan_gives_twice_count_once(f: Fixture) {
    let twice = Steps::from(keys(1, 5_000)).lot(keys(1, 5_000)).lot(Vec::new()).lot(keys(1, 10));
    f.rebuild(10_000, twice).await;
    f.finds(&keys(1, 5_000)).await;
    let state = f.state().await;
    assert!((4_700..=5_300).contains(&state.len), "{state:?}");
}

async fn the_old_filter_serves_while_the_next_is_built(f: Fixture) {
    f.rebuild(1_000, keys(1, 1_000)).await;
    let during = f.clone();
    let scan = Steps::default().lot(keys(2, 500)).doing(move || async move {
        during.finds(&keys(1, 1_000)).await;
        during.denies(&strangers()).await;
        during.denies(&keys(2, 1_000)).await;
        let state = during.state().await;
        assert!(state.rebuilding && state.epoch == 1, "{state:?}");
        Ok(keys(2, 1_000))
    });
    f.rebuild(1_000, scan).await;
    f.finds(&keys(2, 1_000)).await;
    f.denies(&keys(1, 1_000)).await;
    assert!(!f.state().await.rebuilding);
}

async fn a_key_announced_during_a_rebuild_is_found_before_and_after(f: Fixture) {
    f.rebuild(1_000, keys(1, 1_000)).await;
    let during = f.clone();
    let scan = Steps::default().lot(keys(1, 500)).doing(move || async move {
        let announced = during.announce(&keys(2, 100)).await;
        during.finds(&keys(2, 100)).await;
        announced.settle();
        Ok(keys(1, 1_000))
    });
    f.rebuild(1_000, scan).await;
    f.finds(&keys(2, 100)).await;
    f.finds(&keys(1, 1_000)).await;
    f.denies(&strangers()).await;
}

async fn keys_announced_at_every_step_of_a_rebuild_are_found(f: Fixture) {
    for items in [2_000, 20_000] {
        let mut scan = Steps::default();
        for step in 0..20 {
            let during = f.clone();
            scan = scan.doing(move || async move {
                // Each write is over, and not in this scan.
                during.announce(&keys(100 + step, 50)).await.settle();
                during.finds(&keys(100 + step, 50)).await;
                Ok(keys(1, 50))
            });
        }
        f.rebuild(items, scan).await;
        for step in 0..20 {
            f.finds(&keys(100 + step, 50)).await;
        }
        f.finds(&keys(1, 50)).await;
    }
}

async fn an_unsettled_write_is_carried_over(f: Fixture) {
    f.rebuild(1_000, keys(1, 100)).await;
    let announced = f.announce(&keys(2, 10)).await;
    let rebuilt = f.rebuild(1_000, keys(1, 100)).await;
    assert_eq!(rebuilt.carried, 10);
    f.finds(&keys(2, 10)).await;
    announced.settle();
    f.finds(&keys(2, 10)).await;
    f.denies(&strangers()).await;
}

async fn a_write_in_doubt_is_carried_over(f: Fixture) {
    f.rebuild(1_000, keys(1, 100)).await;
    drop(f.announce(&keys(2, 10)).await);
    assert_eq!(f.rebuild(1_000, keys(1, 100)).await.carried, 10);
    f.finds(&keys(2, 10)).await;
}

async fn an_unsettled_write_is_carried_over_twice(f: Fixture) {
    f.rebuild(1_000, keys(1, 100)).await;
    let announced = f.announce(&keys(2, 10)).await;
    for _ in 0..2 {
        f.rebuild(1_000, keys(1, 100)).await;
        f.finds(&keys(2, 10)).await;
    }
    announced.settle();
}

async fn a_write_before_the_first_filter_is_carried_over(f: Fixture) {
    let announced = f.announce(&keys(2, 10)).await;
    assert_eq!(f.rebuild(1_000, keys(1, 100)).await.carried, 10);
    f.finds(&keys(2, 10)).await;
    f.denies(&strangers()).await;
    announced.settle();
}

async fn a_failed_scan_leaves_the_old_filter(f: Fixture) {
    f.rebuild(1_000, keys(1, 1_000)).await;
    let failed = f.try_rebuild(9_000, Steps::from(keys(2, 3_000)).failing()).await;
    assert_eq!(kind_of(failed), ErrorKind::Unavailable);
    let state = f.state().await;
    assert!(!state.rebuilding && state.epoch == 1 && state.planned == 1_000, "{state:?}");
    f.finds(&keys(1, 1_000)).await;
    f.denies(&keys(2, 3_000)).await;
    f.rebuild(9_000, keys(2, 3_000)).await;
    f.finds(&keys(2, 3_000)).await;
    f.denies(&keys(1, 1_000)).await;
}

async fn a_failed_first_scan_leaves_nothing_known(f: Fixture) {
    let failed = f.try_rebuild(9_000, Steps::from(keys(2, 3_000)).failing()).await;
    assert_eq!(kind_of(failed), ErrorKind::Unavailable);
    f.finds(&strangers()).await;
    let state = f.state().await;
    assert!(state.epoch == 0 && !state.rebuilding, "{state:?}");
    f.rebuild(100, keys(1, 100)).await;
    f.denies(&strangers()).await;
}

async fn a_key_announced_during_a_failed_rebuild_is_found(f: Fixture) {
    f.rebuild(1_000, keys(1, 100)).await;
    let during = f.clone();
    let scan = Steps::default().doing(move || async move {
        during.announce(&keys(2, 100)).await.settle();
        Ok(keys(1, 100))
    });
    assert_eq!(kind_of(f.try_rebuild(1_000, scan.failing()).await), ErrorKind::Unavailable);
    f.finds(&keys(2, 100)).await;
    f.announce(&keys(3, 100)).await.settle();
    f.finds(&keys(3, 100)).await;
}

/// Drops a rebuild that waits for its scan, once that has done `step`.
async fn dropped(f: &Fixture, items: u64, step: Steps) {
    let reached = Arc::new(AtomicBool::new(false));
    let flag = Arc::clone(&reached);
    let mut scan = step.doing(move || {
        flag.store(true, Ordering::Relaxed);
        std::future::pending()
    });
    let mut rebuild = pin!(f.filter.rebuild(plan(items), &mut scan));
    poll_fn(|context| {
        assert!(rebuild.as_mut().poll(context).is_pending(), "its scan does not end");
        if reached.load(Ordering::Relaxed) { Poll::Ready(()) } else { Poll::Pending }
    })
    .await;
}

async fn a_dropped_rebuild_leaves_the_old_filter(f: Fixture) {
    f.rebuild(1_000, keys(1, 1_000)).await;
    dropped(&f, 9_000, Steps::from(keys(2, 3_000))).await;
    assert_eq!(f.state().await.epoch, 1);
    f.finds(&keys(1, 1_000)).await;
    f.denies(&keys(2, 3_000)).await;
    f.rebuild(9_000, keys(3, 3_000)).await;
    f.finds(&keys(3, 3_000)).await;
    f.denies(&keys(2, 3_000)).await;
    f.denies(&keys(1, 1_000)).await;
}

async fn a_key_announced_during_a_dropped_rebuild_is_found(f: Fixture) {
    f.rebuild(1_000, keys(1, 1_000)).await;
    let during = f.clone();
    let step = Steps::default().doing(move || async move {
        during.announce(&keys(2, 100)).await.settle();
        Ok(Vec::new())
    });
    dropped(&f, 9_000, step).await;
    f.finds(&keys(2, 100)).await;
    f.announce(&keys(4, 100)).await.settle();
    f.rebuild(9_000, [keys(2, 100), keys(4, 100)].concat()).await;
    f.finds(&keys(2, 100)).await;
    f.finds(&keys(4, 100)).await;
}

async fn a_second_rebuild_is_a_conflict(f: Fixture) {
    let during = f.clone();
    let scan = Steps::default().doing(move || async move {
        assert_eq!(kind_of(during.try_rebuild(10, keys(2, 10)).await), ErrorKind::Conflict);
        Ok(keys(1, 100))
    });
    assert_eq!(f.rebuild(100, scan).await.epoch, 1);
    f.finds(&keys(1, 100)).await;
    done(f.try_rebuild(10, keys(2, 10)).await);
    f.finds(&keys(2, 10)).await;
}

async fn a_filter_grows_and_shrinks(f: Fixture) {
    let mut sizes = Vec::new();
    for items in [100, 50_000, 800] {
        f.rebuild(items, keys(items, items)).await;
        f.finds(&keys(items, items)).await;
        f.denies(&strangers()).await;
        let state = f.state().await;
        assert_eq!(state.planned, items);
        sizes.push(state.size_bytes);
    }
    assert!(sizes[1] > sizes[0] && sizes[1] > sizes[2], "{sizes:?}");
}
