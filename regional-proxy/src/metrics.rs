//! What Prometheus reads: tallies that lanes fill from their events, and the state of core, encoded at each scrape.

mod bridge;
mod events;
mod store;
mod tally;

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric, MetricEncoder};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Registry;
use tollgate_core::{BreakerState, Event, Gateway};

use crate::Shared;
use crate::bridge::BridgeStats;
use crate::clock::now;

pub use events::Events;
pub use tally::Tally;

/// One tally a lane: its lock is contended only while somebody scrapes.
#[derive(Clone, Debug)]
pub struct Tallies(Arc<[Mutex<Tally>]>);

impl Tallies {
    pub fn new(lanes: usize) -> Tallies {
        Tallies((0..lanes).map(|_| Mutex::default()).collect())
    }

    /// Counts a batch of one lane's events.
    pub fn record(&self, lane: usize, events: &[Event]) {
        let mut tally = self.0[lane].lock().unwrap_or_else(PoisonError::into_inner);
        events.iter().for_each(|event| tally.record(event));
    }

    pub fn sum(&self) -> Tally {
        let mut sum = Tally::default();
        for tally in self.0.iter() {
            sum.add(&tally.lock().unwrap_or_else(PoisonError::into_inner));
        }
        sum
    }
}

/// The registry of one process, encoded on demand in the OpenMetrics text format.
pub struct Metrics(Registry);

impl Metrics {
    pub fn new(
        shared: Arc<Shared>,
        tallies: Tallies,
        events: Events,
        bridge: Option<Arc<BridgeStats>>,
    ) -> Metrics {
        let mut registry = Registry::default();
        registry.register_collector(Box::new(Scrape { shared, tallies, events, bridge }));
        Metrics(registry)
    }

    pub fn encode(&self) -> Result<String, fmt::Error> {
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &self.0)?;
        Ok(text)
    }
}

struct Scrape {
    shared: Arc<Shared>,
    tallies: Tallies,
    events: Events,
    bridge: Option<Arc<BridgeStats>>,
}

impl fmt::Debug for Scrape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Scrape")
    }
}

impl Collector for Scrape {
    fn encode(&self, mut encoder: DescriptorEncoder) -> fmt::Result {
        let gateway = self.shared.gateway.load();
        self.tallies.sum().encode(&mut encoder)?;
        breakers(&gateway, &mut encoder)?;
        let in_flight =
            family(&mut encoder, "http_requests_in_flight", "Requests in flight", MetricType::Gauge);
        let mut in_flight = in_flight?;
        for service in gateway.services() {
            gauge(&mut in_flight, &[("service", service.name())], service.in_flight().into())?;
        }
        operation(&gateway, &mut encoder)?;
        let mut generation =
            family(&mut encoder, "config_generation", "Configurations so far", MetricType::Gauge)?;
        ConstGauge::new(gateway.generation() as i64).encode(generation.encode_family(&NONE)?)?;
        if let Some(stores) = &self.shared.stores {
            store::encode(&stores.stats(), &mut encoder)?;
        }
        store::limits(&gateway, &mut encoder)?;
        if let Some(bridge) = &self.bridge {
            bridge::encode(bridge, &mut encoder)?;
        }
        let lanes = self.shared.connections.len();
        let outbox = (0..lanes).map(|lane| gateway.outbox_stats(lane).dropped).sum();
        self.events.encode(outbox, &mut encoder)
    }
}

const NONE: [(&str, &str); 0] = [];

fn breakers(gateway: &Gateway, encoder: &mut DescriptorEncoder) -> fmt::Result {
    let help = "1 for the state that the breaker is in";
    let mut states = family(encoder, "circuit_breaker_state", help, MetricType::Gauge)?;
    for service in gateway.services() {
        let Some(breaker) = service.breaker() else { continue };
        let current = breaker.state(now());
        for state in [BreakerState::Closed, BreakerState::Open, BreakerState::HalfOpen] {
            let labels = [("service", service.name()), ("state", state.as_str())];
            gauge(&mut states, &labels, i64::from(state == current))?;
        }
    }
    Ok(())
}

fn operation(gateway: &Gateway, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
    let help = "Subjects that a limit tells apart now";
    let mut subjects = family(encoder, "rate_limit_subjects", help, MetricType::Gauge)?;
    for (rules, stats) in gateway.limits() {
        gauge(&mut subjects, &[("limit", rules.name.as_str())], stats.subjects as i64)?;
    }
    let help = "Requests charged to a count that many subjects share, because a limit's table was full";
    let mut overflowed = family(encoder, "rate_limit_overflowed", help, MetricType::Counter)?;
    for (rules, stats) in gateway.limits() {
        counter(&mut overflowed, &[("limit", rules.name.as_str())], stats.overflowed)?;
    }
    let Some(flood) = gateway.flood_stats() else { return Ok(()) };
    let mut bans = family(encoder, "address_bans", "Bans imposed on addresses", MetricType::Counter)?;
    counter(&mut bans, &NONE, flood.bans_imposed)
}

/// A family's name is without the `_total` that counters get.
fn family<'a>(
    encoder: &'a mut DescriptorEncoder<'_>,
    name: &'a str,
    help: &'a str,
    kind: MetricType,
) -> Result<MetricEncoder<'a>, fmt::Error> {
    encoder.encode_descriptor(name, help, None, kind)
}

/// `counts` has one more than there are bounds, for what is beyond all of them.
fn histogram(
    metric: &mut MetricEncoder<'_>,
    labels: &[(&str, &str)],
    bounds: &[f64],
    counts: &[u64],
    sum_us: u64,
) -> fmt::Result {
    // The encoder accumulates what each bucket has for itself.
    let buckets: Vec<(f64, u64)> =
        bounds.iter().copied().chain([f64::INFINITY]).zip(counts.iter().copied()).collect();
    metric.encode_family(&labels)?.encode_histogram::<[(&str, &str); 0]>(
        sum_us as f64 / 1e6,
        counts.iter().sum(),
        &buckets,
        None,
    )
}

fn gauge(family: &mut MetricEncoder<'_>, labels: &[(&str, &str)], value: i64) -> fmt::Result {
    ConstGauge::new(value).encode(family.encode_family(&labels)?)
}

fn counter(family: &mut MetricEncoder<'_>, labels: &[(&str, &str)], value: u64) -> fmt::Result {
    ConstCounter::new(value).encode(family.encode_family(&labels)?)
}
