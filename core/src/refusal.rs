//! Every reason the gateway answers itself, and the one place where reasons become statuses and bodies.
//!
//! A refusal keeps two audiences apart. The client gets a status, a problem type and a sentence that says what to
//! do; events, metrics and logs get `reason`, a stable name for the rule that decided. Internal error texts reach
//! neither.

use std::borrow::Cow;

use bytes::Bytes;
use http::header::{self, HeaderMap, HeaderValue};
use http::{StatusCode, response};

use crate::event::EventId;
use crate::gateway::{Quotas, Refused};
use crate::hook::HookRefusal;
use crate::identity::Unauthorized;
use crate::limit::Banned;

const PROBLEM_JSON: HeaderValue = HeaderValue::from_static("application/problem+json");
const NO_STORE: HeaderValue = HeaderValue::from_static("no-store");

/// Why an upstream gave no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    /// The endpoint's name did not resolve.
    Dns,
    /// No connection could be made.
    Connect,
    /// The TLS handshake failed, or the certificate was refused.
    Tls,
    /// The connection broke before the response's head was there.
    Reset,
    /// What came was not HTTP.
    Protocol,
    /// The response's head did not come in time.
    Timeout,
    /// The request's body grew beyond `server.limits.body_bytes`.
    BodyTooLarge,
    /// The client broke off, or was silent for too long, in the request's body.
    RequestAborted,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    BadTarget(crate::url::UrlError),
    TargetTooLong,
    HeadersTooLarge,
    BodyTooLarge,
    NotFound,
    /// By `security.ip`.
    AddressDenied,
    /// Too many requests came from the address, and it is refused for a while.
    Banned(Banned),
    /// Over a limit.
    QuotaExceeded(Refused),
    /// A limit could not be told from its store, and refuses then.
    QuotaUnknown(Refused),
    /// The host is none of `server.allowed_hosts`.
    ForeignHost,
    /// A preflight of an origin that `cors` does not allow.
    ForeignOrigin,
    /// The route needs an identity and the request claims none.
    Unidentified,
    /// What the request claims to be is not so, or cannot be told.
    Unauthorized(Unauthorized),
    /// The caller lacks a role or, where there is a `scope` to ask its issuer for, that.
    Forbidden {
        scope: Option<HeaderValue>,
    },
    /// By a hook that was compiled in.
    Hook(HookRefusal),
    MethodNotAllowed {
        allow: HeaderValue,
    },
    /// Over `max_in_flight` of the service.
    Overloaded,
    CircuitOpen {
        retry_after_us: u64,
    },
    Upstream(Failure),
    /// The client asked for an upgrade and the upstream switched protocols unasked, or the other way round.
    BadUpgrade,
    HttpsRequired {
        location: HeaderValue,
    },
    /// A method no gateway of services serves: CONNECT, TRACE.
    NotImplemented,
    /// A transfer coding other than `chunked`.
    TransferCoding,
}

const BEARER: &str = r#"Bearer realm="tollgate""#;

/// Retry-After for refusals that may end at any time, in seconds.
const SOON_S: u64 = 1;

impl Refusal {
    pub(crate) fn status(&self) -> StatusCode {
        match self {
            Refusal::BadTarget(_) | Refusal::Upstream(Failure::RequestAborted) => StatusCode::BAD_REQUEST,
            Refusal::TargetTooLong => StatusCode::URI_TOO_LONG,
            Refusal::HeadersTooLarge => StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
            Refusal::BodyTooLarge | Refusal::Upstream(Failure::BodyTooLarge) => StatusCode::PAYLOAD_TOO_LARGE,
            Refusal::NotFound => StatusCode::NOT_FOUND,
            Refusal::AddressDenied | Refusal::ForeignOrigin | Refusal::Forbidden { .. } => {
                StatusCode::FORBIDDEN
            }
            Refusal::Banned(_) | Refusal::QuotaExceeded(_) => StatusCode::TOO_MANY_REQUESTS,
            Refusal::ForeignHost => StatusCode::MISDIRECTED_REQUEST,
            Refusal::Unidentified => StatusCode::UNAUTHORIZED,
            Refusal::Unauthorized(why) => match why.error_code() {
                None => StatusCode::SERVICE_UNAVAILABLE,
                // RFC 6750 section 3.1.
                Some(Unauthorized::INVALID_REQUEST) => StatusCode::BAD_REQUEST,
                Some(_) => StatusCode::UNAUTHORIZED,
            },
            Refusal::Hook(refusal) => refusal.status(),
            Refusal::MethodNotAllowed { .. } => StatusCode::METHOD_NOT_ALLOWED,
            Refusal::Overloaded | Refusal::CircuitOpen { .. } | Refusal::QuotaUnknown(_) => {
                StatusCode::SERVICE_UNAVAILABLE
            }
            Refusal::NotImplemented | Refusal::TransferCoding => StatusCode::NOT_IMPLEMENTED,
            Refusal::Upstream(Failure::Timeout) => StatusCode::GATEWAY_TIMEOUT,
            Refusal::Upstream(_) | Refusal::BadUpgrade => StatusCode::BAD_GATEWAY,
            Refusal::HttpsRequired { .. } => StatusCode::PERMANENT_REDIRECT,
        }
    }

    /// A stable name for events, metrics and logs.
    pub(crate) fn reason(&self) -> &'static str {
        match self {
            Refusal::BadTarget(_) => "bad_target",
            Refusal::TargetTooLong => "target_too_long",
            Refusal::HeadersTooLarge => "headers_too_large",
            Refusal::BodyTooLarge | Refusal::Upstream(Failure::BodyTooLarge) => "body_too_large",
            Refusal::NotFound => "not_found",
            Refusal::AddressDenied => "address_denied",
            Refusal::Banned(_) => "banned",
            Refusal::QuotaExceeded(_) => "quota_exceeded",
            Refusal::QuotaUnknown(_) => "quota_unknown",
            Refusal::ForeignHost => "foreign_host",
            Refusal::ForeignOrigin => "foreign_origin",
            Refusal::Unidentified => "unidentified",
            Refusal::Unauthorized(why) => why.reason(),
            Refusal::Forbidden { .. } => "forbidden",
            Refusal::Hook(refusal) => refusal.reason(),
            Refusal::MethodNotAllowed { .. } => "method_not_allowed",
            Refusal::Overloaded => "overloaded",
            Refusal::CircuitOpen { .. } => "circuit_open",
            Refusal::Upstream(Failure::Dns) => "upstream_dns",
            Refusal::Upstream(Failure::Connect) => "upstream_connect",
            Refusal::Upstream(Failure::Tls) => "upstream_tls",
            Refusal::Upstream(Failure::Reset) => "upstream_reset",
            Refusal::Upstream(Failure::Protocol) => "upstream_protocol",
            Refusal::Upstream(Failure::Timeout) => "upstream_timeout",
            Refusal::Upstream(Failure::RequestAborted) => "request_aborted",
            Refusal::BadUpgrade => "bad_upgrade",
            Refusal::HttpsRequired { .. } => "https_required",
            Refusal::NotImplemented => "method_not_implemented",
            Refusal::TransferCoding => "transfer_coding",
        }
    }

    fn detail(&self) -> Cow<'static, str> {
        Cow::Borrowed(match self {
            Refusal::BadTarget(error) => return Cow::Owned(error.to_string()),
            Refusal::Unauthorized(why) => return Cow::Owned(why.to_string()),
            Refusal::Hook(refusal) => return Cow::Owned(refusal.detail().to_owned()),
            Refusal::TargetTooLong => "The request target is longer than this gateway accepts.",
            Refusal::HeadersTooLarge => "The request's header fields are larger than this gateway accepts.",
            Refusal::BodyTooLarge | Refusal::Upstream(Failure::BodyTooLarge) => {
                "The request's body is larger than this gateway accepts."
            }
            Refusal::AddressDenied => "Requests from this address are not served.",
            Refusal::Banned(_) => "Too many requests came from this address; it is refused for a while.",
            Refusal::QuotaExceeded(_) => {
                "The quota is used up; see the RateLimit header for when there is more."
            }
            Refusal::QuotaUnknown(_) => {
                "Whether the quota admits this request cannot be told now; try again."
            }
            Refusal::ForeignHost => "This gateway does not serve that host.",
            Refusal::ForeignOrigin => "Pages of this origin may not call this resource.",
            Refusal::Unidentified => {
                "This resource needs a credential: a bearer token in Authorization, or a key in X-API-Key."
            }
            Refusal::Forbidden { .. } => "The caller lacks a role or scope that this resource asks for.",
            Refusal::NotFound => "No route matches this host and path.",
            Refusal::MethodNotAllowed { .. } => "This path does not serve that method; see the Allow header.",
            Refusal::Overloaded => "The service has as many requests in flight as it may have; try again.",
            Refusal::CircuitOpen { .. } => {
                "The service is failing and is given time to recover; try again later."
            }
            Refusal::Upstream(Failure::Timeout) => "The service did not answer in time.",
            Refusal::Upstream(Failure::Dns | Failure::Connect | Failure::Tls) => {
                "The service cannot be reached."
            }
            Refusal::Upstream(Failure::RequestAborted) => "The request's body ended before it was complete.",
            Refusal::Upstream(Failure::Reset | Failure::Protocol) | Refusal::BadUpgrade => {
                "The service gave no valid answer."
            }
            Refusal::HttpsRequired { .. } => "This gateway is reached over https.",
            Refusal::NotImplemented => "This gateway does not serve that method.",
            Refusal::TransferCoding => "This gateway takes no transfer coding but chunked.",
        })
    }

    /// RFC 9457 §3.1.1, with the types of the IETF's registry of HTTP problem types where one fits.
    fn problem_type(&self) -> &'static str {
        match self {
            Refusal::Overloaded | Refusal::CircuitOpen { .. } | Refusal::QuotaUnknown(_) => {
                "https://iana.org/assignments/http-problem-types#temporary-reduced-capacity"
            }
            Refusal::QuotaExceeded(_) => "https://iana.org/assignments/http-problem-types#quota-exceeded",
            Refusal::Banned(_) => "https://iana.org/assignments/http-problem-types#abnormal-usage-detected",
            _ => "about:blank",
        }
    }

    /// The status a gRPC client is given (the gRPC status codes, and their mapping from HTTP where none fits better).
    fn grpc_status(&self) -> u8 {
        const UNKNOWN: u8 = 2;
        const DEADLINE_EXCEEDED: u8 = 4;
        const PERMISSION_DENIED: u8 = 7;
        const RESOURCE_EXHAUSTED: u8 = 8;
        const UNIMPLEMENTED: u8 = 12;
        const INTERNAL: u8 = 13;
        const UNAVAILABLE: u8 = 14;
        const UNAUTHENTICATED: u8 = 16;
        match self.status() {
            StatusCode::BAD_REQUEST => INTERNAL,
            StatusCode::UNAUTHORIZED => UNAUTHENTICATED,
            StatusCode::FORBIDDEN => PERMISSION_DENIED,
            StatusCode::TOO_MANY_REQUESTS => RESOURCE_EXHAUSTED,
            StatusCode::NOT_FOUND | StatusCode::METHOD_NOT_ALLOWED | StatusCode::NOT_IMPLEMENTED => {
                UNIMPLEMENTED
            }
            StatusCode::PAYLOAD_TOO_LARGE | StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE => RESOURCE_EXHAUSTED,
            StatusCode::GATEWAY_TIMEOUT => DEADLINE_EXCEEDED,
            StatusCode::BAD_GATEWAY | StatusCode::SERVICE_UNAVAILABLE => UNAVAILABLE,
            _ => UNKNOWN,
        }
    }

    fn extra_headers(&self, headers: &mut HeaderMap) {
        match self {
            Refusal::MethodNotAllowed { allow } => {
                headers.insert(header::ALLOW, allow.clone());
            }
            Refusal::CircuitOpen { retry_after_us } => {
                retry_after(retry_after_us.div_ceil(1_000_000), headers)
            }
            Refusal::Overloaded => retry_after(SOON_S, headers),
            Refusal::Banned(Banned { retry_after_us, .. })
            | Refusal::QuotaExceeded(Refused { retry_after_us, .. })
            | Refusal::QuotaUnknown(Refused { retry_after_us, .. })
            | Refusal::Unauthorized(Unauthorized::KeysUnavailable { retry_after_us }) => {
                retry_after(retry_after_us.div_ceil(1_000_000), headers)
            }
            Refusal::Unidentified | Refusal::Unauthorized(_) | Refusal::Forbidden { .. } => {
                if let Some(challenge) = self.challenge() {
                    headers.insert(header::WWW_AUTHENTICATE, challenge);
                }
            }
            Refusal::HttpsRequired { location } => {
                headers.insert(header::LOCATION, location.clone());
            }
            _ => {}
        }
    }

    /// RFC 6750 section 3. A key in a header of its own has no registered scheme; its challenge names the header.
    fn challenge(&self) -> Option<HeaderValue> {
        let challenge = match self {
            Refusal::Unauthorized(Unauthorized::ApiKey) => {
                r#"ApiKey realm="tollgate", header="X-API-Key""#.to_owned()
            }
            Refusal::Unauthorized(why) => {
                format!(r#"{BEARER}, error="{}", error_description="{why}""#, why.error_code()?)
            }
            Refusal::Forbidden { scope } => {
                format!(r#"{BEARER}, error="insufficient_scope", scope="{}""#, scope.as_ref()?.to_str().ok()?)
            }
            _ => BEARER.to_owned(),
        };
        HeaderValue::try_from(challenge).ok()
    }

    pub(crate) fn answer(&self, id: EventId, grpc: bool, quotas: &Quotas) -> (response::Parts, Bytes) {
        let (mut head, ()) = http::Response::new(()).into_parts();
        let headers = &mut head.headers;
        headers.insert(header::CACHE_CONTROL, NO_STORE);
        self.extra_headers(headers);
        if grpc {
            let message = percent_encoded(&self.detail());
            headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
            headers.insert("grpc-status", HeaderValue::from(u16::from(self.grpc_status())));
            headers.insert("grpc-message", HeaderValue::try_from(message).expect("encoded to visible ASCII"));
            return (head, Bytes::new());
        }
        head.status = self.status();
        head.headers.insert(header::CONTENT_TYPE, PROBLEM_JSON);
        (head, self.problem(id, quotas))
    }

    fn problem(&self, id: EventId, quotas: &Quotas) -> Bytes {
        let status = self.status();
        let problem = Problem {
            kind: self.problem_type(),
            title: status.canonical_reason().unwrap_or("Error"),
            status: status.as_u16(),
            detail: &self.detail(),
            instance: &format!("urn:uuid:{id}"),
            violated_policies: match self {
                Refusal::QuotaExceeded(refused) | Refusal::QuotaUnknown(refused) => {
                    Some([quotas.name(refused.quota)])
                }
                _ => None,
            },
        };
        Bytes::from(serde_json::to_vec(&problem).expect("strings and a number always serialise"))
    }
}

impl From<Refused> for Refusal {
    fn from(refused: Refused) -> Refusal {
        match refused.unknown {
            true => Refusal::QuotaUnknown(refused),
            false => Refusal::QuotaExceeded(refused),
        }
    }
}

/// RFC 9457 §3.1.
#[derive(serde::Serialize)]
struct Problem<'a> {
    #[serde(rename = "type")]
    kind: &'a str,
    title: &'a str,
    status: u16,
    detail: &'a str,
    instance: &'a str,
    /// Of a quota (draft-ietf-httpapi-ratelimit-headers).
    #[serde(rename = "violated-policies", skip_serializing_if = "Option::is_none")]
    violated_policies: Option<[&'a str; 1]>,
}

fn retry_after(seconds: u64, headers: &mut HeaderMap) {
    headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds.max(1)));
}

/// `grpc-message` as the gRPC protocol over HTTP/2 encodes it.
fn percent_encoded(text: &str) -> String {
    use std::fmt::Write;
    text.bytes().fold(String::with_capacity(text.len()), |mut out, byte| {
        match byte {
            0x20..=0x7e if byte != b'%' => out.push(byte.into()),
            _ => write!(out, "%{byte:02X}").expect("writing to a string cannot fail"),
        }
        out
    })
}
