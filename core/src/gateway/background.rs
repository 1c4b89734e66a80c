//! Work that no request asks for.

use std::sync::Arc;
use std::time::Duration;

use http::StatusCode;

use super::{Gateway, news};
use crate::Now;
use crate::config::HealthCheck;
use crate::fleet::StoreCall;
use crate::identity::{DueKeySets, KeySetFetch};
use crate::upstream::{Endpoint, Service};

/// Where there is nothing to do, the adapter looks again after this long: a reload may have changed that.
const IDLE_US: u64 = 1_000_000;

/// A part of the leases is looked through for permits to give back each time.
pub(crate) const TEND_US: u64 = 250_000;

/// What is due now.
#[derive(Debug)]
pub struct Work {
    pub probes: Vec<Probe>,
    /// Key sets to fetch before they are missed.
    pub key_sets: Vec<KeySetFetch>,
    /// Calls to send to the shared store.
    pub store: Vec<StoreCall>,
    /// When to ask again, on the clock of `Now::mono_us`.
    pub next_deadline_us: u64,
}

/// One active health check: `GET path` at `endpoint`, answered through `done`. A probe that is dropped changes
/// nothing; the next one comes when its time does.
#[derive(Debug)]
pub struct Probe {
    service: Arc<Service>,
    endpoint: usize,
}

impl Work {
    pub(super) fn due(gateway: &Arc<Gateway>, now: Now) -> Work {
        let DueKeySets { fetches, next_us } = gateway.identity.due_key_sets(now);
        let look_us = if gateway.quotas.fleet().is_some() { TEND_US } else { IDLE_US };
        let next_deadline_us = next_us.min(now.mono_us + look_us);
        gateway.quotas.tend(now);
        let mut store = gateway.store_calls();
        store.extend(news::due(gateway, now));
        let mut work = Work { probes: Vec::new(), key_sets: fetches, store, next_deadline_us };
        for service in &gateway.services {
            let Some(rules) = &service.rules.health_check else {
                continue;
            };
            for (index, endpoint) in service.endpoints.iter().enumerate() {
                let (due, next_us) = endpoint.claim_check(rules, now);
                work.next_deadline_us = work.next_deadline_us.min(next_us);
                if due {
                    work.probes.push(Probe { service: service.clone(), endpoint: index });
                }
            }
        }
        work
    }
}

impl Probe {
    pub fn endpoint(&self) -> &Arc<Endpoint> {
        &self.service.endpoints[self.endpoint]
    }

    /// With the endpoint's base path before it.
    pub fn path(&self) -> String {
        format!("{}{}", self.service.rules.endpoints[self.endpoint].base_path, self.rules().path)
    }

    pub fn timeout(&self) -> Duration {
        self.rules().timeout
    }

    /// Passed by any status from 200 to 399; `None` is no answer in time.
    pub fn done(self, status: Option<StatusCode>) {
        let passed = status.is_some_and(|status| status.is_success() || status.is_redirection());
        self.endpoint().checked(passed, self.rules());
    }

    fn rules(&self) -> &HealthCheck {
        self.service.rules.health_check.as_ref().expect("only a service with health checks is probed")
    }
}
