//! The Lua scripts that decide on a Redis server: which one a limit needs, what it is given, and what it says.
//!
//! A script gets one key, `KEYS[1]`, and whole numbers as decimal text:
//!
//! | `ARGV` | |
//! |---|---|
//! | 1 | what to do: 1 take, 2 take up to, 3 peek, 4 refund |
//! | 2 | the cost, in tokens |
//! | 3 | the time in microseconds, for tests; 0 is the server's |
//! | 4 | when the tokens were taken, for a refund; else 0 |
//! | 5, .. | for each part of the limit: 1 and the five numbers of a bucket, 2 and the same for a queue, 3 and the two of a fixed window, 4 and the three of a sliding counter, 5 and the two of a log |
//!
//! It replies with integers: `{0, 0, at, retry_after}` for a denial, `{1, taken, at, remaining, reset_after, delay}`
//! for a grant, `{2, 0, at, burst}` for a cost that never fits, `{3, 0, at}` for a refund. Or with an error, in which
//! case nothing was changed: [`NEWER`], [`DAMAGED`], `WRONGTYPE` where the key holds another type.
//!
//! Waits of more than 2^53 microseconds, 285 years, are told as that.

use std::time::Duration;

use crate::{Algorithm, Answer, Ask, Decision, Error, ErrorKind, Limit, Part, Result, store::no_cost};

/// The code of the error that a script replies where the value of the key was written by a newer release.
pub const NEWER: &str = "RLFORMAT";
/// The code of the error that a script replies where the value of the key is none that was ever written.
pub const DAMAGED: &str = "RLCORRUPT";

/// The numbers from here on are not exact in Lua.
const EXACT: u64 = 1 << 53;
/// More tokens in a window could exceed that, together with a cost.
const MOST_TOKENS: u64 = 1 << 52;
/// The state says in one byte how many parts there are.
const MOST_PARTS: usize = 255;

/// A script, as it is sent to a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Script {
    /// For a token bucket, under any of its names, or a leaky bucket as a queue.
    Bucket,
    /// For a fixed window.
    Window,
    /// For a sliding window counter.
    Counter,
    /// For a sliding window log.
    Log,
    /// For a limit of several parts.
    All,
}

macro_rules! lua {
    ($($file:literal)+) => {
        concat!($(include_str!(concat!("lua/", $file, ".lua"))),+)
    };
}

/// The script of a limit of one part, by the file of its algorithm and the first two bytes of its state.
macro_rules! one {
    ($file:literal, $head:literal) => {
        concat!(
            lua!("prelude"),
            "local head = ",
            $head,
            "\n",
            lua!("get"),
            lua!($file),
            lua!("set"),
            lua!("reply")
        )
    };
}

/// The file of an algorithm as a function, for limits of several parts.
macro_rules! function {
    ($file:literal) => {
        concat!(
            "local function ",
            $file,
            "(i, op, cost, value, place, ring)\n",
            "local status, left, reset, delay, state, micros, all, slot, made = REFUNDED, 0, 0, 0\n",
            lua!($file),
            "return status, cost, left, reset, delay, state, micros, all, slot, made\nend\n\n",
        )
    };
}

impl Script {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::Bucket, Self::Window, Self::Counter, Self::Log, Self::All];

    /// The one that decides under `limit`.
    #[must_use]
    pub fn of(limit: &Limit) -> Self {
        let mut parts = limit.parts();
        match (parts.next().map(Part::algorithm), parts.next()) {
            (_, Some(_)) | (None, None) => Self::All,
            (Some(Algorithm::FixedWindow), None) => Self::Window,
            (Some(Algorithm::SlidingWindowCounter), None) => Self::Counter,
            (Some(Algorithm::SlidingWindowLog), None) => Self::Log,
            (Some(_), None) => Self::Bucket,
        }
    }

    /// The text.
    #[must_use]
    pub const fn text(self) -> &'static str {
        match self {
            Self::Bucket => one!("token_bucket", "12642"),
            Self::Window => one!("fixed_window", "12646"),
            Self::Counter => one!("sliding_window_counter", "12643"),
            Self::Log => lua!("prelude" "log_entries" "get_log" "sliding_window_log" "set_log" "reply"),
            Self::All => concat!(
                lua!("prelude" "log_entries"),
                function!("token_bucket"),
                function!("fixed_window"),
                function!("sliding_window_counter"),
                function!("sliding_window_log"),
                lua!("all" "reply"),
            ),
        }
    }
}

/// What is asked of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Request {
    /// For a decision.
    Ask(Ask),
    /// To give back `cost` tokens that were taken at `taken_at`.
    Refund {
        /// Tokens.
        cost: u32,
        /// [`Answer::at`].
        taken_at: u64,
    },
}

/// `ARGV`, without the keys, for `request` under `limit`; `now` replaces the time of the server in tests.
///
/// # Errors
///
/// `Invalid` when the cost is zero, and `Config` when the limit cannot be counted exactly in Lua.
pub fn arguments(limit: &Limit, request: Request, now: Option<u64>) -> Result<Vec<u64>> {
    let (op, cost, taken_at) = match request {
        Request::Ask(Ask::Take(cost)) => (1, cost, 0),
        Request::Ask(Ask::TakeUpTo(cost)) => (2, cost, 0),
        Request::Ask(Ask::Peek(cost)) => (3, cost, 0),
        Request::Refund { cost, taken_at } => (4, cost, taken_at.min(MOST_TOKENS)),
    };
    if cost == 0 {
        return Err(no_cost(BACKEND));
    }
    let parts = limit.parts();
    if parts.len() > MOST_PARTS {
        return Err(uncountable(format!("{} quotas on one key: at most {MOST_PARTS}", parts.len())));
    }
    let mut arguments = Vec::with_capacity(4 + 6 * parts.len());
    arguments.extend([op, u64::from(cost), now.unwrap_or(0), taken_at]);
    for part in parts {
        let (numbers, count) = part.numbers();
        let (rule, exact) = match part.algorithm() {
            Algorithm::TokenBucket | Algorithm::Gcra | Algorithm::LeakyBucket => (1, fills_in_time(numbers)),
            Algorithm::LeakyBucketQueue => (2, fills_in_time(numbers)),
            Algorithm::FixedWindow => (3, numbers[0] <= MOST_TOKENS),
            Algorithm::SlidingWindowCounter => (4, true),
            Algorithm::SlidingWindowLog => (5, numbers[0] <= MOST_TOKENS),
        };
        if !exact {
            return Err(uncountable(format!(
                "{} cannot be counted exactly in Lua: use fewer tokens",
                part.quota()
            )));
        }
        arguments.push(rule);
        arguments.extend(&numbers[..count]);
    }
    Ok(arguments)
}

/// Whether the ticks in which a bucket is whole, and those by which calls overtake each other, stay exact.
fn fills_in_time([burst, scale, inflow, _, period]: [u64; 5]) -> bool {
    (burst * scale).div_ceil(inflow) + period < EXACT
}

/// What a script replied to an [`Ask`].
///
/// # Errors
///
/// `Corrupt` where no script of this release replies so.
pub fn answer(reply: &[i64]) -> Result<Answer> {
    let mut numbers = [0; 6];
    let count = reply.len();
    for (number, replied) in numbers.iter_mut().zip(reply) {
        *number = u64::try_from(*replied).map_err(|_| unlike(reply))?;
    }
    let [status, taken, at, a, b, c] = numbers;
    let decision = match (status, count) {
        (0, 4) => Decision::Denied { retry_after: Duration::from_micros(a) },
        (1, 6) => Decision::Allowed {
            remaining: a,
            reset_after: Duration::from_micros(b),
            delay: Duration::from_micros(c),
        },
        (2, 4) => Decision::NeverFits { burst: a },
        _ => return Err(unlike(reply)),
    };
    let taken = u32::try_from(taken).map_err(|_| unlike(reply))?;
    Ok(Answer { decision, taken, at })
}

/// What a script replied to a [`Request::Refund`].
///
/// # Errors
///
/// `Corrupt` where no script of this release replies so.
pub fn refunded(reply: &[i64]) -> Result<()> {
    match reply {
        [3, 0, _] => Ok(()),
        _ => Err(unlike(reply)),
    }
}

const BACKEND: &str = "redis";

#[cold]
fn unlike(reply: &[i64]) -> Error {
    let shown = &reply[..reply.len().min(8)];
    Error::new(ErrorKind::Corrupt, BACKEND, "acquire", format!("the script replied {shown:?}"))
}

#[cold]
fn uncountable(message: String) -> Error {
    Error::new(ErrorKind::Config, BACKEND, "acquire", message)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limit(algorithm: Algorithm, quota: &str) -> Limit {
        Limit::new(algorithm, quota.parse().unwrap()).unwrap()
    }

    #[test]
    fn a_reply_is_an_answer() {
        let us = Duration::from_micros;
        let decision = Decision::Allowed { remaining: 7, reset_after: us(8), delay: us(9) };
        assert_eq!(answer(&[1, 3, 5, 7, 8, 9]).unwrap(), Answer { decision, taken: 3, at: 5 });
        let decision = Decision::Denied { retry_after: us(7) };
        assert_eq!(answer(&[0, 0, 5, 7]).unwrap(), Answer { decision, taken: 0, at: 5 });
        let decision = Decision::NeverFits { burst: 7 };
        assert_eq!(answer(&[2, 0, 5, 7]).unwrap(), Answer { decision, taken: 0, at: 5 });
        refunded(&[3, 0, 5]).unwrap();
    }

    #[test]
    fn any_other_reply_is_corrupt() {
        let malformed: [&[i64]; 9] = [
            &[],
            &[1],
            &[0, 0, 5],
            &[3, 0, 5],
            &[4, 0, 5, 7],
            &[-1, 0, 5, 7],
            &[0, 0, -5, 7],
            &[1, 1 << 32, 5, 7, 8, 9],
            &[1, 3, 5, 7, 8, 9, 10],
        ];
        for reply in malformed {
            assert_eq!(answer(reply).unwrap_err().kind(), ErrorKind::Corrupt, "{reply:?}");
        }
        assert_eq!(refunded(&[1, 0, 5]).unwrap_err().kind(), ErrorKind::Corrupt);
    }

    #[test]
    fn arguments_are_the_request_and_the_numbers_of_each_part() {
        let take = Request::Ask(Ask::Take(3));
        let of = |algorithm, quota| arguments(&limit(algorithm, quota), take, None).unwrap();
        assert_eq!(of(Algorithm::Gcra, "10/s burst 20"), [1, 3, 0, 0, 1, 20, 100_000, 1, 1, 1_000_000]);
        assert_eq!(of(Algorithm::FixedWindow, "10/s"), [1, 3, 0, 0, 3, 10, 1_000_000]);
        assert_eq!(of(Algorithm::SlidingWindowCounter, "10/s"), [1, 3, 0, 0, 4, 10, 1_000_000, 1]);
        assert_eq!(of(Algorithm::SlidingWindowLog, "10/s"), [1, 3, 0, 0, 5, 10, 1_000_000]);
        let two = [limit(Algorithm::FixedWindow, "1/s"), limit(Algorithm::SlidingWindowLog, "9/h")];
        let two = Limit::all_of(two).unwrap();
        let refund = Request::Refund { cost: 2, taken_at: 5 };
        assert_eq!(
            arguments(&two, refund, Some(7)).unwrap(),
            [4, 2, 7, 5, 3, 1, 1_000_000, 5, 9, 3_600_000_000]
        );
        assert_eq!(Script::of(&two), Script::All);
    }

    #[test]
    fn what_lua_cannot_count_is_refused() {
        let refused = |limit: &Limit| arguments(limit, Request::Ask(Ask::Take(1)), None).unwrap_err().kind();
        for algorithm in [Algorithm::FixedWindow, Algorithm::SlidingWindowLog] {
            assert_eq!(refused(&limit(algorithm, "31536000000000000/365day")), ErrorKind::Config);
        }
        assert_eq!(refused(&limit(Algorithm::TokenBucket, "1/365day burst 285")), ErrorKind::Config);
        let many = Limit::all_of((0..256).map(|_| limit(Algorithm::FixedWindow, "1/s"))).unwrap();
        assert_eq!(refused(&many), ErrorKind::Config);
        let zero = arguments(&limit(Algorithm::Gcra, "1/s"), Request::Ask(Ask::Peek(0)), None);
        assert_eq!(zero.unwrap_err().kind(), ErrorKind::Invalid);
    }
}
