use std::time::Duration;

use backends::{Error, ErrorKind, Result};
use http::HeaderValue;

use crate::{Limit, Quota};

/// The largest integer that a structured field can hold.
const MAX_INTEGER: u64 = 999_999_999_999_999;
const MAX_NAME: usize = 64;
/// Room for a name with every character escaped, a quota, and two integers.
const MAX_ITEM: usize = 2 * MAX_NAME + 2 * 20 + 2 * 20 + 16;

/// What the quota counts: the parameter `qu`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum QuotaUnit {
    /// Requests, however much one costs. Not sent, being the default.
    #[default]
    Requests,
    /// Bytes of content.
    ContentBytes,
}

/// The policies of one limit, ready to be sent.
#[derive(Clone, Debug)]
pub(super) struct Policies {
    header: HeaderValue,
    items: Box<[Item]>,
}

#[derive(Clone, Debug)]
struct Item {
    name: Box<str>,
    /// `"name";r=`
    prefix: Box<[u8]>,
    tokens: u64,
    period_micros: u64,
    burst: u64,
    is_windowed: bool,
}

/// `RateLimit` after a denial, and what goes with it.
pub(super) struct Exceeded<'a> {
    pub(super) policy: &'a str,
    pub(super) seconds: u64,
    pub(super) field: HeaderValue,
}

pub(super) fn check_name(name: &str) -> Result<()> {
    let is_printable = name.bytes().all(|byte| (b' '..=b'~').contains(&byte));
    if is_printable && (1..=MAX_NAME).contains(&name.len()) {
        return Ok(());
    }
    let message = format!("{name:?} cannot name a policy: 1 to {MAX_NAME} printable ASCII characters can");
    Err(Error::new(ErrorKind::Config, "any", "build", message))
}

impl Policies {
    /// The `name` has been checked.
    pub(super) fn new(name: &str, unit: QuotaUnit, limit: &Limit) -> Self {
        let is_one = limit.parts().len() == 1;
        let mut header = String::new();
        let mut items = Vec::new();
        for part in limit.parts() {
            let quota = part.quota();
            let name = if is_one { name.to_owned() } else { format!("{name}-{}", rate(quota)) };
            let prefix = format!("\"{}\"", escape(&name));
            let (q, w) = per_window(quota);
            let separator = if header.is_empty() { "" } else { ", " };
            header += &format!("{separator}{prefix};q={q};w={w}");
            if unit == QuotaUnit::ContentBytes {
                header += ";qu=\"content-bytes\"";
            }
            items.push(Item {
                name: name.into(),
                prefix: format!("{prefix};r=").into_bytes().into(),
                tokens: quota.tokens(),
                period_micros: micros(quota.period()),
                burst: quota.burst(),
                is_windowed: part.algorithm().is_windowed(),
            });
        }
        Self { header: value(header.as_bytes()), items: items.into() }
    }

    /// `RateLimit-Policy`
    #[inline]
    pub(super) fn header(&self) -> HeaderValue {
        self.header.clone()
    }

    /// `RateLimit` after a request that went ahead.
    #[inline]
    pub(super) fn allowed(&self, remaining: u64, reset_after: Duration) -> HeaderValue {
        let item = match &*self.items {
            [item] => item,
            items => strictest(items, remaining, micros(reset_after)),
        };
        item.field(remaining, item.window(remaining, micros(reset_after)))
    }

    /// `RateLimit` after a request of this cost that was denied.
    pub(super) fn denied(&self, cost: u32, retry_after: Duration) -> Exceeded<'_> {
        let waited = micros(retry_after);
        // The part with the shortest wait that explains the one told.
        let by_wait = |item: &&Item| item.longest_wait(cost);
        let explains = self.items.iter().filter(|item| item.longest_wait(cost) >= waited);
        let item = explains.min_by_key(by_wait).or_else(|| self.items.iter().max_by_key(by_wait));
        let seconds = whole_seconds(retry_after).max(1);
        match item {
            Some(item) => Exceeded { policy: &item.name, seconds, field: item.field(0, seconds) },
            None => Exceeded { policy: "", seconds, field: value(b"") },
        }
    }

    /// The policy that has this burst.
    pub(super) fn with_burst(&self, burst: u64) -> &str {
        let item = self.items.iter().find(|item| item.burst == burst).or_else(|| self.items.first());
        item.map_or("", |item| &item.name)
    }
}

/// The part that may be the one with `remaining` tokens, and flows the slowest. The figures hold for each
/// part, being the least of all; which one they come from a store does not say.
fn strictest(items: &[Item], remaining: u64, reset_micros: u64) -> &Item {
    let may_be = |item: &&Item| {
        let missing = item.burst.saturating_sub(remaining).saturating_sub(1);
        let fits = item.is_windowed || item.time_for(missing) <= reset_micros;
        item.burst >= remaining && fits
    };
    let slowest = |item: &&Item| item.time_for(1);
    let found = items.iter().filter(may_be).max_by_key(slowest);
    found.or_else(|| items.iter().max_by_key(slowest)).unwrap_or(&items[0])
}

impl Item {
    /// The effective window `t`: as long as `remaining` tokens take to flow in, so that a client which
    /// spreads them over it keeps to the rate.
    #[inline]
    fn window(&self, remaining: u64, reset_micros: u64) -> u64 {
        let paced = self.time_for(remaining.max(1));
        let micros = if self.is_windowed { paced.max(reset_micros) } else { paced };
        micros.div_ceil(1_000_000).min(MAX_INTEGER)
    }

    /// Microseconds in which this many tokens flow in.
    #[inline]
    fn time_for(&self, tokens: u64) -> u64 {
        match tokens.checked_mul(self.period_micros) {
            Some(product) => product.div_ceil(self.tokens),
            None => {
                let product = u128::from(tokens) * u128::from(self.period_micros);
                u64::try_from(product.div_ceil(u128::from(self.tokens))).unwrap_or(u64::MAX)
            }
        }
    }

    /// The longest that a request of this cost can have to wait.
    fn longest_wait(&self, cost: u32) -> u64 {
        if self.is_windowed { self.period_micros } else { self.time_for(u64::from(cost)) }
    }

    #[inline]
    fn field(&self, remaining: u64, seconds: u64) -> HeaderValue {
        let mut line = Line { bytes: [0; MAX_ITEM], len: 0 };
        line.push(&self.prefix);
        line.push_integer(remaining.min(MAX_INTEGER));
        line.push(b";t=");
        line.push_integer(seconds);
        value(&line.bytes[..line.len])
    }
}

/// A line on the stack: `format!` would take longer than the decision.
struct Line {
    bytes: [u8; MAX_ITEM],
    len: usize,
}

impl Line {
    #[inline]
    fn push(&mut self, bytes: &[u8]) {
        if let Some(room) = self.bytes.get_mut(self.len..self.len + bytes.len()) {
            room.copy_from_slice(bytes);
            self.len += bytes.len();
        }
    }

    #[inline]
    fn push_integer(&mut self, mut integer: u64) {
        let mut digits = [0; 20];
        let mut at = digits.len();
        loop {
            at -= 1;
            // A digit fits a byte.
            digits[at] = b'0' + (integer % 10) as u8;
            integer /= 10;
            if integer == 0 {
                break;
            }
        }
        self.push(&digits[at..]);
    }
}

/// Seconds, rounded up.
pub(super) fn whole_seconds(duration: Duration) -> u64 {
    duration.as_secs().saturating_add(u64::from(duration.subsec_nanos() > 0)).min(MAX_INTEGER)
}

/// The content of a quoted string, of printable ASCII.
pub(super) fn escape(text: &str) -> String {
    text.replace('\\', "\\\\").replace('"', "\\\"")
}

/// `10/s`
fn rate(quota: &Quota) -> String {
    let text = quota.to_string();
    text.split(' ').next().unwrap_or_default().to_owned()
}

/// Whole tokens and seconds of a window: fields know no parts of a second.
fn per_window(quota: &Quota) -> (u64, u64) {
    let w = whole_seconds(quota.period());
    let tokens = u128::from(quota.tokens()) * u128::from(w) * 1_000_000;
    let q = tokens / u128::from(micros(quota.period()).max(1));
    (u64::try_from(q).unwrap_or(u64::MAX).min(MAX_INTEGER), w)
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos().div_ceil(1_000)).unwrap_or(u64::MAX)
}

/// What is made here is ASCII; an empty list is valid where a client expects one.
#[inline]
fn value(bytes: &[u8]) -> HeaderValue {
    HeaderValue::from_bytes(bytes).unwrap_or_else(|_| HeaderValue::from_static(""))
}
