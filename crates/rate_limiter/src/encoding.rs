//! The state of a key as bytes, for stores that keep it and know nothing of it.
//!
//! A version, then for each state a letter and its numbers, big-endian; several limits on one key are a list.

use crate::{
    BucketState, LimitState, State as _, fixed_window::WindowState, limit::AnyState,
    sliding_window_counter::CounterState, sliding_window_log::LogState,
};

const VERSION: u8 = 1;

pub(crate) fn encode(state: &LimitState) -> Vec<u8> {
    let mut out = vec![VERSION];
    put(&mut out, state.inner());
    out
}

/// `None` where these are not bytes that [`encode`] made.
pub(crate) fn decode(bytes: &[u8]) -> Option<LimitState> {
    let [VERSION, rest @ ..] = bytes else { return None };
    let mut rest = rest;
    let state = take(&mut rest, 1)?;
    rest.is_empty().then(|| LimitState::from_inner(state))
}

fn put(out: &mut Vec<u8>, state: &AnyState) {
    let mut numbers = |letter: u8, numbers: &[u64]| {
        out.push(letter);
        numbers.iter().for_each(|number| out.extend(number.to_be_bytes()));
    };
    match state {
        AnyState::Fresh => numbers(b'-', &[]),
        AnyState::Bucket(BucketState { whole_at, spare }) => numbers(b'b', &[*whole_at, *spare]),
        AnyState::Window(WindowState { end, taken }) => numbers(b'f', &[*end, *taken]),
        AnyState::Counter(CounterState { end, before, taken, period_log2 }) => {
            numbers(b'c', &[*end, u64::from(*before) << 32 | u64::from(*taken), u64::from(*period_log2)]);
        }
        AnyState::Log(log) => {
            numbers(b'l', &[log.fresh_at(), log.entries().count() as u64]);
            for (at, cost) in log.entries() {
                out.extend(at.to_be_bytes());
                out.extend(cost.to_be_bytes());
            }
        }
        AnyState::All(states) => {
            numbers(b'a', &[states.len() as u64]);
            states.iter().for_each(|state| put(out, state));
        }
    }
}

fn take(bytes: &mut &[u8], depth: usize) -> Option<AnyState> {
    let letter = *bytes.split_off_first()?;
    Some(match letter {
        b'-' => AnyState::Fresh,
        b'b' => AnyState::Bucket(BucketState { whole_at: number(bytes)?, spare: number(bytes)? }),
        b'f' => AnyState::Window(WindowState { end: number(bytes)?, taken: number(bytes)? }),
        b'c' => {
            let (end, counts) = (number(bytes)?, number(bytes)?);
            let (before, taken) = ((counts >> 32) as u32, counts as u32);
            AnyState::Counter(CounterState {
                end,
                before,
                taken,
                period_log2: number(bytes)?.try_into().ok()?,
            })
        }
        b'l' => {
            let (fresh_at, count) = (number(bytes)?, number(bytes)?);
            let entries = bytes.split_off(..usize::try_from(count).ok()?.checked_mul(12)?)?;
            let entries = entries.chunks_exact(12).map(|entry| {
                let (at, cost) = entry.split_at(8);
                Some((u64::from_be_bytes(at.try_into().ok()?), u32::from_be_bytes(cost.try_into().ok()?)))
            });
            AnyState::Log(Box::new(LogState::from_entries(fresh_at, entries.collect::<Option<Vec<_>>>()?)?))
        }
        b'a' if depth > 0 => {
            let count = usize::try_from(number(bytes)?).ok().filter(|count| *count <= bytes.len())?;
            let states = (0..count).map(|_| take(bytes, depth - 1));
            AnyState::All(states.collect::<Option<_>>()?)
        }
        _ => return None,
    })
}

fn number(bytes: &mut &[u8]) -> Option<u64> {
    bytes.split_off(..8).and_then(|number| number.try_into().ok()).map(u64::from_be_bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Algorithm, Limit, Rule};

    #[test]
    fn every_state_comes_back() {
        let limits: Vec<Limit> = Algorithm::ALL
            .into_iter()
            .map(|algorithm| Limit::new(algorithm, "9999/7s".parse().unwrap()).unwrap())
            .collect();
        let all = Limit::all_of(limits.iter().cloned()).unwrap();
        for limit in limits.iter().chain([&all]) {
            let mut state = LimitState::default();
            for step in 0..40_u32 {
                let bytes = encode(&state);
                assert_eq!(decode(&bytes).as_ref(), Some(&state));
                for cut in 0..bytes.len() {
                    assert_eq!(decode(&bytes[..cut]), None);
                }
                limit.take(&mut state, 1_700_000_000_000_000 + u64::from(step) * 300_001, 1 + step * 20);
            }
        }
    }

    #[test]
    fn foreign_bytes_are_no_state() {
        for bytes in [
            &b""[..],
            b"\x02b",
            b"\x01x",
            b"\x01a\xff\xff\xff\xff\xff\xff\xff\xff",
            b"\x01l\0\0\0\0\0\0\0\0\xff\xff\xff\xff\xff\xff\xff\xff",
        ] {
            assert_eq!(decode(bytes), None);
        }
    }
}
