//! A Spin component, and with that one of any host of `wasi:http` 0.3.
//!
//! An instance serves many requests, some at a time, and is one thread with one gateway. What requests share in it is
//! core's state and which key sets are on their way. The loop over core's steps is `exchange`, bodies are `body`.
//!
//! Both bodies of an exchange pass through in chunks, unchanged. The host would move them by itself, but then only it knows
//! how they ended: one that is given a body to answer with does not say whether it has sent it, and one that is given a
//! request's body does not tell a client that left from an upstream that did. Core wants to know both.
//!
//! Spin names the client in `spin-client-addr`, behind whatever a client wrote there itself. Variables of the policy are
//! the component's environment (`spin up --env NAME=value`). The host takes `Connection` and `Upgrade` from requests
//! before any code runs, so that no WebSocket passes.

mod background;
mod body;
mod clock;
mod exchange;
mod key_sets;
mod message;
mod store;

use std::cell::OnceCell;
use std::io::Write;
use std::sync::Arc;

use spin_sdk::wasip3;
use tollgate_core::config::{self, Sources};
use tollgate_core::{Gateway, Options, Place};
use wasip3::http::types::{ErrorCode, Request, Response};

/// Names this component in events, where the environment has no `TOLLGATE_NODE`.
const NODE: &str = "spin";

/// What core needs of randomness: the key of its hashes, and where its identifiers start from.
const RANDOM_BYTES: u64 = 32;

thread_local! {
    static GATEWAY: OnceCell<Arc<Gateway>> = const { OnceCell::new() };
}

struct Component;

wasip3::http::service::export!(Component with_types_in wasip3);

impl wasip3::exports::http::handler::Guest for Component {
    async fn handle(request: Request) -> Result<Response, ErrorCode> {
        let gateway = gateway()?;
        background::start_if_due(&gateway);
        exchange::answer(&gateway, request).await
    }
}

/// The gateway of this instance, which its first request makes.
fn gateway() -> Result<Arc<Gateway>, ErrorCode> {
    GATEWAY.with(|cell| {
        if let Some(gateway) = cell.get() {
            return Ok(gateway.clone());
        }
        let gateway = start().inspect_err(|error| eprintln!("{error}")).map_err(|_| {
            // What is wrong is in the log; a client is none the wiser.
            ErrorCode::ConfigurationError
        })?;
        Ok(cell.get_or_init(|| gateway).clone())
    })
}

#[derive(Debug, thiserror::Error)]
enum StartError {
    #[error(transparent)]
    Policy(#[from] config::ConfigErrors),
    #[error(transparent)]
    Build(#[from] tollgate_core::BuildError),
    #[error("the host gave too few random bytes")]
    Randomness,
}

fn start() -> Result<Arc<Gateway>, StartError> {
    let loaded = config::from_bundle(&policy(), &Environment)?;
    for warning in &loaded.warnings {
        eprintln!("{warning}");
    }
    let random = wasip3::random::random::get_random_bytes(RANDOM_BYTES);
    let (secret, rest) = random.split_first_chunk().ok_or(StartError::Randomness)?;
    let (seed, rest) = rest.split_first_chunk().ok_or(StartError::Randomness)?;
    let boot_epoch = rest.first_chunk().ok_or(StartError::Randomness)?;
    let options = Options {
        node: Environment.variable("TOLLGATE_NODE").unwrap_or(NODE.to_owned()),
        boot_epoch: u64::from_le_bytes(*boot_epoch),
        seed: u64::from_le_bytes(*seed),
        secret: *secret,
        lanes: 1,
        generation: 1,
        policy: loaded.hash[..16].to_owned(),
        place: Place::Edge,
        hooks: Vec::new(),
    };
    Ok(Gateway::new(loaded.config, None, options)?)
}

/// Writes the events that are there to the log, one a line.
fn log_events(gateway: &Gateway) {
    let mut events = Vec::new();
    gateway.drain(0, &mut events);
    let mut json = Vec::new();
    for event in &events {
        event.write_json(&mut json);
        json.push(b'\n');
    }
    let mut log = std::io::stdout().lock();
    // Nobody is left to be told that the log is gone.
    let _ = log.write_all(&json).and_then(|()| log.flush());
}

#[cfg(not(feature = "scenarios"))]
fn policy() -> Vec<u8> {
    include_bytes!(concat!(env!("OUT_DIR"), "/policy.json")).to_vec()
}

/// Each instance of a test brings its own.
#[cfg(feature = "scenarios")]
fn policy() -> Vec<u8> {
    Environment.variable("TOLLGATE_BUNDLE").unwrap_or_default().into_bytes()
}

/// The environment of the component.
struct Environment;

impl Sources for Environment {
    fn variable(&self, name: &str) -> Option<String> {
        std::env::var(name).ok()
    }

    fn file(&self, _: &str) -> Result<String, String> {
        Err("there are no files in a component".into())
    }
}
