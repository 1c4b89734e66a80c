//! Where limits are counted that nodes share.

#[cfg(feature = "yaml")]
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Secret, Timespan};

/// One Redis for all nodes: either `redis`, natively, or `rest`, through HTTP.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "yaml", derive(JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Store {
    /// Natively: one server, a cluster, or whichever server sentinels call the master.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub redis: Option<StoreRedis>,
    /// Through the Upstash REST protocol: Upstash itself, or a `redis_bridge`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rest: Option<StoreRest>,
    /// Tells fleets apart that share a Redis: its keys begin with `tg:{<namespace>:`. 1 to 64 letters, digits, `-`, `_`
    /// and `.`. Default: `default`.
    #[serde(default = "namespace")]
    pub namespace: String,
    /// Hides in the keys who the clients are from those who can read Redis; at least 16 bytes, the same on all nodes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret: Option<Secret>,
    /// Until the store has answered, connecting included, 1ms to 5s. Default: 50ms for `redis`, 150ms for `rest`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout: Option<Timespan>,
    /// How many nodes share the limits, 1 to 100,000: sizes what each admits while the store is away, and the bound on
    /// what all admit together. Default: unknown.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub nodes: Option<u32>,
    #[serde(default)]
    pub share: Share,
}

/// What nodes tell each other, beside what they count together.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "yaml", derive(JsonSchema))]
#[serde(deny_unknown_fields, default)]
pub struct Share {
    /// Addresses that `security.rate_limit` bans; they are in Redis as they are. Default: true.
    pub bans: bool,
    /// Circuit breakers that opened: those of all nodes open, and each probes by itself. Default: false.
    pub breakers: bool,
}

/// Redis, spoken to natively.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "yaml", derive(JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct StoreRedis {
    /// `redis://user:password@host:6379/0`, or `rediss://` through TLS. With `sentinel` the host is a sentinel, and the
    /// user, the password and the database are those of the Redis behind it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub url: Option<Secret>,
    /// Several nodes of a cluster, or several sentinels, to begin with: 1 to 32, alike but for host and port.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub urls: Vec<Secret>,
    /// The URLs are nodes of a Redis Cluster. Default: false.
    #[serde(default)]
    pub cluster: bool,
    /// The URLs are sentinels.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sentinel: Option<Sentinel>,
    /// PEM certificates to trust instead of the system's, for `rediss://`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca_file: Option<String>,
}

/// Whom to ask which Redis is the master.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "yaml", derive(JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Sentinel {
    /// What the sentinels call the master, such as `mymaster`.
    pub master: String,
    /// A user of the sentinels' own ACL.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// The sentinels' own password.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub password: Option<Secret>,
}

/// The Upstash REST protocol.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "yaml", derive(JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct StoreRest {
    /// `https://…`; `http://` within a private network.
    pub url: String,
    /// The bearer token.
    pub token: Secret,
}

impl Default for Share {
    fn default() -> Share {
        Share { bans: true, breakers: false }
    }
}

fn namespace() -> String {
    "default".into()
}
