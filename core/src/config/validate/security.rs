//! TLS, CORS and floods.

use std::time::Duration;

use super::url::Absolute;
use super::{DAY, MILLISECOND, cidrs, each, header_names, methods, optional, time_within, within};
use crate::config::document;
use crate::config::report::{At, nearest};
use crate::config::{Cors, FloodProtection, Security, ServerTls, TlsVersion};

/// The suites of TLS 1.3 (RFC 8446 section B.4), all of which rustls has.
const TLS_1_3_SUITES: [&str; 3] =
    ["TLS_AES_256_GCM_SHA384", "TLS_AES_128_GCM_SHA256", "TLS_CHACHA20_POLY1305_SHA256"];
/// The suites of TLS 1.2 that rustls has: those with forward secrecy and authenticated encryption.
const TLS_1_2_SUITES: [&str; 6] = [
    "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384",
    "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256",
    "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256",
    "TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384",
    "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256",
    "TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256",
];

pub(super) fn security(security: &document::Security, at: &At<'_>) -> Option<Security> {
    let tls_at = at.field("tls");
    let tls = optional(security.tls.as_ref(), |section| tls(section, &tls_at));
    let cors = optional(security.cors.as_ref(), |section| cors(section, &at.field("cors")));
    let flood_at = at.field("rate_limit").field("ddos_protection");
    let flood = optional(security.rate_limit.ddos_protection.as_ref(), |section| flood(section, &flood_at));
    let ip = at.field("ip");
    let ip_allow = cidrs(&security.ip.allow, &ip.field("allow"));
    let ip_deny = cidrs(&security.ip.deny, &ip.field("deny"));
    let flood_enabled = security.rate_limit.enabled
        && security.rate_limit.ddos_protection.as_ref().is_some_and(|section| section.enabled);
    // What is turned off is checked all the same: it should not fail on the day it is turned on.
    Some(Security {
        tls: tls?.filter(|_| security.tls.as_ref().is_some_and(|section| section.enabled)),
        https_redirect: security.https_redirect,
        cors: cors?.filter(|_| security.cors.as_ref().is_some_and(|section| section.enabled)),
        flood: flood?.filter(|_| flood_enabled),
        ip_allow: ip_allow?,
        ip_deny: ip_deny?,
    })
}

fn tls(tls: &document::ServerTls, at: &At<'_>) -> Option<ServerTls> {
    match (&tls.cert_file, &tls.key_file) {
        (Some(_), None) => at.error("`cert_file` needs its key; set `key_file` too"),
        (None, Some(_)) => at.error("`key_file` needs its certificate; set `cert_file` too"),
        (None, None) if tls.enabled => at.error("TLS needs a certificate; set `cert_file` and `key_file`"),
        _ => {}
    }
    let min_version = match tls.min_version.as_str() {
        "1.2" => Some(TlsVersion::V1_2),
        "1.3" => Some(TlsVersion::V1_3),
        other => {
            at.field("min_version").error(format_args!(
                "`{other}` is not a version of TLS that is spoken here; write \"1.2\" or \"1.3\""
            ));
            None
        }
    };
    let suites_at = at.field("cipher_suites");
    let suites = each(&tls.cipher_suites, &suites_at, |name, at| cipher_suite(name, at));
    let cipher_suites = suites.map(with_tls_1_3);
    let only_1_2 = |names: &[String]| !names.iter().any(|name| TLS_1_3_SUITES.contains(&name.as_str()));
    if min_version == Some(TlsVersion::V1_3) && !tls.cipher_suites.is_empty() && only_1_2(&tls.cipher_suites)
    {
        suites_at.warn("has no effect: these are suites of TLS 1.2 and `min_version` is 1.3");
    }
    let file = |file: &Option<String>| file.clone().unwrap_or_default().into();
    Some(ServerTls {
        cert_file: file(&tls.cert_file),
        key_file: file(&tls.key_file),
        min_version: min_version?,
        cipher_suites: cipher_suites?,
        client_ca_file: tls.client_ca_file.as_ref().map(Into::into),
        client_auth_required: tls.client_ca_file.is_some() && tls.client_auth_required,
    })
}

fn cipher_suite(name: &str, at: &At<'_>) -> Option<String> {
    let known = || TLS_1_3_SUITES.into_iter().chain(TLS_1_2_SUITES);
    // Older names of the ChaCha20 suites (OpenSSL's, and drafts') leave the hash out.
    let full = format!("{name}_SHA256");
    if let Some(known) =
        known().find(|known| *known == name || (*known == full && name.ends_with("POLY1305")))
    {
        return Some(known.into());
    }
    let hint = nearest(name, known()).map(|near| format!("did you mean `{near}`?"));
    let hint = hint.unwrap_or_else(|| format!("write some of {}", known().collect::<Vec<_>>().join(", ")));
    at.error(format_args!("`{name}` is not a cipher suite that is offered; {hint}"));
    None
}

/// A choice among TLS 1.2's suites is not one against TLS 1.3.
fn with_tls_1_3(mut suites: Vec<String>) -> Vec<String> {
    let names_1_3 = suites.iter().any(|name| TLS_1_3_SUITES.contains(&name.as_str()));
    if !suites.is_empty() && !names_1_3 {
        suites.splice(0..0, TLS_1_3_SUITES.map(str::to_owned));
    }
    suites
}

/// Of `security.cors`, or a route's own. Not asked for `enabled`.
pub(super) fn cors(cors: &document::Cors, at: &At<'_>) -> Option<Cors> {
    let origins_at = at.field("allowed_origins");
    if cors.enabled && cors.allowed_origins.0.is_empty() {
        origins_at.error("no origin is allowed; write `[\"https://app.example\"]`, or `enabled: false`");
    }
    let origins = each(&cors.allowed_origins.0, &origins_at, |origin, at| self::origin(origin, at));
    if cors.allow_credentials && cors.allowed_origins.0.iter().any(|origin| origin == "*") {
        let message = "credentials are never sent to any origin `*` (Fetch standard); name the origins";
        at.field("allow_credentials").error(message);
    }
    let allowed_methods = methods(&cors.allowed_methods.0, &at.field("allowed_methods"));
    let allowed_headers = header_names(&cors.allowed_headers.0, &at.field("allowed_headers"));
    let exposed_headers = header_names(&cors.exposed_headers.0, &at.field("exposed_headers"));
    let max_age = document::Timespan(cors.max_age.0);
    let max_age = time_within(&at.field("max_age"), max_age, Duration::ZERO..=DAY);
    Some(Cors {
        allowed_origins: origins?,
        allowed_methods: allowed_methods?,
        allowed_headers: allowed_headers?,
        exposed_headers: exposed_headers?,
        allow_credentials: cors.allow_credentials,
        max_age: max_age?,
    })
}

/// An origin as a browser sends it (RFC 6454 section 6.2).
fn origin(origin: &str, at: &At<'_>) -> Option<String> {
    if origin == "*" || origin == "null" {
        return Some(origin.into());
    }
    let parsed: Absolute = at.check(origin.parse())?;
    let default_port = if parsed.tls { 443 } else { 80 };
    if !parsed.path.is_empty() || origin.ends_with('/') {
        at.error(format_args!(
            "`{origin}` is more than an origin; write scheme, host and port, such as `https://app.example`"
        ));
        return None;
    }
    let scheme = if parsed.tls { "https" } else { "http" };
    let host = if parsed.host.contains(':') { format!("[{}]", parsed.host) } else { parsed.host };
    let port = if parsed.port == default_port { String::new() } else { format!(":{}", parsed.port) };
    Some(format!("{scheme}://{host}{port}"))
}

fn flood(flood: &document::DdosProtection, at: &At<'_>) -> Option<FloodProtection> {
    let requests = within(&at.field("max_requests_per_ip"), flood.max_requests_per_ip, 1..=1_000_000_000_000);
    let window = time_within(&at.field("window"), flood.window, MILLISECOND..=DAY);
    let block = time_within(&at.field("block_duration"), flood.block_duration, MILLISECOND..=DAY * 366);
    Some(FloodProtection { max_requests_per_ip: requests?, window: window?, block_duration: block? })
}
