//! Random steps, each decided by a script and by the rules in Rust.

#![expect(clippy::unwrap_used, reason = "a test fails by a panic")]

use std::{collections::VecDeque, env, io, time::Duration};

use rate_limiter::{
    Algorithm, Ask, BucketState, Decision, Limit, Quota,
    fixed_window::WindowState,
    redis::script::{self, Request, Script},
};
use testkit::SplitMix64;

use crate::{
    oracle::{Expected, Key, Log, State, Stored},
    server::{Reply, Server},
};

/// Steps whose replies are read together.
const STEPS_A_BATCH: usize = 2_000;

/// The cases of logs that are not rewritten as a whole.
const LONG: [&str; 2] = ["long_sliding_window_log", "all_of_long_logs"];

pub(crate) fn run(case: &str, server: &mut Server) -> io::Result<()> {
    let steps: usize = env::var("LUA_STEPS").map_or(20_000, |steps| steps.parse().expect("LUA_STEPS"));
    let shas: Vec<String> = Script::ALL
        .into_iter()
        .map(|script| match server.call(&["SCRIPT", "LOAD", script.text()])? {
            Reply::Bytes(sha) => Ok(String::from_utf8(sha).unwrap()),
            reply => panic!("{reply:?}"),
        })
        .collect::<io::Result<_>>()?;
    let seed: u64 = env::var("LUA_SEED").map_or(1, |seed| seed.parse().expect("LUA_SEED"));
    let mut random = SplitMix64(
        seed ^ case.bytes().fold(7, |hash: u64, byte| hash.wrapping_mul(31).wrapping_add(byte.into())),
    );
    let mut outcomes = [0_u64; 4];
    // As many as make a long log go round its ring many times.
    let steps_a_key = if LONG.contains(&case) { STEPS_A_BATCH } else { 200 };
    for batch in 0..steps.div_ceil(STEPS_A_BATCH) {
        let mut sent = Vec::new();
        for n in 0..STEPS_A_BATCH / steps_a_key {
            let key = format!("{{lua:{case}:{batch}:{n}}}");
            let limits = limits(case, &mut random);
            sent.extend(sequence(&key, &limits, (case, steps_a_key), &mut random, &shas, server));
            server.push(&["DEL", &key]);
        }
        let mut replies = server.flush()?.into_iter();
        for (n, step) in sent.into_iter().enumerate() {
            let three = [replies.next().unwrap(), replies.next().unwrap(), replies.next().unwrap()];
            step.check(three, &mut outcomes);
            if (n + 1) % steps_a_key == 0 {
                replies.next();
            }
        }
    }
    // A test whose every step were denied would show nothing.
    let total: u64 = outcomes.iter().sum();
    assert!(
        outcomes.iter().all(|count| *count > total / 1_000),
        "denied, allowed, never, refunded: {outcomes:?}"
    );
    Ok(())
}

/// One call, and what is to come of it.
struct Step {
    shown: String,
    expected: Expected,
    stored: Option<Stored>,
    /// Milliseconds, of an allowed take.
    kept: Option<i64>,
}

impl Step {
    fn check(self, [replied, stored, kept]: [Reply; 3], outcomes: &mut [u64; 4]) {
        let Self { shown, expected, stored: to_store, kept: to_keep } = self;
        if let Reply::Error(error) = &replied {
            panic!("{error}\n{shown}");
        }
        let replied = replied.integers();
        outcomes[usize::try_from(replied[0]).unwrap()] += 1;
        match expected.answer {
            None => script::refunded(&replied).unwrap_or_else(|error| panic!("{error}\n{shown}")),
            Some(expected) => {
                let answer = script::answer(&replied).unwrap_or_else(|error| panic!("{error}\n{shown}"));
                assert_eq!(answer, expected, "{shown}");
            }
        }
        let stored = match stored {
            Reply::Nothing => None,
            Reply::Bytes(bytes) => Some(read(&bytes)),
            reply => panic!("{reply:?}\n{shown}"),
        };
        assert_eq!(stored, to_store, "{shown}");
        if let Some(to_keep) = to_keep {
            // It runs out in real time.
            let kept = kept.integer();
            assert!(
                (to_keep - 3_600_000..=to_keep).contains(&kept),
                "kept for {kept} ms, not {to_keep}\n{shown}"
            );
        }
    }
}

fn sequence(
    key: &str,
    limits: &[Limit],
    (case, steps_a_key): (&str, usize),
    random: &mut SplitMix64,
    shas: &[String],
    server: &mut Server,
) -> Vec<Step> {
    let mut state = Key::new();
    let mut now = match random.below(4) {
        0 => 1 + random.below(1_000_000_000),
        1 => (1 << 51) - random.below(1_000_000_000),
        _ => 1_795_000_000_000_000 + random.below(10_000_000_000_000),
    };
    let (mut waits, mut taken_at, mut limit) = (vec![1_u64], VecDeque::from([(now, 1)]), 0);
    let mut steps = Vec::new();
    while steps.len() < steps_a_key {
        if random.below(if steps_a_key == STEPS_A_BATCH { 400 } else { 25 }) == 0 {
            limit = random.below(limits.len() as u64) as usize;
        }
        let (index, limit) = (limit, &limits[limit]);
        // Small costs at short intervals are what makes a log long.
        let dense = steps_a_key == STEPS_A_BATCH && random.below(100) != 0;
        now = later(now, limit, &waits, dense, random);
        let request = request(limit, &taken_at, dense, random);
        let arguments = script::arguments(limit, request, Some(now)).unwrap();
        let expected = state.call(limit, request, now);
        if let Some(answer) = expected.answer {
            match answer.decision {
                Decision::Denied { retry_after } => waits.push(retry_after.as_micros() as u64),
                Decision::Allowed { reset_after, delay, .. } => {
                    waits.extend([reset_after.as_micros() as u64, delay.as_micros() as u64]);
                }
                Decision::NeverFits { .. } => {}
            }
            let oldest = waits.len().saturating_sub(4);
            waits.drain(..oldest);
            if answer.taken > 0 {
                taken_at.push_back((now, answer.taken));
                if taken_at.len() > 6 {
                    taken_at.pop_front();
                }
            }
        }
        let sha = &shas[Script::ALL.iter().position(|script| *script == Script::of(limit)).unwrap()];
        let mut command = vec!["EVALSHA".to_owned(), sha.clone(), "1".to_owned(), key.to_owned()];
        command.extend(arguments.iter().map(u64::to_string));
        server.push(&command);
        server.push(&["GET", key]);
        server.push(&["PTTL", key]);
        let kept =
            expected.fresh_in.map(|micros| i64::try_from(micros.div_ceil(1_000)).unwrap() + 86_400_000);
        // A time of centuries is rounded up by two milliseconds more.
        let kept = kept.map(|kept| if expected.fresh_in > Some(1 << 53) { kept + 4 } else { kept });
        let quotas: Vec<_> =
            limit.parts().map(|part| format!("{} {}", part.algorithm(), part.quota())).collect();
        let shown = format!(
            "{case} step {} limit {index} {quotas:?}: {request:?} at {now}: {command:?}",
            steps.len()
        );
        steps.push(Step { shown, expected, stored: state.stored.clone(), kept });
    }
    steps
}

/// A time after `now`, or before: the clock is set back, or another call read it later but came first.
fn later(now: u64, limit: &Limit, waits: &[u64], dense: bool, random: &mut SplitMix64) -> u64 {
    let part = random.below(limit.parts().len() as u64) as usize;
    let period = limit.parts().nth(part).unwrap().quota().period().as_micros() as u64;
    let tokens = limit.parts().nth(part).unwrap().quota().tokens();
    let tokens = tokens.div_ceil(usual_cost(tokens));
    let wait = random.of(waits).min(1 << 50);
    let by = match if dense { 4 } else { random.below(32) } {
        0..=3 => 0,
        4..=7 => {
            let times = random.of(&[1, 2, 2]);
            random.below(times * period / tokens + 2)
        }
        8..=10 => 1 + random.below(3),
        11..=12 => random.below(1_000),
        13..=16 => random.below(period),
        17..=18 => random.below(period / 16 + 1),
        19..=20 => wait,
        21 => wait.saturating_sub(1),
        22 => wait + 1,
        23 => period - now % period,
        24 => period,
        25 => random.below(4 * period),
        26 => random.below(3_600_000_000),
        27 => return now.saturating_sub(1 + random.below(50)).max(1),
        28 => {
            let back = random.below(period + period / 4 + 2);
            return now.saturating_sub(random.of(&[back, back, period, period + 1])).max(1);
        }
        29 if random.below(4) == 0 => return now.saturating_sub(random.below(10_000_000_000)).max(1),
        _ => random.below(period / 256 + 1),
    };
    if now + by > (1 << 51) + (1 << 48) { now } else { now + by }
}

fn request(limit: &Limit, taken_at: &VecDeque<(u64, u32)>, dense: bool, random: &mut SplitMix64) -> Request {
    let part = random.below(limit.parts().len() as u64) as usize;
    let burst = limit.parts().nth(part).unwrap().quota().burst();
    let cost = match if dense { 0 } else { random.below(16) } {
        // A log keeps it in one entry, or just not.
        0 if random.below(100) == 0 => (1 << 16) + random.below(2),
        0..=7 if dense => usual_cost(burst),
        0..=7 => 1,
        8..=9 => 1 + random.below(4),
        10..=12 => 1 + random.below(burst.div_ceil(3)),
        13 => 1 + random.below(burst),
        14 => burst + random.below(2),
        _ => random.below(1 << 32),
    };
    let cost = u32::try_from(cost).unwrap_or(u32::MAX).max(1);
    // A refund writes a log as a whole, so that it does not go round.
    let often = if dense && random.below(16) != 0 { 14 } else { 16 };
    match random.below(often) {
        0..=9 => Request::Ask(Ask::Take(cost)),
        10..=11 => Request::Ask(Ask::TakeUpTo(cost)),
        12..=13 => Request::Ask(Ask::Peek(cost)),
        _ => {
            let (at, taken) = taken_at[random.below(taken_at.len() as u64) as usize];
            let cost = if random.below(2) == 0 { taken } else { cost };
            let taken_at = if random.below(8) == 0 { at + random.below(5) } else { at };
            Request::Refund { cost, taken_at }
        }
    }
}

/// What makes a log of so many tokens long within a few hundred requests; of many tokens, two entries each.
fn usual_cost(tokens: u64) -> u64 {
    if tokens > 1_000_000 { (1 << 16) + 1 } else { 1 }
}

/// The limits that share a key: variants of one quota, or of algorithms too.
fn limits(case: &str, random: &mut SplitMix64) -> Vec<Limit> {
    let parts = 2 + random.below(3) as usize;
    let mixed = |random: &mut SplitMix64| random.of(&Algorithm::ALL);
    let shape: Vec<Algorithm> = (0..parts).map(|_| mixed(random)).collect();
    let count = 1 + random.below(4) as usize;
    let mut limits: Vec<Limit> = Vec::new();
    while limits.len() < count {
        let like = limits.first().and_then(|limit| limit.parts().next().map(|part| *part.quota()));
        let of = |shape: &[Algorithm], longest_log, random: &mut SplitMix64| {
            let parts = shape.iter().map(|algorithm| one(*algorithm, like.as_ref(), longest_log, random));
            Limit::all_of(parts.collect::<Option<Vec<_>>>()?).ok()
        };
        let limit = match case {
            "all_of" => {
                // Now and then a part of another algorithm, or a part more.
                let mut shape = shape.clone();
                match random.below(8) {
                    0 => shape.push(mixed(random)),
                    1 => shape[0] = mixed(random),
                    _ => {}
                }
                of(&shape, 60, random)
            }
            "all_of_long_logs" => {
                let between = if random.below(4) == 0 { mixed(random) } else { Algorithm::FixedWindow };
                of(&[Algorithm::SlidingWindowLog, between, Algorithm::SlidingWindowLog], 400, random)
            }
            "changing_algorithms" => one(mixed(random), None, 60, random),
            "long_sliding_window_log" => one(Algorithm::SlidingWindowLog, like.as_ref(), 10_000_000, random),
            _ => one(case.replace('_', "-").parse().unwrap(), like.as_ref(), 60, random),
        };
        let exact = |limit: &Limit| script::arguments(limit, Request::Ask(Ask::Peek(1)), None).is_ok();
        limits.extend(limit.filter(exact));
    }
    limits
}

fn one(
    algorithm: Algorithm,
    like: Option<&Quota>,
    longest_log: u64,
    random: &mut SplitMix64,
) -> Option<Limit> {
    const DAY: u64 = 86_400_000_000;
    let period = match random.below(12) {
        0 => 1 + random.below(1_000),
        1 => 1 + random.below(1_000_000),
        2..=4 => 1_000_000,
        5 => 1_000_000 * (1 + random.below(100)),
        6 => 60_000_000,
        7 => 3_600_000_000,
        8 => DAY,
        9 => 30 * DAY,
        10 => 1 + random.below(365 * DAY),
        _ => 1_000_000 * (1 + random.below(365 * 86_400)),
    };
    // Most quotas of a key are alike, so that a change finds the state worth something.
    let period = match like {
        Some(quota) if random.below(4) != 0 => quota.period().as_micros() as u64,
        _ => period,
    };
    let fastest = u64::try_from(u128::from(period) * 1_000).unwrap();
    let tokens = match random.below(9) {
        0 => 1,
        1..=3 => 1 + random.below(10),
        4..=5 => 1 + random.below(1_000),
        6 => 1 + random.below(1_000_000),
        7 => 1 + random.below(1_000_000_000),
        _ => fastest - random.below(fastest.min(100)),
    }
    .min(fastest);
    let tokens = match algorithm {
        Algorithm::SlidingWindowLog if longest_log > 60 => {
            let most = random.of(&[100, 1_000, longest_log]);
            (100 + random.below(most)).min(fastest)
        }
        Algorithm::SlidingWindowLog => tokens.min(1 + random.below(longest_log)),
        _ => tokens,
    };
    let quota = Quota::new(tokens, Duration::from_micros(period)).ok()?;
    let quota = if algorithm.is_windowed() || random.below(4) == 0 {
        quota
    } else {
        let most = random.of(&[5, 100, 10_000, 1_000_000]);
        quota.with_burst(1 + random.below(most)).ok()?
    };
    Limit::new(algorithm, quota).ok()
}

/// What the bytes of a value say, as the scripts document it.
pub(crate) fn read(bytes: &[u8]) -> Stored {
    if bytes[..2] != *b"1a" {
        let (state, rest) = read_state(bytes);
        let (state, rest) = with_ring(state.unwrap(), bytes, rest);
        assert!(rest.is_empty());
        return Stored::One(state);
    }
    let mut rest = &bytes[3..];
    let mut states = Vec::new();
    for _ in 0..bytes[2] {
        let (state, after) = read_state(rest);
        states.push((state, rest));
        rest = after;
    }
    let states = states.into_iter().map(|(state, header)| {
        let (state, after) = with_ring(state?, header, rest);
        rest = after;
        Some(state)
    });
    let states = states.collect();
    assert!(rest.is_empty());
    Stored::All(states)
}

fn read_state(bytes: &[u8]) -> (Option<State>, &[u8]) {
    assert_eq!(bytes[0], b'1');
    let state = match bytes[1] {
        b'n' => return (None, &bytes[2..]),
        b'b' => State::Bucket(BucketState { whole_at: number(&bytes[2..10]), spare: number(&bytes[10..18]) }),
        b'f' => State::Window(WindowState { end: number(&bytes[2..10]), taken: number(&bytes[10..18]) }),
        b'c' => State::Counter {
            end: number(&bytes[2..10]),
            before: number(&bytes[10..14]) as u32,
            taken: number(&bytes[14..18]) as u32,
        },
        b'l' => return (Some(Log::read(VecDeque::new())), &bytes[38..]),
        letter => panic!("state {letter}"),
    };
    (Some(state), &bytes[18..])
}

/// A log with the entries of its ring, which is at the beginning of `rest`; and what follows.
fn with_ring<'a>(state: State, header: &[u8], rest: &'a [u8]) -> (State, &'a [u8]) {
    if !matches!(state, State::Log(_)) {
        return (state, rest);
    }
    let [taken, last] = [&header[2..10], &header[10..18]].map(number);
    let [first, count, places] =
        [&header[18..22], &header[22..26], &header[26..30]].map(|n| number(n) as usize);
    let (ring, rest) = rest.split_at(places * 8);
    let entry = |place: usize| {
        let bytes = &ring[place % places * 8..][..8];
        let ago = (last.wrapping_sub(number(&bytes[..6]))) % (1 << 48);
        (last - ago, number(&bytes[6..]) as u32 + 1)
    };
    let entries: VecDeque<_> = (first..first + count).map(entry).collect();
    assert_eq!(entries.iter().map(|(_, cost)| u64::from(*cost)).sum::<u64>(), taken);
    assert_eq!(entries.back().map(|(at, _)| *at), Some(last));
    assert_eq!(header[30..38], ring[first * 8..][..8], "the oldest entry");
    assert!(places <= 64 && places == count || places > 64 && first < places, "{places} places for {count}");
    (Log::read(entries), rest)
}

fn number(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0, |number, byte| number << 8 | u64::from(*byte))
}
