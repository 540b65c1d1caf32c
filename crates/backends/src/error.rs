use std::{error, fmt};

/// What went wrong, in terms a caller can act on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// The request itself is wrong: a zero cost, a key that is too long, an empty batch.
    Invalid,
    /// The server cannot be reached, or answered that it is not able to serve now.
    Unavailable,
    /// No answer within the time limit.
    Timeout,
    /// A concurrent writer won; nothing was changed.
    Conflict,
    /// A bounded queue or pool is full; nothing was sent.
    Overloaded,
    /// The handle was closed.
    Closed,
    /// Stored data or a reply could not be understood.
    Corrupt,
    /// This backend cannot do that; see its `Capability`.
    Unsupported,
    /// The configuration cannot work: a malformed URL, contradictory options.
    Config,
}

impl ErrorKind {
    /// The kind in snake case, as labels of metrics carry it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Invalid => "invalid",
            Self::Unavailable => "unavailable",
            Self::Timeout => "timeout",
            Self::Conflict => "conflict",
            Self::Overloaded => "overloaded",
            Self::Closed => "closed",
            Self::Corrupt => "corrupt",
            Self::Unsupported => "unsupported",
            Self::Config => "config",
        }
    }
}

/// Whether the same call may be made again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Retry {
    /// The same call will fail again.
    Never,
    /// Nothing happened; call again, after a pause.
    Safe,
    /// It may have happened: a time-out or a cut connection after the request was sent. A write that
    /// is not idempotent must not be repeated blindly.
    Ambiguous,
}

/// The error of every backend operation; it exists without any driver being compiled in.
///
/// Its text is one line in lower case. The cause is kept as [`source`](error::Error::source); neither
/// shows credentials.
pub struct Error(Box<Inner>);

struct Inner {
    kind: ErrorKind,
    retry: Retry,
    backend: &'static str,
    op: &'static str,
    message: Box<str>,
    source: Option<Box<dyn error::Error + Send + Sync>>,
}

/// The result of a backend operation.
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    /// An error of `op` on `backend`, to be retried as is usual for its kind: `Unavailable`,
    /// `Conflict` and `Overloaded` safely, `Timeout` ambiguously, all others never.
    pub fn new(
        kind: ErrorKind,
        backend: &'static str,
        op: &'static str,
        message: impl Into<Box<str>>,
    ) -> Self {
        let retry = match kind {
            ErrorKind::Unavailable | ErrorKind::Conflict | ErrorKind::Overloaded => Retry::Safe,
            ErrorKind::Timeout => Retry::Ambiguous,
            ErrorKind::Invalid
            | ErrorKind::Closed
            | ErrorKind::Corrupt
            | ErrorKind::Unsupported
            | ErrorKind::Config => Retry::Never,
        };
        Self(Box::new(Inner { kind, retry, backend, op, message: message.into(), source: None }))
    }

    /// Says otherwise about retrying than the kind does.
    #[must_use]
    pub fn with_retry(mut self, retry: Retry) -> Self {
        self.0.retry = retry;
        self
    }

    /// Keeps the cause.
    #[must_use]
    pub fn with_source(mut self, source: impl Into<Box<dyn error::Error + Send + Sync>>) -> Self {
        self.0.source = Some(source.into());
        self
    }

    /// What went wrong.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        self.0.kind
    }

    /// Whether to call again.
    #[must_use]
    pub fn retry(&self) -> Retry {
        self.0.retry
    }

    /// The backend: `memory`, `redis`, `redis-cluster`, `kafka`, `scylla`.
    #[must_use]
    pub fn backend(&self) -> &'static str {
        self.0.backend
    }

    /// The operation: `acquire`, `connect`, `health`.
    #[must_use]
    pub fn op(&self) -> &'static str {
        self.0.op
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Inner { kind, backend, op, message, .. } = &*self.0;
        write!(f, "{backend} {op}: {message} ({})", kind.as_str())
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Inner { kind, retry, backend, op, message, source } = &*self.0;
        f.debug_struct("Error")
            .field("kind", kind)
            .field("retry", retry)
            .field("backend", backend)
            .field("op", op)
            .field("message", message)
            .field("source", source)
            .finish()
    }
}

impl error::Error for Error {
    fn source(&self) -> Option<&(dyn error::Error + 'static)> {
        self.0.source.as_ref().map(|source| &**source as &(dyn error::Error + 'static))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_one_pointer_and_one_lower_case_line() {
        assert_eq!(size_of::<Error>(), size_of::<usize>());
        let error = Error::new(ErrorKind::Timeout, "redis", "acquire", "no answer within 50 ms");
        assert_eq!(error.to_string(), "redis acquire: no answer within 50 ms (timeout)");
    }

    #[test]
    fn keeps_its_source() {
        let cause = std::io::Error::other("reset");
        let error = Error::new(ErrorKind::Unavailable, "kafka", "publish", "broker gone").with_source(cause);
        assert_eq!(error::Error::source(&error).unwrap().to_string(), "reset");
    }

    #[test]
    fn a_timeout_is_ambiguous_and_a_refusal_is_safe() {
        let of = |kind| Error::new(kind, "redis", "acquire", "").retry();
        assert_eq!(of(ErrorKind::Timeout), Retry::Ambiguous);
        assert_eq!(of(ErrorKind::Overloaded), Retry::Safe);
        assert_eq!(of(ErrorKind::Invalid), Retry::Never);
    }
}
