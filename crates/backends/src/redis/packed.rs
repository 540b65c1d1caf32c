//! Commands as they go to the server, so that sending many costs next to nothing but the copying.

use std::{iter, ops::Range};

use redis::Cmd;

/// Commands of one key each, encoded one behind the other.
#[derive(Clone, Debug, Default)]
pub struct Batch {
    bytes: Vec<u8>,
    /// Where each command ends.
    ends: Vec<usize>,
}

/// A command with all but its key encoded: for commands that differ in nothing else.
///
/// ```
/// use backends::redis_1::{Batch, KeyedCommand};
///
/// let mut script = KeyedCommand::new(["EVALSHA", "e0e1f9fabfc9d4800c877a703b823ac0578ff8db", "1"]);
/// script.number(500);
/// let mut batch = Batch::with_capacity(2);
/// batch.push_keyed(&script, b"one").push_keyed(&script, b"another");
/// assert_eq!(batch.len(), 2);
/// ```
#[derive(Clone, Debug)]
pub struct KeyedCommand {
    words: usize,
    bytes: Vec<u8>,
    /// Where in `bytes` the key belongs.
    key: usize,
}

impl Batch {
    /// An empty batch, for about so many commands.
    #[must_use]
    pub fn with_capacity(commands: usize) -> Self {
        Self { bytes: Vec::new(), ends: Vec::with_capacity(commands) }
    }

    /// Adds a command of the driver.
    pub fn push(&mut self, command: &Cmd) -> &mut Self {
        command.write_packed_command(&mut self.bytes);
        self.ends.push(self.bytes.len());
        self
    }

    /// Adds a command with this key.
    pub fn push_keyed(&mut self, command: &KeyedCommand, key: &[u8]) -> &mut Self {
        let (before, after) = command.bytes.split_at(command.key);
        let Self { bytes, ends } = self;
        if ends.is_empty() {
            // The others will be as long.
            bytes.reserve((command.bytes.len() + key.len() + 16) * ends.capacity().max(1));
        }
        header(bytes, b'*', command.words + 1);
        bytes.extend_from_slice(before);
        word(bytes, key);
        bytes.extend_from_slice(after);
        ends.push(bytes.len());
        self
    }

    /// How many commands there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// The commands at these places, in that order.
    ///
    /// # Panics
    ///
    /// When a place is not below [`len`](Self::len).
    #[must_use]
    pub fn select(&self, places: &[usize]) -> Self {
        let mut selected = Self::with_capacity(places.len());
        for &place in places {
            selected.bytes.extend_from_slice(self.encoded(place..place + 1));
            selected.ends.push(selected.bytes.len());
        }
        selected
    }

    /// What is sent for the commands at these places.
    pub(super) fn encoded(&self, places: Range<usize>) -> &[u8] {
        let before = |place: usize| place.checked_sub(1).map_or(0, |last| self.ends[last]);
        &self.bytes[before(places.start)..before(places.end)]
    }

    /// The words of the command at this place.
    pub(super) fn words(&self, place: usize) -> impl Iterator<Item = &[u8]> {
        words(self.encoded(place..place + 1))
    }
}

impl KeyedCommand {
    /// The command that begins with these words, and whose key follows them.
    #[must_use]
    pub fn new<W: AsRef<[u8]>>(before: impl IntoIterator<Item = W>) -> Self {
        let mut command = Self { words: 0, bytes: Vec::with_capacity(192), key: 0 };
        for word in before {
            command.arg(word);
        }
        command.key = command.bytes.len();
        command
    }

    /// Adds a word behind the key.
    pub fn arg(&mut self, argument: impl AsRef<[u8]>) -> &mut Self {
        word(&mut self.bytes, argument.as_ref());
        self.words += 1;
        self
    }

    /// Adds a number behind the key, in decimal digits.
    pub fn number(&mut self, number: u64) -> &mut Self {
        let (digits, first) = digits(number);
        self.arg(&digits[first..])
    }
}

fn word(bytes: &mut Vec<u8>, word: &[u8]) {
    header(bytes, b'$', word.len());
    bytes.extend_from_slice(word);
    bytes.extend_from_slice(b"\r\n");
}

fn header(bytes: &mut Vec<u8>, kind: u8, len: usize) {
    // Nearly every length has one digit or two.
    match len {
        0..10 => bytes.extend_from_slice(&[kind, b'0' + len as u8, b'\r', b'\n']),
        10..100 => {
            bytes.extend_from_slice(&[kind, b'0' + (len / 10) as u8, b'0' + (len % 10) as u8, b'\r', b'\n']);
        }
        _ => {
            bytes.push(kind);
            let (digits, first) = digits(len as u64);
            bytes.extend_from_slice(&digits[first..]);
            bytes.extend_from_slice(b"\r\n");
        }
    }
}

/// Decimal digits, at the end of the array, and where they begin.
fn digits(mut number: u64) -> ([u8; 20], usize) {
    let (mut digits, mut first) = ([b'0'; 20], 19);
    while number >= 10 {
        digits[first] = b'0' + (number % 10) as u8;
        number /= 10;
        first -= 1;
    }
    digits[first] = b'0' + number as u8;
    (digits, first)
}

/// The words of one encoded command.
fn words(encoded: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = after_line(encoded).map_or(&[][..], |(_, rest)| rest);
    iter::from_fn(move || {
        let (len, behind) = after_line(rest)?;
        rest = behind.get(len + 2..)?;
        behind.get(..len)
    })
}

/// The number in the first line, and what is behind that line.
fn after_line(bytes: &[u8]) -> Option<(usize, &[u8])> {
    let end = bytes.iter().position(|&byte| byte == b'\r')?;
    let number = bytes.get(1..end)?.iter().fold(0, |sum, digit| sum * 10 + usize::from(digit - b'0'));
    Some((number, bytes.get(end + 2..)?))
}

#[cfg(test)]
mod tests {
    use redis::cmd;

    use super::*;

    #[test]
    fn a_keyed_command_is_encoded_as_the_driver_does() {
        for (key, value) in [("", ""), ("k", "123456789"), ("0123456789", "v"), (&"long".repeat(300), "x")] {
            let mut driver = cmd("EVALSHA");
            driver.arg("hash").arg(1).arg(key).arg(value);
            let mut keyed = KeyedCommand::new(["EVALSHA", "hash", "1"]);
            keyed.arg(value);
            for number in [0, 9, 10, 123_456, u64::MAX] {
                driver.arg(number);
                keyed.number(number);
            }
            let (mut ours, mut theirs) = (Batch::default(), Batch::default());
            ours.push_keyed(&keyed, key.as_bytes()).push_keyed(&KeyedCommand::new(["GET"]), b"k");
            theirs.push(&driver).push(cmd("GET").arg("k"));
            assert_eq!((&ours.bytes, &ours.ends), (&theirs.bytes, &theirs.ends));
            let words: Vec<_> = ours.words(0).collect();
            assert_eq!(words[..5], [&b"EVALSHA"[..], b"hash", b"1", key.as_bytes(), value.as_bytes()]);
            assert_eq!(words[9], u64::MAX.to_string().as_bytes());
            assert_eq!(ours.words(1).collect::<Vec<_>>(), [b"GET", &b"k"[..]]);
        }
    }

    #[test]
    fn commands_can_be_sent_again() {
        let mut batch = Batch::with_capacity(3);
        for key in ["a", "bb", "ccc"] {
            batch.push_keyed(&KeyedCommand::new(["GET"]), key.as_bytes());
        }
        assert!(!batch.is_empty() && batch.select(&[]).is_empty());
        let again = batch.select(&[2, 0]);
        assert_eq!(again.len(), 2);
        assert_eq!(again.encoded(0..2), b"*2\r\n$3\r\nGET\r\n$3\r\nccc\r\n*2\r\n$3\r\nGET\r\n$1\r\na\r\n");
        assert_eq!(batch.encoded(1..3), [batch.encoded(1..2), batch.encoded(2..3)].concat());
    }
}
