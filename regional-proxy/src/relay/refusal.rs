//! Why a request to the relay was refused, and what whoever sent it is told (RFC 9457).

use std::time::Duration;

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use serde_json::json;

use super::REQUESTS_MAX;
use super::body::{BODY_TIMEOUT, CODINGS, KINDS};
use crate::spool::SpoolError;

/// When to try again what was refused for now.
const RETRY_AFTER: Duration = Duration::from_secs(1);
/// When to try again what there was no room for: it takes a broker to make some.
const RETRY_AFTER_FULL: Duration = Duration::from_secs(5);

#[derive(Debug, thiserror::Error)]
pub(super) enum Refusal {
    #[error("Events are sent to /relay/events.")]
    NotFound,
    #[error("Events are sent by POST.")]
    Method,
    #[error("Send a token of this relay as `Authorization: Bearer …`.")]
    Unauthorized,
    #[error("{0} requests with this token are in work already.")]
    TooMany(usize),
    #[error("{REQUESTS_MAX} requests are in work already.")]
    Busy,
    #[error("Send {}.", KINDS.join(" or "))]
    Kind,
    #[error("Send the body as it is, or compressed by {}.", CODINGS.join(" or "))]
    Coding,
    #[error("The body did not arrive in {BODY_TIMEOUT:?}.")]
    SlowBody,
    #[error("The body broke off.")]
    BrokenBody,
    #[error("The body is longer than {0} bytes.")]
    BodyTooLong(usize),
    #[error("The body is longer than {0} bytes once it is decompressed.")]
    DecodedTooLong(usize),
    #[error("The body is not compressed as its Content-Encoding says.")]
    Undecodable,
    #[error("The body is not what its Content-Type says: {0}.")]
    NotJson(String),
    #[error("A batch has up to {0} events.")]
    TooManyEvents(usize),
    #[error("Nothing of the batch was taken, because of the events that `errors` names.")]
    Events(Vec<Wrong>),
    #[error("The events were not taken: {0}.")]
    Spool(SpoolError),
}

/// An event that is none.
#[derive(Debug, Serialize)]
pub(super) struct Wrong {
    pub(super) index: usize,
    pub(super) detail: String,
}

impl Refusal {
    fn status(&self) -> StatusCode {
        match self {
            Refusal::NotFound => StatusCode::NOT_FOUND,
            Refusal::Method => StatusCode::METHOD_NOT_ALLOWED,
            Refusal::Unauthorized => StatusCode::UNAUTHORIZED,
            Refusal::TooMany(_) => StatusCode::TOO_MANY_REQUESTS,
            Refusal::Kind | Refusal::Coding => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Refusal::SlowBody => StatusCode::REQUEST_TIMEOUT,
            Refusal::BrokenBody | Refusal::Undecodable | Refusal::NotJson(_) => StatusCode::BAD_REQUEST,
            Refusal::BodyTooLong(_) | Refusal::DecodedTooLong(_) | Refusal::TooManyEvents(_) => {
                StatusCode::PAYLOAD_TOO_LARGE
            }
            Refusal::Events(_) => StatusCode::UNPROCESSABLE_ENTITY,
            Refusal::Busy | Refusal::Spool(_) => StatusCode::SERVICE_UNAVAILABLE,
        }
    }

    /// What the answer says beside its body: who may ask, what may be sent, when to try again.
    fn header(&self) -> Option<(header::HeaderName, String)> {
        let again = |after: Duration| Some((header::RETRY_AFTER, after.as_secs().to_string()));
        match self {
            Refusal::Unauthorized => {
                Some((header::WWW_AUTHENTICATE, "Bearer realm=\"tollgate-relay\"".to_owned()))
            }
            Refusal::Method => Some((header::ALLOW, "POST".to_owned())),
            Refusal::Kind => Some((header::ACCEPT, KINDS.join(", "))),
            Refusal::Coding => Some((header::ACCEPT_ENCODING, CODINGS.join(", "))),
            Refusal::TooMany(_) | Refusal::Busy | Refusal::Spool(SpoolError::Busy) => again(RETRY_AFTER),
            Refusal::Spool(_) => again(RETRY_AFTER_FULL),
            _ => None,
        }
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let status = self.status();
        let title = status.canonical_reason().unwrap_or("Error");
        let mut body = json!({
            "type": "about:blank", "title": title, "status": status.as_u16(), "detail": self.to_string(),
        });
        let extra = self.header();
        if let Refusal::Events(wrong) = self {
            body["errors"] = json!(wrong);
        }
        let kind = [(header::CONTENT_TYPE, "application/problem+json"), (header::CACHE_CONTROL, "no-store")];
        let mut response = (status, kind, body.to_string()).into_response();
        if let Some((name, value)) = extra
            && let Ok(value) = HeaderValue::from_str(&value)
        {
            response.headers_mut().insert(name, value);
        }
        response
    }
}
