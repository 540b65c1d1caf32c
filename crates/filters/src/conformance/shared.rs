//! What several handles of one filter see of each other; of a filter that processes share, each may be another's.

use super::{Case, Fixture, Steps, done, keys, kind_of, strangers};
use crate::{Capability, ErrorKind};

pub(super) fn cases() -> Vec<Case> {
    let mut cases = cases![
        a_key_announced_by_another_is_found_at_once,
        a_key_announced_by_another_is_found_without_a_filter,
        a_filter_that_another_built_is_asked,
        a_filter_that_another_replaced_is_asked_anew,
        a_filter_of_another_size_is_asked_meanwhile,
        a_key_announced_by_another_during_a_rebuild_is_found,
        a_key_announced_by_another_right_after_a_rebuild_is_found,
        an_unsettled_write_of_another_is_carried_over,
        a_second_rebuild_of_another_is_a_conflict,
        others_hear_of_a_failed_rebuild,
    ];
    cases.extend(cases![a_handle_that_is_closed_closes_no_other].into_iter().map(|case| case.needs(shared)));
    cases
}

const fn shared(capability: &Capability) -> Result<(), &'static str> {
    if capability.shared { Ok(()) } else { Err("a filter that processes share") }
}

async fn a_key_announced_by_another_is_found_at_once(f: Fixture) {
    let other = f.swapped();
    f.rebuild(1_000, keys(1, 100)).await;
    for key in keys(2, 100) {
        f.announce(&[key]).await.settle();
        other.finds(&[key]).await;
    }
    for key in keys(3, 100) {
        other.announce(&[key]).await.settle();
        f.finds(&[key]).await;
    }
}

async fn a_key_announced_by_another_is_found_without_a_filter(f: Fixture) {
    let other = f.swapped();
    let unsettled = other.announce(&keys(1, 10)).await;
    f.finds(&keys(1, 10)).await;
    f.rebuild(100, keys(2, 10)).await;
    f.finds(&keys(1, 10)).await;
    other.finds(&keys(1, 10)).await;
    unsettled.settle();
}

async fn a_filter_that_another_built_is_asked(f: Fixture) {
    let other = f.swapped();
    other.finds(&strangers()).await;
    f.rebuild(1_000, keys(1, 1_000)).await;
    other.finds(&keys(1, 1_000)).await;
    other.denies(&strangers()).await;
    assert_eq!(other.state().await.epoch, 1);
}

async fn a_filter_that_another_replaced_is_asked_anew(f: Fixture) {
    let other = f.swapped();
    for kind in 1..5 {
        f.rebuild(1_000, keys(kind, 1_000)).await;
        other.finds(&keys(kind, 1_000)).await;
        other.denies(&keys(kind + 1, 1_000)).await;
    }
}

async fn a_filter_of_another_size_is_asked_meanwhile(f: Fixture) {
    let other = f.swapped();
    f.rebuild(500, keys(1, 500)).await;
    other.finds(&keys(1, 500)).await;
    for items in [20_000, 800] {
        let during = other.clone();
        let scan = Steps::from(keys(1, 500)).doing(move || async move {
            during.finds(&keys(1, 500)).await;
            during.announce(&keys(items, 300)).await.settle();
            during.finds(&keys(items, 300)).await;
            Ok(Vec::new())
        });
        f.rebuild(items, scan).await;
        for f in [&f, &other] {
            f.finds(&keys(1, 500)).await;
            f.finds(&keys(items, 300)).await;
            f.denies(&strangers()).await;
            assert_eq!(f.state().await.planned, items);
        }
    }
}

async fn a_key_announced_by_another_during_a_rebuild_is_found(f: Fixture) {
    let other = f.swapped();
    f.rebuild(1_000, keys(1, 100)).await;
    // It knows the old filter, and nothing of the next.
    other.announce(&keys(2, 100)).await.settle();
    let during = other.clone();
    let scan = Steps::from(keys(1, 100)).doing(move || async move {
        during.announce(&keys(3, 100)).await.settle();
        during.finds(&keys(3, 100)).await;
        Ok(keys(2, 100))
    });
    f.rebuild(1_000, scan).await;
    for f in [&f, &other] {
        for kind in 1..=3 {
            f.finds(&keys(kind, 100)).await;
        }
        f.denies(&strangers()).await;
    }
}

async fn a_key_announced_by_another_right_after_a_rebuild_is_found(f: Fixture) {
    let other = f.swapped();
    for kind in 1..5 {
        other.finds(&keys(kind - 1, 0)).await;
        f.rebuild(1_000, keys(1, 100)).await;
        // It believes that the old filter serves, and a rebuild that it never heard of is over.
        other.announce(&keys(10 + kind, 100)).await.settle();
        f.finds(&keys(10 + kind, 100)).await;
        other.finds(&keys(10 + kind, 100)).await;
    }
}

async fn an_unsettled_write_of_another_is_carried_over(f: Fixture) {
    let other = f.swapped();
    f.rebuild(1_000, keys(1, 100)).await;
    let announced = other.announce(&keys(2, 10)).await;
    assert_eq!(f.rebuild(1_000, keys(1, 100)).await.carried, 10);
    f.finds(&keys(2, 10)).await;
    other.finds(&keys(2, 10)).await;
    announced.settle();
}

async fn a_second_rebuild_of_another_is_a_conflict(f: Fixture) {
    let other = f.swapped();
    let during = other.clone();
    let scan = Steps::default().doing(move || async move {
        assert_eq!(kind_of(during.try_rebuild(10, keys(2, 10)).await), ErrorKind::Conflict);
        Ok(keys(1, 100))
    });
    assert_eq!(f.rebuild(100, scan).await.epoch, 1);
    f.finds(&keys(1, 100)).await;
    assert_eq!(done(other.try_rebuild(10, keys(2, 10)).await).epoch, 2);
    f.finds(&keys(2, 10)).await;
}

async fn others_hear_of_a_failed_rebuild(f: Fixture) {
    let other = f.swapped();
    f.rebuild(1_000, keys(1, 100)).await;
    let during = other.clone();
    let scan = Steps::default().doing(move || async move {
        during.announce(&keys(2, 100)).await.settle();
        assert!(during.state().await.rebuilding);
        Ok(Vec::new())
    });
    assert_eq!(kind_of(f.try_rebuild(1_000, scan.failing()).await), ErrorKind::Unavailable);
    assert!(!other.state().await.rebuilding);
    other.announce(&keys(3, 100)).await.settle();
    for f in [&f, &other] {
        f.finds(&keys(2, 100)).await;
        f.finds(&keys(3, 100)).await;
        f.denies(&strangers()).await;
    }
    other.rebuild(1_000, keys(1, 100)).await;
}

async fn a_handle_that_is_closed_closes_no_other(f: Fixture) {
    let other = f.swapped();
    f.rebuild(100, keys(1, 100)).await;
    done(f.filter.close().await);
    other.finds(&keys(1, 100)).await;
    other.rebuild(100, keys(2, 100)).await;
    other.finds(&keys(2, 100)).await;
}
