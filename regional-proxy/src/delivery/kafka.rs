//! A producer of Kafka, through librdkafka: idempotent, one record an event, CloudEvents in binary mode (CloudEvents
//! Kafka binding 1.0 §3.2: attributes as headers with the prefix `ce_`, the data as the value).

use std::collections::HashSet;
use std::io;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::{ClientContext, DefaultClientContext};
use rdkafka::config::{ClientConfig, RDKafkaLogLevel};
use rdkafka::error::KafkaError;
use rdkafka::message::{Header, Message, OwnedHeaders};
use rdkafka::producer::{BaseProducer, BaseRecord, DeliveryResult, Producer as _, ProducerContext};
use rdkafka::types::RDKafkaErrorCode;
use tollgate_core::config::{Kafka, KafkaAcks, KafkaTopics};
use tracing::debug;

use super::{Envelope, IN_FLIGHT_BYTES_MAX, IN_FLIGHT_MAX, Kind, READ_MAX};

/// How long brokers may take to say which topics there are, or to make one.
const METADATA_TIMEOUT: Duration = Duration::from_secs(5);

/// What a producer is made of, again after each fatal error.
pub(super) struct Settings {
    client: ClientConfig,
    topics: KafkaTopics,
    create_topics: bool,
}

pub(super) struct Producer {
    client: BaseProducer<Context>,
    topics: KafkaTopics,
}

/// Why a producer is of no use any more, or never was.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ProducerError {
    #[error(
        "this build has no TLS for Kafka, which `{0}` needs; build the gateway with `--features kafka-tls`"
    )]
    NoTls(&'static str),
    #[error("the brokers cannot be asked for their topics: {0}")]
    Unreachable(KafkaError),
    #[error("the topic `{0}` does not exist; create it, or set event_processing.kafka.create_topics: true")]
    NoTopic(String),
    #[error("the topic `{topic}` cannot be made: {reason}")]
    TopicNotMade { topic: String, reason: String },
    #[error("the producer cannot be made: {0}")]
    Settings(KafkaError),
    #[error("the producer failed: {0}")]
    Fatal(String),
    #[error("a record was not written: {0}")]
    NotWritten(String),
    #[error("the disk of the spool refused: {0}")]
    Spool(#[source] io::Error),
}

impl Settings {
    pub(super) fn new(kafka: &Kafka) -> Result<Settings, ProducerError> {
        let has_tls = cfg!(feature = "kafka-tls");
        if kafka.tls.is_some() && !has_tls {
            return Err(ProducerError::NoTls("event_processing.kafka.tls"));
        }
        if kafka.sasl.as_ref().is_some_and(|sasl| sasl.mechanism != "PLAIN") && !has_tls {
            return Err(ProducerError::NoTls("event_processing.kafka.sasl.mechanism"));
        }
        let (acks, is_idempotent) = match kafka.acks {
            KafkaAcks::All => ("all", "true"),
            KafkaAcks::Leader => ("1", "false"),
            KafkaAcks::Nobody => ("0", "false"),
        };
        let mut client = ClientConfig::new();
        client
            .set("bootstrap.servers", kafka.brokers.join(","))
            .set("client.id", "tollgate")
            .set("acks", acks)
            .set("enable.idempotence", is_idempotent)
            .set("compression.type", kafka.compression)
            .set("batch.size", kafka.batch_bytes.max(1).to_string())
            .set("linger.ms", kafka.linger_ms.to_string())
            // A record waits for its broker for as long as it takes: giving it up would only send it again.
            .set("message.timeout.ms", "0")
            // The bounds are ours, so that librdkafka's never refuse a record.
            .set("queue.buffering.max.messages", (IN_FLIGHT_MAX + READ_MAX).to_string())
            .set("queue.buffering.max.kbytes", (4 * IN_FLIGHT_BYTES_MAX / 1024).to_string())
            // The hash that every other client of Kafka has, so that one user's records meet in one partition.
            .set("partitioner", "murmur2_random")
            .set_log_level(RDKafkaLogLevel::Warning);
        let protocol = match (kafka.tls.is_some(), kafka.sasl.is_some()) {
            (false, false) => "plaintext",
            (true, false) => "ssl",
            (false, true) => "sasl_plaintext",
            (true, true) => "sasl_ssl",
        };
        client.set("security.protocol", protocol);
        if let Some(file) = kafka.tls.as_ref().and_then(|tls| tls.ca_file.as_ref()) {
            client.set("ssl.ca.location", file.to_string_lossy());
        }
        if let Some(sasl) = &kafka.sasl {
            client
                .set("sasl.mechanism", sasl.mechanism)
                .set("sasl.username", &sasl.username)
                .set("sasl.password", &sasl.password);
        }
        Ok(Settings { client, topics: kafka.topics.clone(), create_topics: kafka.create_topics })
    }

    /// A producer whose topics are there.
    pub(super) fn connect(&self) -> Result<Producer, ProducerError> {
        let client: BaseProducer<Context> =
            self.client.create_with_context(Context::default()).map_err(ProducerError::Settings)?;
        // Asking for all of them makes none, which asking for one by its name may.
        let metadata =
            client.client().fetch_metadata(None, METADATA_TIMEOUT).map_err(ProducerError::Unreachable)?;
        let there: HashSet<&str> = metadata.topics().iter().map(|topic| topic.name()).collect();
        let KafkaTopics { api_events, user_events, audit_logs } = &self.topics;
        for topic in [api_events, user_events, audit_logs] {
            if there.contains(topic.as_str()) {
                continue;
            }
            if !self.create_topics {
                return Err(ProducerError::NoTopic(topic.clone()));
            }
            self.create(topic)?;
        }
        Ok(Producer { client, topics: self.topics.clone() })
    }

    /// With as many partitions and replicas as the brokers give by default.
    fn create(&self, topic: &str) -> Result<(), ProducerError> {
        let failed = |reason: String| ProducerError::TopicNotMade { topic: topic.to_owned(), reason };
        let admin: AdminClient<DefaultClientContext> =
            self.client.create().map_err(ProducerError::Settings)?;
        let new = NewTopic::new(topic, -1, TopicReplication::Fixed(-1));
        let options = AdminOptions::new().operation_timeout(Some(METADATA_TIMEOUT));
        let runtime = tokio::runtime::Builder::new_current_thread()
            .build()
            .map_err(|error| failed(error.to_string()))?;
        let made = runtime.block_on(admin.create_topics([&new], &options));
        for outcome in made.map_err(|error| failed(error.to_string()))? {
            match outcome {
                // Another gateway was faster.
                Ok(_) | Err((_, RDKafkaErrorCode::TopicAlreadyExists)) => {}
                Err((_, code)) => return Err(failed(code.to_string())),
            }
        }
        Ok(())
    }
}

impl Producer {
    /// Takes a copy of the event.
    pub(super) fn send(&self, sequence: u64, event: &Envelope<'_>) -> Result<(), ProducerError> {
        let topic = match event.kind {
            Kind::Api => &self.topics.api_events,
            Kind::User => &self.topics.user_events,
            Kind::Audit => &self.topics.audit_logs,
        };
        let key = event.key();
        let mut name = String::with_capacity(32);
        let mut headers = OwnedHeaders::new_with_capacity(event.attributes.len() + 1);
        for (attribute, value) in &event.attributes {
            if attribute == "datacontenttype" {
                continue;
            }
            name.clear();
            name.push_str("ce_");
            name.push_str(attribute);
            headers = headers.insert(Header { key: &name, value: Some(value.as_bytes()) });
        }
        headers = headers.insert(Header { key: "content-type", value: Some("application/json") });
        // Sequences fit: they count records of one disk.
        let record = BaseRecord::with_opaque_to(topic, sequence as usize)
            .key(key.as_bytes())
            .payload(event.data)
            .headers(headers);
        self.client.send(record).map_err(|(error, _)| ProducerError::NotWritten(error.to_string()))
    }

    /// Waits for confirmations, for at most `timeout`.
    pub(super) fn poll(&self, timeout: Duration) {
        self.client.poll(timeout);
    }

    /// What became of records since the last look: each with its sequence, and whether the broker confirmed it.
    pub(super) fn outcomes(&self) -> Vec<(u64, bool)> {
        std::mem::take(&mut self.client.context().state().outcomes)
    }

    /// Whether it was said since the last look that no broker can be reached. The producer goes on trying.
    pub(super) fn is_unreachable(&self) -> bool {
        std::mem::take(&mut self.client.context().state().is_unreachable)
    }

    /// # Errors
    ///
    /// Once a record was not written, or whether it was is unknown: then this producer is given up, so that what is sent
    /// again is sent in order.
    pub(super) fn failure(&self) -> Result<(), ProducerError> {
        if let Some((_, reason)) = self.client.client().fatal_error() {
            return Err(ProducerError::Fatal(reason));
        }
        match self.client.context().state().not_written.take() {
            Some(reason) => Err(ProducerError::NotWritten(reason)),
            None => Ok(()),
        }
    }
}

/// What librdkafka calls back, on the thread that polls.
#[derive(Default)]
struct Context(Mutex<State>);

#[derive(Default)]
struct State {
    outcomes: Vec<(u64, bool)>,
    not_written: Option<String>,
    is_unreachable: bool,
}

impl Context {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl ClientContext for Context {
    fn log(&self, _: RDKafkaLogLevel, facility: &str, message: &str) {
        debug!("librdkafka: {facility} {message}");
    }

    fn error(&self, error: KafkaError, reason: &str) {
        // It connects again by itself; what counts is whether records get through.
        match error.rdkafka_error_code() {
            Some(RDKafkaErrorCode::AllBrokersDown) => self.state().is_unreachable = true,
            _ => debug!("librdkafka: {error} {reason}"),
        }
    }
}

impl ProducerContext for Context {
    type DeliveryOpaque = usize;

    fn delivery(&self, outcome: &DeliveryResult<'_>, sequence: usize) {
        let mut state = self.state();
        match outcome {
            Ok(_) => state.outcomes.push((sequence as u64, true)),
            Err((error, record)) => {
                state.outcomes.push((sequence as u64, false));
                state.not_written = Some(format!("{error} ({})", record.topic()));
            }
        }
    }
}
