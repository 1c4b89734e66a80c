//! The bridge from HTTP to Redis.

#[cfg(feature = "yaml")]
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Secret, Timespan};

/// The Upstash REST protocol in front of a Redis of one's own.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "yaml", derive(JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct RedisBridge {
    /// Address of the bridge's listener, such as `127.0.0.1:8079`.
    pub listen: String,
    /// Let `listen` be another address than one of this machine's own (loopback). Default: false.
    #[serde(default)]
    pub allow_external: bool,
    /// The Redis that limits are counted in; what gateways' tokens run on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub redis: Option<BridgeRedis>,
    /// The Redis that general tokens run on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub general_redis: Option<GeneralRedis>,
    /// At least one, at most 1,000.
    pub tokens: Vec<BridgeToken>,
    /// Until Redis has answered a request, 1ms to 5m. Default: 5s.
    #[serde(default = "timeout")]
    pub timeout: Timespan,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "yaml", derive(JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct BridgeRedis {
    /// `redis://host:6379/0`, or `rediss://` through TLS.
    pub url: String,
    /// A user of Redis' ACL. Default: Redis' own default user.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub password: Option<Secret>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "yaml", derive(JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct GeneralRedis {
    /// `redis://host:6379/0`, or `rediss://` through TLS.
    pub url: String,
    /// Let this be the Redis that limits are counted in. Default: false.
    #[serde(default)]
    pub shared_with_limits: bool,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "yaml", derive(JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct BridgeToken {
    /// Names the token in this file; tokens themselves are never shown.
    pub name: String,
    /// SHA-256 of the token in hexadecimal digits.
    pub sha256: Secret,
    pub kind: BridgeTokenKind,
    /// What the keys of a gateway's token begin with, such as `tg:{acme:`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prefix: Option<String>,
    /// The user of Redis' ACL that a general token is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub password: Option<Secret>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "yaml", derive(JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum BridgeTokenKind {
    /// Runs the gateway's own scripts on keys with its `prefix`, and nothing else.
    Gateway,
    /// Runs what Redis allows its `user`.
    General,
}

fn timeout() -> Timespan {
    Timespan::from_secs(5)
}
