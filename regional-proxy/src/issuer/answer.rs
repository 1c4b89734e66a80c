//! What the issuer answers: tokens, or the one place where a reason becomes a status.

use std::time::Duration;

use axum::Json;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use serde_json::json;

use super::BODY_BYTES_MAX;

/// When a login that found no place is worth another try, seconds.
const BUSY_RETRY_S: u64 = 2;

/// RFC 6749 section 5.1.
#[derive(Serialize)]
pub(super) struct Tokens {
    pub(super) access_token: String,
    pub(super) refresh_token: String,
    pub(super) token_type: &'static str,
    /// Of the access token, seconds.
    pub(super) expires_in: u64,
}

impl IntoResponse for Tokens {
    fn into_response(self) -> Response {
        Json(self).into_response()
    }
}

/// Why there are no tokens. What it says is shown to clients: nothing in it depends on whether a user exists.
#[derive(Debug, thiserror::Error)]
pub(super) enum Refusal {
    #[error("The body is not a JSON object with {members}.")]
    Malformed { members: &'static str },
    #[error("The user name or the password is wrong.")]
    Credentials,
    #[error("The refresh token is not good any more; log in again.")]
    RefreshToken,
    #[error("Nothing is here but /auth/login and /auth/refresh.")]
    NotFound,
    #[error("Tokens are asked for with POST.")]
    Method,
    #[error("The body is longer than {BODY_BYTES_MAX} bytes.")]
    TooLarge,
    #[error("The body is JSON, and Content-Type says so: application/json.")]
    NotJson,
    #[error("Too many attempts failed for this user name or from this address.")]
    Throttled { wait: Duration },
    #[error("Too many log in at once.")]
    Busy,
}

impl Refusal {
    fn status(&self) -> StatusCode {
        match self {
            Refusal::Malformed { .. } => StatusCode::BAD_REQUEST,
            Refusal::Credentials | Refusal::RefreshToken => StatusCode::UNAUTHORIZED,
            Refusal::NotFound => StatusCode::NOT_FOUND,
            Refusal::Method => StatusCode::METHOD_NOT_ALLOWED,
            Refusal::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Refusal::NotJson => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Refusal::Throttled { .. } => StatusCode::TOO_MANY_REQUESTS,
            Refusal::Busy => StatusCode::SERVICE_UNAVAILABLE,
        }
    }

    /// RFC 9457 section 3.1.1, with the types of the IETF's registry of HTTP problem types where one fits.
    fn problem_type(&self) -> &'static str {
        match self {
            Refusal::Throttled { .. } => {
                "https://iana.org/assignments/http-problem-types#abnormal-usage-detected"
            }
            Refusal::Busy => "https://iana.org/assignments/http-problem-types#temporary-reduced-capacity",
            _ => "about:blank",
        }
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let status = self.status();
        let problem = json!({
            "type": self.problem_type(),
            "title": status.canonical_reason().unwrap_or("Error"),
            "status": status.as_u16(),
            "detail": self.to_string(),
        });
        let mut response = (status, problem.to_string()).into_response();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        match self {
            // RFC 9110 section 15.5.2 wants a challenge; this one is what the tokens are for.
            Refusal::Credentials | Refusal::RefreshToken => {
                headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
            }
            Refusal::Method => {
                headers.insert(header::ALLOW, HeaderValue::from_static("POST"));
            }
            Refusal::Throttled { wait } => {
                let seconds = wait.as_micros().div_ceil(1_000_000).max(1) as u64;
                headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
            }
            Refusal::Busy => {
                headers.insert(header::RETRY_AFTER, HeaderValue::from(BUSY_RETRY_S));
            }
            _ => {}
        }
        response
    }
}
