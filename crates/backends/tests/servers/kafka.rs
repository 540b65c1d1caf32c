#![expect(clippy::unwrap_used, reason = "a test fails by a panic")]

use std::time::Duration;

use backends::{Config, ErrorKind, Kafka, Retry, rdkafka_0_39::kafka_error};
use rdkafka::{
    Message, Offset, TopicPartitionList,
    admin::{AdminClient, AdminOptions, NewTopic, TopicReplication},
    client::DefaultClientContext,
    consumer::{Consumer, StreamConsumer},
    error::KafkaError,
    producer::FutureRecord,
};
use testkit::{Failed, unique};

const LONG: Duration = Duration::from_secs(20);

pub(crate) async fn run(case: &str, url: &str) -> Result<(), Failed> {
    match case {
        "health_answers" => health_answers(url).await,
        "a_record_goes_round" => a_record_goes_round(url).await,
        "a_missing_broker_is_safe_to_repeat" => a_missing_broker_is_safe_to_repeat().await,
        unknown => Err(format!("no case {unknown}").into()),
    }
}

async fn connect(url: &str) -> Result<Kafka, Failed> {
    Ok(Kafka::connect(&Config::parse(url)?.request_timeout(LONG)).await?)
}

async fn health_answers(url: &str) -> Result<(), Failed> {
    let kafka = connect(url).await?;
    kafka.health().await?;
    kafka.close().await?;
    assert_eq!(kafka.health().await.unwrap_err().kind(), ErrorKind::Closed);
    assert!(kafka.producer().is_err());
    Ok(kafka.close().await?)
}

async fn a_record_goes_round(url: &str) -> Result<(), Failed> {
    let kafka = connect(url).await?;
    let topic = unique("backends");
    let admin: AdminClient<DefaultClientContext> = kafka.client_config().create()?;
    // As many replicas as there are brokers.
    let replicas = i32::try_from(url.split(',').count())?;
    let new = NewTopic::new(&topic, 1, TopicReplication::Fixed(replicas));
    for created in admin.create_topics([&new], &AdminOptions::new().operation_timeout(Some(LONG))).await? {
        created.map_err(|(topic, code)| format!("{topic}: {code}"))?;
    }
    let round = produce_and_consume(&kafka, &topic).await;
    let deleted = admin.delete_topics(&[&topic], &AdminOptions::new()).await?;
    assert!(deleted.iter().all(Result::is_ok), "{deleted:?}");
    round?;
    Ok(kafka.close().await?)
}

async fn produce_and_consume(kafka: &Kafka, topic: &str) -> Result<(), Failed> {
    let record = FutureRecord::to(topic).key("k").payload("v");
    let sent = kafka.producer()?.send(record, LONG).await;
    let delivery = sent.map_err(|(error, _)| kafka_error("publish", error))?;
    assert_eq!((delivery.partition, delivery.offset), (0, 0));

    let group = unique("backends");
    let consumer: StreamConsumer = kafka.client_config().set("group.id", group).create()?;
    let mut assignment = TopicPartitionList::new();
    assignment.add_partition_offset(topic, 0, Offset::Beginning)?;
    consumer.assign(&assignment)?;
    let message = tokio::time::timeout(LONG, consumer.recv()).await??;
    assert_eq!((message.key(), message.payload()), (Some(&b"k"[..]), Some(&b"v"[..])));
    Ok(())
}

async fn a_missing_broker_is_safe_to_repeat() -> Result<(), Failed> {
    // Nobody listens on port 1 of loopback.
    let config = Config::parse("kafka://127.0.0.1:1")?.request_timeout(Duration::from_millis(300));
    let error = Kafka::connect(&config).await.unwrap_err();
    assert_eq!(error.retry(), Retry::Safe, "{error:?}");
    assert!(matches!(error.kind(), ErrorKind::Unavailable | ErrorKind::Timeout), "{error:?}");
    let error = kafka_error("publish", KafkaError::Canceled);
    assert_eq!(error.retry(), Retry::Ambiguous);
    Ok(())
}
