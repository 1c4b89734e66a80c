//! One configuration generation, and the decision on each request.

mod admission;
mod arrival;
mod background;
mod charging;
mod cors;
mod news;
mod operation;
mod own;
mod plan;
mod quota;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use http::header::HeaderName;
use http::request;

pub(crate) use admission::Admission;
pub(crate) use background::TEND_US;
pub use background::{Probe, Work};
pub(crate) use charging::Waiting;
pub(crate) use plan::Plan;
pub(crate) use quota::{Charges, Quotas, Refused};

use crate::Now;
use crate::config::{Config, CorsOverride};
use crate::event::{Event, Outbox, OutboxStats, Source};
use crate::exchange::{RequestBody, Step};
use crate::fleet::StoreCall;
use crate::hook::Hook;
use crate::identity::Identity;
use crate::limit::{Flood, Secret};
use crate::peer::Peer;
use crate::route::Router;
use crate::upstream::Service;

/// Where in front of the services a gateway stands: some limits are enforced only here or there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Place {
    Edge,
    #[default]
    Region,
}

/// What an adapter tells of the process a gateway runs in.
#[derive(Clone)]
pub struct Options {
    /// Names this node in events.
    pub node: String,
    /// Differs at each start of the process.
    pub boot_epoch: u64,
    /// Where identifiers and random choices start from.
    pub seed: u64,
    /// Unguessable: keys the hashes by which clients are counted.
    pub secret: [u8; 16],
    /// Data-path threads, at least 1.
    pub lanes: usize,
    /// Counts the configurations of this process from 1.
    pub generation: u64,
    /// The configuration's hash, for events.
    pub policy: String,
    pub place: Place,
    /// Compiled in, and run in this order.
    pub hooks: Vec<Arc<dyn Hook>>,
}

/// One configuration with its runtime state. The next generation takes over what it still names: endpoints and their
/// health, breakers, counts in flight, the event sequence.
#[derive(Debug)]
pub struct Gateway {
    config: Config,
    generation: u64,
    policy: String,
    router: Router,
    services: Vec<Arc<Service>>,
    outbox: Arc<Outbox>,
    /// Shared by all generations: set once, when the process is about to go.
    draining: Arc<AtomicBool>,
    last_endpoint_id: u64,
    /// Headers that only the gateway may set.
    reserved_headers: Vec<HeaderName>,
    identity: Identity,
    quotas: Quotas,
    flood: Option<Flood>,
    hooks: Vec<Arc<dyn Hook>>,
    /// Some route has a policy about the origins of requests.
    crosses_origins: bool,
}

/// A configuration that cannot be served.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    #[error(transparent)]
    Routes(#[from] crate::route::RouteError),
}

impl Gateway {
    pub fn new(
        config: Config,
        previous: Option<&Gateway>,
        options: Options,
    ) -> Result<Arc<Gateway>, BuildError> {
        let router = Router::build(&config.services)?;
        let mut last_endpoint_id = previous.map_or(0, |previous| previous.last_endpoint_id);
        let service = |rules: &crate::config::Service| {
            let known = previous.and_then(|previous| previous.service(&rules.name));
            Arc::new(Service::new(rules.clone(), known, &mut last_endpoint_id))
        };
        let services = config.services.iter().map(service).collect();
        let outbox = previous.map(|previous| previous.outbox.clone()).unwrap_or_else(|| {
            let source = Source { node: options.node.into(), boot_epoch: options.boot_epoch };
            Arc::new(Outbox::new(source, options.lanes, options.seed))
        });
        // Who is counted keeps the key under which it is counted, or a reload would forget what it used.
        let secret = previous.map_or(Secret::new(options.secret), |previous| previous.quotas.secret());
        let known_flood = previous.and_then(|previous| previous.flood.as_ref());
        Ok(Arc::new(Gateway {
            identity: Identity::new(&config.auth, previous.map(|previous| &previous.identity)),
            quotas: Quotas::new(
                &config,
                previous.map(|previous| &previous.quotas),
                secret,
                options.place,
                options.seed,
            ),
            flood: config.security.flood.as_ref().map(|rules| Flood::new(rules, secret, known_flood)),
            crosses_origins: crosses_origins(&config),
            hooks: options.hooks,
            generation: options.generation,
            policy: options.policy,
            router,
            services,
            outbox,
            draining: previous.map(|previous| previous.draining.clone()).unwrap_or_default(),
            last_endpoint_id,
            reserved_headers: reserved_headers(&config),
            config,
        }))
    }

    /// Decides on a request whose head is complete.
    pub fn begin(self: &Arc<Self>, head: request::Parts, body: RequestBody, peer: &Peer, now: Now) -> Step {
        arrival::begin(self, head, body, peer, now)
    }

    /// What is due that no request asks for. Call it again at `next_deadline_us`, or about once a second.
    pub fn background(self: &Arc<Self>, now: Now) -> Work {
        Work::due(self, now)
    }

    /// Whether a decision left calls to the shared store that no request waits for. It costs one look at memory.
    pub fn has_store_calls(&self) -> bool {
        self.quotas.has_store_calls()
    }

    /// Takes those calls.
    pub fn store_calls(&self) -> Vec<StoreCall> {
        self.quotas.store_calls()
    }

    /// Offers borrowed permits back to the shared store: the process is about to go. The calls are the last.
    pub fn close_leases(&self, now: Now) -> Vec<StoreCall> {
        self.quotas.give_back(now);
        self.store_calls()
    }

    /// Moves the events of a lane to the end of `into`. Until a lane is drained it keeps its gateway alive.
    pub fn drain(&self, lane: usize, into: &mut Vec<Event>) {
        self.outbox.drain(lane, into);
    }

    pub fn outbox_stats(&self, lane: usize) -> OutboxStats {
        self.outbox.stats(lane)
    }

    /// From now on `/ready` answers 503, in this generation and all others.
    pub fn start_draining(&self) {
        self.draining.store(true, Ordering::Relaxed);
    }

    pub fn is_draining(&self) -> bool {
        self.draining.load(Ordering::Relaxed)
    }

    pub fn config(&self) -> &Config {
        &self.config
    }

    pub fn generation(&self) -> u64 {
        self.generation
    }

    /// The hash of the configuration, as events carry it.
    pub fn policy(&self) -> &str {
        &self.policy
    }

    /// In the order of the configuration.
    pub fn services(&self) -> &[Arc<Service>] {
        &self.services
    }

    pub fn service(&self, name: &str) -> Option<&Service> {
        self.services.iter().find(|service| service.name() == name).map(|service| &**service)
    }

    pub(crate) fn outbox(&self) -> &Arc<Outbox> {
        &self.outbox
    }

    pub(crate) fn source(&self) -> &Source {
        &self.outbox.source
    }

    pub(crate) fn identity(&self) -> &Identity {
        &self.identity
    }

    pub(crate) fn quotas(&self) -> &Quotas {
        &self.quotas
    }

    pub(crate) fn hooks(&self) -> &[Arc<dyn Hook>] {
        &self.hooks
    }

    pub(crate) fn reserved_headers(&self) -> &[HeaderName] {
        &self.reserved_headers
    }
}

fn crosses_origins(config: &Config) -> bool {
    let mut routes = config.services.iter().flat_map(|service| &service.routes);
    config.security.cors.is_some() || routes.any(|route| matches!(route.cors, CorsOverride::Replace(_)))
}

/// Names that claims are forwarded under: a client that sends one is impersonating somebody.
fn reserved_headers(config: &Config) -> Vec<HeaderName> {
    let claims = config.auth.jwt.iter().flat_map(|provider| &provider.forward_claims);
    let mut names: Vec<_> = claims.map(|(_, name)| name.clone()).collect();
    names.sort_by(|a, b| a.as_str().cmp(b.as_str()));
    names.dedup();
    names
}

#[cfg(all(test, feature = "yaml"))]
mod tests;
