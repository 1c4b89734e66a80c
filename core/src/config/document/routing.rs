//! Services, how they are reached and what they are asked.

#[cfg(feature = "yaml")]
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{self, IntoDeserializer};
use serde::{Deserialize, Serialize};

use super::{Brief, Cors, FromBrief, Named, OneOrMany, Rewrite, Timespan, Transform};

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "yaml", derive(JsonSchema))]
#[serde(deny_unknown_fields, default)]
pub struct Routing {
    /// By name: letters, digits, `_` and `-`. The gateway's own first segments (`health`, `ready`, `auth`, `redis`,
    /// `relay`, `admin`, `metrics`) are taken.
    pub services: Named<Service>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "yaml", derive(JsonSchema))]
#[serde(deny_unknown_fields, default)]
pub struct Service {
    /// Where the service is: `http://host:port/base`, or `{ url, weight }`. At least one.
    pub urls: OneOrMany<Brief<Url>>,
    /// How a request's endpoint is chosen. Default: `round_robin`.
    pub load_balancer: Brief<LoadBalancer>,
    /// From sending a request to the head of its response, over all attempts. Default: 30s.
    pub timeout: Timespan,
    /// Of one connection attempt; never more than `timeout`. Default: 2s.
    pub connect_timeout: Timespan,
    /// Between two reads or writes once the response has begun. Default: 60s.
    pub idle_timeout: Timespan,
    /// Attempts after the first, or more about them. Default: 0.
    pub retries: Brief<Retries>,
    /// Requests of the gateway's own that tell whether an endpoint is well. Default: none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub health_check: Option<HealthCheck>,
    /// Stops asking a service that fails. Default: none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub circuit_breaker: Option<CircuitBreaker>,
    /// Leaves out an endpoint that fails in a row. Default: none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ejection: Option<Ejection>,
    /// Requests in flight; more is 503. Default: no limit.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_in_flight: Option<u32>,
    /// Of `https` URLs.
    pub tls: UpstreamTls,
    /// Default: `http1`.
    pub protocol: Protocol,
    /// The `Host` a service sees: `upstream` (that of its URL, the default), `preserve` (the client's), or a value.
    pub host_header: Brief<HostHeader>,
    /// Needs no identity. Where `auth` is configured, everything else does. Default: false.
    pub public: bool,
    /// Any of these roles is enough, on routes that do not say otherwise.
    pub roles: OneOrMany<String>,
    /// All of these scopes are needed, on routes that do not say otherwise.
    pub scopes: OneOrMany<String>,
    /// Which requests are the service's. Without any it is reached at `/<name>`, prefix stripped.
    pub routes: Vec<Route>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "yaml", derive(JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Url {
    /// `http` or `https`, a host, and perhaps a port and a path to prepend.
    pub url: String,
    /// Share of the requests under `weighted`, 1 to 1,000. Default: 1.
    #[serde(default = "one")]
    pub weight: u32,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "yaml", derive(JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct LoadBalancer {
    pub kind: Balancing,
    /// What `consistent_hash` hashes: `client_address` (the default), `path` or `header:<name>`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "yaml", derive(JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum Balancing {
    #[default]
    RoundRobin,
    Weighted,
    LeastConnections,
    RandomTwoChoices,
    ConsistentHash,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "yaml", derive(JsonSchema))]
#[serde(deny_unknown_fields, default)]
pub struct Retries {
    /// After the first, 0 to 10. Default: 0.
    pub attempts: u32,
    /// Retries a request over the last 10 s, 0 to 1, beyond the floor. Default: 0.2.
    pub budget_ratio: f64,
    /// Retries a second that are always allowed. Default: 10.
    pub floor_per_s: u32,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "yaml", derive(JsonSchema))]
#[serde(deny_unknown_fields, default)]
pub struct HealthCheck {
    /// Requested with GET; 200 to 299 is well. Default: `/health`.
    pub path: String,
    /// Default: 10s.
    pub interval: Timespan,
    /// Less than `interval` or equal. Default: 2s.
    pub timeout: Timespan,
    /// Failures in a row. Default: 3.
    pub unhealthy_after: u32,
    /// Successes in a row. Default: 2.
    pub healthy_after: u32,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "yaml", derive(JsonSchema))]
#[serde(deny_unknown_fields, default)]
pub struct CircuitBreaker {
    /// Share of failures that opens the breaker, above 0 and at most 1. Default: 0.5.
    pub failure_rate: f64,
    /// Calls within the window before the rate means anything. Default: 20.
    pub minimum_calls: u32,
    /// Default: 10s.
    pub window: Timespan,
    /// From opening to the first probe. Default: 15s.
    pub open_for: Timespan,
    /// Probes at once while half-open, all of which must succeed to close. Default: 1.
    pub probes: u32,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "yaml", derive(JsonSchema))]
#[serde(deny_unknown_fields, default)]
pub struct Ejection {
    /// Default: 5.
    pub consecutive_failures: u32,
    /// Doubles with each ejection in a row, up to ten times. Default: 30s.
    pub base: Timespan,
    /// Share of a service's endpoints that may be left out at once, 0 to 1. Default: 0.5.
    pub max_share: f64,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "yaml", derive(JsonSchema))]
#[serde(deny_unknown_fields, default)]
pub struct UpstreamTls {
    /// PEM file of the authorities to trust. Default: the system's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ca_file: Option<String>,
    /// PEM file of the client certificate; with `key_file`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cert_file: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key_file: Option<String>,
    /// Name to ask for and to verify (SNI). Default: the URL's host.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub server_name: Option<String>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "yaml", derive(JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum Protocol {
    #[default]
    Http1,
    /// Prior knowledge over cleartext, ALPN over TLS.
    Http2,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "yaml", derive(JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct HostHeader {
    /// `upstream`, `preserve`, or a host with or without a port.
    pub value: String,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "yaml", derive(JsonSchema))]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "yaml", schemars(transform = with_singular_host))]
pub struct Route {
    /// `/a/b` exactly, `/a/{id}` with a variable, or `/a/*` with whatever follows.
    pub path: String,
    /// `api.example.com` or `*.example.com`. Default: any.
    #[serde(default, alias = "host")]
    pub hosts: OneOrMany<String>,
    /// Default: any. HEAD is served wherever GET is.
    #[serde(default)]
    pub methods: OneOrMany<String>,
    /// Header fields a request must have: the exact value, or nothing for any value.
    #[serde(default)]
    pub headers: Named<Option<String>>,
    #[serde(default)]
    pub rewrite: Rewrite,
    /// What changes only under a condition; applied in this order, after `rewrite`.
    #[serde(default)]
    pub transform: OneOrMany<Transform>,
    /// Instead of the service's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout: Option<Timespan>,
    /// Instead of the service's attempts, 0 to 10.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retries: Option<u32>,
    /// Needs no identity, whatever `auth` says. A route that sets `public`, `roles` or `scopes` takes none of the
    /// three from its service.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub public: Option<bool>,
    /// Any of these roles is enough.
    #[serde(default)]
    pub roles: OneOrMany<String>,
    /// All of these scopes are needed.
    #[serde(default)]
    pub scopes: OneOrMany<String>,
    /// Instead of `security.cors`; `enabled: false` turns it off here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cors: Option<Cors>,
}

impl FromBrief for Url {
    const EXPECTED: &'static str = "a URL";

    fn from_text<E: de::Error>(text: &str) -> Option<Result<Url, E>> {
        Some(Ok(Url { url: text.into(), weight: 1 }))
    }

    #[cfg(feature = "yaml")]
    fn brief_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string" })
    }
}

impl FromBrief for LoadBalancer {
    const EXPECTED: &'static str = "the name of a load balancer";

    fn from_text<E: de::Error>(text: &str) -> Option<Result<LoadBalancer, E>> {
        let kind = Balancing::deserialize(text.into_deserializer());
        Some(kind.map(|kind| LoadBalancer { kind, key: None }))
    }

    #[cfg(feature = "yaml")]
    fn brief_schema(generator: &mut SchemaGenerator) -> Schema {
        generator.subschema_for::<Balancing>()
    }
}

impl FromBrief for HostHeader {
    const EXPECTED: &'static str = "a host";

    fn from_text<E: de::Error>(text: &str) -> Option<Result<HostHeader, E>> {
        Some(Ok(HostHeader { value: text.into() }))
    }

    #[cfg(feature = "yaml")]
    fn brief_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string" })
    }
}

impl FromBrief for Retries {
    const EXPECTED: &'static str = "a number of attempts";

    fn from_text<E: de::Error>(_: &str) -> Option<Result<Retries, E>> {
        None
    }

    fn from_integer(attempts: u64) -> Option<Retries> {
        Some(Retries { attempts: u32::try_from(attempts).unwrap_or(u32::MAX), ..Retries::default() })
    }

    #[cfg(feature = "yaml")]
    fn brief_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "integer", "minimum": 0, "maximum": 10 })
    }
}

/// An alias is a property of its own to an editor.
#[cfg(feature = "yaml")]
fn with_singular_host(schema: &mut Schema) {
    if let Some(properties) = schema.get_mut("properties").and_then(|properties| properties.as_object_mut())
        && let Some(hosts) = properties.get("hosts").cloned()
    {
        properties.insert("host".into(), hosts);
    }
}

fn one() -> u32 {
    1
}

impl Default for Service {
    fn default() -> Service {
        Service {
            urls: OneOrMany::default(),
            load_balancer: Brief::default(),
            timeout: Timespan::from_secs(30),
            connect_timeout: Timespan::from_secs(2),
            idle_timeout: Timespan::from_secs(60),
            retries: Brief::default(),
            health_check: None,
            circuit_breaker: None,
            ejection: None,
            max_in_flight: None,
            tls: UpstreamTls::default(),
            protocol: Protocol::default(),
            host_header: Brief::default(),
            public: false,
            roles: OneOrMany::default(),
            scopes: OneOrMany::default(),
            routes: Vec::new(),
        }
    }
}

impl Default for HostHeader {
    fn default() -> HostHeader {
        HostHeader { value: "upstream".into() }
    }
}

impl Default for Retries {
    fn default() -> Retries {
        Retries { attempts: 0, budget_ratio: 0.2, floor_per_s: 10 }
    }
}

impl Default for HealthCheck {
    fn default() -> HealthCheck {
        HealthCheck {
            path: "/health".into(),
            interval: Timespan::from_secs(10),
            timeout: Timespan::from_secs(2),
            unhealthy_after: 3,
            healthy_after: 2,
        }
    }
}

impl Default for CircuitBreaker {
    fn default() -> CircuitBreaker {
        CircuitBreaker {
            failure_rate: 0.5,
            minimum_calls: 20,
            window: Timespan::from_secs(10),
            open_for: Timespan::from_secs(15),
            probes: 1,
        }
    }
}

impl Default for Ejection {
    fn default() -> Ejection {
        Ejection { consecutive_failures: 5, base: Timespan::from_secs(30), max_share: 0.5 }
    }
}
