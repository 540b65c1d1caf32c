//! Who may fill.

use super::{Case, Fixture, MINUTE, SECOND, row};
use crate::{Filled, Leased};

pub(super) fn cases() -> Vec<Case> {
    cases![
        a_miss_grants_a_lease,
        whoever_comes_second_learns_how_long_the_lease_holds,
        a_lease_is_granted_once_even_to_its_holder,
        a_lease_is_no_content,
        a_lease_that_ran_out_is_granted_to_the_next,
        a_lease_of_one_key_does_not_hold_another,
        whoever_comes_after_the_fill_gets_what_was_filled,
        whoever_has_seen_nothing_gets_a_stale_entry,
        a_stale_entry_may_be_replaced_by_who_has_seen_it,
        a_fresh_entry_may_be_replaced_by_who_has_seen_it,
        an_entry_that_replaced_the_one_seen_is_news,
        an_expired_entry_is_no_news,
        an_entry_is_served_while_it_is_being_replaced,
        a_refresh_is_granted_to_one_at_a_time,
        of_64_wishes_at_once_one_is_granted,
        a_released_lease_is_granted_to_the_next,
        releasing_with_another_token_changes_nothing,
        releasing_what_is_not_held_is_no_error,
        releasing_a_refresh_keeps_the_entry,
        releasing_after_the_fill_keeps_the_entry,
    ]
}

async fn a_miss_grants_a_lease(f: Fixture) {
    assert_eq!(f.lease("k", 1).await, Leased::Granted);
}

async fn whoever_comes_second_learns_how_long_the_lease_holds(f: Fixture) {
    assert_eq!(f.wish("k", 1, 20 * SECOND, None).await, Leased::Granted);
    assert_eq!(f.lease("k", 2).await, Leased::Held { for_ms: 20_000 });
    f.advance(7 * SECOND).await;
    assert_eq!(f.lease("k", 3).await, Leased::Held { for_ms: 13_000 });
}

/// An answer that was lost cannot be asked for again.
async fn a_lease_is_granted_once_even_to_its_holder(f: Fixture) {
    assert_eq!(f.lease("k", 1).await, Leased::Granted);
    assert_eq!(f.lease("k", 1).await, Leased::Held { for_ms: 60_000 });
    assert_eq!(f.fill("k", 1, row("v", 1)).await, Filled::Stored);
}

async fn a_lease_is_no_content(f: Fixture) {
    f.lease("k", 1).await;
    assert_eq!(f.get("k").await, None);
}

async fn a_lease_that_ran_out_is_granted_to_the_next(f: Fixture) {
    assert_eq!(f.wish("k", 1, 20 * SECOND, None).await, Leased::Granted);
    f.advance(20 * SECOND).await;
    assert_eq!(f.lease("k", 2).await, Leased::Granted);
    assert_eq!(f.fill("k", 2, row("v", 1)).await, Filled::Stored);
}

async fn a_lease_of_one_key_does_not_hold_another(f: Fixture) {
    assert_eq!(f.lease("a", 1).await, Leased::Granted);
    assert_eq!(f.lease("b", 1).await, Leased::Granted);
    assert_eq!(f.fill("a", 1, row("a", 1)).await, Filled::Stored);
    assert_eq!(f.fill("b", 1, row("b", 1)).await, Filled::Stored);
}

async fn whoever_comes_after_the_fill_gets_what_was_filled(f: Fixture) {
    f.lease("k", 1).await;
    f.fill("k", 1, row("v", 1)).await;
    assert_eq!(f.lease("k", 2).await, Leased::Filled(f.entry("k").await));
}

async fn whoever_has_seen_nothing_gets_a_stale_entry(f: Fixture) {
    f.load("k", row("v", 1)).await;
    f.advance(40 * SECOND).await;
    assert_eq!(f.lease("k", 1).await, Leased::Filled(f.entry("k").await));
}

async fn a_stale_entry_may_be_replaced_by_who_has_seen_it(f: Fixture) {
    f.load("k", row("old", 1)).await;
    f.advance(40 * SECOND).await;
    let seen = f.entry("k").await.fresh_until;
    assert_eq!(f.wish("k", 1, MINUTE, Some(seen)).await, Leased::Granted);
    assert_eq!(f.fill("k", 1, row("new", 2)).await, Filled::Stored);
    assert_eq!(f.value("k").await.as_deref(), Some("new"));
}

async fn a_fresh_entry_may_be_replaced_by_who_has_seen_it(f: Fixture) {
    f.load("k", row("old", 1)).await;
    let seen = f.entry("k").await.fresh_until;
    assert_eq!(f.wish("k", 1, MINUTE, Some(seen)).await, Leased::Granted);
    assert_eq!(f.fill("k", 1, row("new", 2)).await, Filled::Stored);
    assert_eq!(f.value("k").await.as_deref(), Some("new"));
}

async fn an_entry_that_replaced_the_one_seen_is_news(f: Fixture) {
    f.load("k", row("old", 1)).await;
    let seen = f.entry("k").await.fresh_until;
    f.advance(SECOND).await;
    f.load("k", row("new", 2)).await;
    assert_eq!(f.wish("k", 1, MINUTE, Some(seen)).await, Leased::Filled(f.entry("k").await));
}

async fn an_expired_entry_is_no_news(f: Fixture) {
    f.load("k", row("v", 1)).await;
    let seen = f.entry("k").await.fresh_until;
    f.advance(MINUTE).await;
    assert_eq!(f.lease("k", 1).await, Leased::Granted);
    f.load("other", row("v", 1)).await;
    f.advance(MINUTE).await;
    assert_eq!(f.wish("other", 1, MINUTE, Some(seen)).await, Leased::Granted);
}

async fn an_entry_is_served_while_it_is_being_replaced(f: Fixture) {
    f.load("k", row("old", 1)).await;
    let entry = f.entry("k").await;
    f.wish("k", 1, MINUTE, Some(entry.fresh_until)).await;
    assert_eq!(f.entry("k").await, entry);
    assert_eq!(f.lease("k", 2).await, Leased::Filled(entry), "to who has seen nothing it is news");
}

async fn a_refresh_is_granted_to_one_at_a_time(f: Fixture) {
    f.load("k", row("old", 1)).await;
    let seen = Some(f.entry("k").await.fresh_until);
    assert_eq!(f.wish("k", 1, 20 * SECOND, seen).await, Leased::Granted);
    assert_eq!(f.wish("k", 2, 20 * SECOND, seen).await, Leased::Held { for_ms: 20_000 });
    f.advance(20 * SECOND).await;
    assert_eq!(f.wish("k", 2, 20 * SECOND, seen).await, Leased::Granted);
}

async fn of_64_wishes_at_once_one_is_granted(f: Fixture) {
    for round in 0..5 {
        let wishes = (1..=64).map(|number| {
            let f = f.clone();
            tokio::spawn(async move { f.lease(&format!("k{round}"), number).await })
        });
        let mut granted = 0;
        for wish in wishes.collect::<Vec<_>>() {
            match wish.await {
                Ok(Leased::Granted) => granted += 1,
                Ok(Leased::Held { for_ms: 60_000 }) => (),
                other => panic!("{other:?}"),
            }
        }
        assert_eq!(granted, 1);
    }
}

async fn a_released_lease_is_granted_to_the_next(f: Fixture) {
    f.lease("k", 1).await;
    f.release("k", 1).await;
    assert_eq!(f.lease("k", 2).await, Leased::Granted);
}

async fn releasing_with_another_token_changes_nothing(f: Fixture) {
    f.lease("k", 1).await;
    f.release("k", 2).await;
    assert_eq!(f.lease("k", 3).await, Leased::Held { for_ms: 60_000 });
    assert_eq!(f.fill("k", 1, row("v", 1)).await, Filled::Stored);
}

async fn releasing_what_is_not_held_is_no_error(f: Fixture) {
    f.release("never", 1).await;
    f.lease("k", 1).await;
    f.release("k", 1).await;
    f.release("k", 1).await;
    f.wish("k", 2, 10 * SECOND, None).await;
    f.advance(10 * SECOND).await;
    f.release("k", 2).await;
    assert_eq!(f.get("k").await, None);
}

async fn releasing_a_refresh_keeps_the_entry(f: Fixture) {
    f.load("k", row("v", 1)).await;
    let entry = f.entry("k").await;
    f.wish("k", 1, MINUTE, Some(entry.fresh_until)).await;
    f.release("k", 1).await;
    assert_eq!(f.entry("k").await, entry);
    assert_eq!(f.wish("k", 2, MINUTE, Some(entry.fresh_until)).await, Leased::Granted);
}

async fn releasing_after_the_fill_keeps_the_entry(f: Fixture) {
    f.lease("k", 1).await;
    f.fill("k", 1, row("v", 1)).await;
    f.release("k", 1).await;
    assert_eq!(f.value("k").await.as_deref(), Some("v"));
}
