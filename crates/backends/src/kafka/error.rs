use rdkafka::{error::KafkaError, types::RDKafkaErrorCode as Code};

use super::BACKEND;
use crate::{Error, ErrorKind as Kind, Retry};

/// What a driver error of `op` means: `Safe` for what a broker refused or the driver never sent,
/// `Ambiguous` for whatever may be stored.
pub fn kafka_error(op: &'static str, error: KafkaError) -> Error {
    let code = match &error {
        KafkaError::AdminOp(code) => Some(*code),
        other => other.rdkafka_error_code(),
    };
    let (kind, retry, text) = match (&error, code) {
        (_, Some(code)) => classify(code),
        (KafkaError::ClientConfig(_, what, key, _), _) => {
            // The value may be a password.
            let text = format!("the driver refused the setting {key}: {}", what.to_lowercase());
            return Error::new(Kind::Config, BACKEND, op, text);
        }
        (KafkaError::ClientCreation(_), _) => {
            (Kind::Config, Retry::Never, "the driver refused the configuration")
        }
        (KafkaError::Canceled, _) => (Kind::Closed, Retry::Ambiguous, "the producer was dropped"),
        _ => (Kind::Invalid, Retry::Never, "the driver refused the request"),
    };
    Error::new(kind, BACKEND, op, text).with_retry(retry).with_source(error)
}

fn classify(code: Code) -> (Kind, Retry, &'static str) {
    match code {
        Code::QueueFull => (Kind::Overloaded, Retry::Safe, "the queue of the producer is full"),
        Code::ThrottlingQuotaExceeded => (Kind::Overloaded, Retry::Safe, "the quota is used up"),
        Code::PurgeQueue => (Kind::Closed, Retry::Safe, "closed before it was sent"),
        Code::PurgeInflight => (Kind::Closed, Retry::Ambiguous, "closed before it was answered"),
        Code::MessageTimedOut | Code::OperationTimedOut | Code::TimedOutQueue | Code::RequestTimedOut => {
            (Kind::Timeout, Retry::Ambiguous, "no answer in time")
        }
        Code::Resolve => (Kind::Unavailable, Retry::Safe, "the host name is unknown"),
        Code::NotEnoughReplicas => (Kind::Unavailable, Retry::Safe, "too few replicas are in sync"),
        Code::LeaderNotAvailable
        | Code::NotLeaderForPartition
        | Code::BrokerNotAvailable
        | Code::CoordinatorLoadInProgress
        | Code::CoordinatorNotAvailable
        | Code::WaitingForCoordinator
        | Code::NotCoordinator
        | Code::NotController
        | Code::RebalanceInProgress => (Kind::Unavailable, Retry::Safe, "no broker leads the partition now"),
        Code::UnknownTopicOrPartition | Code::UnknownTopic | Code::UnknownPartition => {
            // A topic that was just created is not known to all brokers yet.
            (Kind::Unavailable, Retry::Safe, "the topic or partition is unknown")
        }
        Code::TopicAlreadyExists => (Kind::Conflict, Retry::Never, "the topic exists"),
        Code::ProducerFenced | Code::Fenced | Code::InvalidProducerEpoch => {
            (Kind::Conflict, Retry::Never, "a newer producer took over")
        }
        Code::Authentication
        | Code::SaslAuthenticationFailed
        | Code::TopicAuthorizationFailed
        | Code::GroupAuthorizationFailed
        | Code::ClusterAuthorizationFailed
        | Code::TransactionalIdAuthorizationFailed => {
            (Kind::Config, Retry::Never, "the client may not do that")
        }
        Code::InvalidArgument
        | Code::InvalidTopic
        | Code::InvalidRecord
        | Code::InvalidReplicationFactor
        | Code::InvalidPartitions
        | Code::InvalidConfig
        | Code::InvalidRequest
        | Code::PolicyViolation
        | Code::MessageBatchTooLarge
        | Code::MessageSizeTooLarge => (Kind::Invalid, Retry::Never, "the request was refused"),
        Code::UnsupportedVersion | Code::UnsupportedFeature | Code::NotImplemented => {
            (Kind::Unsupported, Retry::Never, "the broker cannot do that")
        }
        Code::BadMessage | Code::BadCompression | Code::InvalidMessage => {
            (Kind::Corrupt, Retry::Never, "a record is damaged")
        }
        // Not enough replicas after the append, a broken connection, a fatal error: it may be stored.
        _ => (Kind::Unavailable, Retry::Ambiguous, "the connection or the broker failed"),
    }
}

#[cfg(test)]
mod tests {
    use std::error::Error as _;

    use super::*;

    #[test]
    fn only_what_was_refused_or_never_sent_is_safe() {
        let check = |code, kind, retry| {
            let error = kafka_error("publish", KafkaError::MessageProduction(code));
            assert_eq!((error.kind(), error.retry()), (kind, retry), "{code:?}");
            assert!(error.source().is_some());
        };
        check(Code::QueueFull, Kind::Overloaded, Retry::Safe);
        check(Code::NotEnoughReplicas, Kind::Unavailable, Retry::Safe);
        check(Code::NotLeaderForPartition, Kind::Unavailable, Retry::Safe);
        check(Code::NotEnoughReplicasAfterAppend, Kind::Unavailable, Retry::Ambiguous);
        check(Code::MessageTimedOut, Kind::Timeout, Retry::Ambiguous);
        check(Code::BrokerTransportFailure, Kind::Unavailable, Retry::Ambiguous);
        check(Code::PurgeInflight, Kind::Closed, Retry::Ambiguous);
        check(Code::MessageSizeTooLarge, Kind::Invalid, Retry::Never);
        check(Code::ProducerFenced, Kind::Conflict, Retry::Never);
    }

    #[test]
    fn a_refused_setting_is_told_without_its_value() {
        let refused = rdkafka::ClientConfig::new()
            .set("sasl.pasword", "s3cret")
            .create::<rdkafka::producer::BaseProducer>()
            .map(|_| ())
            .unwrap_err();
        let error = kafka_error("connect", refused);
        assert_eq!(error.kind(), Kind::Config);
        let shown = format!("{error} {error:?}");
        assert!(shown.contains("sasl.pasword") && !shown.contains("s3cret"), "{shown}");
    }
}
