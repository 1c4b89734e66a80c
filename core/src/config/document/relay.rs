//! The event relay, and the spool before the broker.

#[cfg(feature = "yaml")]
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Secret, Size};

/// `POST /relay/events`: takes the events of nodes that have no disk or no way to the broker.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "yaml", derive(JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Relay {
    /// Address of the relay's listener, such as `127.0.0.1:8078`.
    pub listen: String,
    /// Let `listen` be another address than one of this machine's own (loopback). Default: false.
    #[serde(default)]
    pub allow_external: bool,
    /// Default: `spooled`.
    #[serde(default)]
    pub ack: RelayAck,
    /// At least one, at most 1,000.
    pub tokens: Vec<RelayToken>,
    #[serde(default)]
    pub limits: RelayLimits,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "yaml", derive(JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum RelayAck {
    /// 202 once the events are on this node's disk.
    #[default]
    Spooled,
    /// 200 once the broker has them.
    Broker,
    /// 202 at once; a crash loses them.
    Memory,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "yaml", derive(JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct RelayToken {
    /// Names the token in this file; tokens themselves are never shown.
    pub id: String,
    /// SHA-256 of the token in hexadecimal digits.
    pub sha256: Secret,
    /// What the `source` of its events begins with, such as `tollgate://edge-`.
    pub source_prefix: String,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "yaml", derive(JsonSchema))]
#[serde(deny_unknown_fields, default)]
pub struct RelayLimits {
    /// Bytes of a request's body as sent, 1 KiB to 64 MiB; more is 413. Default: 4 MiB.
    pub body_bytes: Size,
    /// Bytes of a request's body once it is decompressed, 1 KiB to 256 MiB; more is 413. Default: 16 MiB.
    pub decoded_bytes: Size,
    /// Bytes of one event, 1 KiB to 512 KiB. Default: 64 KiB.
    pub event_bytes: Size,
    /// Events of one request, 1 to 100,000; more is 413. Default: 10,000.
    pub batch_events: u32,
    /// Requests of one token in work, 1 to 1,024; more is 429. Default: 64.
    pub in_flight: u32,
    /// Sources that are told apart, 1 to 1,000,000. Default: 10,000.
    pub sources: u32,
    /// How far a source's sequence may go on at once, 1 to 1,000,000,000. Default: 1,000,000.
    pub sequence_jump: u32,
    /// Events that are remembered, so that a repeated one is not stored again, 0 to 10,000,000. Default: 200,000.
    pub remembered_events: u32,
}

/// Records on disk between whoever produces them and the broker.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "yaml", derive(JsonSchema))]
#[serde(deny_unknown_fields, default)]
pub struct Spool {
    /// Folder of the segments; one process at a time uses it. Default: `spool`.
    pub directory: String,
    /// Bytes of all that is kept, 4 MiB to 16 TiB. Default: 4 GiB.
    pub max_bytes: Size,
    /// Default: `block`.
    pub overflow: SpoolOverflow,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "yaml", derive(JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum SpoolOverflow {
    /// Sources are refused with 503 and try again; this node's own events are dropped.
    #[default]
    Block,
    /// Events that arrive are dropped.
    DropNewest,
    /// The oldest are, a whole segment at a time.
    DropOldest,
}

impl Default for RelayLimits {
    fn default() -> RelayLimits {
        RelayLimits {
            body_bytes: Size(4 << 20),
            decoded_bytes: Size(16 << 20),
            event_bytes: Size(64 << 10),
            batch_events: 10_000,
            in_flight: 64,
            sources: 10_000,
            sequence_jump: 1_000_000,
            remembered_events: 200_000,
        }
    }
}

impl Default for Spool {
    fn default() -> Spool {
        Spool { directory: "spool".into(), max_bytes: Size(4 << 30), overflow: SpoolOverflow::default() }
    }
}
