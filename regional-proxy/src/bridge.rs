//! The bridge: the Upstash REST protocol on an internal listener, in front of native Redis.
//!
//! Core reads requests and writes answers ([`tollgate_core::store::rest`]); here are who may ask what (`token`), the
//! commands that no connection can share (`command`), and the connections (`redis`).

mod command;
mod redis;
mod stats;
mod token;

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Result;
use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::{Request, State};
use axum::http::request::Parts;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use tokio::sync::Semaphore;

use tollgate_core::config::RedisBridge;
use tollgate_core::store::rest::{self, Ask, AskError, BODY_BYTES_MAX, Endpoint, RequestHead};
use tollgate_core::store::{Command, Value};

use crate::Listeners;
use redis::RedisError;
use token::Holder;

pub use stats::{BridgeStats, LATENCY_BOUNDS_S};

/// Requests in work; more are answered with 503 at once.
const REQUESTS_MAX: usize = 1_024;
/// How long a request's body may take to arrive.
const BODY_TIMEOUT: Duration = Duration::from_secs(10);

/// Why a request as a whole was not answered by Redis. Its text is the client's, in the protocol's form.
#[derive(Debug, thiserror::Error)]
enum BridgeError {
    #[error("WRONGPASS send a token of this bridge as `Authorization: Bearer …`")]
    Unauthorized,
    #[error(transparent)]
    Ask(#[from] AskError),
    #[error("ERR the body did not arrive in {BODY_TIMEOUT:?}")]
    SlowBody,
    #[error("ERR the body broke off")]
    BrokenBody,
    #[error("NOPERM {0}")]
    Forbidden(String),
    /// One of its commands was refused by Redis before any of them ran.
    #[error("EXECABORT Transaction discarded because of: {0}")]
    Aborted(String),
    #[error("ERR the bridge has {REQUESTS_MAX} requests in work already; try again")]
    Busy,
    #[error(transparent)]
    Redis(#[from] RedisError),
}

struct Bridge {
    holders: Vec<Holder>,
    places: Semaphore,
    stats: Arc<BridgeStats>,
}

/// Serves on a thread and a runtime of its own: what Redis is asked for takes no time from the data path.
pub fn spawn(listeners: Listeners, config: &RedisBridge) -> Result<Arc<BridgeStats>> {
    let holders =
        config.tokens.iter().map(|token| Holder::new(token, config.timeout)).collect::<Result<_, _>>()?;
    let stats = Arc::<BridgeStats>::default();
    let bridge = Arc::new(Bridge { holders, places: Semaphore::new(REQUESTS_MAX), stats: stats.clone() });
    let router = Router::new().fallback(serve).with_state(bridge);
    listeners.serve("bridge", router)?;
    Ok(stats)
}

async fn serve(State(bridge): State<Arc<Bridge>>, request: Request) -> Response {
    let began = Instant::now();
    let response = match bridge.answer(request).await {
        Ok((status, body)) => respond(StatusCode::from_u16(status).unwrap_or(StatusCode::OK), body),
        Err(error) => {
            bridge.stats.refused(error.reason());
            let mut response = respond(error.status(), rest::write_error(&error.to_string()));
            if matches!(error, BridgeError::Unauthorized) {
                let challenge = HeaderValue::from_static("Bearer realm=\"tollgate-redis\"");
                response.headers_mut().insert(header::WWW_AUTHENTICATE, challenge);
            }
            response
        }
    };
    bridge.stats.answered(response.status().as_u16(), began.elapsed());
    response
}

impl Bridge {
    async fn answer(&self, request: Request) -> Result<(u16, Bytes), BridgeError> {
        let (head, body) = request.into_parts();
        // Whoever has no token cannot occupy a place, nor send a body.
        let holder = token::holder(&self.holders, &head.headers).ok_or(BridgeError::Unauthorized)?;
        let _place = self.places.try_acquire().map_err(|_| BridgeError::Busy)?;
        let body =
            tokio::time::timeout(BODY_TIMEOUT, read(body)).await.map_err(|_| BridgeError::SlowBody)??;
        let asked = ask(&head, &body)?;
        match asked.endpoint {
            Endpoint::Command => {
                let command = holder.admit(&asked.commands[0]).map_err(BridgeError::Forbidden);
                let command = command.map(|()| &asked.commands[0])?;
                self.stats.sent(1);
                let value = holder.redis.pipeline(&[command]).await?.remove(0);
                Ok(rest::write(&value, asked.encoding))
            }
            Endpoint::Pipeline => {
                let values = self.pipeline(holder, &asked.commands).await?;
                Ok(rest::write_all(&values, asked.encoding))
            }
            Endpoint::Transaction => {
                let commands: Vec<&Command> = asked.commands.iter().collect();
                commands
                    .iter()
                    .try_for_each(|command| holder.admit(command))
                    .map_err(BridgeError::Forbidden)?;
                self.stats.sent(commands.len());
                let values = holder.redis.transaction(&commands).await?.map_err(BridgeError::Aborted)?;
                Ok(rest::write_all(&values, asked.encoding))
            }
        }
    }

    /// Each command is admitted for itself: clients gather commands of unrelated callers in one pipeline.
    async fn pipeline(&self, holder: &Holder, commands: &[Command]) -> Result<Vec<Value>, BridgeError> {
        let refusals: Vec<Option<String>> =
            commands.iter().map(|command| holder.admit(command).err()).collect();
        let admitted: Vec<&Command> = commands
            .iter()
            .zip(&refusals)
            .filter_map(|(command, refusal)| refusal.is_none().then_some(command))
            .collect();
        self.stats.sent(admitted.len());
        let values = if admitted.is_empty() { Vec::new() } else { holder.redis.pipeline(&admitted).await? };
        let mut values = values.into_iter();
        let value = |refusal: Option<String>| match refusal {
            Some(refusal) => {
                let error = BridgeError::Forbidden(refusal);
                self.stats.refused(error.reason());
                Value::Error(error.to_string())
            }
            None => values.next().unwrap_or(Value::Nil),
        };
        Ok(refusals.into_iter().map(value).collect())
    }
}

async fn read(body: Body) -> Result<Bytes, BridgeError> {
    to_bytes(body, BODY_BYTES_MAX).await.map_err(|error| {
        // The limit is a source of the error, whose type is axum's own.
        match std::error::Error::source(&error)
            .is_some_and(|source| source.to_string().contains("length limit"))
        {
            true => AskError::BodyTooLong.into(),
            false => BridgeError::BrokenBody,
        }
    })
}

fn ask(head: &Parts, body: &[u8]) -> Result<Ask, AskError> {
    let encoding = head.headers.get("upstash-encoding").and_then(|encoding| encoding.to_str().ok());
    let (path, query) = (head.uri.path(), head.uri.query());
    rest::ask(&RequestHead { method: head.method.as_str(), path, query, encoding }, body)
}

impl BridgeError {
    /// As in a metric's label.
    fn reason(&self) -> &'static str {
        match self {
            BridgeError::Unauthorized => "unauthorized",
            BridgeError::Ask(_) => "bad_request",
            BridgeError::SlowBody => "slow_body",
            BridgeError::BrokenBody => "broken_body",
            BridgeError::Forbidden(_) => "forbidden",
            BridgeError::Aborted(_) => "aborted",
            BridgeError::Busy => "busy",
            BridgeError::Redis(_) => "redis",
        }
    }

    fn status(&self) -> StatusCode {
        match self {
            BridgeError::Unauthorized => StatusCode::UNAUTHORIZED,
            BridgeError::Ask(error) => {
                StatusCode::from_u16(error.status()).unwrap_or(StatusCode::BAD_REQUEST)
            }
            BridgeError::SlowBody => StatusCode::REQUEST_TIMEOUT,
            BridgeError::BrokenBody | BridgeError::Aborted(_) => StatusCode::BAD_REQUEST,
            BridgeError::Forbidden(_) => StatusCode::FORBIDDEN,
            BridgeError::Busy | BridgeError::Redis(_) => StatusCode::SERVICE_UNAVAILABLE,
        }
    }
}

fn respond(status: StatusCode, body: Bytes) -> Response {
    let headers = [(header::CONTENT_TYPE, "application/json"), (header::CACHE_CONTROL, "no-store")];
    (status, headers, body).into_response()
}
