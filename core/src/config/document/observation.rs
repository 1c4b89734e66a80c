//! What is recorded: events, metrics, logs and traces; and the cache, until it is served.

#[cfg(feature = "yaml")]
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Named, Secret, Size, Spool, Timespan};

/// Cached answers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "yaml", derive(JsonSchema))]
#[serde(deny_unknown_fields, default)]
pub struct Caching {
    /// Default: true.
    pub enabled: bool,
    /// Of answers that name none. Default: 30s.
    pub ttl: Timespan,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "yaml", derive(JsonSchema))]
#[serde(deny_unknown_fields, default)]
pub struct Monitoring {
    pub prometheus: Prometheus,
    /// Traces over OTLP. Not served yet.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tracing: Option<Tracing>,
    /// One line of JSON a request on standard output. Default: true.
    pub access_log: bool,
    /// Tell clients which rule decided, in `Tollgate-Decision`. Default: false.
    pub decision_header: bool,
    /// Default: `info`.
    pub log_level: LogLevel,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "yaml", derive(JsonSchema))]
#[serde(deny_unknown_fields, default)]
pub struct Prometheus {
    /// `GET /metrics` on the admin listener. Default: true.
    pub enabled: bool,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "yaml", derive(JsonSchema))]
#[serde(deny_unknown_fields, default)]
pub struct Tracing {
    /// Default: true.
    pub enabled: bool,
    /// Default: `http://127.0.0.1:4317`.
    pub otlp_endpoint: String,
    /// Share of the requests, 0 to 1. Default: 0.1.
    pub sample_ratio: f64,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "yaml", derive(JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum LogLevel {
    Error,
    Warn,
    #[default]
    Info,
    Debug,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "yaml", derive(JsonSchema))]
#[serde(deny_unknown_fields, default)]
pub struct EventProcessing {
    /// Default: true where the section is written down, false where it is not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub enabled: Option<bool>,
    /// Default: `log`.
    pub provider: EventProvider,
    pub log: EventLog,
    /// Events that wait for the broker, on disk.
    pub spool: Spool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kafka: Option<Kafka>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rabbitmq: Option<RabbitMq>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "yaml", derive(JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum EventProvider {
    /// Files on this node.
    #[default]
    Log,
    /// Through the spool.
    Kafka,
    /// Not served yet.
    Rabbitmq,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "yaml", derive(JsonSchema))]
#[serde(deny_unknown_fields, default)]
pub struct EventLog {
    /// Folder of the files. Default: `events`.
    pub directory: String,
    /// A file of this size is the last but one, 64 KiB to 16 GiB. Default: 64 MiB.
    pub file_bytes: Size,
    /// Older files are removed, 2 to 10,000. Default: 16.
    pub max_files: u32,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "yaml", derive(JsonSchema))]
#[serde(deny_unknown_fields, default)]
pub struct Kafka {
    /// `host:port` of each.
    pub brokers: Vec<String>,
    /// Of `api_events`, `user_events` and `audit_logs`. Default: `api-events`, `user-events`, `audit-logs`.
    pub topics: Named<String>,
    /// Make topics that are not there, with the brokers' own defaults. Default: false.
    pub create_topics: bool,
    /// Of the gateway's own consumers. There are none yet.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub consumer_group: Option<String>,
    pub producer_config: ProducerConfig,
    /// Needs a gateway that was built with the feature `kafka-tls`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tls: Option<KafkaTls>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sasl: Option<KafkaSasl>,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "yaml", derive(JsonSchema))]
#[serde(deny_unknown_fields, default)]
pub struct KafkaTls {
    /// PEM file of the authorities. Default: the system's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ca_file: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "yaml", derive(JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct KafkaSasl {
    pub mechanism: SaslMechanism,
    pub username: String,
    pub password: Secret,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "yaml", derive(JsonSchema))]
pub enum SaslMechanism {
    #[serde(rename = "PLAIN")]
    Plain,
    /// Needs a gateway that was built with the feature `kafka-tls`.
    #[serde(rename = "SCRAM-SHA-256")]
    ScramSha256,
    /// Needs a gateway that was built with the feature `kafka-tls`.
    #[serde(rename = "SCRAM-SHA-512")]
    ScramSha512,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "yaml", derive(JsonSchema))]
#[serde(deny_unknown_fields, default)]
pub struct ProducerConfig {
    /// `all` is the only one that keeps an event when a broker is lost. Default: `all`.
    pub acks: String,
    /// Default: `snappy`.
    pub compression: Compression,
    /// Default: 16 KiB.
    pub batch_size: Size,
    /// Milliseconds. Default: 5.
    pub linger_ms: u32,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "yaml", derive(JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum Compression {
    None,
    Gzip,
    #[default]
    Snappy,
    Lz4,
    Zstd,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "yaml", derive(JsonSchema))]
#[serde(deny_unknown_fields, default)]
pub struct RabbitMq {
    /// `amqp://user:password@host:5672/`, which is why it is a secret.
    pub url: Secret,
    pub exchanges: Named<String>,
    pub queues: Named<String>,
}

impl Default for Caching {
    fn default() -> Caching {
        Caching { enabled: true, ttl: Timespan::from_secs(30) }
    }
}

impl Default for Monitoring {
    fn default() -> Monitoring {
        Monitoring {
            prometheus: Prometheus::default(),
            tracing: None,
            access_log: true,
            decision_header: false,
            log_level: LogLevel::default(),
        }
    }
}

impl Default for Prometheus {
    fn default() -> Prometheus {
        Prometheus { enabled: true }
    }
}

impl Default for Tracing {
    fn default() -> Tracing {
        Tracing { enabled: true, otlp_endpoint: "http://127.0.0.1:4317".into(), sample_ratio: 0.1 }
    }
}

impl Default for EventLog {
    fn default() -> EventLog {
        EventLog { directory: "events".into(), file_bytes: Size(64 << 20), max_files: 16 }
    }
}

impl Default for ProducerConfig {
    fn default() -> ProducerConfig {
        ProducerConfig {
            acks: "all".into(),
            compression: Compression::default(),
            batch_size: Size(16 << 10),
            linger_ms: 5,
        }
    }
}
