//! Listeners and what one request may take.

#[cfg(feature = "yaml")]
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{OneOrMany, Secret, Size, Timespan};

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "yaml", derive(JsonSchema))]
#[serde(deny_unknown_fields, default)]
pub struct Server {
    /// Addresses to serve clients on, such as `0.0.0.0:8080`. Default: `127.0.0.1:8080`.
    pub listen: OneOrMany<String>,
    /// The listener of operators. Without it there is none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub admin: Option<Admin>,
    /// Addresses (`10.0.0.0/8`) whose `X-Forwarded-*` headers and PROXY protocol are believed.
    pub trusted_proxies: Vec<String>,
    /// Hosts that are served, without a port; others get 421. Default: any.
    pub allowed_hosts: Vec<String>,
    /// Expect a PROXY protocol header (v1 or v2) on connections from `trusted_proxies`.
    pub proxy_protocol: bool,
    pub limits: ServerLimits,
    pub timeouts: ServerTimeouts,
    /// Threads that carry traffic, 1 to 1,024. Default: one a core.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub workers: Option<u32>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "yaml", derive(JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Admin {
    /// Address of the admin listener, such as `127.0.0.1:9090`.
    pub listen: String,
    /// Bearer token of `/admin`, at least 16 bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token: Option<Secret>,
    /// SHA-256 of that token in hexadecimal digits, instead of the token.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token_sha256: Option<Secret>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "yaml", derive(JsonSchema))]
#[serde(deny_unknown_fields, default)]
pub struct ServerLimits {
    /// Size of a request body; more is 413. Default: 10 MiB.
    pub body_bytes: Size,
    /// Size of a request head, 1 KiB to 1 MiB; more is 431. Default: 32 KiB.
    pub header_bytes: Size,
    /// Header fields of a request, 1 to 1,000; more is 431. Default: 100.
    pub headers: u32,
    /// Size of a request target, 64 B to 1 MiB; more is 414. Default: 8 KiB.
    pub target_bytes: Size,
    /// Open client connections; more wait in the listen queue. Default: 16,384.
    pub connections: u32,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "yaml", derive(JsonSchema))]
#[serde(deny_unknown_fields, default)]
pub struct ServerTimeouts {
    /// From the first byte of a request head to its last. Default: 10s.
    pub header_read: Timespan,
    /// A kept connection without a request. Default: 75s.
    pub keep_alive: Timespan,
    /// Between two reads or writes of a body. Default: 60s.
    pub idle: Timespan,
    /// From SIGTERM until what is still in flight is cut. Default: 30s.
    pub drain: Timespan,
}

impl Default for Server {
    fn default() -> Server {
        Server {
            listen: OneOrMany(vec!["127.0.0.1:8080".into()]),
            admin: None,
            trusted_proxies: Vec::new(),
            allowed_hosts: Vec::new(),
            proxy_protocol: false,
            limits: ServerLimits::default(),
            timeouts: ServerTimeouts::default(),
            workers: None,
        }
    }
}

impl Default for ServerLimits {
    fn default() -> ServerLimits {
        ServerLimits {
            body_bytes: Size(10 << 20),
            header_bytes: Size(32 << 10),
            headers: 100,
            target_bytes: Size(8 << 10),
            connections: 16_384,
        }
    }
}

impl Default for ServerTimeouts {
    fn default() -> ServerTimeouts {
        ServerTimeouts {
            header_read: Timespan::from_secs(10),
            keep_alive: Timespan::from_secs(75),
            idle: Timespan::from_secs(60),
            drain: Timespan::from_secs(30),
        }
    }
}
