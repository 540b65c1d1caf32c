use std::{error, error::Error as _, fmt, io, sync::Arc};

use redis::{ErrorKind as Driver, RedisError, ServerErrorKind as Server};

use crate::{Error, ErrorKind as Kind, Retry};

/// What a driver error of `op` means: `Ambiguous` for whatever may have happened after the request was
/// sent, `Safe` for a server that refused it or was never reached.
pub fn redis_error(backend: &'static str, op: &'static str, error: RedisError) -> Error {
    if let Some(failure) = Failure::of(&error) {
        return failure.clone().at(backend, op);
    }
    let (kind, mut retry, text) = classify(&error);
    // The driver names the first failure of a pipeline; what came before and after it may have been
    // carried out. Of an aborted transaction nothing was.
    let is_aborted = error.kind() == Driver::Server(Server::ExecAbort);
    let is_pipeline = error.source().is_none() && error.clone().into_server_errors().is_some();
    if is_pipeline && !is_aborted && retry == Retry::Safe {
        retry = Retry::Ambiguous;
    }
    Error::new(kind, backend, op, text).with_retry(retry).with_source(error)
}

/// Whether the server does not know the script of an `EVALSHA`, and so did nothing.
pub fn is_unknown_script(error: &Error) -> bool {
    let driver = error.source().and_then(|source| source.downcast_ref::<RedisError>());
    driver.is_some_and(|error| error.kind() == Driver::Server(Server::NoScript))
}

/// Why a request got no answer. One broken connection tells all who wait for it, hence the shared text.
#[derive(Clone, Debug)]
pub(super) struct Failure {
    kind: Kind,
    retry: Retry,
    text: Arc<str>,
}

impl Failure {
    pub(super) fn new(kind: Kind, retry: Retry, text: impl Into<Arc<str>>) -> Self {
        Self { kind, retry, text: text.into() }
    }

    /// The server is known not to be there; nothing was sent.
    pub(super) fn down(text: impl Into<Arc<str>>) -> Self {
        Self::new(Kind::Unavailable, Retry::Safe, text)
    }

    /// The connection ended after the request was sent.
    pub(super) fn broken() -> Self {
        Self::new(Kind::Unavailable, Retry::Ambiguous, "the connection broke")
    }

    /// No answer in time.
    pub(super) fn late() -> Self {
        Self::new(Kind::Timeout, Retry::Ambiguous, "no answer in time")
    }

    /// What the server answered instead of a value.
    pub(super) fn answer(error: &RedisError) -> Self {
        let (kind, retry, text) = classify(error);
        Self::new(kind, retry, format!("{text} ({})", error.code().unwrap_or_default().to_lowercase()))
    }

    pub(super) fn retry(&self) -> Retry {
        self.retry
    }

    pub(super) fn kind(&self) -> Kind {
        self.kind
    }

    /// The same, of a request that was not sent.
    pub(super) fn unsent(self) -> Self {
        match self.retry {
            Retry::Ambiguous => Self { kind: Kind::Unavailable, retry: Retry::Safe, text: self.text },
            _ => self,
        }
    }

    pub(super) fn at(self, backend: &'static str, op: &'static str) -> Error {
        Error::new(self.kind, backend, op, &*self.text).with_retry(self.retry)
    }

    /// For the driver's traits; [`redis_error`] finds it again inside.
    pub(super) fn into_driver(self) -> RedisError {
        let kind = match (self.kind, self.retry) {
            (Kind::Timeout, _) => io::ErrorKind::TimedOut,
            (Kind::Unavailable, Retry::Ambiguous) => io::ErrorKind::ConnectionReset,
            (Kind::Unavailable, _) => io::ErrorKind::ConnectionRefused,
            _ => io::ErrorKind::Other,
        };
        io::Error::new(kind, self).into()
    }

    fn of(error: &RedisError) -> Option<&Self> {
        type Shared = Arc<dyn error::Error + Send + Sync>;
        let shared: &Shared = error.source()?.downcast_ref()?;
        shared.downcast_ref::<io::Error>()?.get_ref()?.downcast_ref()
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl error::Error for Failure {}

fn classify(error: &RedisError) -> (Kind, Retry, &'static str) {
    match error.kind() {
        Driver::Io if error.is_connection_refusal() => (Kind::Unavailable, Retry::Safe, "connection refused"),
        Driver::Io if error.is_timeout() => (Kind::Timeout, Retry::Ambiguous, "no answer in time"),
        Driver::Io => (Kind::Unavailable, Retry::Ambiguous, "the connection broke"),
        Driver::ClusterConnectionNotFound => {
            (Kind::Unavailable, Retry::Safe, "no node of the cluster can be reached")
        }
        Driver::Parse => (Kind::Corrupt, Retry::Ambiguous, "the answer is not redis protocol"),
        Driver::UnexpectedReturnType => (Kind::Corrupt, Retry::Never, "the answer has an unexpected type"),
        Driver::AuthenticationFailed => (Kind::Config, Retry::Never, "the login was refused"),
        Driver::InvalidClientConfig | Driver::RESP3NotSupported => {
            (Kind::Config, Retry::Never, "the configuration does not suit the server")
        }
        Driver::Server(server) => classify_server(server),
        Driver::Extension => classify_code(error.code().unwrap_or_default()),
        _ => (Kind::Invalid, Retry::Never, "the request cannot be sent"),
    }
}

fn classify_server(error: Server) -> (Kind, Retry, &'static str) {
    match error {
        Server::BusyLoading => (Kind::Unavailable, Retry::Safe, "the server is loading its data"),
        Server::ReadOnly => (Kind::Unavailable, Retry::Safe, "the server is a replica"),
        Server::ClusterDown => (Kind::Unavailable, Retry::Safe, "the cluster is down"),
        Server::MasterDown => (Kind::Unavailable, Retry::Safe, "the link to the master is down"),
        Server::TryAgain | Server::Moved | Server::Ask => {
            (Kind::Unavailable, Retry::Safe, "the slot is moving")
        }
        Server::NoScript => (Kind::Unavailable, Retry::Safe, "the server does not know the script"),
        Server::ExecAbort => (Kind::Invalid, Retry::Never, "the transaction was aborted"),
        Server::CrossSlot => (Kind::Invalid, Retry::Never, "the keys are in different slots"),
        Server::NoPerm => (Kind::Config, Retry::Never, "the user may not do that"),
        _ => (Kind::Invalid, Retry::Never, "the server refused the request"),
    }
}

/// Errors that the driver has no name for, and those that scripts raise.
fn classify_code(code: &str) -> (Kind, Retry, &'static str) {
    match code {
        "OOM" => (Kind::Overloaded, Retry::Safe, "the server is out of memory"),
        "BUSY" => (Kind::Unavailable, Retry::Safe, "the server is busy with a script"),
        "NOREPLICAS" => (Kind::Unavailable, Retry::Safe, "the master has too few replicas"),
        "MISCONF" => (Kind::Unavailable, Retry::Safe, "the server cannot persist"),
        "WRONGTYPE" => (Kind::Corrupt, Retry::Never, "the key holds something else"),
        "NOAUTH" | "WRONGPASS" => (Kind::Config, Retry::Never, "the login was refused"),
        _ => (Kind::Invalid, Retry::Never, "the server refused the request"),
    }
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;

    fn check(error: impl Into<RedisError>, kind: Kind, retry: Retry) {
        let error = error.into();
        let mapped = redis_error("redis", "acquire", error.clone());
        assert_eq!((mapped.kind(), mapped.retry()), (kind, retry), "{error}");
        let text = mapped.to_string();
        assert!(!text.contains('\n') && text == text.to_lowercase(), "{text}");
        assert!(mapped.source().is_some() || Failure::of(&error).is_some());
    }

    fn answer(line: &str) -> RedisError {
        let value = redis::parse_redis_value(format!("{line}\r\n").as_bytes()).unwrap();
        value.extract_error().unwrap_err()
    }

    #[test]
    fn only_what_was_never_sent_or_was_refused_is_safe() {
        check(io::Error::from(io::ErrorKind::ConnectionRefused), Kind::Unavailable, Retry::Safe);
        check(io::Error::from(io::ErrorKind::ConnectionReset), Kind::Unavailable, Retry::Ambiguous);
        check(io::Error::from(io::ErrorKind::BrokenPipe), Kind::Unavailable, Retry::Ambiguous);
        check(io::Error::from(io::ErrorKind::TimedOut), Kind::Timeout, Retry::Ambiguous);
        for refusal in [
            "-READONLY You can't write against a read only replica.",
            "-LOADING Redis is loading the dataset in memory",
            "-CLUSTERDOWN Hash slot not served",
            "-TRYAGAIN Multiple keys request during rehashing of slot",
            "-MASTERDOWN Link with MASTER is down",
            "-MOVED 1 127.0.0.1:7001",
            "-NOSCRIPT No matching script.",
            "-NOREPLICAS Not enough good replicas to write.",
            "-MISCONF Errors writing to the AOF file",
            "-BUSY Redis is busy running a script.",
        ] {
            check(answer(refusal), Kind::Unavailable, Retry::Safe);
        }
        check(
            answer("-OOM command not allowed when used memory > 'maxmemory'."),
            Kind::Overloaded,
            Retry::Safe,
        );
    }

    #[test]
    fn a_failure_goes_through_the_driver_unchanged() {
        for failure in [Failure::down("refused"), Failure::broken(), Failure::late()] {
            let (kind, retry) = (failure.kind(), failure.retry());
            check(failure.clone().into_driver(), kind, retry);
            let unsent = failure.unsent().into_driver();
            check(unsent, Kind::Unavailable, Retry::Safe);
        }
    }

    #[test]
    fn mistakes_are_never_repeated() {
        check(answer("-ERR wrong number of arguments"), Kind::Invalid, Retry::Never);
        check(answer("-CROSSSLOT Keys in request don't hash to the same slot"), Kind::Invalid, Retry::Never);
        check(answer("-WRONGTYPE Operation against a key"), Kind::Corrupt, Retry::Never);
        check(answer("-WRONGPASS invalid username-password pair"), Kind::Config, Retry::Never);
        check(answer("-NOPERM this user has no permissions"), Kind::Config, Retry::Never);
        check((Driver::UnexpectedReturnType, "not a list"), Kind::Corrupt, Retry::Never);
    }
}
