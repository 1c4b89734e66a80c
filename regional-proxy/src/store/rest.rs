//! The store through the Upstash REST protocol, which core reads and writes.

use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use reqwest::header::{AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderValue, InvalidHeaderValue};
use reqwest::redirect::Policy;
use reqwest::{Client, Response};
use rustls::ClientConfig;
use tokio::sync::Semaphore;
use tokio::time::{Instant, timeout_at};

use tollgate_core::config::RestStore;
use tollgate_core::store::rest::{ANSWER_BYTES_MAX, Endpoint, read_all, request};
use tollgate_core::store::{Call, Command, Outcome, StoreFailure, Value};

use super::Journal;
use super::exchange::by_digest_or_text;
use crate::upstream::system_roots;

/// Requests of one lane under way, each with a connection where the store speaks HTTP/1.1; more wait within their time.
const REQUESTS_MAX: usize = 32;
/// A connection without a request.
const IDLE: Duration = Duration::from_secs(60);

#[derive(Debug, thiserror::Error)]
pub enum RestError {
    #[error(transparent)]
    Token(#[from] InvalidHeaderValue),
    #[error(transparent)]
    Tls(#[from] rustls::Error),
}

/// What every lane's client is made of.
pub(super) struct Access {
    url: String,
    tls: ClientConfig,
    headers: HeaderMap,
}

pub(super) struct Rest {
    client: Client,
    url: String,
    places: Semaphore,
    journal: Arc<Journal>,
}

impl Access {
    pub(super) fn new(store: &RestStore) -> Result<Access, RestError> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let tls = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_root_certificates(system_roots())
            .with_no_client_auth();
        let mut token = HeaderValue::try_from(format!("Bearer {}", store.token.expose()))?;
        token.set_sensitive(true);
        let json = HeaderValue::from_static("application/json");
        let headers = HeaderMap::from_iter([(AUTHORIZATION, token), (CONTENT_TYPE, json)]);
        Ok(Access { url: format!("{}{}", store.url, Endpoint::Pipeline.path()), tls, headers })
    }
}

impl Rest {
    pub(super) fn new(access: &Access, journal: Arc<Journal>) -> Rest {
        let client = Client::builder()
            .tls_backend_preconfigured(access.tls.clone())
            .user_agent(concat!("tollgate/", env!("CARGO_PKG_VERSION")))
            .default_headers(access.headers.clone())
            // The token is for this host, and what was sent is never sent again.
            .redirect(Policy::none())
            .retry(reqwest::retry::never())
            .referer(false)
            .no_proxy()
            .pool_max_idle_per_host(REQUESTS_MAX)
            .pool_idle_timeout(IDLE)
            .build()
            .expect("its TLS is configured, which is all that can fail");
        Rest { client, url: access.url.clone(), places: Semaphore::new(REQUESTS_MAX), journal }
    }

    pub(super) async fn run(&self, calls: &[Call], deadline: Instant) -> Vec<Outcome> {
        by_digest_or_text(calls, async |commands| self.send(commands, deadline).await).await
    }

    async fn send(&self, commands: Vec<Command>, deadline: Instant) -> Result<Vec<Value>, StoreFailure> {
        let place = timeout_at(deadline, self.places.acquire()).await;
        let Ok(Ok(_place)) = place else { return Err(StoreFailure::Unreachable) };
        self.journal.sent(commands.len());
        let answered = timeout_at(deadline, self.post(&commands)).await;
        let answered = answered.unwrap_or(Err(StoreFailure::TimedOut));
        answered.inspect_err(|failure| self.journal.tell(failure))
    }

    async fn post(&self, commands: &[Command]) -> Result<Vec<Value>, StoreFailure> {
        let body = request(Endpoint::Pipeline, commands).body;
        let sent = self.client.post(&self.url).body(body).send().await;
        let mut response = sent.map_err(|_| StoreFailure::Unreachable)?;
        let status = response.status().as_u16();
        let body = bounded(&mut response).await?;
        let read = read_all(status, &body, commands.len());
        read.inspect_err(|error| self.journal.tell(error)).map_err(StoreFailure::from)
    }
}

async fn bounded(response: &mut Response) -> Result<BytesMut, StoreFailure> {
    let mut body = BytesMut::new();
    while let Some(chunk) = response.chunk().await.map_err(|_| StoreFailure::Unreachable)? {
        if body.len() + chunk.len() > ANSWER_BYTES_MAX {
            return Err(StoreFailure::Garbled);
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body)
}
