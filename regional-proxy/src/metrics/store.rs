//! The shared store: its client, and the limits that are counted in it.

use std::fmt;

use prometheus_client::encoding::DescriptorEncoder;
use prometheus_client::metrics::MetricType;
use tollgate_core::store::StoreFailure;
use tollgate_core::{Gateway, SharedLimitStats, StoreState};

use super::{NONE, counter, family, gauge, histogram};
use crate::clock::now;
use crate::store::{LATENCY_BOUNDS_S, StoreStats};

pub(super) fn encode(stats: &StoreStats, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
    let help = "From calls being asked of the shared store to the last answer, in seconds";
    let mut latency = family(encoder, "store_request_duration_seconds", help, MetricType::Histogram)?;
    histogram(&mut latency, &NONE, &LATENCY_BOUNDS_S, &stats.latency, stats.latency_sum_us)?;
    let help = "Commands sent to the shared store, each by itself within a pipeline too";
    let mut commands = family(encoder, "store_commands", help, MetricType::Counter)?;
    counter(&mut commands, &NONE, stats.commands)?;
    let help = "Calls of the shared store without an answer";
    let mut failures = family(encoder, "store_failures", help, MetricType::Counter)?;
    for (kind, count) in StoreFailure::ALL.into_iter().zip(stats.failures) {
        counter(&mut failures, &[("kind", kind.as_str())], count)?;
    }
    Ok(())
}

/// What leases do, limit by limit, and whether the store is asked at all.
pub(super) fn limits(gateway: &Gateway, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
    let Some(current) = gateway.store_state(now()) else { return Ok(()) };
    let help = "1 for the state that the breaker of the shared store is in";
    let mut states = family(encoder, "store_breaker_state", help, MetricType::Gauge)?;
    for state in [StoreState::Closed, StoreState::Open, StoreState::HalfOpen] {
        gauge(&mut states, &[("state", state.as_str())], i64::from(state == current))?;
    }
    let limits: Vec<_> =
        gateway.shared_limits(now()).map(|(rules, stats)| (rules.name.as_str(), stats)).collect();
    type Of = fn(&SharedLimitStats) -> u64;
    let gauges: [(&str, &str, Of); 3] = [
        ("rate_limit_leases", "Subjects with permits held or lately held", |stats| stats.leases),
        ("rate_limit_permits_held", "Permits that can be spent here without asking", |stats| stats.held),
        (
            "rate_limit_over_admission_bound",
            "The most by which the fleet can exceed the limit, in requests, by its configuration",
            |stats| stats.over_admission_bound,
        ),
    ];
    for (name, help, of) in gauges {
        let mut metric = family(encoder, name, help, MetricType::Gauge)?;
        for (limit, stats) in &limits {
            gauge(&mut metric, &[("limit", limit)], i64::try_from(of(stats)).unwrap_or(i64::MAX))?;
        }
    }
    let counters: [(&str, &str, Of); 5] = [
        ("rate_limit_store_waits", "Requests that waited for the shared store", |stats| stats.asked),
        ("rate_limit_refills", "Refills that no request waited for", |stats| stats.refills),
        ("rate_limit_permits_wasted", "Permits that ran out of time unspent", |stats| stats.wasted),
        ("rate_limit_permits_returned", "Permits offered back to the store", |stats| stats.returned),
        ("rate_limit_store_failures", "Questions of a limit without an answer", |stats| stats.failures),
    ];
    for (name, help, of) in counters {
        let mut metric = family(encoder, name, help, MetricType::Counter)?;
        for (limit, stats) in &limits {
            counter(&mut metric, &[("limit", limit)], of(stats))?;
        }
    }
    Ok(())
}
