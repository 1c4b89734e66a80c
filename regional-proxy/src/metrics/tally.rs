//! Counts and histograms by label, as one lane sees them.

use std::collections::BTreeMap;
use std::fmt;

use http::Method;
use prometheus_client::encoding::DescriptorEncoder;
use prometheus_client::metrics::MetricType;
use tollgate_core::{Event, LimitOutcome};

use super::{counter, family, histogram};

/// Upper bounds in seconds, 1 ms to 30 s.
const BOUNDS_S: [f64; 14] =
    [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0];
/// The label of a request that no service was found for; no service can be called so.
const NO_SERVICE: &str = "-";

/// What one lane counted.
#[derive(Debug, Default)]
pub struct Tally {
    services: BTreeMap<String, Service>,
    /// What the gateway answered itself, by the rule that decided.
    refusals: BTreeMap<&'static str, u64>,
    /// By limit.
    limits: BTreeMap<String, BTreeMap<LimitOutcome, u64>>,
}

#[derive(Debug, Default)]
struct Service {
    requests: BTreeMap<(&'static str, u16), u64>,
    duration: Histogram,
    upstream: Histogram,
}

#[derive(Clone, Copy, Debug, Default)]
struct Histogram {
    /// By bound, the last one for what is beyond all.
    counts: [u64; BOUNDS_S.len() + 1],
    sum_us: u64,
}

impl Tally {
    pub fn record(&mut self, event: &Event) {
        let name = event.service().map_or(NO_SERVICE, |service| service.name());
        if !self.services.contains_key(name) {
            self.services.insert(name.to_owned(), Service::default());
        }
        let service = self.services.get_mut(name).expect("inserted above");
        *service.requests.entry((method(event.method()), event.status())).or_default() += 1;
        service.duration.record(event.latency_us());
        if let Some(upstream_us) = event.upstream_us() {
            service.upstream.record(upstream_us);
        }
        if event.is_refused() {
            *self.refusals.entry(event.reason()).or_default() += 1;
        }
        for (limit, outcome) in event.limits() {
            if !self.limits.contains_key(limit) {
                self.limits.insert(limit.to_owned(), BTreeMap::new());
            }
            let outcomes = self.limits.get_mut(limit).expect("inserted above");
            *outcomes.entry(outcome).or_default() += 1;
        }
    }

    pub fn requests(&self) -> u64 {
        self.services.values().flat_map(|service| service.requests.values()).sum()
    }

    pub(super) fn add(&mut self, other: &Tally) {
        for (name, theirs) in &other.services {
            let ours = self.services.entry(name.clone()).or_default();
            for (labels, count) in &theirs.requests {
                *ours.requests.entry(*labels).or_default() += count;
            }
            ours.duration.add(&theirs.duration);
            ours.upstream.add(&theirs.upstream);
        }
        for (reason, count) in &other.refusals {
            *self.refusals.entry(reason).or_default() += count;
        }
        for (name, theirs) in &other.limits {
            let ours = self.limits.entry(name.clone()).or_default();
            for (outcome, count) in theirs {
                *ours.entry(*outcome).or_default() += count;
            }
        }
    }

    pub(super) fn encode(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let mut requests = family(encoder, "http_requests", "Requests answered", MetricType::Counter)?;
        for (name, service) in &self.services {
            for ((method, status), count) in &service.requests {
                let status = status.to_string();
                counter(
                    &mut requests,
                    &[("service", name), ("method", method), ("status", &status)],
                    *count,
                )?;
            }
        }
        let help = "From the request's head to the end of the reply, in seconds";
        self.histograms(encoder, "http_request_duration_seconds", help, |service| &service.duration)?;
        let help = "From an attempt's start to the head of the upstream's answer, in seconds";
        self.histograms(encoder, "upstream_request_duration_seconds", help, |service| &service.upstream)?;
        self.refusals(encoder)
    }

    fn refusals(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let help = "Requests that the gateway answered itself, by the rule that decided";
        let mut refusals = family(encoder, "http_requests_refused", help, MetricType::Counter)?;
        for (reason, count) in &self.refusals {
            counter(&mut refusals, &[("reason", reason)], *count)?;
        }
        let mut limits =
            family(encoder, "rate_limit_decisions", "What limits said to requests", MetricType::Counter)?;
        for (name, outcomes) in &self.limits {
            for (outcome, count) in outcomes {
                counter(&mut limits, &[("limit", name), ("outcome", outcome.as_str())], *count)?;
            }
        }
        Ok(())
    }

    fn histograms(
        &self,
        encoder: &mut DescriptorEncoder<'_>,
        name: &str,
        help: &str,
        of: impl Fn(&Service) -> &Histogram,
    ) -> fmt::Result {
        let mut metric = family(encoder, name, help, MetricType::Histogram)?;
        for (name, service) in &self.services {
            let Histogram { counts, sum_us } = of(service);
            histogram(&mut metric, &[("service", name)], &BOUNDS_S, counts, *sum_us)?;
        }
        Ok(())
    }
}

impl Histogram {
    fn record(&mut self, us: u64) {
        let seconds = us as f64 / 1e6;
        let bucket = BOUNDS_S.partition_point(|bound| *bound < seconds);
        self.counts[bucket] += 1;
        self.sum_us += us;
    }

    fn add(&mut self, other: &Histogram) {
        for (ours, theirs) in self.counts.iter_mut().zip(other.counts) {
            *ours += theirs;
        }
        self.sum_us += other.sum_us;
    }
}

/// Methods are labels only as long as a client cannot invent them.
fn method(method: &Method) -> &'static str {
    const KNOWN: [Method; 9] = [
        Method::GET,
        Method::HEAD,
        Method::POST,
        Method::PUT,
        Method::DELETE,
        Method::CONNECT,
        Method::OPTIONS,
        Method::TRACE,
        Method::PATCH,
    ];
    const NAMES: [&str; 9] = ["GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH"];
    KNOWN.iter().position(|known| known == method).map_or("OTHER", |index| NAMES[index])
}
