//! As much of the protocol as pipelines of scripts need: no driver is between a script and what is said of it.

use std::{
    io::{self, BufRead, BufReader, Read, Write},
    net::{SocketAddr, TcpStream},
};

/// What a server replied.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Reply {
    Nothing,
    Integer(i64),
    Bytes(Vec<u8>),
    Array(Vec<Reply>),
    Error(String),
}

impl Reply {
    pub(crate) fn integers(&self) -> Vec<i64> {
        let Self::Array(items) = self else { panic!("{self:?}") };
        let integer = |item: &Self| if let Self::Integer(n) = item { *n } else { panic!("{self:?}") };
        items.iter().map(integer).collect()
    }

    pub(crate) fn integer(&self) -> i64 {
        if let Self::Integer(n) = self { *n } else { panic!("{self:?}") }
    }

    pub(crate) fn error(&self) -> &str {
        if let Self::Error(text) = self { text } else { panic!("{self:?}") }
    }
}

/// A connection.
pub(crate) struct Server {
    stream: BufReader<TcpStream>,
    out: Vec<u8>,
    due: usize,
}

impl Server {
    pub(crate) fn connect(addr: SocketAddr) -> io::Result<Self> {
        let stream = TcpStream::connect(addr)?;
        stream.set_nodelay(true)?;
        Ok(Self { stream: BufReader::with_capacity(1 << 16, stream), out: Vec::new(), due: 0 })
    }

    /// Puts a command into the pipeline.
    pub(crate) fn push<A: AsRef<[u8]>>(&mut self, arguments: &[A]) {
        self.out.extend(format!("*{}\r\n", arguments.len()).bytes());
        for argument in arguments {
            let argument = argument.as_ref();
            self.out.extend(format!("${}\r\n", argument.len()).bytes());
            self.out.extend(argument);
            self.out.extend(b"\r\n");
        }
        self.due += 1;
    }

    /// Sends the pipeline, and reads what is replied to each of its commands.
    pub(crate) fn flush(&mut self) -> io::Result<Vec<Reply>> {
        let mut writer = self.stream.get_ref().try_clone()?;
        let out = std::mem::take(&mut self.out);
        let due = std::mem::take(&mut self.due);
        // Beside the reading, or both sides would wait for the other with full buffers.
        std::thread::scope(|scope| {
            let sent = scope.spawn(move || writer.write_all(&out));
            let replies = (0..due).map(|_| self.read()).collect();
            sent.join().unwrap_or_else(|_| Err(io::Error::other("panicked")))?;
            replies
        })
    }

    pub(crate) fn call<A: AsRef<[u8]>>(&mut self, arguments: &[A]) -> io::Result<Reply> {
        self.push(arguments);
        Ok(self.flush()?.remove(0))
    }

    fn read(&mut self) -> io::Result<Reply> {
        let mut line = String::new();
        self.stream.read_line(&mut line)?;
        let Some((kind, rest)) = line.trim_end().split_at_checked(1) else {
            return Err(io::ErrorKind::UnexpectedEof.into());
        };
        let number = || rest.parse::<i64>().map_err(io::Error::other);
        Ok(match kind {
            ":" => Reply::Integer(number()?),
            "+" => Reply::Bytes(rest.into()),
            "-" => Reply::Error(rest.into()),
            "$" => match usize::try_from(number()?) {
                Err(_) => Reply::Nothing,
                Ok(length) => {
                    let mut bytes = vec![0; length + 2];
                    self.stream.read_exact(&mut bytes)?;
                    bytes.truncate(length);
                    Reply::Bytes(bytes)
                }
            },
            "*" => Reply::Array((0..number()?).map(|_| self.read()).collect::<Result<_, _>>()?),
            _ => return Err(io::Error::other(line)),
        })
    }
}
