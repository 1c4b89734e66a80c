//! The client of the store that nodes share limits in: calls in, answers or failures out, within one time limit.
//!
//! Each lane has a [`Store`] of its own, with one connection (in a cluster, one a node). What a request asks for is
//! thereby written and read on the thread that serves it, where a connection that all lanes shared would wake another
//! thread twice a call; and there are never more connections than lanes times nodes. Calls that several requests of a
//! lane make at once go out in one write and share its round trips, because a connection never waits for answers before
//! it sends.
//!
//! No call is ever run twice: what was sent and not answered has failed, since charging is not idempotent. Only what the
//! store itself says it did not run (an unknown script, a slot that moved) is sent again.

mod cluster;
mod exchange;
mod link;
mod rest;
mod slots;
mod stats;

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Semaphore;
use tokio::time::Instant;

use tollgate_core::config::{self, RedisTopology, StoreWay};
use tollgate_core::store::{Call, Outcome, StoreFailure, Value};

use crate::native::{Dialer, RedisTlsError, Route};
use cluster::Cluster;
use link::Link;
use rest::Rest;

pub use rest::RestError;
pub(crate) use stats::Journal;
pub use stats::{LATENCY_BOUNDS_S, StoreStats};

/// Batches of one lane that wait for the store; more fail at once.
const BATCHES_MAX: usize = 1_024;
/// Calls in one pipeline; a larger batch goes out in several, one after the other.
const CALLS_MAX: usize = 128;

/// What cannot be put right by waiting. That the store is away is no error: it may come.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    #[error("rate_limit.store.redis: {0}")]
    Tls(#[from] RedisTlsError),
    #[error("rate_limit.store.rest: {0}")]
    Rest(#[from] RestError),
}

/// How the store is reached, and what is known of it over all lanes.
pub struct Stores {
    access: Access,
    timeout: Duration,
    journal: Arc<Journal>,
}

enum Access {
    Route(Route),
    Cluster(Dialer, Vec<(String, u16)>),
    Rest(Box<rest::Access>),
}

/// The store as one lane asks it. It belongs to the runtime that first awaits it.
pub struct Store {
    way: Way,
    timeout: Duration,
    places: Semaphore,
    journal: Arc<Journal>,
}

enum Way {
    Link(Link),
    Cluster(Arc<Cluster>),
    Rest(Rest),
}

impl Stores {
    /// # Errors
    ///
    /// Certificates that cannot be read, or a token that is no header's value.
    pub fn new(config: &config::Store) -> Result<Stores, StoreError> {
        let access = match &config.way {
            StoreWay::Rest(rest) => Access::Rest(Box::new(rest::Access::new(rest)?)),
            StoreWay::Redis(redis) if redis.topology == RedisTopology::Cluster => {
                let seeds = redis.servers.iter().map(|server| (server.host.clone(), server.port)).collect();
                Access::Cluster(Dialer::new(&redis.servers[0], redis.ca_file.as_deref())?, seeds)
            }
            StoreWay::Redis(redis) => {
                Access::Route(Route::new(&redis.servers, &redis.topology, redis.ca_file.as_deref())?)
            }
        };
        Ok(Stores { access, timeout: config.timeout, journal: Arc::default() })
    }

    /// Another lane's. Nothing is opened before it is asked something.
    pub fn connect(&self) -> Store {
        let journal = self.journal.clone();
        let way = match &self.access {
            Access::Route(route) => Way::Link(Link::new(route.clone(), journal.clone())),
            Access::Cluster(dialer, seeds) => {
                Way::Cluster(Arc::new(Cluster::new(dialer.clone(), seeds.clone(), journal.clone())))
            }
            Access::Rest(access) => Way::Rest(Rest::new(access, journal.clone())),
        };
        Store { way, timeout: self.timeout, places: Semaphore::new(BATCHES_MAX), journal }
    }

    pub fn stats(&self) -> StoreStats {
        self.journal.stats()
    }
}

impl Store {
    /// Runs all calls and answers in their order, each for itself, before the time limit is over.
    pub async fn run(&self, calls: &[Call]) -> Vec<Outcome> {
        let Ok(_place) = self.places.try_acquire() else {
            self.journal.failed(StoreFailure::Unreachable, calls.len());
            return vec![Err(StoreFailure::Unreachable); calls.len()];
        };
        let began = Instant::now();
        let deadline = began + self.timeout;
        let mut outcomes = Vec::with_capacity(calls.len());
        for some in calls.chunks(CALLS_MAX) {
            let answered = match &self.way {
                Way::Link(link) => exchange::run(link, some, false, deadline).await,
                Way::Cluster(cluster) => Cluster::run(cluster, some, deadline).await,
                Way::Rest(rest) => rest.run(some, deadline).await,
            };
            outcomes.extend(answered.into_iter().map(|outcome| self.accepted(outcome)));
        }
        self.journal.took(began.elapsed());
        outcomes
    }

    /// The scripts answer with arrays; what the store says against a call is its refusal.
    fn accepted(&self, outcome: Outcome) -> Outcome {
        let outcome = match outcome {
            Ok(Value::Error(message)) => {
                self.journal.tell(format_args!("it refused a call: {message}"));
                Err(StoreFailure::Refused)
            }
            Ok(value @ Value::Array(_)) => Ok(value),
            Ok(_) => {
                self.journal.tell("an answer is none of the scripts'");
                Err(StoreFailure::Garbled)
            }
            Err(failure) => Err(failure),
        };
        match &outcome {
            Ok(_) => self.journal.answered(),
            Err(failure) => self.journal.failed(*failure, 1),
        }
        outcome
    }
}
