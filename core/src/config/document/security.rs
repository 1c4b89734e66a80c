//! TLS, browsers, floods and addresses.

#[cfg(feature = "yaml")]
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{OneOrMany, Seconds, Timespan};

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "yaml", derive(JsonSchema))]
#[serde(deny_unknown_fields, default)]
pub struct Security {
    /// TLS of the client listeners. Default: none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tls: Option<ServerTls>,
    /// Answer what came by `http` with 308 to `https`. Default: false.
    pub https_redirect: bool,
    /// Which web pages may read answers. Default: none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cors: Option<Cors>,
    pub rate_limit: FloodLimits,
    pub ip: Addresses,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "yaml", derive(JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct ServerTls {
    /// Default: true.
    #[serde(default = "yes")]
    pub enabled: bool,
    /// PEM file of the certificate and what signed it; read again when it changes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cert_file: Option<String>,
    /// PEM file of its private key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key_file: Option<String>,
    /// `1.2` (the default) or `1.3`.
    #[serde(default = "tls_1_2")]
    pub min_version: String,
    /// IANA names. Names of TLS 1.2 alone leave those of TLS 1.3 as they are. Default: all that are safe.
    #[serde(default)]
    pub cipher_suites: Vec<String>,
    /// PEM file of the authorities of client certificates. Default: none are asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_ca_file: Option<String>,
    /// With `client_ca_file`: refuse clients without a certificate. Default: true.
    #[serde(default = "yes")]
    pub client_auth_required: bool,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "yaml", derive(JsonSchema))]
#[serde(deny_unknown_fields, default)]
pub struct Cors {
    /// Default: true.
    pub enabled: bool,
    /// `https://app.example`, or `*` for any.
    pub allowed_origins: OneOrMany<String>,
    /// Default: GET, HEAD and POST.
    pub allowed_methods: OneOrMany<String>,
    /// Of requests, beyond those that are always allowed.
    pub allowed_headers: OneOrMany<String>,
    /// Of answers, beyond those that are always readable.
    pub exposed_headers: OneOrMany<String>,
    /// Cookies and HTTP authentication; not with origin `*`. Default: false.
    pub allow_credentials: bool,
    /// How long a browser keeps the answer to a preflight, up to 1d: seconds, or `1h`. Default: 10m.
    pub max_age: Seconds,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "yaml", derive(JsonSchema))]
#[serde(deny_unknown_fields, default)]
pub struct FloodLimits {
    /// Default: true.
    pub enabled: bool,
    /// Default: none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ddos_protection: Option<DdosProtection>,
}

/// Counts every arrival of an address before any other work, and bans it for a while when there are too many.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "yaml", derive(JsonSchema))]
#[serde(deny_unknown_fields, default)]
pub struct DdosProtection {
    /// Default: true.
    pub enabled: bool,
    /// In each window. Default: 1,000.
    pub max_requests_per_ip: u64,
    /// Default: 1m.
    pub window: Timespan,
    /// Default: 10m.
    pub block_duration: Timespan,
}

/// Addresses as `10.0.0.0/8`, `2001:db8::/32` or a single one.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "yaml", derive(JsonSchema))]
#[serde(deny_unknown_fields, default)]
pub struct Addresses {
    /// If there are any, all others are refused.
    pub allow: Vec<String>,
    /// Refused even when allowed above.
    pub deny: Vec<String>,
}

fn yes() -> bool {
    true
}

fn tls_1_2() -> String {
    "1.2".into()
}

impl Default for Cors {
    fn default() -> Cors {
        let methods = ["GET", "HEAD", "POST"];
        Cors {
            enabled: true,
            allowed_origins: OneOrMany::default(),
            allowed_methods: OneOrMany(methods.map(str::to_owned).to_vec()),
            allowed_headers: OneOrMany::default(),
            exposed_headers: OneOrMany::default(),
            allow_credentials: false,
            max_age: Seconds(std::time::Duration::from_secs(600)),
        }
    }
}

impl Default for FloodLimits {
    fn default() -> FloodLimits {
        FloodLimits { enabled: true, ddos_protection: None }
    }
}

impl Default for DdosProtection {
    fn default() -> DdosProtection {
        DdosProtection {
            enabled: true,
            max_requests_per_ip: 1_000,
            window: Timespan::from_secs(60),
            block_duration: Timespan::from_secs(600),
        }
    }
}
