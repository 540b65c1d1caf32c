//! What is read.

use std::time::Duration;

use super::{Case, Fixture, MINUTE, SECOND, done, no_row, row, version};
use crate::{Fill, Filled, Floor, Version};

pub(super) fn cases() -> Vec<Case> {
    cases![
        a_key_that_was_never_filled_is_a_miss,
        what_was_filled_is_read,
        an_absent_row_is_known_to_be_absent,
        an_empty_value_is_not_an_absent_row,
        values_of_any_text_come_back_unchanged,
        the_lowest_and_the_highest_version_come_back_unchanged,
        keys_of_any_text_are_kept_apart,
        an_entry_tells_how_long_it_is_fresh_and_kept,
        an_entry_tells_how_long_its_load_took,
        a_stale_entry_is_served_until_it_expires,
        an_entry_that_is_never_fresh_is_served_stale,
        an_entry_is_gone_the_moment_it_expires,
        an_absent_row_is_forgotten_when_it_expires,
        an_entry_keeps_its_name_until_it_is_replaced,
        many_reads_answer_in_the_order_of_their_keys,
        many_reads_tell_hits_absence_misses_and_the_expired_apart,
        many_reads_of_one_key_answer_alike,
        many_reads_of_no_keys_answer_nothing,
    ]
}

async fn a_key_that_was_never_filled_is_a_miss(f: Fixture) {
    assert_eq!(f.get("k").await, None);
}

async fn what_was_filled_is_read(f: Fixture) {
    assert_eq!(f.load("k", row("v", 7)).await, Filled::Stored);
    let entry = f.entry("k").await;
    assert_eq!((entry.value.as_deref(), entry.version), (Some("v"), version(7)));
    assert_eq!(f.get("other").await, None);
}

async fn an_absent_row_is_known_to_be_absent(f: Fixture) {
    assert_eq!(f.load("k", no_row()).await, Filled::Stored);
    let entry = f.entry("k").await;
    assert_eq!((entry.value, entry.version), (None, Version::ABSENT));
}

async fn an_empty_value_is_not_an_absent_row(f: Fixture) {
    f.load("empty", row("", 1)).await;
    f.load("absent", no_row()).await;
    assert_eq!(f.entry("empty").await.value.as_deref(), Some(""));
    assert_eq!(f.entry("absent").await.value, None);
}

async fn values_of_any_text_come_back_unchanged(f: Fixture) {
    let long = "0123456789".repeat(10_000);
    for value in ["0", "-1", "nil", "\0\u{1}\r\n", "ünï-çødé 🗝", " ", &long] {
        f.put("k", row(value, 1)).await;
        assert!(f.value("k").await.as_deref() == Some(value), "{value:.20?}");
    }
}

async fn the_lowest_and_the_highest_version_come_back_unchanged(f: Fixture) {
    for of in [Version::ABSENT, version(1), version((1 << 53) - 2), Version::MAX] {
        f.put("k", Fill { version: of, ..row("v", 1) }).await;
        assert_eq!(f.entry("k").await.version, of);
    }
}

async fn keys_of_any_text_are_kept_apart(f: Fixture) {
    let keys = ["", " ", ":", "a", "a:", "a:b", "A", "{a}", "{a}b", "*", "ä", "a\0", "a\n", "%s"];
    for (i, key) in keys.into_iter().enumerate() {
        f.put(key, row(&i.to_string(), 1)).await;
    }
    for (i, key) in keys.into_iter().enumerate() {
        assert_eq!(f.value(key).await, Some(i.to_string()), "{key:?}");
    }
}

async fn an_entry_tells_how_long_it_is_fresh_and_kept(f: Fixture) {
    f.load("k", row("v", 1)).await;
    for (fresh_ms, expires_ms) in [(30_000, 60_000), (18_000, 48_000), (6_000, 36_000), (-6_000, 24_000)] {
        let entry = f.entry("k").await;
        assert_eq!((entry.fresh_ms, entry.expires_ms), (fresh_ms, expires_ms));
        f.advance(12 * SECOND).await;
    }
}

async fn an_entry_tells_how_long_its_load_took(f: Fixture) {
    f.load("k", Fill { load_time: Duration::from_millis(345), ..row("v", 1) }).await;
    assert_eq!(f.entry("k").await.load_ms, 345);
}

async fn a_stale_entry_is_served_until_it_expires(f: Fixture) {
    f.load("k", row("v", 1)).await;
    assert!(f.entry("k").await.fresh_ms > 0);
    f.advance(MINUTE / 2).await;
    let entry = f.entry("k").await;
    assert_eq!((entry.fresh_ms, entry.value.as_deref()), (0, Some("v")));
    f.advance(29 * SECOND).await;
    assert_eq!(f.entry("k").await.fresh_ms, -29_000);
}

async fn an_entry_that_is_never_fresh_is_served_stale(f: Fixture) {
    f.load("k", Fill { fresh: Duration::ZERO, ..row("v", 1) }).await;
    let entry = f.entry("k").await;
    assert_eq!((entry.fresh_ms, entry.expires_ms), (0, 60_000));
}

async fn an_entry_is_gone_the_moment_it_expires(f: Fixture) {
    f.load("k", row("v", 1)).await;
    f.advance(MINUTE - Duration::from_millis(1)).await;
    assert_eq!(f.entry("k").await.expires_ms, 1);
    f.advance(Duration::from_millis(1)).await;
    assert_eq!(f.get("k").await, None);
}

async fn an_absent_row_is_forgotten_when_it_expires(f: Fixture) {
    f.load("k", no_row()).await;
    f.advance(MINUTE).await;
    assert_eq!(f.get("k").await, None);
}

async fn an_entry_keeps_its_name_until_it_is_replaced(f: Fixture) {
    f.load("k", row("v", 1)).await;
    let first = f.entry("k").await.fresh_until;
    f.advance(40 * SECOND).await;
    assert_eq!(f.entry("k").await.fresh_until, first);
    f.load("k", row("v", 1)).await;
    assert_eq!(f.entry("k").await.fresh_until, first + 40_000);
}

/// More than the slots that a client may ask one server of a cluster for at once.
async fn many_reads_answer_in_the_order_of_their_keys(f: Fixture) {
    let numbers: Vec<String> = (0..300).map(|i| format!("k{}", i * 7_919 % 300)).collect();
    for number in &numbers {
        f.put(number, row(number, 1)).await;
    }
    let keys: Vec<String> = numbers.iter().map(|number| f.key(number)).collect();
    let answers = f.store.get_many(&keys).await;
    assert_eq!(answers.len(), keys.len());
    for (number, answer) in numbers.iter().zip(answers) {
        assert_eq!(done(answer).and_then(|entry| entry.value).as_ref(), Some(number));
    }
}

async fn many_reads_tell_hits_absence_misses_and_the_expired_apart(f: Fixture) {
    f.put("expired", Fill { fresh: 10 * SECOND, keep: 10 * SECOND, ..row("v", 1) }).await;
    f.put("stale", Fill { fresh: 10 * SECOND, ..row("s", 2) }).await;
    f.put("absent", no_row()).await;
    f.put("fresh", row("f", 3)).await;
    f.lease("leased", 1).await;
    f.invalidate("floor", Floor::UNKNOWN, MINUTE).await;
    f.advance(10 * SECOND).await;
    let keys = ["expired", "stale", "never", "absent", "leased", "fresh", "floor"].map(|key| f.key(key));
    let answers = f.store.get_many(&keys).await;
    let values: Vec<_> = answers.into_iter().map(|answer| done(answer).map(|entry| entry.value)).collect();
    let text = |text: &str| Some(Some(text.to_owned()));
    assert_eq!(values, [None, text("s"), None, Some(None), None, text("f"), None]);
}

async fn many_reads_of_one_key_answer_alike(f: Fixture) {
    f.put("k", row("v", 1)).await;
    let keys = ["k", "other", "k"].map(|key| f.key(key));
    let answers: Vec<_> = f.store.get_many(&keys).await.into_iter().map(done).collect();
    assert!(answers[0].is_some() && answers[1].is_none());
    assert_eq!(answers[0], answers[2]);
}

async fn many_reads_of_no_keys_answer_nothing(f: Fixture) {
    assert!(f.store.get_many(&[]).await.is_empty());
}
