//! Opens connections to one server, and logs in.

use std::{fmt, io, sync::Arc, time::Duration};

use redis::{Cmd, ServerErrorKind, Value, cmd};
use tokio::{
    net::TcpStream,
    time::{Instant, timeout_at},
};

use super::{error::Failure, link::Link, resp::Reply, tls::Tls};
use crate::{Config, ErrorKind, Result, Retry};

/// What all connections of one client have in common.
pub(super) struct Settings {
    login: Option<(String, String)>,
    database: i64,
    tls: Option<Tls>,
    pub(super) connect_timeout: Duration,
    pub(super) request_timeout: Duration,
}

/// Where a server is: host and port.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Address {
    pub(super) host: Arc<str>,
    pub(super) port: u16,
}

/// A connection before it is known what it is for.
pub(super) enum Stream {
    Plain(TcpStream),
    #[cfg(feature = "redis-tls")]
    Tls(Box<tokio_rustls::client::TlsStream<TcpStream>>),
}

impl Settings {
    /// Reads the files that `config` names.
    pub(super) fn new(config: &Config) -> Result<Self> {
        Ok(Self {
            login: config.login().map(|(user, password)| (user.to_owned(), password.to_owned())),
            database: config.path().and_then(|database| database.parse().ok()).unwrap_or(0),
            tls: Tls::new(config)?,
            connect_timeout: config.connect_deadline(),
            request_timeout: config.request_deadline(),
        })
    }

    pub(super) fn database(&self) -> i64 {
        self.database
    }

    /// A new connection, ready for requests, within the connect time-out.
    pub(super) async fn open(&self, address: &Address) -> Result<Link, Failure> {
        let deadline = Instant::now() + self.connect_timeout;
        let link = match self.dial(address, deadline).await? {
            Stream::Plain(stream) => {
                let (reader, writer) = stream.into_split();
                Link::new(reader, writer, self.request_timeout)
            }
            #[cfg(feature = "redis-tls")]
            Stream::Tls(stream) => {
                let (reader, writer) = tokio::io::split(*stream);
                Link::new(reader, writer, self.request_timeout)
            }
        };
        self.greet(&link, deadline).await.map_err(|failure| ungreeted(failure, address))?;
        Ok(link)
    }

    /// A new connection, encrypted where that is asked for, on which nothing was said yet.
    pub(super) async fn dial(&self, address: &Address, deadline: Instant) -> Result<Stream, Failure> {
        let stream = async {
            let stream = TcpStream::connect((&*address.host, address.port)).await?;
            stream.set_nodelay(true)?;
            Ok::<_, io::Error>(stream)
        };
        let stream = match timeout_at(deadline, stream).await {
            Ok(Ok(stream)) => stream,
            Ok(Err(error)) => return Err(unreachable(address, &error.to_string().to_lowercase())),
            Err(_) => return Err(unreachable(address, "no answer within the connect time-out")),
        };
        match &self.tls {
            None => Ok(Stream::Plain(stream)),
            #[cfg(not(feature = "redis-tls"))]
            Some(tls) => match *tls {},
            #[cfg(feature = "redis-tls")]
            Some(tls) => match timeout_at(deadline, tls.handshake(&address.host, stream)).await {
                Ok(stream) => Ok(Stream::Tls(Box::new(stream?))),
                Err(_) => Err(unreachable(address, "no tls within the connect time-out")),
            },
        }
    }

    /// Logs in; the answer to the last command shows that the server serves.
    async fn greet(&self, link: &Link, deadline: Instant) -> Result<(), Failure> {
        let commands = self.greeting();
        let pending = link.send(commands.len(), |out| {
            commands.iter().for_each(|command: &Cmd| command.write_packed_command(out));
        })?;
        link.wait(pending, deadline).await?.into_iter().map(Reply::into_value).try_for_each(greeted)
    }

    /// What is said first on every connection.
    pub(super) fn greeting(&self) -> Vec<Cmd> {
        let mut commands = Vec::new();
        if let Some((user, password)) = &self.login {
            let mut auth = cmd("AUTH");
            if !user.is_empty() {
                auth.arg(user);
            }
            auth.arg(password);
            commands.push(auth);
        }
        if self.database != 0 {
            let mut select = cmd("SELECT");
            select.arg(self.database);
            commands.push(select);
        }
        commands.push(cmd("PING"));
        commands
    }
}

/// Reads one answer to the greeting.
pub(super) fn greeted(answer: Value) -> Result<(), Failure> {
    match answer {
        // Who may not ask for a PING may still ask for other things.
        Value::ServerError(error) if error.kind() == Some(ServerErrorKind::NoPerm) => Ok(()),
        Value::ServerError(error) => Err(refused(Failure::answer(&error.into()))),
        _ => Ok(()),
    }
}

/// Why a connection did not become ready: nothing was asked of the server yet.
pub(super) fn ungreeted(failure: Failure, address: &Address) -> Failure {
    match failure.retry() {
        Retry::Ambiguous if failure.kind() == ErrorKind::Timeout => {
            unreachable(address, "no answer within the connect time-out")
        }
        _ => failure.unsent(),
    }
}

/// A server that refuses what the configuration says will go on to do so, unless it is only busy.
fn refused(failure: Failure) -> Failure {
    match failure.kind() {
        ErrorKind::Invalid => Failure::new(ErrorKind::Config, Retry::Never, failure.to_string()),
        _ => failure,
    }
}

fn unreachable(address: &Address, why: &str) -> Failure {
    Failure::down(format!("{address} cannot be reached: {why}"))
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

impl fmt::Debug for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Settings").field("database", &self.database).finish_non_exhaustive()
    }
}
