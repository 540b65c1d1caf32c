//! As much of the protocol of Redis as the helpers of tests need.

use std::{
    io,
    io::{BufRead, BufReader, Write},
    net::{SocketAddr, TcpStream},
    time::Duration,
};

/// How long a server may take to answer one command.
const PATIENCE: Duration = Duration::from_secs(20);

/// What a server of a test's own replied.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply {
    /// Null.
    Nothing,
    /// A simple string or a bulk string.
    Bytes(Vec<u8>),
    /// A number.
    Integer(i64),
    /// A list.
    List(Vec<Reply>),
}

impl Reply {
    /// A string as text; empty for anything else.
    #[must_use]
    pub fn text(&self) -> String {
        match self {
            Self::Bytes(bytes) => String::from_utf8_lossy(bytes).into_owned(),
            Self::Nothing | Self::Integer(_) | Self::List(_) => String::new(),
        }
    }

    /// A number, unless it is anything else.
    #[must_use]
    pub const fn integer(&self) -> Option<i64> {
        match self {
            Self::Integer(integer) => Some(*integer),
            Self::Nothing | Self::Bytes(_) | Self::List(_) => None,
        }
    }

    /// The items of a list; none for anything else.
    #[must_use]
    pub fn items(&self) -> &[Self] {
        match self {
            Self::List(items) => items,
            Self::Nothing | Self::Bytes(_) | Self::Integer(_) => &[],
        }
    }

    fn read(stream: &mut impl BufRead) -> io::Result<Self> {
        let mut line = String::new();
        stream.read_line(&mut line)?;
        let Some(line) = line.strip_suffix("\r\n") else { return Err(io::ErrorKind::UnexpectedEof.into()) };
        let (kind, rest) = line.split_at_checked(1).unwrap_or_default();
        let number = || rest.parse::<i64>().map_err(|_| io::Error::other(format!("no number: {line}")));
        match kind {
            "+" => Ok(Self::Bytes(rest.as_bytes().to_vec())),
            "-" => Err(io::Error::other(rest)),
            ":" => number().map(Self::Integer),
            "$" | "*" => match (usize::try_from(number()?), kind) {
                (Err(_), _) => Ok(Self::Nothing),
                (Ok(length), "$") => {
                    let mut bytes = vec![0; length + 2];
                    stream.read_exact(&mut bytes)?;
                    bytes.truncate(length);
                    Ok(Self::Bytes(bytes))
                }
                (Ok(length), _) => {
                    (0..length).map(|_| Self::read(stream)).collect::<io::Result<_>>().map(Self::List)
                }
            },
            _ => Err(io::Error::other(format!("no reply: {line}"))),
        }
    }
}

/// Sends a command over a connection of its own. An error that the server replies is one here.
pub(super) fn ask(addr: SocketAddr, words: &[impl AsRef<[u8]>]) -> io::Result<Reply> {
    let mut stream = TcpStream::connect_timeout(&addr, PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    let mut command = format!("*{}\r\n", words.len()).into_bytes();
    for word in words {
        let word = word.as_ref();
        command.extend_from_slice(format!("${}\r\n", word.len()).as_bytes());
        command.extend_from_slice(word);
        command.extend_from_slice(b"\r\n");
    }
    stream.write_all(&command)?;
    Reply::read(&mut BufReader::new(stream))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn replies_are_read() {
        let read = |mut text: &[u8]| Reply::read(&mut text);
        let bytes = |text: &str| Reply::Bytes(text.as_bytes().to_vec());
        assert_eq!(read(b"+OK\r\n").unwrap(), bytes("OK"));
        assert_eq!(read(b"$4\r\na\r\nb\r\n").unwrap().text(), "a\r\nb");
        assert_eq!(read(b":-7\r\n").unwrap().integer(), Some(-7));
        let list = read(b"*3\r\n$-1\r\n*1\r\n:1\r\n+x\r\n").unwrap();
        assert_eq!(list.items(), [Reply::Nothing, Reply::List(vec![Reply::Integer(1)]), bytes("x")]);
        assert_eq!(read(b"-NOPERM no\r\n").unwrap_err().to_string(), "NOPERM no");
        for broken in [&b""[..], b"+OK", b"$9\r\nshort\r\n", b"?\r\n", b":x\r\n", b"\r\n"] {
            assert!(read(broken).is_err(), "{broken:?}");
        }
    }
}
