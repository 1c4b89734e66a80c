//! The gateway's own token issuer, `auth.login`: `POST /auth/login` and `POST /auth/refresh`.
//!
//! It is for teams without an identity provider, and off unless it is configured. What it promises:
//!
//! - A password is verified with Argon2id, in turn with few others and on a thread of its own, so that logins cannot
//!   starve the data path; beyond 64 that wait it answers 503.
//! - A user name may fail ten times and then once a minute, an address thirty times and then six times a minute; beyond
//!   that it answers 429. Names that nobody has take as long and are throttled as much as names that somebody has.
//! - A refresh token is good once; used twice, it ends its whole family. Access tokens are not taken back by that: they
//!   end by their own `access_ttl`, which is therefore short, or by `auth.revocation`.
//! - Refresh tokens live in memory: a reload keeps them, a restart logs everybody out.

mod answer;
mod families;
mod password;
mod throttle;
mod token;

use std::collections::HashMap;
use std::convert::Infallible;
use std::net::IpAddr;
use std::sync::Arc;

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::{Extension, State};
use axum::middleware::map_response;
use axum::routing::post;
use bytes::Bytes;
use http::request::Parts;
use http::{HeaderMap, HeaderValue, Request, Response, header};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use sha2::{Digest, Sha256};
use tollgate_core::Now;
use tollgate_core::config::{self, LoginUser};
use tower::ServiceExt;
use tracing::warn;

use crate::clock::now;
use answer::{Refusal, Tokens};
use families::{Families, Holder, Rejected};
use password::{Hash, Verifying};
use throttle::Throttle;
use token::AccessTokens;

pub use password::{PasswordError, hash};

/// Bytes of a body that are read; whoever reads it may stop after one more, which is 413.
pub const BODY_BYTES_MAX: usize = 4 << 10;

/// Issues tokens to the users of one configuration.
pub struct Issuer {
    desk: Arc<Desk>,
    router: Router,
}

#[derive(Debug, thiserror::Error)]
#[error(
    "auth.login.users: the password_hash of `{username}` cannot be used: {source}; `tollgate hash-password` makes one"
)]
pub struct IssuerError {
    username: String,
    source: PasswordError,
}

struct Desk {
    access_tokens: AccessTokens,
    refresh_ttl: std::time::Duration,
    users: HashMap<String, User>,
    /// What the password of a user who does not exist is verified against; the outcome is not looked at.
    decoy: Hash,
    state: Arc<Lasting>,
}

/// What outlives a configuration.
struct Lasting {
    families: Families,
    throttle: Throttle,
    verifying: Verifying,
}

struct User {
    rules: LoginUser,
    hash: Hash,
    holder: Holder,
}

impl Issuer {
    pub fn new(rules: &config::Login) -> Result<Issuer, IssuerError> {
        let verifying = Verifying::new();
        let state = Lasting { families: Families::default(), throttle: Throttle::default(), verifying };
        Issuer::with_state(rules, Arc::new(state))
    }

    /// Of the next configuration: logins and failed attempts are remembered, but the logins of users who are gone end.
    pub fn taking_over(rules: &config::Login, previous: &Issuer) -> Result<Issuer, IssuerError> {
        let issuer = Issuer::with_state(rules, previous.desk.state.clone())?;
        let users = &issuer.desk.users;
        issuer.desk.state.families.keep_users(|username| users.contains_key(username));
        Ok(issuer)
    }

    /// Answers a request below `/auth/`. `client` is who the attempt is counted for.
    pub async fn answer(&self, head: Parts, body: Bytes, client: IpAddr) -> Response<Bytes> {
        let mut request = Request::from_parts(head, Body::from(body));
        request.extensions_mut().insert(Client(client));
        let response =
            self.router.clone().oneshot(request).await.unwrap_or_else(|never: Infallible| match never {});
        let (head, body) = response.into_parts();
        // The handlers' bodies are in memory, which leaves nothing to wait for or to fail.
        let body = to_bytes(body, usize::MAX).await.unwrap_or_default();
        Response::from_parts(head, body)
    }

    fn with_state(rules: &config::Login, state: Arc<Lasting>) -> Result<Issuer, IssuerError> {
        let users = users(rules)?;
        // The dearest, so that a name that nobody has is not the one that is answered sooner.
        let dearest = users.values().map(|user| &user.hash).max_by_key(|hash| hash.cost);
        let decoy = dearest.expect("a configuration of logins has a user").clone();
        let desk = Arc::new(Desk {
            access_tokens: AccessTokens::new(rules),
            refresh_ttl: rules.refresh_ttl,
            users,
            decoy,
            state,
        });
        let router = Router::new()
            .route("/auth/login", post(login))
            .route("/auth/refresh", post(refresh))
            .method_not_allowed_fallback(async || Refusal::Method)
            .fallback(async || Refusal::NotFound)
            .layer(map_response(no_store))
            .with_state(desk.clone());
        Ok(Issuer { desk, router })
    }
}

impl Desk {
    fn tokens(&self, user: &User, refresh_token: String, now: Now) -> Tokens {
        Tokens {
            access_token: self.access_tokens.issue(&user.rules, now.wall_us),
            refresh_token,
            token_type: "Bearer",
            expires_in: self.access_tokens.ttl.as_secs(),
        }
    }
}

#[derive(Clone, Copy)]
struct Client(IpAddr);

#[derive(Deserialize)]
struct Login {
    username: String,
    password: String,
}

#[derive(Deserialize)]
struct Refresh {
    refresh_token: String,
}

async fn login(
    State(desk): State<Arc<Desk>>,
    Extension(Client(client)): Extension<Client>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Tokens, Refusal> {
    let Login { username, password } = read(&headers, &body, "the strings `username` and `password`")?;
    // A place comes first: what is not verified now must not count as an attempt.
    let place = desk.state.verifying.place().ok_or(Refusal::Busy)?;
    let attempt = desk.state.throttle.attempt(&username, client, now().mono_us);
    let attempt = attempt.map_err(|wait| Refusal::Throttled { wait })?;
    let user = desk.users.get(&username);
    let hash = user.map_or(&desk.decoy, |user| &user.hash).clone();
    let is_right = place.verify(password, hash).await;
    let user = user.filter(|_| is_right).ok_or(Refusal::Credentials)?;
    attempt.succeeded();
    let now = now();
    let refresh_token = desk.state.families.begin(user.holder.clone(), desk.refresh_ttl, now.mono_us);
    Ok(desk.tokens(user, refresh_token, now))
}

async fn refresh(
    State(desk): State<Arc<Desk>>,
    Extension(Client(client)): Extension<Client>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Tokens, Refusal> {
    let Refresh { refresh_token } = read(&headers, &body, "the string `refresh_token`")?;
    let now = now();
    let holder_of = |username: &str| desk.users.get(username).map(|user| user.holder.clone());
    let rotated = desk.state.families.rotate(&refresh_token, holder_of, desk.refresh_ttl, now.mono_us);
    let (holder, refresh_token) = rotated.map_err(|rejected| {
        if rejected == Rejected::Replayed {
            warn!("{client} sent a refresh token that was used before; the login it came from has ended");
        }
        Refusal::RefreshToken
    })?;
    let user = desk.users.get(&*holder.username).ok_or(Refusal::RefreshToken)?;
    Ok(desk.tokens(user, refresh_token, now))
}

/// The body, which must say that it is JSON: a page elsewhere cannot send that without the browser asking first.
fn read<T: DeserializeOwned>(headers: &HeaderMap, body: &[u8], members: &'static str) -> Result<T, Refusal> {
    if body.len() > BODY_BYTES_MAX {
        return Err(Refusal::TooLarge);
    }
    let kind = headers.get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    let kind = kind.split(';').next().unwrap_or_default().trim();
    if !kind.eq_ignore_ascii_case("application/json") {
        return Err(Refusal::NotJson);
    }
    // Serde would take the members from an array, in their order.
    let object = Some(body).filter(|body| body.trim_ascii_start().starts_with(b"{"));
    object.and_then(|object| serde_json::from_slice(object).ok()).ok_or(Refusal::Malformed { members })
}

/// RFC 6749 section 5.1; what is refused is not to be kept either.
async fn no_store(mut response: Response<Body>) -> Response<Body> {
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

fn users(rules: &config::Login) -> Result<HashMap<String, User>, IssuerError> {
    let user = |rules: &LoginUser| {
        let hash = Hash::parse(&rules.password_hash)
            .map_err(|source| IssuerError { username: rules.username.clone(), source })?;
        let holder = Holder {
            username: rules.username.as_str().into(),
            credential: Sha256::digest(&rules.password_hash).into(),
        };
        Ok((rules.username.clone(), User { rules: rules.clone(), hash, holder }))
    };
    rules.users.iter().map(user).collect()
}

#[cfg(test)]
mod tests;
