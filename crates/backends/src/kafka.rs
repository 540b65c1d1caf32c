//! Apache Kafka. Feature `kafka`.

use std::{
    fmt,
    sync::{PoisonError, RwLock},
};

use rdkafka::{
    ClientConfig,
    error::KafkaResult,
    producer::{FutureProducer, Producer},
};

use crate::{Config, Error, ErrorKind, Result, Retry, Scheme};

mod error;

pub use error::kafka_error;

const BACKEND: &str = Scheme::Kafka.as_str();

/// A connection to Apache Kafka: a producer, and the configuration for consumers.
///
/// The producer waits for all replicas in sync and is idempotent: what the driver repeats by itself
/// within the request time-out is stored once.
///
/// ```no_run
/// # async fn f() -> backends::Result<()> {
/// let config = backends::Config::parse("kafka://10.0.0.1:9092,10.0.0.2:9092")?;
/// let kafka = backends::Kafka::connect(&config).await?;
/// kafka.health().await?;
/// kafka.close().await?;
/// # Ok(())
/// # }
/// ```
pub struct Kafka {
    config: Config,
    producer: RwLock<Option<FutureProducer>>,
}

impl Kafka {
    /// Creates the producer and asks for the brokers, within the request time-out of `config`. Needs a
    /// Tokio runtime.
    ///
    /// Cancel safe: a dropped future leaves nothing.
    ///
    /// # Errors
    ///
    /// `Config` for the URL of something else; `Unavailable` or `Timeout` where no broker answers,
    /// which may be retried.
    pub async fn connect(config: &Config) -> Result<Self> {
        config.expect(&[Scheme::Kafka])?;
        let producer = client_config(config)
            .set("enable.idempotence", "true")
            .set("message.timeout.ms", config.request_deadline().as_millis().max(1).to_string())
            .create()
            .map_err(|error| kafka_error("connect", error))?;
        let kafka = Self { config: config.clone(), producer: RwLock::new(Some(producer)) };
        kafka.ask_for_brokers("connect").await?;
        Ok(kafka)
    }

    /// Asks for the brokers.
    ///
    /// Cancel safe.
    ///
    /// # Errors
    ///
    /// `Unavailable`, `Timeout` or `Closed`.
    pub async fn health(&self) -> Result<()> {
        self.ask_for_brokers("health").await
    }

    /// Closes: waits, at most for the request time-out, until what was produced is stored, and fails
    /// what is not. Later calls are `Closed` errors.
    ///
    /// A dropped future closes all the same, without telling the outcome.
    ///
    /// # Errors
    ///
    /// `Timeout` when something was not stored in time.
    pub async fn close(&self) -> Result<()> {
        let producer = self.producer.write().unwrap_or_else(PoisonError::into_inner).take();
        let Some(producer) = producer else { return Ok(()) };
        let deadline = self.config.request_deadline();
        blocking("close", move || producer.flush(deadline)).await
    }

    /// The producer, cheap to clone.
    ///
    /// # Errors
    ///
    /// `Closed` after [`close`](Self::close).
    #[cfg(feature = "rdkafka-0_39")]
    pub fn producer(&self) -> Result<FutureProducer> {
        self.open("producer")
    }

    /// For consumers and admin clients: the brokers and the time-outs.
    #[cfg(feature = "rdkafka-0_39")]
    pub fn client_config(&self) -> ClientConfig {
        client_config(&self.config)
    }

    async fn ask_for_brokers(&self, op: &'static str) -> Result<()> {
        let (producer, deadline) = (self.open(op)?, self.config.request_deadline());
        let asked = blocking(op, move || producer.client().fetch_metadata(None, deadline).map(|_| ())).await;
        // Nothing is changed by a question.
        asked.map_err(|error| {
            let retry = if error.retry() == Retry::Never { Retry::Never } else { Retry::Safe };
            error.with_retry(retry)
        })
    }

    fn open(&self, op: &'static str) -> Result<FutureProducer> {
        let producer = self.producer.read().unwrap_or_else(PoisonError::into_inner).clone();
        producer.ok_or_else(|| Error::new(ErrorKind::Closed, BACKEND, op, "the connection was closed"))
    }
}

impl fmt::Debug for Kafka {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Kafka").field("config", &self.config).finish_non_exhaustive()
    }
}

fn client_config(config: &Config) -> ClientConfig {
    let mut client = ClientConfig::new();
    let timeout = config.request_deadline().as_millis().clamp(10, 300_000).to_string();
    client
        .set("bootstrap.servers", config.addresses().collect::<Vec<_>>().join(","))
        .set("socket.timeout.ms", timeout)
        .set(
            "socket.connection.setup.timeout.ms",
            config.connect_deadline().as_millis().max(1_000).to_string(),
        );
    client
}

/// The driver's calls that wait do so on the thread that makes them.
async fn blocking(op: &'static str, f: impl FnOnce() -> KafkaResult<()> + Send + 'static) -> Result<()> {
    match tokio::task::spawn_blocking(f).await {
        Ok(result) => result.map_err(|error| kafka_error(op, error)),
        Err(ended) => {
            Err(Error::new(ErrorKind::Closed, BACKEND, op, "the runtime is shutting down").with_source(ended))
        }
    }
}
