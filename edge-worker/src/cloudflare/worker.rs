//! What JavaScript sees of this crate.

use std::cell::{Cell, OnceCell};
use std::sync::Arc;

use tollgate_core::config::{self, Sources};
use tollgate_core::store::StoreFailure;
use tollgate_core::store::rest::ANSWER_BYTES_MAX;
use tollgate_core::{
    End, Failure, Gateway, KEY_SET_TIMEOUT, KeySetFetch, KeysFailure, MAX_KEY_SET_BYTES, Now, Options, Place,
    Probe,
};
use wasm_bindgen::prelude::wasm_bindgen;
use wasm_bindgen::{JsError, UnwrapThrowExt};
use worker::{Env, console_error, console_log, console_warn};

/// Names this Worker in events, where the environment has no `TOLLGATE_NODE`.
const NODE: &str = "cloudflare";

thread_local! {
    /// An isolate is one thread, and has one gateway for its life.
    static GATEWAY: OnceCell<Arc<Gateway>> = const { OnceCell::new() };
    static BACKGROUND_AT_US: Cell<u64> = const { Cell::new(0) };
}

/// Makes the gateway of this isolate from the policy compiled in and the variables and secrets of `env`. `random` are 32
/// bytes that nobody can guess.
#[wasm_bindgen]
pub fn start(env: &Env, random: &[u8]) -> Result<(), JsError> {
    let (secret, rest) = random.split_first_chunk().ok_or_else(|| JsError::new("too few random bytes"))?;
    let (seed, rest) = rest.split_first_chunk().ok_or_else(|| JsError::new("too few random bytes"))?;
    let boot_epoch = rest.first_chunk().ok_or_else(|| JsError::new("too few random bytes"))?;
    let loaded =
        config::from_bundle(&policy(env), &Bindings(env)).inspect_err(|errors| console_error!("{errors}"))?;
    for warning in &loaded.warnings {
        console_warn!("{warning}");
    }
    let options = Options {
        node: Bindings(env).variable("TOLLGATE_NODE").unwrap_or(NODE.to_owned()),
        boot_epoch: u64::from_le_bytes(*boot_epoch),
        seed: u64::from_le_bytes(*seed),
        secret: *secret,
        lanes: 1,
        generation: 1,
        policy: loaded.hash[..16].to_owned(),
        place: Place::Edge,
        hooks: Vec::new(),
    };
    let gateway = Gateway::new(loaded.config, None, options)?;
    GATEWAY.with(|cell| cell.set(gateway)).map_err(|_| JsError::new("the gateway was started already"))
}

/// Milliseconds a key set may take.
#[wasm_bindgen]
pub fn key_set_timeout_ms() -> f64 {
    KEY_SET_TIMEOUT.as_millis() as f64
}

/// Bytes of the largest key set.
#[wasm_bindgen]
pub fn max_key_set_bytes() -> f64 {
    MAX_KEY_SET_BYTES as f64
}

/// One exchange, as `js/entry.js` drives it.
#[wasm_bindgen]
pub struct Call(super::call::Call);

#[wasm_bindgen]
impl Call {
    #[wasm_bindgen(constructor)]
    pub fn new(request: &str) -> Result<Call, JsError> {
        #[cfg(feature = "scenarios")]
        let request = &frozen::take(request);
        Ok(Call(super::call::Call::begin(&gateway(), request, now())?))
    }

    pub fn step(&self) -> String {
        self.0.step().to_owned()
    }

    pub fn message(&self) -> Vec<u8> {
        self.0.message().to_vec()
    }

    pub fn signature(&self) -> Vec<u8> {
        self.0.signature().to_vec()
    }

    pub fn key(&self) -> String {
        self.0.key()
    }

    pub fn verified(&mut self, valid: bool) -> String {
        self.0.verified(valid, now());
        self.step()
    }

    pub fn fetched(&mut self, body: Option<Box<[u8]>>, failure: &str) -> String {
        self.0.fetched(fetched(body.as_deref(), failure), now());
        self.step()
    }

    pub fn charged(&mut self, status: u16, body: Option<Box<[u8]>>, failure: &str) -> String {
        self.0.charged(charged(status, body.as_deref(), failure), now());
        self.step()
    }

    pub fn responded(&mut self, status: u16, fields: &str) -> String {
        self.0.responded(status, fields, now());
        self.step()
    }

    pub fn failed(&mut self, how: &str) -> String {
        let failure = match how {
            "timeout" => Failure::Timeout,
            "too_large" => Failure::BodyTooLarge,
            // Fetch says no more than that the connection was lost, whatever lost it.
            _ => Failure::Reset,
        };
        self.0.failed(failure, now());
        self.step()
    }

    pub fn body(&self) -> Vec<u8> {
        self.0.body().to_vec()
    }

    /// The client left before there was a reply.
    pub fn leave(self) {
        drop(self);
        log_events();
    }

    /// Ends the exchange, and writes the events that are there to the log.
    pub fn finish(mut self, end: &str, bytes: f64) {
        let end = match end {
            "complete" => End::Complete,
            "upstream_reset" => End::UpstreamReset,
            _ => End::Aborted,
        };
        self.0.finish(end, bytes as u64, now());
        drop(self);
        log_events();
    }
}

/// One health check that is due.
#[wasm_bindgen]
pub struct Check(Probe);

#[wasm_bindgen]
impl Check {
    pub fn url(&self) -> String {
        let endpoint = self.0.endpoint();
        let authority = String::from_utf8_lossy(endpoint.authority().as_bytes());
        format!("{}://{authority}{}", endpoint.scheme().as_str(), self.0.path())
    }

    pub fn timeout_ms(&self) -> f64 {
        self.0.timeout().as_millis() as f64
    }

    /// 0 is no answer in time.
    pub fn done(self, status: u16) {
        self.0.done(http::StatusCode::from_u16(status).ok());
    }
}

/// One key set that is about to be too old.
#[wasm_bindgen]
pub struct KeySet(KeySetFetch);

#[wasm_bindgen]
impl KeySet {
    pub fn url(&self) -> String {
        self.0.url().to_owned()
    }

    pub fn fetched(self, body: Option<Box<[u8]>>, failure: &str) {
        self.0.finish(fetched(body.as_deref(), failure), now());
    }
}

/// Calls to the shared store that no request waits for.
#[wasm_bindgen]
pub struct Errand(super::Errand);

#[wasm_bindgen]
impl Errand {
    pub fn step(&self) -> String {
        self.0.step()
    }

    pub fn charged(&mut self, status: u16, body: Option<Box<[u8]>>, failure: &str) {
        self.0.charged(charged(status, body.as_deref(), failure), now());
    }
}

/// What decisions left to be sent to the shared store, if they left anything.
#[wasm_bindgen]
pub fn errand() -> Option<Errand> {
    let gateway = gateway();
    super::Errand::new(&gateway, gateway.store_calls()).map(Errand)
}

/// Bytes of the store's longest answer.
#[wasm_bindgen]
pub fn max_store_answer_bytes() -> f64 {
    ANSWER_BYTES_MAX as f64
}

/// What is due now; each list can be taken once.
#[wasm_bindgen]
pub struct Work(tollgate_core::Work);

#[wasm_bindgen]
impl Work {
    pub fn checks(&mut self) -> Vec<Check> {
        std::mem::take(&mut self.0.probes).into_iter().map(Check).collect()
    }

    pub fn errand(&mut self) -> Option<Errand> {
        super::Errand::new(&gateway(), std::mem::take(&mut self.0.store)).map(Errand)
    }

    pub fn key_sets(&mut self) -> Vec<KeySet> {
        std::mem::take(&mut self.0.key_sets).into_iter().map(KeySet).collect()
    }
}

#[wasm_bindgen]
pub fn background() -> Work {
    let work = gateway().background(now());
    BACKGROUND_AT_US.set(work.next_deadline_us);
    Work(work)
}

/// When `background` is due again, on the clock of `Date.now()`.
#[wasm_bindgen]
pub fn background_at_ms() -> f64 {
    BACKGROUND_AT_US.get() as f64 / 1_000.0
}

fn log_events() {
    let mut events = Vec::new();
    gateway().drain(0, &mut events);
    let mut json = Vec::new();
    for event in &events {
        json.clear();
        event.write_json(&mut json);
        console_log!("{}", String::from_utf8_lossy(&json));
    }
}

fn gateway() -> Arc<Gateway> {
    GATEWAY.with(|cell| cell.get().cloned()).expect_throw("the entry starts the gateway first")
}

fn now() -> Now {
    #[cfg(feature = "scenarios")]
    if let Some(now) = frozen::now() {
        return now;
    }
    let us = (js_sys::Date::now() * 1_000.0) as u64;
    Now { wall_us: us, mono_us: us }
}

/// The store's status and body, or why there are none.
fn charged<'a>(status: u16, body: Option<&'a [u8]>, failure: &str) -> Result<(u16, &'a [u8]), StoreFailure> {
    body.map(|body| (status, body)).ok_or(match failure {
        "timeout" => StoreFailure::TimedOut,
        "too_large" => StoreFailure::Garbled,
        _ => StoreFailure::Unreachable,
    })
}

/// A key set's body, or why there is none: `too_large`, a status, or anything else.
fn fetched<'a>(body: Option<&'a [u8]>, failure: &str) -> Result<&'a [u8], KeysFailure> {
    body.ok_or_else(|| match (failure, failure.parse()) {
        ("too_large", _) => KeysFailure::TooLarge,
        (_, Ok(status)) => KeysFailure::Status(status),
        (_, Err(_)) => KeysFailure::Unreachable,
    })
}

#[cfg(not(feature = "scenarios"))]
fn policy(_: &Env) -> Vec<u8> {
    include_bytes!(concat!(env!("OUT_DIR"), "/policy.json")).to_vec()
}

/// Each service of a test brings its own.
#[cfg(feature = "scenarios")]
fn policy(env: &Env) -> Vec<u8> {
    Bindings(env).variable("TOLLGATE_BUNDLE").unwrap_or_default().into_bytes()
}

/// The variables and secrets of a Worker.
struct Bindings<'a>(&'a Env);

impl Sources for Bindings<'_> {
    fn variable(&self, name: &str) -> Option<String> {
        self.0.var(name).ok().map(|value| value.to_string())
    }

    fn file(&self, _: &str) -> Result<String, String> {
        Err("there are no files in a Worker".into())
    }
}

/// A clock that stands at what the last request's header said, as in the regional proxy's scenarios.
#[cfg(feature = "scenarios")]
mod frozen {
    use std::cell::Cell;

    use tollgate_core::Now;

    const HEADER: &str = "\ntollgate-frozen-clock\n";

    thread_local! {
        static FROZEN: Cell<Option<Now>> = const { Cell::new(None) };
    }

    /// Takes the header out of a request.
    pub(super) fn take(request: &str) -> String {
        let Some((before, rest)) = request.split_once(HEADER) else { return request.to_owned() };
        let (value, after) = rest.split_at(rest.find('\n').unwrap_or(rest.len()));
        if let Some((wall_us, mono_us)) = value.split_once(',')
            && let (Ok(wall_us), Ok(mono_us)) = (wall_us.parse(), mono_us.parse())
        {
            FROZEN.set(Some(Now { wall_us, mono_us }));
        }
        format!("{before}{after}")
    }

    pub(super) fn now() -> Option<Now> {
        FROZEN.get()
    }
}
