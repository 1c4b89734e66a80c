//! The bridge from HTTP to Redis.

use std::fmt;

use prometheus_client::encoding::DescriptorEncoder;
use prometheus_client::metrics::MetricType;

use super::{NONE, counter, family, histogram};
use crate::bridge::{BridgeStats, LATENCY_BOUNDS_S};

pub(super) fn encode(stats: &BridgeStats, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
    let stats = stats.read();
    let help = "Requests to the bridge, by the status they were answered with";
    let mut requests = family(encoder, "redis_bridge_requests", help, MetricType::Counter)?;
    for (status, count) in &stats.requests {
        counter(&mut requests, &[("status", &status.to_string())], *count)?;
    }
    let help = "Commands that the bridge sent to Redis";
    let mut commands = family(encoder, "redis_bridge_commands", help, MetricType::Counter)?;
    counter(&mut commands, &NONE, stats.commands)?;
    let help = "Requests, or commands of a pipeline, that the bridge answered itself";
    let mut refusals = family(encoder, "redis_bridge_refusals", help, MetricType::Counter)?;
    for (reason, count) in &stats.refusals {
        counter(&mut refusals, &[("reason", reason)], *count)?;
    }
    let help = "From a request's head to its answer, in seconds";
    let mut latency = family(encoder, "redis_bridge_request_duration_seconds", help, MetricType::Histogram)?;
    histogram(&mut latency, &NONE, &LATENCY_BOUNDS_S, &stats.latency, stats.latency_sum_us)
}
