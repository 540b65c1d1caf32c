//! Where in a cluster a command belongs.

use redis::{Arg, Cmd};

pub(super) const SLOTS: u16 = 16_384;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Route {
    /// To the master of this slot.
    Slot(u16),
    /// To all masters: what each of them is asked or told for itself.
    Masters,
    /// To one master: there is no key.
    Any,
}

/// Sent to every master; of `SCRIPT` and `FUNCTION`, whatever the subcommand.
const FOR_MASTERS: [&str; 3] = ["PING", "SCRIPT", "FUNCTION"];
/// Have no key.
const KEYLESS: [&str; 26] = [
    "ACL",
    "ASKING",
    "AUTH",
    "CLIENT",
    "CLUSTER",
    "COMMAND",
    "CONFIG",
    "DBSIZE",
    "DEBUG",
    "ECHO",
    "INFO",
    "KEYS",
    "LASTSAVE",
    "LATENCY",
    "MODULE",
    "PUBLISH",
    "PUBSUB",
    "RANDOMKEY",
    "READONLY",
    "READWRITE",
    "ROLE",
    "SCAN",
    "SLOWLOG",
    "TIME",
    "WAIT",
    "WAITAOF",
];
/// The number of keys comes second, or first, or behind a time-out; the first key follows.
const COUNTED_SECOND: [&str; 6] = ["EVAL", "EVALSHA", "EVAL_RO", "EVALSHA_RO", "FCALL", "FCALL_RO"];
const COUNTED_FIRST: [&str; 7] = ["LMPOP", "SINTERCARD", "ZDIFF", "ZINTER", "ZINTERCARD", "ZMPOP", "ZUNION"];
const COUNTED_LATE: [&str; 2] = ["BLMPOP", "BZMPOP"];
/// The key comes behind a subcommand.
const SECOND: [&str; 5] = ["BITOP", "MEMORY", "OBJECT", "XGROUP", "XINFO"];
/// The keys come behind the word `STREAMS`.
const STREAMS: [&str; 2] = ["XREAD", "XREADGROUP"];

pub(super) fn route(command: &Cmd) -> Route {
    route_of(command.args_iter().map(|argument| match argument {
        Arg::Simple(bytes) => bytes,
        _ => &[],
    }))
}

/// The same, by the words of a command.
pub(super) fn route_of<'a>(mut arguments: impl Iterator<Item = &'a [u8]>) -> Route {
    let Some(name) = arguments.next() else { return Route::Any };
    // Most commands by far are scripts and those whose key comes first.
    let is = |names: &[&str]| names.iter().any(|known| name.eq_ignore_ascii_case(known.as_bytes()));
    let key = if is(&COUNTED_SECOND) {
        arguments.nth(1).filter(|&count| count != b"0").and_then(|_| arguments.next())
    } else if is(&KEYLESS) {
        None
    } else if is(&FOR_MASTERS) {
        return Route::Masters;
    } else if is(&COUNTED_FIRST) || is(&SECOND) {
        arguments.nth(1)
    } else if is(&COUNTED_LATE) {
        arguments.nth(2)
    } else if is(&STREAMS) {
        arguments.find(|word| word.eq_ignore_ascii_case(b"STREAMS")).and_then(|_| arguments.next())
    } else {
        arguments.next()
    };
    key.map_or(Route::Any, |key| Route::Slot(slot(key)))
}

/// The slot of a key: its CRC16, or that of the part in the first pair of braces, unless that is empty.
pub(super) fn slot(key: &[u8]) -> u16 {
    let tag = key.iter().position(|&byte| byte == b'{').and_then(|open| {
        let rest = &key[open + 1..];
        rest.iter().position(|&byte| byte == b'}').filter(|&len| len > 0).map(|len| &rest[..len])
    });
    crc16(tag.unwrap_or(key)) % SLOTS
}

/// CRC16 in the variant called XMODEM.
fn crc16(bytes: &[u8]) -> u16 {
    bytes.iter().fold(0, |crc, &byte| crc << 8 ^ CRC16[usize::from((crc >> 8) as u8 ^ byte)])
}

const CRC16: [u16; 256] = {
    let mut table = [0; 256];
    let mut i = 0;
    while i < 256 {
        let (mut crc, mut bit) = ((i as u16) << 8, 0);
        while bit < 8 {
            crc = if crc & 0x8000 == 0 { crc << 1 } else { crc << 1 ^ 0x1021 };
            bit += 1;
        }
        table[i] = crc;
        i += 1;
    }
    table
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slots_are_those_of_the_servers() {
        // From the cluster specification, and from CLUSTER KEYSLOT.
        assert_eq!(crc16(b"123456789"), 0x31c3);
        assert_eq!((slot(b"foo"), slot(b"bar"), slot(b"")), (12_182, 5_061, 0));
        assert_eq!(slot(b"{user1000}.following"), slot(b"{user1000}.followers"));
        assert_eq!(slot(b"{user1000}.following"), slot(b"user1000"));
        assert_eq!(slot(b"foo{}{bar}"), crc16(b"foo{}{bar}") % SLOTS);
        assert_eq!(slot(b"foo{{bar}}zap"), slot(b"{bar"));
        assert_eq!(slot(b"foo{bar}{zap}"), slot(b"bar"));
        assert_eq!(slot(b"a}{b"), crc16(b"a}{b") % SLOTS);
    }

    #[test]
    fn keys_are_found() {
        let check = |words: &str, expected: Route| {
            let mut command = Cmd::new();
            words.split(' ').for_each(|word| {
                command.arg(word);
            });
            assert_eq!(route(&command), expected, "{words}");
        };
        let foo = Route::Slot(slot(b"foo"));
        for words in [
            "get foo",
            "SET foo bar",
            "MGET foo bar",
            "evalsha 0123 2 foo bar 1",
            "EVAL script 1 foo",
            "FCALL f 1 foo",
            "XREAD COUNT 1 STREAMS foo 0",
            "XREADGROUP GROUP g c streams foo >",
            "XGROUP CREATE foo g $",
            "OBJECT ENCODING foo",
            "BITOP AND foo bar",
            "LMPOP 1 foo LEFT",
            "BLMPOP 0 1 foo LEFT",
        ] {
            check(words, foo);
        }
        for words in ["PING", "script LOAD x", "FUNCTION LOAD x"] {
            check(words, Route::Masters);
        }
        for words in ["EVAL script 0 foo", "CLUSTER INFO", "TIME", "GET"] {
            check(words, Route::Any);
        }
        assert_eq!(route(&Cmd::new()), Route::Any);
    }
}
