//! The validated configuration. Every value here makes sense; `document` is what a user wrote.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use super::{Delivery, RedisBridge, Relay, Store};

/// One policy, shared by every adapter.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    pub server: Server,
    /// In the order of the file.
    pub services: Vec<Service>,
    pub auth: Auth,
    pub limits: Limits,
    pub security: Security,
    pub events: Events,
    pub monitoring: Monitoring,
    pub redis_bridge: Option<RedisBridge>,
    pub relay: Option<Relay>,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Server {
    pub listen: Vec<SocketAddr>,
    pub admin: Option<Admin>,
    pub trusted_proxies: Vec<Cidr>,
    /// Lower case, `*.` before any name below; empty: any.
    pub allowed_hosts: Vec<String>,
    /// Expect a PROXY protocol (v1 or v2) header from peers in `trusted_proxies`.
    pub proxy_protocol: bool,
    pub limits: ServerLimits,
    pub timeouts: ServerTimeouts,
    /// Data-path threads; `None` is one a core.
    pub workers: Option<usize>,
}

impl Server {
    /// Whether requests for a host, lower case and without a port, are answered.
    pub fn serves(&self, host: &str) -> bool {
        let matches = |allowed: &String| match allowed.strip_prefix('*') {
            Some(suffix) => host.strip_suffix(suffix).is_some_and(|below| !below.is_empty()),
            None => allowed == host,
        };
        self.allowed_hosts.is_empty() || self.allowed_hosts.iter().any(matches)
    }
}

#[derive(Clone, Debug, PartialEq)]
pub struct Admin {
    pub listen: SocketAddr,
    /// SHA-256 of the bearer token.
    pub token_sha256: Option<[u8; 32]>,
}

#[derive(Clone, Debug, PartialEq)]
pub struct ServerLimits {
    /// Bytes of a request body; more is 413.
    pub body_bytes: u64,
    /// Bytes of a request head; more is 431.
    pub header_bytes: u32,
    /// Header fields of a request; more is 431.
    pub headers: u32,
    /// Bytes of a request target; more is 414.
    pub target_bytes: u32,
    /// Open client connections; more wait in the listen queue.
    pub connections: u32,
}

#[derive(Clone, Debug, PartialEq)]
pub struct ServerTimeouts {
    /// From the first byte of a head to its last.
    pub header_read: Duration,
    /// A keep-alive connection without a request.
    pub keep_alive: Duration,
    /// Between two reads or writes of a body.
    pub idle: Duration,
    /// From SIGTERM until what is still in flight is cut.
    pub drain: Duration,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Service {
    /// `[a-z0-9_-]{1,63}`, not one of the reserved first segments.
    pub name: String,
    pub endpoints: Vec<Endpoint>,
    pub load_balancer: LoadBalancer,
    pub timeouts: ServiceTimeouts,
    pub retries: Retries,
    pub health_check: Option<HealthCheck>,
    pub circuit_breaker: Option<CircuitBreaker>,
    pub ejection: Option<Ejection>,
    /// Requests in flight; more is 503.
    pub max_in_flight: Option<u32>,
    pub tls: UpstreamTls,
    pub protocol: UpstreamProtocol,
    pub host_header: HostHeader,
    /// Of a service without routes.
    pub access: Access,
    /// Empty: reached at `/<name>`, prefix stripped.
    pub routes: Vec<Route>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    pub tls: bool,
    /// A name, an IPv4 address, or an IPv6 address without brackets.
    pub host: String,
    pub port: u16,
    /// Prepended to the forwarded path; empty or `/a/b` without a trailing slash.
    pub base_path: String,
    /// 1 to 1,000.
    pub weight: u32,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LoadBalancer {
    RoundRobin,
    Weighted,
    LeastConnections,
    RandomTwoChoices,
    ConsistentHash(HashKey),
}

/// What `consistent_hash` hashes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HashKey {
    ClientAddress,
    Path,
    Header(http::HeaderName),
}

#[derive(Clone, Debug, PartialEq)]
pub struct ServiceTimeouts {
    pub connect: Duration,
    /// From the request being sent to the response head, over all attempts: `timeout` in the file.
    pub response: Duration,
    /// Between two reads or writes once the response head is there.
    pub idle: Duration,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Retries {
    /// Attempts after the first; 0 to 10.
    pub attempts: u32,
    /// Retries per request over the last 10 s, beyond a floor of `floor_per_s`.
    pub budget_ratio: f64,
    pub floor_per_s: u32,
}

#[derive(Clone, Debug, PartialEq)]
pub struct HealthCheck {
    pub path: String,
    pub interval: Duration,
    pub timeout: Duration,
    pub unhealthy_after: u32,
    pub healthy_after: u32,
}

#[derive(Clone, Debug, PartialEq)]
pub struct CircuitBreaker {
    /// 0 < rate ≤ 1.
    pub failure_rate: f64,
    pub minimum_calls: u32,
    pub window: Duration,
    pub open_for: Duration,
    /// Concurrent probes while half-open, all of which must succeed to close.
    pub probes: u32,
}

/// Passive ejection of one endpoint after consecutive failures.
#[derive(Clone, Debug, PartialEq)]
pub struct Ejection {
    pub consecutive_failures: u32,
    /// Doubles with each ejection in a row, up to ten times.
    pub base: Duration,
    /// Share of a service's endpoints that may be ejected at once, 0 to 1.
    pub max_share: f64,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct UpstreamTls {
    pub ca_file: Option<PathBuf>,
    pub cert_file: Option<PathBuf>,
    pub key_file: Option<PathBuf>,
    pub server_name: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UpstreamProtocol {
    Http1,
    /// Prior knowledge over cleartext, ALPN over TLS.
    Http2,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HostHeader {
    Upstream,
    Preserve,
    Value(http::HeaderValue),
}

#[derive(Clone, Debug, Default, PartialEq)]
pub struct Route {
    /// As written; the rule's name in events.
    pub path: String,
    /// Empty: any. `api.example.com` or `*.example.com`, lower case.
    pub hosts: Vec<String>,
    /// Empty: any. HEAD is served wherever GET is.
    pub methods: Vec<http::Method>,
    pub headers: Vec<HeaderMatch>,
    pub rewrite: Rewrite,
    /// Applied in this order after `rewrite`; at most 32.
    pub transforms: Vec<Transform>,
    /// Overrides the service's.
    pub timeout: Option<Duration>,
    pub retries: Option<u32>,
    /// The route's own, else its service's.
    pub access: Access,
    /// Instead of `security.cors`.
    pub cors: CorsOverride,
}

/// What a caller needs where `auth` is configured; without it everybody may come in where no role or scope is asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Access {
    /// Needs no identity; then there are no roles or scopes.
    pub public: bool,
    /// Any of these roles is enough; empty asks for none.
    pub roles: Vec<String>,
    /// All of these scopes are needed.
    pub scopes: Vec<String>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum CorsOverride {
    #[default]
    Inherit,
    Off,
    Replace(Cors),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HeaderMatch {
    pub name: http::HeaderName,
    /// `None`: present with any value.
    pub value: Option<http::HeaderValue>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rewrite {
    /// A path with `{name}` of the route's template.
    pub path: Option<String>,
    pub strip_prefix: Option<String>,
    pub request_headers: HeaderEdits,
    pub response_headers: HeaderEdits,
    pub query_set: Vec<(String, String)>,
    pub query_remove: Vec<String>,
}

/// A rewrite under conditions, all of which must hold.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Transform {
    /// Claims by name; `None`: present with any value.
    pub claims: Vec<(String, Option<String>)>,
    /// Of the request as it came.
    pub headers: Vec<HeaderMatch>,
    /// Of the response, as ranges with both ends included; empty: any. Otherwise only response headers change.
    pub statuses: Vec<(u16, u16)>,
    pub rewrite: Rewrite,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HeaderEdits {
    pub remove: Vec<http::HeaderName>,
    pub set: Vec<(http::HeaderName, http::HeaderValue)>,
    pub add: Vec<(http::HeaderName, http::HeaderValue)>,
}

#[derive(Clone, Debug, Default, PartialEq)]
pub struct Auth {
    pub jwt: Vec<JwtProvider>,
    pub api_keys: Vec<ApiKey>,
    /// Revoked token ids and subjects.
    pub denied_token_ids: Vec<String>,
    pub denied_subjects: Vec<String>,
    /// The gateway's own issuer; `None` is off.
    pub login: Option<Login>,
}

/// `POST /auth/login` and `/auth/refresh`. `Debug` shows no secret.
#[derive(Clone, PartialEq)]
pub struct Login {
    /// Of HS256, at least 32 bytes.
    pub secret: Vec<u8>,
    pub issuer: String,
    pub audience: String,
    pub access_ttl: Duration,
    /// Longer than `access_ttl`.
    pub refresh_ttl: Duration,
    /// At least one, no name twice.
    pub users: Vec<LoginUser>,
}

#[derive(Clone, PartialEq)]
pub struct LoginUser {
    pub username: String,
    /// Argon2 in PHC form.
    pub password_hash: String,
    pub tier: Option<String>,
    pub tenant: Option<String>,
    pub roles: Vec<String>,
    pub scopes: Vec<String>,
}

#[derive(Clone, Debug, PartialEq)]
pub struct JwtProvider {
    pub name: String,
    pub source: KeySource,
    pub issuer: Option<String>,
    pub audience: Vec<String>,
    /// Empty: what the key allows.
    pub algorithms: Vec<crate::Algorithm>,
    pub roles_claim: String,
    pub scope_claim: String,
    pub tier_claim: String,
    pub tenant_claim: String,
    pub leeway: Duration,
    /// Claim to upstream header.
    pub forward_claims: Vec<(String, http::HeaderName)>,
}

/// `Debug` shows no secret.
#[derive(Clone, PartialEq)]
pub enum KeySource {
    Secret(Vec<u8>),
    PublicKey(Arc<crate::Key>),
    Jwks { url: String, refresh: Duration, stale_for: Duration, cooldown: Duration },
}

#[derive(Clone, Debug, PartialEq)]
pub struct ApiKey {
    pub id: String,
    pub sha256: [u8; 32],
    pub tier: Option<String>,
    pub tenant: Option<String>,
    pub roles: Vec<String>,
    pub scopes: Vec<String>,
}

#[derive(Clone, Debug, Default, PartialEq)]
pub struct Limits {
    pub enabled: bool,
    /// `X-RateLimit-*` beside `RateLimit`.
    pub legacy_headers: bool,
    pub default: Option<Limit>,
    /// By tier.
    pub per_user: Vec<(String, Limit)>,
    /// By service name.
    pub per_service: Vec<(String, Limit)>,
    /// `None`: each node counts for itself.
    pub store: Option<Store>,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Limit {
    /// As in `RateLimit-Policy`: `default`, `premium`, `payment_service`.
    pub name: String,
    pub algorithm: Algorithm,
    /// Permits a window, 1 to 10^12.
    pub requests: u64,
    pub window: Duration,
    pub burst: u64,
    pub key: LimitKey,
    pub cost: u64,
    pub enforce_at: EnforceAt,
    pub sharing: Sharing,
    /// `None`: whatever fits the place.
    pub on_store_failure: Option<OnStoreFailure>,
    /// Decided and reported, never enforced.
    pub shadow: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Algorithm {
    TokenBucket,
    FixedWindow,
    SlidingWindowLog,
    SlidingWindowCounter { strict: bool },
}

/// With whom a limit is counted together. What is shared can be counted by the store: its rule, or its terms, exist.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sharing {
    /// Each node by itself.
    Node,
    /// All nodes, who ask for each request.
    Exact,
    /// All nodes, who borrow.
    Leased(crate::lease::Options),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LimitKey {
    /// API key, else JWT subject, else client address.
    Subject,
    User,
    ApiKey,
    ClientAddress,
    Header(http::HeaderName),
    Claim(String),
    PathVariable(String),
    Service,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EnforceAt {
    First,
    Edge,
    Region,
    Both,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnStoreFailure {
    LocalShare,
    Allow,
    Deny,
}

#[derive(Clone, Debug, Default, PartialEq)]
pub struct Security {
    pub tls: Option<ServerTls>,
    pub https_redirect: bool,
    pub cors: Option<Cors>,
    pub flood: Option<FloodProtection>,
    pub ip_allow: Vec<Cidr>,
    pub ip_deny: Vec<Cidr>,
}

#[derive(Clone, Debug, PartialEq)]
pub struct ServerTls {
    pub cert_file: PathBuf,
    pub key_file: PathBuf,
    pub min_version: TlsVersion,
    /// IANA names, empty: the library's default.
    pub cipher_suites: Vec<String>,
    pub client_ca_file: Option<PathBuf>,
    /// With a client CA: refuse clients without a certificate.
    pub client_auth_required: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum TlsVersion {
    V1_2,
    V1_3,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cors {
    /// `*` allows any origin.
    pub allowed_origins: Vec<String>,
    pub allowed_methods: Vec<http::Method>,
    pub allowed_headers: Vec<http::HeaderName>,
    pub exposed_headers: Vec<http::HeaderName>,
    pub allow_credentials: bool,
    pub max_age: Duration,
}

/// `security.rate_limit.ddos_protection`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FloodProtection {
    pub max_requests_per_ip: u64,
    pub window: Duration,
    pub block_duration: Duration,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Events {
    pub enabled: bool,
    /// Folder of the event log.
    pub directory: PathBuf,
    /// The log's files are rotated at this size and the oldest removed beyond `max_files`.
    pub file_bytes: u64,
    pub max_files: u32,
    /// To a broker instead of the log.
    pub delivery: Option<Delivery>,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Monitoring {
    pub prometheus: bool,
    pub access_log: bool,
    pub decision_header: bool,
    pub log_level: LogLevel,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogLevel {
    Error,
    Warn,
    Info,
    Debug,
}

/// A range of addresses, RFC 4632 notation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cidr {
    /// Host bits are zero.
    pub network: IpAddr,
    pub prefix_len: u8,
}
