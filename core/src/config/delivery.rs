//! Events on their way to a broker, as it is configured: the spool, the broker, and the relay that takes other nodes'.

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;

/// Where events go that leave this node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Delivery {
    pub spool: Spool,
    pub kafka: Kafka,
}

/// Records on disk between whoever produces them and the broker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Spool {
    pub directory: PathBuf,
    /// Of all that is kept, delivered or not.
    pub max_bytes: u64,
    pub overflow: SpoolOverflow,
}

/// What happens to events for which the spool has no room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SpoolOverflow {
    Block,
    DropNewest,
    DropOldest,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kafka {
    /// `host:port` of each; at least one.
    pub brokers: Vec<String>,
    pub topics: KafkaTopics,
    pub create_topics: bool,
    pub acks: KafkaAcks,
    /// As librdkafka calls it.
    pub compression: &'static str,
    pub batch_bytes: u32,
    pub linger_ms: u32,
    pub tls: Option<KafkaTls>,
    pub sasl: Option<KafkaSasl>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KafkaTopics {
    pub api_events: String,
    pub user_events: String,
    pub audit_logs: String,
}

/// Who has a record when the broker says so.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KafkaAcks {
    All,
    Leader,
    Nobody,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KafkaTls {
    /// `None`: the system's authorities.
    pub ca_file: Option<PathBuf>,
}

/// `Debug` shows no password.
#[derive(Clone, PartialEq, Eq)]
pub struct KafkaSasl {
    /// As RFC 4422 names it.
    pub mechanism: &'static str,
    pub username: String,
    pub password: String,
}

/// `POST /relay/events` on a listener of its own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Relay {
    pub listen: SocketAddr,
    pub ack: RelayAck,
    /// At least one, no id and no hash twice.
    pub tokens: Vec<RelayToken>,
    pub limits: RelayLimits,
}

/// When a batch is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RelayAck {
    /// Once it is on this node's disk.
    Spooled,
    /// Once the broker has it.
    Broker,
    /// At once; a crash loses it.
    Memory,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RelayToken {
    pub id: String,
    pub sha256: [u8; 32],
    /// What the `source` of its events begins with; not empty.
    pub source_prefix: String,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RelayLimits {
    /// Bytes of a request's body as sent.
    pub body_bytes: usize,
    /// Bytes of a request's body once it is decompressed.
    pub decoded_bytes: usize,
    pub event_bytes: usize,
    pub batch_events: usize,
    /// Requests of one token in work.
    pub in_flight: usize,
    /// Sources that are told apart.
    pub sources: usize,
    /// How far a source's sequence may go on at once.
    pub sequence_jump: u64,
    /// Events that are remembered, so that a repeated one is not stored again.
    pub remembered_events: usize,
}

impl fmt::Debug for KafkaSasl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KafkaSasl")
            .field("mechanism", &self.mechanism)
            .field("username", &self.username)
            .finish_non_exhaustive()
    }
}
