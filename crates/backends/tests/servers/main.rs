//! The connections, against real servers.

use std::process::ExitCode;

use testkit::{Backend, RedisServer, Setup, Suite};

#[cfg(feature = "rdkafka-0_39")]
mod kafka;
#[cfg(feature = "redis-1")]
mod redis;
#[cfg(feature = "scylla-1")]
mod scylla;

/// A case by its name, which is there whether or not what runs it is.
type Case = &'static str;

fn main() -> ExitCode {
    let own_redis = |backend| redis().at(RedisServer::find(backend));
    suite(&[
        "health_answers",
        "a_script_runs",
        "a_pipeline_that_failed_in_part_is_ambiguous",
        "each_command_has_a_result_of_its_own",
        "messages_of_channels_arrive",
    ])
    .on(Backend::Redis, redis())
    .on(Backend::Valkey, redis())
    .on(Backend::RedisCluster, redis())
    .and(
        suite(&[
            "a_wrong_password_is_a_configuration_error",
            "a_refused_connection_is_safe_to_repeat",
            "a_lost_answer_is_ambiguous",
            "a_cut_write_to_a_cluster_is_not_repeated",
            "a_moved_slot_is_followed",
            "a_slot_moves_under_load_without_an_error",
            "a_promoted_replica_is_found",
            "a_durable_write_counts_replicas",
            "a_durable_write_holds_up_nobody_else",
            "a_dropped_durable_write_leaves_no_answer",
            "durable_writes_queue_for_few_connections",
            "a_dead_server_fails_at_once_and_is_found_again",
            "a_frozen_server_fails_in_time_and_is_found_again",
            "a_server_that_only_accepts_is_tried_one_at_a_time",
            "a_write_waits_for_disks",
            "a_disk_that_cannot_be_waited_for_is_told",
            "an_early_answer_is_found",
            "an_early_answer_of_a_master_is_found",
            "a_subscription_outlives_its_server",
            "a_mute_server_is_lost_to_its_subscribers",
            "a_slow_reader_is_told_what_it_missed",
            "a_refused_subscriber_is_told_why",
            "a_subscription_moves_to_another_node",
        ])
        .on(Backend::Redis, own_redis(Backend::Redis))
        .on(Backend::Valkey, own_redis(Backend::Valkey)),
    )
    .and(
        suite(&[
            "tls_is_spoken_to_who_is_trusted",
            "tls_is_spoken_to_a_cluster",
            "a_client_certificate_is_shown",
        ])
        .on(Backend::Redis, tls(Backend::Redis))
        .on(Backend::Valkey, tls(Backend::Valkey)),
    )
    .and(
        suite(&["health_answers", "a_record_goes_round", "a_missing_broker_is_safe_to_repeat"])
            .on(Backend::Kafka, kafka())
            .on(Backend::KafkaCluster, kafka()),
    )
    .and(
        suite(&[
            "health_answers",
            "a_lightweight_transaction_applies_once",
            "an_unknown_keyspace_is_a_configuration_error",
            "a_missing_node_is_safe_to_repeat",
        ])
        .on(Backend::Scylla, scylla())
        .on(Backend::ScyllaCluster, scylla()),
    )
    .main()
}

fn suite(cases: &[Case]) -> Suite<Case> {
    Suite::new(cases.to_vec(), |case| case)
}

#[cfg(feature = "redis-1")]
fn redis() -> Setup<Case> {
    Setup::compiled(|case: &Case, target| block_on(redis::run(case, target)))
}

#[cfg(not(feature = "redis-1"))]
fn redis() -> Setup<Case> {
    Setup::not_compiled("redis-1")
}

#[cfg(feature = "redis-tls")]
fn tls(backend: Backend) -> Setup<Case> {
    redis().at(RedisServer::find(backend))
}

#[cfg(not(feature = "redis-tls"))]
fn tls(_: Backend) -> Setup<Case> {
    Setup::not_compiled("redis-tls")
}

#[cfg(feature = "rdkafka-0_39")]
fn kafka() -> Setup<Case> {
    Setup::compiled(|case: &Case, url| block_on(kafka::run(case, url)))
}

#[cfg(not(feature = "rdkafka-0_39"))]
fn kafka() -> Setup<Case> {
    Setup::not_compiled("rdkafka-0_39")
}

#[cfg(feature = "scylla-1")]
fn scylla() -> Setup<Case> {
    Setup::compiled(|case: &Case, url| block_on(scylla::run(case, url)))
}

#[cfg(not(feature = "scylla-1"))]
fn scylla() -> Setup<Case> {
    Setup::not_compiled("scylla-1")
}

#[cfg(any(feature = "redis-1", feature = "rdkafka-0_39", feature = "scylla-1"))]
fn block_on(case: impl Future<Output = Result<(), testkit::Failed>>) -> Result<(), testkit::Failed> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(case)
}
