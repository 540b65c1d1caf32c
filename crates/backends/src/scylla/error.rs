use scylla::errors::{
    DbError, ExecutionError, NewSessionError, PrepareError, RequestAttemptError, UseKeyspaceError,
};

use super::BACKEND;
use crate::{Error, ErrorKind as Kind, Retry};

/// What a driver error of `op` means: `Safe` for what a node refused or was never sent, `Ambiguous`
/// for whatever may have been applied. A prepare or schema error converts into the argument.
pub fn cql_error(op: &'static str, error: impl Into<ExecutionError>) -> Error {
    let error = error.into();
    let (kind, retry, text) = classify(&error);
    Error::new(kind, BACKEND, op, text).with_retry(retry).with_source(error)
}

/// Nothing was asked yet that could be ambiguous.
pub(super) fn new_session_error(op: &'static str, error: NewSessionError) -> Error {
    let (kind, text) = match &error {
        NewSessionError::EmptyKnownNodesList | NewSessionError::IllegalConfig(_) => {
            (Kind::Config, "the configuration cannot work")
        }
        NewSessionError::UseKeyspaceError(UseKeyspaceError::RequestError(RequestAttemptError::DbError(
            DbError::Invalid,
            _,
        ))) => (Kind::Config, "the keyspace is unknown"),
        _ => (Kind::Unavailable, "no node can be reached"),
    };
    Error::new(kind, BACKEND, op, text).with_source(error)
}

fn classify(error: &ExecutionError) -> (Kind, Retry, &'static str) {
    match error {
        ExecutionError::BadQuery(_) => (Kind::Invalid, Retry::Never, "the statement or its values are wrong"),
        ExecutionError::EmptyPlan | ExecutionError::ConnectionPoolError(_) => {
            (Kind::Unavailable, Retry::Safe, "no node can be reached")
        }
        // Nothing is executed by a prepare.
        ExecutionError::PrepareError(PrepareError::AllAttemptsFailed { first_attempt }) => {
            match classify_attempt(first_attempt) {
                (kind, Retry::Ambiguous, text) => (kind, Retry::Safe, text),
                other => other,
            }
        }
        ExecutionError::PrepareError(_) => (Kind::Unavailable, Retry::Safe, "the statement was not prepared"),
        ExecutionError::LastAttemptError(attempt) => classify_attempt(attempt),
        ExecutionError::RequestTimeout(_) => (Kind::Timeout, Retry::Ambiguous, "no answer in time"),
        ExecutionError::UseKeyspaceError(_) => (Kind::Invalid, Retry::Never, "the keyspace cannot be used"),
        ExecutionError::SchemaAgreementError(_) => {
            (Kind::Unavailable, Retry::Ambiguous, "the nodes do not agree on the schema")
        }
        _ => (Kind::Unavailable, Retry::Ambiguous, "the driver failed"),
    }
}

fn classify_attempt(error: &RequestAttemptError) -> (Kind, Retry, &'static str) {
    match error {
        RequestAttemptError::SerializationError(_) | RequestAttemptError::CqlRequestSerialization(_) => {
            (Kind::Invalid, Retry::Never, "the values do not suit the statement")
        }
        RequestAttemptError::UnableToAllocStreamId => {
            (Kind::Overloaded, Retry::Safe, "too many requests are on the connection")
        }
        RequestAttemptError::DbError(error, _) => classify_db(error),
        RequestAttemptError::BrokenConnectionError(_) => {
            (Kind::Unavailable, Retry::Ambiguous, "the connection broke")
        }
        _ => (Kind::Corrupt, Retry::Ambiguous, "the answer cannot be understood"),
    }
}

fn classify_db(error: &DbError) -> (Kind, Retry, &'static str) {
    match error {
        DbError::Unavailable { .. } => (Kind::Unavailable, Retry::Safe, "too few replicas are up"),
        DbError::IsBootstrapping => (Kind::Unavailable, Retry::Safe, "the node is starting"),
        DbError::Unprepared { .. } => {
            (Kind::Unavailable, Retry::Safe, "the node does not know the statement")
        }
        DbError::Overloaded | DbError::RateLimitReached { .. } => {
            (Kind::Overloaded, Retry::Safe, "the node is overloaded")
        }
        DbError::ReadTimeout { .. } | DbError::WriteTimeout { .. } => {
            // A lightweight transaction may time out reading as well, after it was applied.
            (Kind::Timeout, Retry::Ambiguous, "the replicas did not answer in time")
        }
        DbError::AlreadyExists { .. } => (Kind::Conflict, Retry::Never, "the keyspace or table exists"),
        DbError::AuthenticationError | DbError::Unauthorized => {
            (Kind::Config, Retry::Never, "the user may not do that")
        }
        DbError::SyntaxError | DbError::Invalid | DbError::ConfigError | DbError::FunctionFailure { .. } => {
            (Kind::Invalid, Retry::Never, "the statement was refused")
        }
        _ => (Kind::Unavailable, Retry::Ambiguous, "the node failed"),
    }
}

#[cfg(test)]
mod tests {
    use std::{error::Error as _, time::Duration};

    use scylla::{errors::WriteType, statement::Consistency};

    use super::*;

    fn check(error: impl Into<ExecutionError>, kind: Kind, retry: Retry) {
        let error = cql_error("append", error);
        assert_eq!((error.kind(), error.retry()), (kind, retry), "{error:?}");
        assert!(error.source().is_some());
    }

    fn answer(error: DbError) -> RequestAttemptError {
        RequestAttemptError::DbError(error, String::new())
    }

    #[test]
    fn only_what_was_refused_or_never_sent_is_safe() {
        let consistency = Consistency::LocalQuorum;
        let unavailable = DbError::Unavailable { consistency, required: 2, alive: 1 };
        check(answer(unavailable), Kind::Unavailable, Retry::Safe);
        let timeout =
            DbError::WriteTimeout { consistency, received: 1, required: 2, write_type: WriteType::Cas };
        check(answer(timeout.clone()), Kind::Timeout, Retry::Ambiguous);
        check(answer(DbError::ServerError), Kind::Unavailable, Retry::Ambiguous);
        check(answer(DbError::Overloaded), Kind::Overloaded, Retry::Safe);
        check(answer(DbError::SyntaxError), Kind::Invalid, Retry::Never);
        check(ExecutionError::RequestTimeout(Duration::ZERO), Kind::Timeout, Retry::Ambiguous);
        check(ExecutionError::EmptyPlan, Kind::Unavailable, Retry::Safe);
        // A prepare that timed out has executed nothing.
        check(PrepareError::AllAttemptsFailed { first_attempt: answer(timeout) }, Kind::Timeout, Retry::Safe);
    }
}
