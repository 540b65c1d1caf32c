//! What is asked and announced.

use super::{Case, Fixture, Steps, keys, kind_of, plan, strangers};
use crate::{Answer, ErrorKind, State, rate::Observed};

pub(super) fn cases() -> Vec<Case> {
    cases![
        nothing_is_known_at_first,
        an_announced_key_is_found_without_a_filter,
        the_keys_of_a_scan_are_found,
        strangers_are_denied_at_the_planned_rate,
        an_announced_key_is_found_at_once,
        an_announcement_denies_no_one_else,
        answers_come_in_the_order_of_the_keys,
        many_keys_are_announced_at_once,
        no_keys_have_no_answers,
        a_filter_tells_what_it_is_like,
        a_filter_tells_that_it_has_too_many_keys,
        a_filter_tells_that_a_write_is_not_settled,
        after_close_everything_is_closed,
    ]
}

async fn nothing_is_known_at_first(f: Fixture) {
    f.finds(&strangers()).await;
    let state = f.state().await;
    assert_eq!(state, State { unsettled: state.unsettled, ..State::none() });
}

async fn an_announced_key_is_found_without_a_filter(f: Fixture) {
    f.announce(&keys(1, 10)).await.settle();
    f.finds(&keys(1, 10)).await;
    f.finds(&strangers()).await;
}

async fn the_keys_of_a_scan_are_found(f: Fixture) {
    let rebuilt = f.rebuild(20_000, keys(1, 20_000)).await;
    assert_eq!((rebuilt.epoch, rebuilt.scanned, rebuilt.carried), (1, 20_000, 0));
    f.finds(&keys(1, 20_000)).await;
}

async fn strangers_are_denied_at_the_planned_rate(f: Fixture) {
    f.rebuild(20_000, keys(1, 20_000)).await;
    let strangers = keys(2, 20_000);
    let positives = (f.share(&strangers).await * 20_000.0).round() as u64;
    let (least, _) = Observed { positives, trials: 20_000 }.interval();
    // Blocks cost a third of the rate.
    assert!(least < 0.015, "{positives} of 20000");
}

async fn an_announced_key_is_found_at_once(f: Fixture) {
    f.rebuild(1_000, keys(1, 500)).await;
    for key in keys(2, 200) {
        let announced = f.announce(&[key]).await;
        assert_eq!(f.check(&[key]).await, [Answer::Maybe]);
        announced.settle();
        assert_eq!(f.check(&[key]).await, [Answer::Maybe]);
    }
    f.finds(&keys(1, 500)).await;
    f.finds(&keys(2, 200)).await;
}

async fn an_announcement_denies_no_one_else(f: Fixture) {
    f.rebuild(10_000, keys(1, 1_000)).await;
    f.announce(&keys(2, 1_000)).await.settle();
    f.denies(&strangers()).await;
    f.finds(&keys(1, 1_000)).await;
}

async fn answers_come_in_the_order_of_the_keys(f: Fixture) {
    f.rebuild(100_000, keys(1, 1_000)).await;
    let (known, strangers) = (keys(1, 1_000), strangers());
    let mixed: Vec<_> =
        known.iter().zip(&strangers).flat_map(|(known, stranger)| [*known, *stranger, *known]).collect();
    let answers = f.check(&mixed).await;
    for answers in answers.chunks(3) {
        assert_eq!((answers[0], answers[2]), (Answer::Maybe, Answer::Maybe));
    }
    let denied = answers.chunks(3).filter(|answers| answers[1] == Answer::Absent).count();
    assert!(denied > 950, "{denied}");
}

async fn many_keys_are_announced_at_once(f: Fixture) {
    f.rebuild(60_000, keys(1, 10)).await;
    let mut many = keys(2, 30_000);
    many.extend(keys(2, 30_000));
    f.announce(&many).await.settle();
    f.finds(&many).await;
    f.denies(&strangers()).await;
    let state = f.state().await;
    assert!((27_000..33_000).contains(&state.len), "{state:?}");
}

async fn no_keys_have_no_answers(f: Fixture) {
    assert_eq!(f.check(&[]).await, []);
    f.announce(&[]).await.settle();
    assert_eq!(f.rebuild(10, Steps::default()).await.scanned, 0);
    assert_eq!(f.check(&[]).await, []);
    f.announce(&[]).await.settle();
    f.denies(&strangers()).await;
}

async fn a_filter_tells_what_it_is_like(f: Fixture) {
    f.rebuild(20_000, keys(1, 10_000)).await;
    let state = f.state().await;
    assert!(!state.rebuilding && !state.is_overloaded());
    assert_eq!((state.epoch, state.planned), (1, 20_000));
    assert!((9_500..=10_500).contains(&state.len), "{state:?}");
    assert!(state.size_bytes >= 20_000 && state.size_bytes < 200_000, "{state:?}");
    assert!(state.expected_rate > 0.0 && state.expected_rate < 0.015, "{state:?}");
}

async fn a_filter_tells_that_it_has_too_many_keys(f: Fixture) {
    f.rebuild(1_000, keys(1, 1_000)).await;
    let before = f.state().await;
    f.announce(&keys(2, 4_000)).await.settle();
    let after = f.state().await;
    assert!(after.is_overloaded() && after.expected_rate > before.expected_rate, "{before:?} {after:?}");
    f.finds(&keys(1, 1_000)).await;
    f.finds(&keys(2, 4_000)).await;
}

async fn a_filter_tells_that_a_write_is_not_settled(f: Fixture) {
    let before = f.state().await.unsettled;
    let announced = f.announce(&keys(1, 3)).await;
    assert_eq!(f.state().await.unsettled, before + 3);
    announced.settle();
}

async fn after_close_everything_is_closed(f: Fixture) {
    f.rebuild(10, keys(1, 10)).await;
    let filter = &f.filter;
    for _ in 0..2 {
        filter.close().await.unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(kind_of(filter.check(&keys(1, 1)).await), ErrorKind::Closed);
        assert_eq!(kind_of(filter.announce(&keys(1, 1)).await), ErrorKind::Closed);
        assert_eq!(kind_of(filter.announce(&[]).await), ErrorKind::Closed);
        assert_eq!(kind_of(filter.state().await), ErrorKind::Closed);
        assert_eq!(kind_of(filter.rebuild(plan(10), &mut Steps::default()).await), ErrorKind::Closed);
    }
}
