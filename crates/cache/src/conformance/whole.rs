//! The store as a whole.

use std::time::Duration;

use super::{Case, Fixture, MINUTE, SECOND, kind_of, no_row, row, token, version};
use crate::{
    Ack, Entry, ErrorKind, Fill, Floor, Leased, Wish,
    slot::{Content, Slot},
};

pub(super) fn cases() -> Vec<Case> {
    let mut cases = cases![random_steps_are_answered_as_the_rule_says, a_store_is_healthy_until_it_is_closed];
    cases.extend(cases![a_closed_store_answers_closed, closing_twice_is_no_error]);
    cases.push(
        Case::new("an_ack_of_replicas_that_cannot_be_given_is_unsupported", |f| {
            Box::pin(unsupported(f, Ack::Replicas(1)))
        })
        .needs(|capability| if capability.replicas { Err("no acks of replicas") } else { Ok(()) }),
    );
    cases.push(
        Case::new("an_ack_of_the_disk_that_cannot_be_given_is_unsupported", |f| {
            Box::pin(unsupported(f, Ack::Fsync { local: true, replicas: 0 }))
        })
        .needs(|capability| if capability.fsync { Err("no acks of the disk") } else { Ok(()) }),
    );
    cases
}

/// An ack that cannot be given changes nothing.
async fn unsupported(f: Fixture, ack: Ack) {
    assert!(!f.store.capability().gives(ack));
    f.put("k", row("v", 1)).await;
    let acks = f.store.invalidate(&f.key("k"), Floor::UNKNOWN, MINUTE, ack).await;
    assert_eq!(kind_of(acks), ErrorKind::Unsupported);
    assert_eq!(f.value("k").await.as_deref(), Some("v"));
}

async fn a_store_is_healthy_until_it_is_closed(f: Fixture) {
    f.store.health().await.unwrap_or_else(|error| panic!("{error}"));
    f.store.close().await.unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(kind_of(f.store.health().await), ErrorKind::Closed);
}

async fn a_closed_store_answers_closed(f: Fixture) {
    f.put("k", row("v", 1)).await;
    f.store.close().await.unwrap_or_else(|error| panic!("{error}"));
    let (store, key) = (&f.store, f.key("k"));
    let wish = Wish { token: token(1), ttl: MINUTE, seen: None };
    let kinds = [
        kind_of(store.get(&key).await),
        kind_of(store.lease(&key, wish).await),
        kind_of(store.fill(&key, token(1), row("v", 1)).await),
        kind_of(store.release(&key, token(1)).await),
        kind_of(store.invalidate(&key, Floor::UNKNOWN, MINUTE, Ack::None).await),
        kind_of(store.put(&key, row("v", 1)).await),
        kind_of(store.remove(&key).await),
    ];
    assert_eq!(kinds, [ErrorKind::Closed; 7]);
    let answers = store.get_many(&[key.clone(), key]).await;
    assert_eq!(answers.into_iter().map(kind_of).collect::<Vec<_>>(), [ErrorKind::Closed; 2]);
}

async fn closing_twice_is_no_error(f: Fixture) {
    for _ in 0..2 {
        f.store.close().await.unwrap_or_else(|error| panic!("{error}"));
    }
}

/// The rule beside the store: one slot a key, on a clock that starts at zero.
struct Beside {
    now: u64,
    slots: [Slot<String>; KEYS],
}

const KEYS: usize = 3;
const STEPS: usize = 1_500;

async fn random_steps_are_answered_as_the_rule_says(f: Fixture) {
    let mut beside = Beside { now: 0, slots: Default::default() };
    let mut random = 7_u64;
    let mut draw = |below: u64| {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (random >> 33) % below
    };
    for step in 0..STEPS {
        let index = draw(KEYS as u64) as usize;
        let (key, number, of) = (["a", "b", "c"][index], 1 + draw(3), draw(8));
        let seconds = 10 * (1 + draw(4));
        let fill = if draw(5) == 0 { no_row() } else { row(&format!("{step}"), 1 + of) };
        let keep = Duration::from_secs(seconds + 10 * draw(3));
        let fill = Fill { fresh: Duration::from_secs(seconds), keep, ..fill };
        let before = f.get(key).await;
        let slot = &mut beside.slots[index];
        assert_eq!(before.as_ref().map(seen), slot.get(beside.now).map(|content| told(content, beside.now)));
        match draw(12) {
            0..=3 => {
                // Both have seen what is there, or neither has.
                let has_seen = draw(3) > 0;
                let theirs = before.filter(|_| has_seen).map(|entry| entry.fresh_until);
                let ours = slot.get(beside.now).filter(|_| has_seen).map(|content| content.fresh_until);
                let leased = f.wish(key, number, Duration::from_secs(seconds), theirs).await;
                let leased = match &leased {
                    Leased::Granted => Leased::Granted,
                    Leased::Held { for_ms } => Leased::Held { for_ms: *for_ms },
                    Leased::Filled(entry) => Leased::Filled(seen(entry)),
                };
                let expected = match slot.lease(beside.now, token(number), seconds * 1_000, ours) {
                    Leased::Granted => Leased::Granted,
                    Leased::Held { for_ms } => Leased::Held { for_ms },
                    Leased::Filled(content) => Leased::Filled(told(content, beside.now)),
                };
                assert_eq!(leased, expected, "step {step}");
            }
            4..=7 => {
                let expected = slot.fill(beside.now, token(number), content(&fill, beside.now));
                assert_eq!(f.fill(key, number, fill).await, expected, "step {step}");
            }
            8 => {
                slot.release(token(number));
                f.release(key, number).await;
            }
            9 => {
                let floor = if draw(3) == 0 { Floor::UNKNOWN } else { Floor::at(version(of)) };
                slot.invalidate(beside.now, floor, seconds * 1_000);
                f.invalidate(key, floor, Duration::from_secs(seconds)).await;
            }
            10 if draw(2) == 0 => {
                slot.put(content(&fill, beside.now));
                f.put(key, fill).await;
            }
            _ => {
                beside.now += 5_000;
                f.advance(5 * SECOND).await;
            }
        }
    }
}

/// What an entry tells that does not depend on when the clock of the store began.
type Told = (Option<String>, u64, i64, u64);

fn seen(entry: &Entry<String>) -> Told {
    (entry.value.clone(), entry.version.get(), entry.fresh_ms, entry.expires_ms)
}

fn told(content: &Content<String>, now: u64) -> Told {
    let fresh_ms = content.fresh_until.cast_signed() - now.cast_signed();
    (content.value.clone(), content.version.get(), fresh_ms, content.expires_at - now)
}

fn content(fill: &Fill<String>, now: u64) -> Content<String> {
    Content {
        value: fill.value.clone(),
        version: fill.version,
        fresh_until: now + fill.fresh.as_secs() * 1_000,
        expires_at: now + fill.keep.as_secs() * 1_000,
        load_ms: 0,
    }
}
