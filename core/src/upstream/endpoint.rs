//! One address of a service and what is known of its health.

use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use http::HeaderValue;
use http::uri::Scheme;

use crate::Now;
use crate::config::{self, Ejection, HealthCheck, UpstreamProtocol, UpstreamTls};

/// An ejection lasts at most this many times its base.
const MAX_EJECTION_FACTOR: u32 = 10;

/// One upstream address. It outlives the configuration that named it as long as the next one names it too, so that
/// health and pooled connections survive a reload.
#[derive(Debug)]
pub struct Endpoint {
    id: u64,
    address: config::Endpoint,
    tls: UpstreamTls,
    protocol: UpstreamProtocol,
    /// `host[:port]` as the `Host` header has it.
    authority: HeaderValue,
    in_flight: AtomicU32,
    consecutive_failures: AtomicU32,
    ejected_until_us: AtomicU64,
    ejections_in_a_row: AtomicU32,
    /// What active health checks say.
    healthy: AtomicBool,
    checks: Mutex<Checks>,
}

#[derive(Debug, Default)]
struct Checks {
    /// Answers in a row that contradict `healthy`.
    streak: u32,
    next_due_us: u64,
}

impl Endpoint {
    pub(crate) fn new(
        id: u64,
        address: config::Endpoint,
        tls: UpstreamTls,
        protocol: UpstreamProtocol,
    ) -> Endpoint {
        let authority = authority(&address);
        Endpoint {
            id,
            address,
            tls,
            protocol,
            authority,
            in_flight: AtomicU32::new(0),
            consecutive_failures: AtomicU32::new(0),
            ejected_until_us: AtomicU64::new(0),
            ejections_in_a_row: AtomicU32::new(0),
            healthy: AtomicBool::new(true),
            checks: Mutex::default(),
        }
    }

    /// Names the endpoint across reloads of one process: a key for connection pools.
    pub fn id(&self) -> u64 {
        self.id
    }

    /// A name, an IPv4 address, or an IPv6 address without brackets.
    pub fn host(&self) -> &str {
        &self.address.host
    }

    pub fn port(&self) -> u16 {
        self.address.port
    }

    pub fn is_tls(&self) -> bool {
        self.address.tls
    }

    pub fn tls(&self) -> &UpstreamTls {
        &self.tls
    }

    pub fn protocol(&self) -> UpstreamProtocol {
        self.protocol
    }

    pub fn scheme(&self) -> Scheme {
        if self.address.tls { Scheme::HTTPS } else { Scheme::HTTP }
    }

    /// What the `Host` header says when the endpoint is addressed by its own name.
    pub fn authority(&self) -> &HeaderValue {
        &self.authority
    }

    pub fn in_flight(&self) -> u32 {
        self.in_flight.load(Ordering::Relaxed)
    }

    /// Neither ejected nor found unhealthy.
    pub fn is_available(&self, now: Now) -> bool {
        self.healthy.load(Ordering::Relaxed) && !self.is_ejected(now)
    }

    pub fn is_ejected(&self, now: Now) -> bool {
        now.mono_us < self.ejected_until_us.load(Ordering::Relaxed)
    }

    pub fn is_healthy(&self) -> bool {
        self.healthy.load(Ordering::Relaxed)
    }

    pub(crate) fn is(
        &self,
        address: &config::Endpoint,
        tls: &UpstreamTls,
        protocol: UpstreamProtocol,
    ) -> bool {
        let config::Endpoint { tls: over_tls, host, port, base_path: _, weight: _ } = address;
        (self.address.tls, &self.address.host, self.address.port) == (*over_tls, host, *port)
            && (&self.tls, self.protocol) == (tls, protocol)
    }

    pub(crate) fn enter(&self) {
        self.in_flight.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn leave(&self) {
        self.in_flight.fetch_sub(1, Ordering::Relaxed);
    }

    pub(crate) fn record_success(&self) {
        // Loads first: the common case leaves the cache line shared.
        if self.consecutive_failures.load(Ordering::Relaxed) != 0 {
            self.consecutive_failures.store(0, Ordering::Relaxed);
        }
        if self.ejections_in_a_row.load(Ordering::Relaxed) != 0 {
            self.ejections_in_a_row.store(0, Ordering::Relaxed);
        }
    }

    /// True when this failure is the one that makes the endpoint due for ejection.
    pub(crate) fn record_failure(&self, rules: &Ejection) -> bool {
        let failures = self.consecutive_failures.fetch_add(1, Ordering::Relaxed) + 1;
        failures >= rules.consecutive_failures
    }

    pub(crate) fn eject(&self, rules: &Ejection, now: Now) {
        let in_a_row = self.ejections_in_a_row.fetch_add(1, Ordering::Relaxed);
        let factor = 1u32.checked_shl(in_a_row).unwrap_or(MAX_EJECTION_FACTOR).min(MAX_EJECTION_FACTOR);
        let until = now.mono_us + (rules.base * factor).as_micros() as u64;
        self.ejected_until_us.store(until, Ordering::Relaxed);
        self.consecutive_failures.store(0, Ordering::Relaxed);
    }

    /// Claims the health check that is due at `now`, if one is, and says when the next one will be.
    pub(crate) fn claim_check(&self, rules: &HealthCheck, now: Now) -> (bool, u64) {
        let mut checks = self.checks.lock().unwrap_or_else(PoisonError::into_inner);
        let due = now.mono_us >= checks.next_due_us;
        if due {
            checks.next_due_us =
                now.mono_us + rules.interval.max(Duration::from_millis(1)).as_micros() as u64;
        }
        (due, checks.next_due_us)
    }

    /// Takes the result of one health check; `healthy` turns after enough contrary results in a row.
    pub(crate) fn checked(&self, passed: bool, rules: &HealthCheck) {
        let mut checks = self.checks.lock().unwrap_or_else(PoisonError::into_inner);
        let healthy = self.healthy.load(Ordering::Relaxed);
        if passed == healthy {
            checks.streak = 0;
            return;
        }
        checks.streak += 1;
        let needed = if passed { rules.healthy_after } else { rules.unhealthy_after };
        if checks.streak >= needed {
            checks.streak = 0;
            self.healthy.store(passed, Ordering::Relaxed);
        }
    }

    /// Forgets what health checks said, for a service that no longer has any.
    pub(crate) fn forget_checks(&self) {
        self.healthy.store(true, Ordering::Relaxed);
    }
}

fn authority(address: &config::Endpoint) -> HeaderValue {
    let host = match address.host.contains(':') {
        true => format!("[{}]", address.host),
        false => address.host.clone(),
    };
    let default_port = if address.tls { 443 } else { 80 };
    let text = if address.port == default_port { host } else { format!("{host}:{}", address.port) };
    HeaderValue::try_from(text).expect("a validated host holds no control characters")
}
