//! What needs no lease.

use super::{Case, Fixture, MINUTE, no_row, row, version};
use crate::{Filled, Floor, Leased, Refusal};

pub(super) fn cases() -> Vec<Case> {
    cases![
        a_put_needs_no_lease,
        a_put_may_store_absence,
        a_put_may_go_back_in_version,
        a_put_ignores_the_floor_and_ends_it,
        a_put_revokes_the_lease,
        a_removed_key_is_a_miss,
        removing_a_key_ends_its_floor,
        removing_a_key_revokes_its_lease,
        removing_what_is_not_there_is_no_error,
    ]
}

const REVOKED: Filled = Filled::Refused(Refusal::Revoked);

async fn a_put_needs_no_lease(f: Fixture) {
    f.put("k", row("v", 3)).await;
    let entry = f.entry("k").await;
    assert_eq!((entry.value.as_deref(), entry.version), (Some("v"), version(3)));
    assert_eq!((entry.fresh_ms, entry.expires_ms), (30_000, 60_000));
}

async fn a_put_may_store_absence(f: Fixture) {
    f.put("k", row("v", 3)).await;
    f.put("k", no_row()).await;
    assert_eq!(f.entry("k").await.value, None);
}

async fn a_put_may_go_back_in_version(f: Fixture) {
    f.put("k", row("new", 3)).await;
    f.put("k", row("old", 2)).await;
    assert_eq!(f.value("k").await.as_deref(), Some("old"));
}

async fn a_put_ignores_the_floor_and_ends_it(f: Fixture) {
    f.invalidate("k", Floor::at(version(9)), MINUTE).await;
    f.put("k", row("old", 2)).await;
    assert_eq!(f.value("k").await.as_deref(), Some("old"));
    assert_eq!(f.load("k", row("newer", 3)).await, Filled::Stored);
}

async fn a_put_revokes_the_lease(f: Fixture) {
    f.lease("k", 1).await;
    f.put("k", row("put", 2)).await;
    assert_eq!(f.fill("k", 1, row("loaded", 3)).await, REVOKED);
    assert_eq!(f.value("k").await.as_deref(), Some("put"));
}

async fn a_removed_key_is_a_miss(f: Fixture) {
    f.load("k", row("v", 1)).await;
    f.load("other", row("v", 1)).await;
    f.remove("k").await;
    assert_eq!(f.get("k").await, None);
    assert!(f.get("other").await.is_some());
}

async fn removing_a_key_ends_its_floor(f: Fixture) {
    f.invalidate("k", Floor::at(version(9)), MINUTE).await;
    f.remove("k").await;
    assert_eq!(f.load("k", row("old", 2)).await, Filled::Stored);
}

async fn removing_a_key_revokes_its_lease(f: Fixture) {
    f.lease("k", 1).await;
    f.remove("k").await;
    assert_eq!(f.fill("k", 1, row("v", 1)).await, REVOKED);
    assert_eq!(f.lease("k", 2).await, Leased::Granted);
}

async fn removing_what_is_not_there_is_no_error(f: Fixture) {
    f.remove("never").await;
    f.put("k", row("v", 1)).await;
    f.remove("k").await;
    f.remove("k").await;
    assert_eq!(f.get("k").await, None);
}
