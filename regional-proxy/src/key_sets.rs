//! Key sets (JWKS, RFC 7517) as they are fetched: one flight at a time for each address, shared by all threads.
//!
//! When to fetch, and what the answer is good for, is core's to say. This only brings the bytes, bounded in size, time
//! and redirects. A flight is a task of its own on the runtime that asked first: it goes on when that request is gone,
//! and whoever asks meanwhile joins it. No proxy of the environment is used, as for upstreams.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::error::Error;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use reqwest::redirect::{Attempt, Policy};
use reqwest::{Client, StatusCode, header};
use rustls::{ClientConfig, RootCertStore};
use tokio::sync::watch;

use crate::upstream::system_roots;
use tollgate_core::{KEY_SET_TIMEOUT, KeysFailure, MAX_KEY_SET_BYTES};

/// Redirects that are followed, all with the scheme of the first address.
const REDIRECTS_MAX: usize = 3;

/// Fetches key sets; clones share their flights.
#[derive(Clone)]
pub struct KeySets {
    client: Client,
    flights: Arc<Flights>,
}

/// What a flight brings. Nothing in it is for clients of the gateway.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FetchError {
    #[error("it cannot be fetched: {0}")]
    Unreachable(String),
    #[error("it was not there in time")]
    Timeout,
    #[error("the answer's status is {0}")]
    Status(u16),
    #[error("it is larger than {MAX_KEY_SET_BYTES} bytes")]
    TooLarge,
    #[error("it is redirected to another scheme or more than {REDIRECTS_MAX} times")]
    Redirect,
    #[error("the thread that fetched it has ended")]
    Interrupted,
}

#[derive(Debug, thiserror::Error)]
#[error("no client for key sets: {0}")]
pub struct KeySetsError(#[from] Cause);

#[derive(Debug, thiserror::Error)]
enum Cause {
    #[error(transparent)]
    Tls(#[from] rustls::Error),
    #[error(transparent)]
    Client(#[from] reqwest::Error),
}

type Outcome = Result<Bytes, FetchError>;

/// What is in the air, by address; bounded by the addresses that configurations name.
#[derive(Default)]
struct Flights(Mutex<HashMap<String, watch::Receiver<Option<Outcome>>>>);

/// The body, or what core wants to know about why there is none. The rest is in the log.
pub fn as_core_takes_it(fetched: &Result<Bytes, FetchError>) -> Result<&[u8], KeysFailure> {
    match fetched {
        Ok(body) => Ok(body),
        Err(error) => {
            tracing::warn!("no key set: {error}");
            Err(match error {
                FetchError::Status(status) => KeysFailure::Status(*status),
                FetchError::TooLarge => KeysFailure::TooLarge,
                _ => KeysFailure::Unreachable,
            })
        }
    }
}

impl KeySets {
    /// Trusts what the operating system trusts.
    pub fn new() -> Result<KeySets, KeySetsError> {
        KeySets::with(system_roots(), KEY_SET_TIMEOUT)
    }

    fn with(roots: Arc<RootCertStore>, timeout: Duration) -> Result<KeySets, KeySetsError> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let tls = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(Cause::Tls)?
            .with_root_certificates(roots)
            .with_no_client_auth();
        let client = Client::builder()
            .tls_backend_preconfigured(tls)
            .user_agent(concat!("tollgate/", env!("CARGO_PKG_VERSION")))
            .redirect(Policy::custom(redirect))
            .referer(false)
            .timeout(timeout)
            .no_proxy()
            // Fetches are minutes apart, and a connection belongs to the runtime that opened it.
            .pool_max_idle_per_host(0)
            .build()
            .map_err(Cause::Client)?;
        Ok(KeySets { client, flights: Arc::default() })
    }

    /// The body at `url`, from the flight that is under way or from a new one. Called on a Tokio runtime.
    pub async fn fetch(&self, url: &str) -> Result<Bytes, FetchError> {
        landed(self.board(url)).await
    }

    fn board(&self, url: &str) -> watch::Receiver<Option<Outcome>> {
        match self.flights.table().entry(url.to_owned()) {
            Entry::Occupied(flight) => flight.get().clone(),
            Entry::Vacant(gate) => {
                let (landing, flight) = watch::channel(None);
                gate.insert(flight.clone());
                let entry = Departed { flights: self.flights.clone(), url: url.to_owned() };
                let client = self.client.clone();
                tokio::spawn(async move {
                    let outcome = fetch(&client, &entry.url).await;
                    // Gone from the table first: whoever finds no flight there wants a newer answer than this one.
                    drop(entry);
                    landing.send_replace(Some(outcome));
                });
                flight
            }
        }
    }
}

async fn landed(mut flight: watch::Receiver<Option<Outcome>>) -> Outcome {
    let outcome = flight.wait_for(Option::is_some).await.map_err(|_| FetchError::Interrupted)?;
    outcome.clone().unwrap_or(Err(FetchError::Interrupted))
}

/// Takes its flight from the table, also when the task is dropped with its runtime.
struct Departed {
    flights: Arc<Flights>,
    url: String,
}

impl Drop for Departed {
    fn drop(&mut self) {
        self.flights.table().remove(&self.url);
    }
}

impl Flights {
    fn table(&self) -> MutexGuard<'_, HashMap<String, watch::Receiver<Option<Outcome>>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn fetch(client: &Client, url: &str) -> Outcome {
    let request = client.get(url).header(header::ACCEPT, "application/jwk-set+json, application/json");
    let mut response = request.send().await.map_err(failure)?;
    // The content type is not looked at: key sets are served as anything, and what they hold is parsed.
    if response.status() != StatusCode::OK {
        return Err(FetchError::Status(response.status().as_u16()));
    }
    if response.content_length().is_some_and(|length| length > MAX_KEY_SET_BYTES as u64) {
        return Err(FetchError::TooLarge);
    }
    let mut body = BytesMut::new();
    while let Some(chunk) = response.chunk().await.map_err(failure)? {
        if body.len() + chunk.len() > MAX_KEY_SET_BYTES {
            return Err(FetchError::TooLarge);
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body.freeze())
}

fn redirect(attempt: Attempt<'_>) -> reqwest::redirect::Action {
    let same_scheme =
        attempt.previous().first().is_some_and(|first| first.scheme() == attempt.url().scheme());
    match same_scheme && attempt.previous().len() <= REDIRECTS_MAX {
        true => attempt.follow(),
        false => attempt.error(FetchError::Redirect),
    }
}

fn failure(error: reqwest::Error) -> FetchError {
    if error.is_timeout() {
        return FetchError::Timeout;
    }
    if error.is_redirect() {
        return FetchError::Redirect;
    }
    // An address may carry a credential; the causes are where the reason is.
    let error = error.without_url();
    let mut reason = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        reason.push_str(": ");
        reason.push_str(&error.to_string());
        cause = error.source();
    }
    FetchError::Unreachable(reason)
}

#[cfg(test)]
mod tests;
