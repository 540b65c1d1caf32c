//! What an invalidation leaves.

use std::time::Duration;

use super::{Case, Fixture, MINUTE, SECOND, no_row, row, version};
use crate::{Filled, Floor, Leased, Refusal, Version};

pub(super) fn cases() -> Vec<Case> {
    cases![
        an_invalidation_drops_the_entry,
        an_invalidation_drops_what_is_known_to_be_absent,
        an_invalidation_revokes_the_lease,
        an_invalidation_revokes_the_lease_of_a_refresh,
        an_invalidation_that_leaves_no_floor_revokes_all_the_same,
        an_invalidated_key_grants_a_lease_at_once,
        a_floor_is_no_content,
        a_load_that_is_older_than_the_floor_is_refused,
        a_load_that_ties_with_the_floor_is_refused,
        a_load_that_is_newer_than_the_floor_is_stored,
        a_floor_below_a_version_lets_that_version_in,
        absence_is_refused_under_any_floor,
        an_unknown_floor_refuses_absence_alone,
        a_refused_load_leaves_the_floor,
        a_refused_load_ends_the_lease,
        a_floor_holds_for_its_time_and_no_longer,
        a_lower_floor_does_not_lower_a_higher_one,
        a_higher_floor_raises_a_lower_one,
        a_shorter_floor_does_not_shorten_a_longer_one,
        a_floor_that_has_ended_does_not_raise_the_next,
        a_key_that_was_never_seen_can_have_a_floor,
        a_floor_at_the_highest_version_refuses_all,
        many_invalidations_at_once_leave_the_highest_floor,
        a_load_that_races_an_invalidation_does_not_outlive_it,
    ]
}

const REVOKED: Filled = Filled::Refused(Refusal::Revoked);
const OLDER: Filled = Filled::Refused(Refusal::Older);
const TIE: Filled = Filled::Refused(Refusal::Tie);

fn at(of: u64) -> Floor {
    Floor::at(version(of))
}

async fn an_invalidation_drops_the_entry(f: Fixture) {
    f.load("k", row("v", 1)).await;
    f.load("other", row("v", 1)).await;
    f.invalidate("k", at(2), MINUTE).await;
    assert_eq!(f.get("k").await, None);
    assert!(f.get("other").await.is_some());
}

async fn an_invalidation_drops_what_is_known_to_be_absent(f: Fixture) {
    f.load("k", no_row()).await;
    f.invalidate("k", Floor::UNKNOWN, MINUTE).await;
    assert_eq!(f.get("k").await, None);
}

/// The race of a late fill: the load has read before the write, and fills after it.
async fn an_invalidation_revokes_the_lease(f: Fixture) {
    f.lease("k", 1).await;
    f.invalidate("k", Floor::UNKNOWN, MINUTE).await;
    assert_eq!(f.fill("k", 1, row("stale", 5)).await, REVOKED);
    assert_eq!(f.get("k").await, None);
}

async fn an_invalidation_revokes_the_lease_of_a_refresh(f: Fixture) {
    f.load("k", row("v", 1)).await;
    let seen = f.entry("k").await.fresh_until;
    f.wish("k", 1, MINUTE, Some(seen)).await;
    f.invalidate("k", at(2), MINUTE).await;
    assert_eq!(f.fill("k", 1, row("stale", 9)).await, REVOKED);
    assert_eq!(f.get("k").await, None);
}

async fn an_invalidation_that_leaves_no_floor_revokes_all_the_same(f: Fixture) {
    f.lease("leased", 1).await;
    f.load("filled", row("v", 1)).await;
    for key in ["leased", "filled", "never"] {
        f.invalidate(key, at(9), Duration::ZERO).await;
        assert_eq!(f.get(key).await, None);
    }
    assert_eq!(f.fill("leased", 1, row("stale", 10)).await, REVOKED);
    assert_eq!(f.load("filled", row("v", 1)).await, Filled::Stored, "there is no floor");
}

async fn an_invalidated_key_grants_a_lease_at_once(f: Fixture) {
    f.lease("k", 1).await;
    f.invalidate("k", at(2), MINUTE).await;
    assert_eq!(f.lease("k", 2).await, Leased::Granted);
    assert_eq!(f.fill("k", 1, row("stale", 9)).await, REVOKED);
    assert_eq!(f.fill("k", 2, row("v", 3)).await, Filled::Stored);
}

async fn a_floor_is_no_content(f: Fixture) {
    f.invalidate("k", at(2), MINUTE).await;
    assert_eq!(f.get("k").await, None);
    assert_eq!(f.lease("k", 1).await, Leased::Granted);
}

/// A replica lags.
async fn a_load_that_is_older_than_the_floor_is_refused(f: Fixture) {
    f.invalidate("k", at(5), MINUTE).await;
    assert_eq!(f.load("k", row("stale", 4)).await, OLDER);
    assert_eq!(f.get("k").await, None);
}

async fn a_load_that_ties_with_the_floor_is_refused(f: Fixture) {
    f.invalidate("k", at(5), MINUTE).await;
    assert_eq!(f.load("k", row("which", 5)).await, TIE);
    assert_eq!(f.get("k").await, None);
}

async fn a_load_that_is_newer_than_the_floor_is_stored(f: Fixture) {
    f.invalidate("k", at(5), MINUTE).await;
    assert_eq!(f.load("k", row("v", 6)).await, Filled::Stored);
    assert_eq!(f.value("k").await.as_deref(), Some("v"));
}

async fn a_floor_below_a_version_lets_that_version_in(f: Fixture) {
    f.invalidate("k", Floor::below(version(5)), MINUTE).await;
    assert_eq!(f.load("k", row("stale", 3)).await, OLDER);
    assert_eq!(f.load("k", row("stale", 4)).await, TIE);
    assert_eq!(f.load("k", row("v", 5)).await, Filled::Stored);
}

async fn absence_is_refused_under_any_floor(f: Fixture) {
    for (key, floor) in [("unknown", Floor::UNKNOWN), ("below", Floor::below(version(1))), ("at", at(7))] {
        f.invalidate(key, floor, MINUTE).await;
        assert_eq!(f.load(key, no_row()).await, TIE, "{key}");
        assert_eq!(f.get(key).await, None);
    }
}

async fn an_unknown_floor_refuses_absence_alone(f: Fixture) {
    f.invalidate("k", Floor::UNKNOWN, MINUTE).await;
    assert_eq!(f.load("k", no_row()).await, TIE);
    assert_eq!(f.load("k", row("v", 1)).await, Filled::Stored);
}

async fn a_refused_load_leaves_the_floor(f: Fixture) {
    f.invalidate("k", at(5), MINUTE).await;
    for _ in 0..3 {
        assert_eq!(f.load("k", row("stale", 4)).await, OLDER);
        assert_eq!(f.load("k", row("which", 5)).await, TIE);
    }
}

async fn a_refused_load_ends_the_lease(f: Fixture) {
    f.invalidate("k", at(5), MINUTE).await;
    f.lease("k", 1).await;
    assert_eq!(f.fill("k", 1, row("stale", 4)).await, OLDER);
    assert_eq!(f.fill("k", 1, row("v", 6)).await, REVOKED);
    assert_eq!(f.lease("k", 2).await, Leased::Granted);
}

async fn a_floor_holds_for_its_time_and_no_longer(f: Fixture) {
    f.invalidate("k", at(5), 20 * SECOND).await;
    f.advance(20 * SECOND - Duration::from_millis(1)).await;
    assert_eq!(f.load("k", row("stale", 4)).await, OLDER);
    f.advance(Duration::from_millis(1)).await;
    assert_eq!(f.load("k", row("v", 4)).await, Filled::Stored);
}

async fn a_lower_floor_does_not_lower_a_higher_one(f: Fixture) {
    f.invalidate("k", at(5), MINUTE).await;
    f.invalidate("k", at(3), MINUTE).await;
    f.invalidate("k", Floor::UNKNOWN, MINUTE).await;
    assert_eq!(f.load("k", row("stale", 4)).await, OLDER);
    assert_eq!(f.load("k", row("v", 6)).await, Filled::Stored);
}

async fn a_higher_floor_raises_a_lower_one(f: Fixture) {
    f.invalidate("k", at(3), MINUTE).await;
    f.invalidate("k", at(5), MINUTE).await;
    assert_eq!(f.load("k", row("stale", 4)).await, OLDER);
    assert_eq!(f.load("k", row("which", 5)).await, TIE);
}

async fn a_shorter_floor_does_not_shorten_a_longer_one(f: Fixture) {
    f.invalidate("k", at(5), 40 * SECOND).await;
    f.invalidate("k", at(5), 10 * SECOND).await;
    f.advance(39 * SECOND).await;
    assert_eq!(f.load("k", row("stale", 4)).await, OLDER);
    f.advance(SECOND).await;
    assert_eq!(f.load("k", row("v", 4)).await, Filled::Stored);
}

async fn a_floor_that_has_ended_does_not_raise_the_next(f: Fixture) {
    f.invalidate("k", at(9), 10 * SECOND).await;
    f.advance(10 * SECOND).await;
    f.invalidate("k", at(5), 10 * SECOND).await;
    assert_eq!(f.load("k", row("v", 6)).await, Filled::Stored);
}

async fn a_key_that_was_never_seen_can_have_a_floor(f: Fixture) {
    f.invalidate("never", at(5), MINUTE).await;
    assert_eq!(f.load("never", row("stale", 4)).await, OLDER);
    assert_eq!(f.load("other", row("v", 4)).await, Filled::Stored);
}

async fn a_floor_at_the_highest_version_refuses_all(f: Fixture) {
    f.invalidate("k", Floor::at(Version::MAX), MINUTE).await;
    assert_eq!(f.load("k", row("which", Version::MAX.get())).await, TIE);
    assert_eq!(f.load("k", row("stale", Version::MAX.get() - 1)).await, OLDER);
    f.invalidate("exact", Floor::below(Version::MAX), MINUTE).await;
    assert_eq!(f.load("exact", row("stale", Version::MAX.get() - 1)).await, TIE);
    assert_eq!(f.load("exact", row("v", Version::MAX.get())).await, Filled::Stored);
}

async fn many_invalidations_at_once_leave_the_highest_floor(f: Fixture) {
    let writes = (1..=32).map(|of| {
        let f = f.clone();
        tokio::spawn(async move { f.invalidate("k", at(of * 7 % 33), MINUTE).await })
    });
    for write in writes.collect::<Vec<_>>() {
        write.await.unwrap_or_else(|error| panic!("{error}"));
    }
    assert_eq!(f.load("k", row("stale", 31)).await, OLDER);
    assert_eq!(f.load("k", row("which", 32)).await, TIE);
    assert_eq!(f.load("k", row("v", 33)).await, Filled::Stored);
}

async fn a_load_that_races_an_invalidation_does_not_outlive_it(f: Fixture) {
    for round in 0..50 {
        let key = format!("k{round}");
        assert_eq!(f.lease(&key, 1).await, Leased::Granted);
        let load = tokio::spawn({
            let (f, key) = (f.clone(), key.clone());
            async move { f.fill(&key, 1, row("stale", 9)).await }
        });
        let write = tokio::spawn({
            let (f, key) = (f.clone(), key.clone());
            async move { f.invalidate(&key, Floor::UNKNOWN, MINUTE).await }
        });
        let filled = load.await.unwrap_or_else(|error| panic!("{error}"));
        assert!([Filled::Stored, REVOKED].contains(&filled), "{filled:?}");
        write.await.unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(f.get(&key).await, None);
    }
}
