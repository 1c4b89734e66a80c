//! Who may use the admin API: whoever holds its own token. What an application issues administers nothing here.

use std::net::IpAddr;
use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::middleware::Next;
use axum::response::Response;
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use super::{Admin, problem};

pub(super) async fn check(State(admin): State<Arc<Admin>>, request: Request, next: Next) -> Response {
    let gateway = admin.shared.gateway.load_full();
    let rules = gateway.config().server.admin.as_ref();
    if rules.is_some_and(|rules| rules.listen.ip().is_loopback()) && !is_addressed_locally(request.headers())
    {
        // A page elsewhere whose name was made to resolve to this machine (DNS rebinding).
        return problem(
            StatusCode::MISDIRECTED_REQUEST,
            "This admin API is addressed as localhost or by address.",
        );
    }
    let Some(expected) = rules.and_then(|rules| rules.token_sha256) else {
        let detail = "The admin API has no credential; set server.admin.token, for example to \
                      ${file:/run/secrets/tollgate-admin}.";
        return problem(StatusCode::FORBIDDEN, detail);
    };
    let digest: Option<[u8; 32]> = bearer(request.headers()).map(|token| Sha256::digest(token).into());
    if digest.is_some_and(|digest| digest.ct_eq(&expected).into()) {
        return next.run(request).await;
    }
    let mut refused = problem(StatusCode::UNAUTHORIZED, "Send the admin token as `Authorization: Bearer …`.");
    refused
        .headers_mut()
        .insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer realm=\"tollgate-admin\""));
    refused
}

/// RFC 6750 §2.1; the scheme's name has no case (RFC 9110 §11.1).
fn bearer(headers: &HeaderMap) -> Option<&[u8]> {
    let (scheme, token) = headers.get(header::AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then_some(token.trim_matches(' ').as_bytes())
}

fn is_addressed_locally(headers: &HeaderMap) -> bool {
    let Some(host) = headers.get(header::HOST).and_then(|host| host.to_str().ok()) else { return false };
    let name = match host.strip_prefix('[') {
        Some(bracketed) => bracketed.split(']').next().unwrap_or_default(),
        None => host.rsplit_once(':').map_or(host, |(name, _)| name),
    };
    name.eq_ignore_ascii_case("localhost") || name.parse::<IpAddr>().is_ok()
}
