//! What is stored, and what is refused.

use std::time::Duration;

use super::{Case, Fixture, MINUTE, SECOND, no_row, row, version};
use crate::{Filled, Leased, Refusal};

pub(super) fn cases() -> Vec<Case> {
    cases![
        a_fill_without_a_lease_is_refused,
        a_fill_with_another_token_is_refused,
        a_fill_is_stored_until_the_lease_runs_out,
        a_fill_is_refused_once_the_lease_has_run_out,
        a_fill_is_refused_once_the_lease_is_anothers,
        a_fill_after_the_release_is_refused,
        a_lease_is_good_for_one_fill,
        of_many_loads_at_once_one_is_stored,
        a_refresh_is_stored_when_it_is_newer,
        a_refresh_is_stored_when_the_row_has_not_changed,
        a_refresh_does_not_go_back_in_version,
        a_refresh_that_finds_no_row_does_not_hide_the_one_that_is_there,
        a_refresh_that_is_refused_ends_the_lease,
        a_row_replaces_its_absence,
        an_expired_entry_bounds_no_version,
        a_fill_begins_the_times_anew,
    ]
}

const REVOKED: Filled = Filled::Refused(Refusal::Revoked);
const OLDER: Filled = Filled::Refused(Refusal::Older);

async fn a_fill_without_a_lease_is_refused(f: Fixture) {
    assert_eq!(f.fill("k", 1, row("v", 1)).await, REVOKED);
    assert_eq!(f.get("k").await, None);
}

async fn a_fill_with_another_token_is_refused(f: Fixture) {
    f.lease("k", 1).await;
    assert_eq!(f.fill("k", 2, row("wrong", 9)).await, REVOKED);
    assert_eq!(f.get("k").await, None);
    assert_eq!(f.fill("k", 1, row("right", 1)).await, Filled::Stored);
}

async fn a_fill_is_stored_until_the_lease_runs_out(f: Fixture) {
    f.wish("k", 1, 20 * SECOND, None).await;
    f.advance(20 * SECOND - Duration::from_millis(1)).await;
    assert_eq!(f.fill("k", 1, row("v", 1)).await, Filled::Stored);
}

async fn a_fill_is_refused_once_the_lease_has_run_out(f: Fixture) {
    f.wish("k", 1, 20 * SECOND, None).await;
    f.advance(20 * SECOND).await;
    assert_eq!(f.fill("k", 1, row("v", 1)).await, REVOKED);
    assert_eq!(f.get("k").await, None);
}

async fn a_fill_is_refused_once_the_lease_is_anothers(f: Fixture) {
    f.wish("k", 1, 20 * SECOND, None).await;
    f.advance(20 * SECOND).await;
    assert_eq!(f.lease("k", 2).await, Leased::Granted);
    assert_eq!(f.fill("k", 1, row("late", 1)).await, REVOKED);
    assert_eq!(f.fill("k", 2, row("right", 1)).await, Filled::Stored);
    assert_eq!(f.value("k").await.as_deref(), Some("right"));
}

async fn a_fill_after_the_release_is_refused(f: Fixture) {
    f.lease("k", 1).await;
    f.release("k", 1).await;
    assert_eq!(f.fill("k", 1, row("v", 1)).await, REVOKED);
}

async fn a_lease_is_good_for_one_fill(f: Fixture) {
    f.lease("k", 1).await;
    assert_eq!(f.fill("k", 1, row("first", 1)).await, Filled::Stored);
    assert_eq!(f.fill("k", 1, row("second", 2)).await, REVOKED);
    assert_eq!(f.value("k").await.as_deref(), Some("first"));
}

async fn of_many_loads_at_once_one_is_stored(f: Fixture) {
    let loads = (1..=32).map(|number| {
        let f = f.clone();
        tokio::spawn(async move {
            let leased = f.lease("k", number).await;
            let filled = f.fill("k", number, row(&number.to_string(), number)).await;
            (filled == Filled::Stored).then(|| {
                assert_eq!(leased, Leased::Granted);
                number.to_string()
            })
        })
    });
    let mut stored = Vec::new();
    for load in loads.collect::<Vec<_>>() {
        stored.extend(load.await.unwrap_or_else(|error| panic!("{error}")));
    }
    assert_eq!(stored.len(), 1);
    assert_eq!(f.value("k").await, stored.pop());
}

async fn a_refresh_is_stored_when_it_is_newer(f: Fixture) {
    f.load("k", row("old", 7)).await;
    assert_eq!(f.load("k", row("new", 8)).await, Filled::Stored);
    let entry = f.entry("k").await;
    assert_eq!((entry.value.as_deref(), entry.version), (Some("new"), version(8)));
}

async fn a_refresh_is_stored_when_the_row_has_not_changed(f: Fixture) {
    f.load("k", row("v", 7)).await;
    f.advance(40 * SECOND).await;
    assert_eq!(f.load("k", row("v", 7)).await, Filled::Stored);
    assert_eq!(f.entry("k").await.fresh_ms, 30_000);
}

async fn a_refresh_does_not_go_back_in_version(f: Fixture) {
    f.load("k", row("new", 8)).await;
    let entry = f.entry("k").await;
    assert_eq!(f.load("k", row("old", 7)).await, OLDER);
    assert_eq!(f.entry("k").await, entry);
}

async fn a_refresh_that_finds_no_row_does_not_hide_the_one_that_is_there(f: Fixture) {
    f.load("k", row("v", 8)).await;
    assert_eq!(f.load("k", no_row()).await, OLDER);
    assert_eq!(f.value("k").await.as_deref(), Some("v"));
}

async fn a_refresh_that_is_refused_ends_the_lease(f: Fixture) {
    f.load("k", row("new", 8)).await;
    assert_eq!(f.load("k", row("old", 7)).await, OLDER);
    let seen = f.entry("k").await.fresh_until;
    assert_eq!(f.wish("k", 2, MINUTE, Some(seen)).await, Leased::Granted);
}

async fn a_row_replaces_its_absence(f: Fixture) {
    f.load("k", no_row()).await;
    assert_eq!(f.load("k", row("v", 1)).await, Filled::Stored);
    assert_eq!(f.value("k").await.as_deref(), Some("v"));
}

async fn an_expired_entry_bounds_no_version(f: Fixture) {
    f.load("k", row("new", 8)).await;
    f.advance(MINUTE).await;
    assert_eq!(f.load("k", row("old", 7)).await, Filled::Stored);
}

async fn a_fill_begins_the_times_anew(f: Fixture) {
    f.load("k", row("v", 1)).await;
    f.advance(50 * SECOND).await;
    f.load("k", row("v", 2)).await;
    f.advance(59 * SECOND).await;
    assert_eq!(f.entry("k").await.expires_ms, 1_000);
    f.advance(SECOND).await;
    assert_eq!(f.get("k").await, None);
}
