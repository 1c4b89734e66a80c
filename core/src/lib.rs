//! Tollgate's core: every policy decision, and no I/O, clock, randomness, environment or `async`.
//!
//! An adapter holds an `Arc<Gateway>`, calls [`Gateway::begin`] with each request's head and then does what the
//! [`Step`] says until it is a [`Reply`]; the [`Exchange`] that comes with it lives as long as the body streams.
#![forbid(unsafe_code)]

pub mod config;
mod event;
mod exchange;
mod fleet;
mod gateway;
mod headers;
mod hook;
mod identity;
pub mod lease;
pub mod limit;
mod peer;
mod refusal;
pub mod route;
mod seed;
pub mod store;
mod time;
mod timestamp;
mod upstream;
pub mod url;

pub use event::{End, Event, EventId, LimitOutcome, OutboxStats};
pub use exchange::{
    Charge, Exchange, Forward, Keys, Local, LocalEndpoint, Outcome, Progress, Reply, ReplyBody, RequestBody,
    Sent, Step, Timeouts, Verify,
};
pub use fleet::{SharedLimitStats, StoreCall, StoreState};
pub use gateway::{BuildError, Gateway, Options, Place, Probe, Work};
pub use hook::{Hook, HookRefusal};
pub use identity::{
    Algorithm, Caller, Curve, KEY_SET_TIMEOUT, Key, KeyMaterial, KeySetFetch, KeysFailure, MAX_KEY_SET_BYTES,
};
pub use limit::{Ban, FloodStats, LimiterStats};
pub use peer::{Peer, Scheme};
pub use refusal::Failure;
pub use time::Now;
pub use upstream::{Breaker, BreakerState, Endpoint, MAX_ENDPOINTS, Service};
