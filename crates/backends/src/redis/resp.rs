//! Reads what a server says in the second version of its protocol, which every connection here speaks.

use std::{ops::Deref, str};

use redis::Value;

/// Answers nest no deeper than this: more is not an answer of ours, and would overflow the stack.
const MAX_DEPTH: usize = 64;
/// No server sends more in one string: its `proto-max-bulk-len`.
const MAX_LEN: i64 = 512 << 20;

/// What came is not the protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Garbage;

/// What a server replied to a command.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Reply {
    /// A list of one to eight integers, as scripts reply: reading it allocates nothing.
    Integers(Integers),
    /// Anything else.
    Value(Value),
}

/// A few integers. Dereferences to a slice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Integers {
    numbers: [i64; Self::MOST],
    count: usize,
}

impl Reply {
    /// As the driver has it.
    #[must_use]
    pub fn into_value(self) -> Value {
        match self {
            Self::Integers(integers) => Value::Array(integers.iter().copied().map(Value::Int).collect()),
            Self::Value(value) => value,
        }
    }
}

impl Integers {
    const MOST: usize = 8;

    /// The list at the start of `bytes` and its length, if there is one as servers write it.
    fn read(bytes: &[u8]) -> Option<(Self, usize)> {
        let [b'*', digit @ b'1'..=b'8', b'\r', b'\n', ..] = bytes else { return None };
        let mut integers = Self { numbers: [0; Self::MOST], count: usize::from(digit - b'0') };
        let mut at = 4;
        for number in &mut integers.numbers[..integers.count] {
            let (&b':', mut rest) = bytes.get(at..)?.split_first()? else { return None };
            at += 1;
            let negative = rest.first() == Some(&b'-');
            if negative {
                rest = &rest[1..];
                at += 1;
            }
            // So many digits overflow nothing here, and say so below.
            let (mut sum, mut digits) = (0_u64, 0);
            while let Some(digit) =
                rest.get(digits).map(|byte| byte.wrapping_sub(b'0')).filter(|&digit| digit < 10)
            {
                sum = sum.wrapping_mul(10).wrapping_add(u64::from(digit));
                digits += 1;
            }
            if !(1..=19).contains(&digits) || rest.get(digits..digits + 2)? != b"\r\n" {
                return None;
            }
            at += digits + 2;
            *number = if negative { 0_i64.checked_sub_unsigned(sum)? } else { i64::try_from(sum).ok()? };
        }
        Some((integers, at))
    }
}

impl Deref for Integers {
    type Target = [i64];

    fn deref(&self) -> &[i64] {
        &self.numbers[..self.count]
    }
}

/// Takes answers off the front of a buffer that grows at its end.
///
/// An answer that is not there as a whole is remembered by how far it goes, so that one that arrives in
/// many pieces is not read from its start with each of them.
#[derive(Debug, Default)]
pub(super) struct Decoder {
    partial: Option<Partial>,
}

#[derive(Debug)]
struct Partial {
    /// What was looked at, in bytes from the start of the answer.
    seen: usize,
    /// How many values are to come after that.
    values: usize,
}

impl Decoder {
    /// The first answer in `bytes` and its length; `None` when its end is missing.
    pub(super) fn decode(&mut self, bytes: &[u8]) -> Result<Option<(Reply, usize)>, Garbage> {
        if let Some(partial) = &mut self.partial {
            if !partial.skip(bytes)? {
                return Ok(None);
            }
            self.partial = None;
        }
        if let Some((integers, len)) = Integers::read(bytes) {
            return Ok(Some((Reply::Integers(integers), len)));
        }
        let mut at = 0;
        match value(bytes, &mut at, 0)? {
            Some(value) => Ok(Some((Reply::Value(value), at))),
            None => {
                if !bytes.is_empty() {
                    self.partial = Some(Partial { seen: 0, values: 1 });
                }
                Ok(None)
            }
        }
    }
}

impl Partial {
    /// Whether the answer is complete.
    fn skip(&mut self, bytes: &[u8]) -> Result<bool, Garbage> {
        while self.values > 0 {
            let mut at = self.seen;
            let Some((kind, text)) = line(bytes, &mut at) else { return Ok(false) };
            match kind {
                b'$' => {
                    if let Some(len) = length(text)? {
                        at += len + 2;
                    }
                    if at > bytes.len() {
                        return Ok(false);
                    }
                }
                b'*' => self.values += length(text)?.unwrap_or(0),
                _ => {}
            }
            self.seen = at;
            self.values -= 1;
        }
        Ok(true)
    }
}

fn value(bytes: &[u8], at: &mut usize, depth: usize) -> Result<Option<Value>, Garbage> {
    let start = *at;
    let Some((kind, text)) = line(bytes, at) else { return Ok(None) };
    let read = match kind {
        b':' => Value::Int(integer(text)?),
        b'+' if text == b"OK" => Value::Okay,
        b'+' => Value::SimpleString(str::from_utf8(text).map_err(|_| Garbage)?.to_owned()),
        b'$' => match length(text)? {
            None => Value::Nil,
            Some(len) => {
                let Some(body) = bytes.get(*at..*at + len + 2) else { return Ok(None) };
                let Some(body) = body.strip_suffix(b"\r\n") else { return Err(Garbage) };
                *at += len + 2;
                Value::BulkString(body.to_vec())
            }
        },
        b'*' => match length(text)? {
            None => Value::Nil,
            Some(_) if depth == MAX_DEPTH => return Err(Garbage),
            Some(len) => {
                // Each element has three bytes at least: a made-up length reserves no memory.
                let mut items = Vec::with_capacity(len.min((bytes.len() - *at) / 3));
                for _ in 0..len {
                    match value(bytes, at, depth + 1)? {
                        Some(item) => items.push(item),
                        None => return Ok(None),
                    }
                }
                Value::Array(items)
            }
        },
        // The driver alone can make this value.
        b'-' => redis::parse_redis_value(&bytes[start..*at]).map_err(|_| Garbage)?,
        _ => return Err(Garbage),
    };
    Ok(Some(read))
}

/// The line at `at`, as its first byte and the rest; `at` moves behind it.
fn line<'a>(bytes: &'a [u8], at: &mut usize) -> Option<(u8, &'a [u8])> {
    let (&kind, rest) = bytes.get(*at..)?.split_first()?;
    let end = rest.iter().position(|&byte| byte == b'\r').filter(|end| end + 1 < rest.len())?;
    *at += end + 3;
    Some((kind, &rest[..end]))
}

fn integer(text: &[u8]) -> Result<i64, Garbage> {
    let (negative, digits) = match text {
        [b'-', digits @ ..] => (true, digits),
        [b'+', digits @ ..] => (false, digits),
        digits => (false, digits),
    };
    if digits.is_empty() {
        return Err(Garbage);
    }
    // Towards the minimum, which has no positive counterpart.
    let sum = digits.iter().try_fold(0_i64, |sum, digit| {
        let digit = digit.is_ascii_digit().then(|| i64::from(digit - b'0'))?;
        sum.checked_mul(10)?.checked_sub(digit)
    });
    let sum = sum.ok_or(Garbage)?;
    if negative { Ok(sum) } else { sum.checked_neg().ok_or(Garbage) }
}

/// `None` stands for no string or no array.
fn length(text: &[u8]) -> Result<Option<usize>, Garbage> {
    match integer(text)? {
        -1 => Ok(None),
        len @ 0..=MAX_LEN => usize::try_from(len).map(Some).map_err(|_| Garbage),
        _ => Err(Garbage),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ANSWERS: &[u8] = b":1\r\n:-9223372036854775808\r\n:9223372036854775807\r\n+OK\r\n+PONG\r\n$-1\r\n\
        $0\r\n\r\n$5\r\na\r\nbc\r\n*-1\r\n*0\r\n*3\r\n:7\r\n*2\r\n$1\r\nx\r\n-ERR no\r\n+OK\r\n-MOVED 3 h:1\r\n\
        *3\r\n:1\r\n:-9223372036854775808\r\n:9223372036854775807\r\n*8\r\n:1\r\n:2\r\n:3\r\n:4\r\n:-5\r\n:6\r\n:7\r\n:0\r\n\
        *9\r\n:1\r\n:2\r\n:3\r\n:4\r\n:5\r\n:6\r\n:7\r\n:8\r\n:9\r\n*2\r\n:1\r\n+OK\r\n";

    /// Feeds `ANSWERS` in pieces of this size.
    fn decode(piece: usize) -> Vec<Value> {
        let (mut decoder, mut buffer, mut values) = (Decoder::default(), Vec::new(), Vec::new());
        for bytes in ANSWERS.chunks(piece) {
            buffer.extend_from_slice(bytes);
            while let Some((value, len)) = decoder.decode(&buffer).unwrap() {
                values.push(value.into_value());
                buffer.drain(..len);
            }
        }
        assert!(buffer.is_empty());
        values
    }

    #[test]
    fn answers_are_read_as_the_driver_reads_them_however_they_arrive() {
        let mut expected = Vec::new();
        let mut rest = ANSWERS;
        while !rest.is_empty() {
            expected.push(redis::parse_redis_value(rest).unwrap());
            let mut at = 0;
            value(rest, &mut at, 0).unwrap();
            rest = &rest[at..];
        }
        assert_eq!(expected.len(), 16);
        for piece in 1..=ANSWERS.len() {
            assert_eq!(decode(piece), expected, "in pieces of {piece}");
        }
    }

    #[test]
    fn garbage_is_told_and_made_up_lengths_reserve_nothing() {
        let deep = "*1\r\n".repeat(MAX_DEPTH + 2);
        for bytes in [
            "HTTP/1.1 400\r\n",
            ":x\r\n",
            ":\r\n",
            ":9223372036854775808\r\n",
            "$1\r\nxyz",
            "*-2\r\n",
            "*1\r\n:x\r\n",
            "*1\r\n:9223372036854775808\r\n",
            "*1\r\n:-9223372036854775809\r\n",
            "*1\r\n:99999999999999999999\r\n",
            &deep,
        ] {
            assert_eq!(Decoder::default().decode(bytes.as_bytes()), Err(Garbage), "{bytes}");
        }
        assert_eq!(Decoder::default().decode(b"*536870912\r\n:1\r\n"), Ok(None));
    }
}
