//! The services behind the gateway: who takes a request, and whether anybody may.

mod balancer;
mod breaker;
mod budget;
mod endpoint;
mod ring;
mod window;

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

pub use balancer::MAX_ENDPOINTS;
pub use breaker::{Breaker, BreakerState};
pub use endpoint::Endpoint;

pub(crate) use balancer::{Balancer, Choice, Set};
pub(crate) use breaker::Permit;
pub(crate) use budget::RetryBudget;
pub(crate) use ring::hash;

use crate::Now;
use crate::config;

/// One service of a configuration with its runtime state.
#[derive(Debug)]
pub struct Service {
    pub(crate) rules: config::Service,
    pub(crate) endpoints: Vec<Arc<Endpoint>>,
    pub(crate) balancer: Balancer,
    pub(crate) breaker: Option<Arc<Breaker>>,
    pub(crate) budget: RetryBudget,
    in_flight: Arc<AtomicU32>,
}

/// A request's place among those in flight to a service; given back by `Service::leave`.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Turned {
    /// `max_in_flight` is reached.
    Overloaded,
    CircuitOpen {
        retry_after_us: u64,
    },
}

impl Service {
    /// Builds a service, taking over from `previous` what its rules still name.
    pub(crate) fn new(rules: config::Service, previous: Option<&Service>, next_id: &mut u64) -> Service {
        let endpoints: Vec<_> =
            rules.endpoints.iter().map(|address| endpoint(address, &rules, previous, next_id)).collect();
        let kept = previous.and_then(|previous| previous.breaker.clone());
        let breaker = rules.circuit_breaker.clone().map(|breaker| {
            kept.filter(|kept| *kept.rules() == breaker).unwrap_or_else(|| Arc::new(Breaker::new(breaker)))
        });
        let weights = rules.endpoints.iter().map(|endpoint| endpoint.weight).collect();
        Service {
            balancer: Balancer::new(&rules.load_balancer, &endpoints, weights),
            budget: RetryBudget::new(&rules.retries),
            breaker,
            endpoints,
            in_flight: previous.map(|previous| previous.in_flight.clone()).unwrap_or_default(),
            rules,
        }
    }

    pub fn name(&self) -> &str {
        &self.rules.name
    }

    pub fn endpoints(&self) -> &[Arc<Endpoint>] {
        &self.endpoints
    }

    pub fn breaker(&self) -> Option<&Breaker> {
        self.breaker.as_deref()
    }

    pub fn in_flight(&self) -> u32 {
        self.in_flight.load(Ordering::Relaxed)
    }

    /// Takes a place among the requests in flight, or says that there is none.
    pub(crate) fn enter(&self) -> Result<(), Turned> {
        let before = self.in_flight.fetch_add(1, Ordering::Relaxed);
        if self.rules.max_in_flight.is_some_and(|max| before >= max) {
            self.leave();
            return Err(Turned::Overloaded);
        }
        Ok(())
    }

    pub(crate) fn leave(&self) {
        self.in_flight.fetch_sub(1, Ordering::Relaxed);
    }

    pub(crate) fn permit(&self, now: Now) -> Result<Option<Permit>, Turned> {
        let Some(breaker) = &self.breaker else {
            return Ok(None);
        };
        match breaker.admit(now) {
            Ok(permit) => Ok(Some(permit)),
            Err(refused) => Err(Turned::CircuitOpen { retry_after_us: refused.retry_after_us }),
        }
    }

    /// Tells the breaker and passive ejection how an attempt at `endpoint` ended.
    pub(crate) fn record(&self, endpoint: usize, permit: Option<Permit>, failed: bool, now: Now) {
        if let (Some(breaker), Some(permit)) = (&self.breaker, permit) {
            breaker.record(permit, failed, now);
        }
        match failed {
            true => self.record_failure(endpoint, now),
            false => self.endpoints[endpoint].record_success(),
        }
    }

    pub(crate) fn record_late_failure(&self, endpoint: usize, now: Now) {
        if let Some(breaker) = &self.breaker {
            breaker.record_late_failure(now);
        }
        self.record_failure(endpoint, now);
    }

    pub(crate) fn release(&self, permit: Option<Permit>) {
        if let (Some(breaker), Some(permit)) = (&self.breaker, permit) {
            breaker.release(permit);
        }
    }

    fn record_failure(&self, endpoint: usize, now: Now) {
        let Some(rules) = &self.rules.ejection else { return };
        if !self.endpoints[endpoint].record_failure(rules) {
            return;
        }
        let ejected = self.endpoints.iter().filter(|endpoint| endpoint.is_ejected(now)).count();
        let allowed = rules.max_share * self.endpoints.len() as f64;
        if (ejected + 1) as f64 <= allowed {
            self.endpoints[endpoint].eject(rules, now);
        }
    }
}

fn endpoint(
    address: &config::Endpoint,
    rules: &config::Service,
    previous: Option<&Service>,
    next_id: &mut u64,
) -> Arc<Endpoint> {
    let known = previous.iter().flat_map(|previous| &previous.endpoints);
    let kept = known.clone().find(|endpoint| endpoint.is(address, &rules.tls, rules.protocol));
    if let Some(kept) = kept {
        if rules.health_check.is_none() {
            kept.forget_checks();
        }
        return kept.clone();
    }
    *next_id += 1;
    Arc::new(Endpoint::new(*next_id, address.clone(), rules.tls.clone(), rules.protocol))
}
