//! What becomes of events, and of those that other nodes sent.

use std::fmt;

use prometheus_client::encoding::DescriptorEncoder;
use prometheus_client::metrics::MetricType;

use super::{NONE, counter, family, gauge};
use crate::delivery::Delivery;
use crate::event_log::EventLog;
use crate::relay::Relay;

/// Where events go, to the log or through the spool to a broker, and where others come from.
#[derive(Clone)]
pub struct Events {
    pub log: Option<EventLog>,
    pub delivery: Option<Delivery>,
    pub relay: Option<Relay>,
}

impl Events {
    /// `outbox_dropped`: events that were lost before they got here.
    pub(super) fn encode(&self, outbox_dropped: u64, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let log = self.log.as_ref().map(EventLog::stats).unwrap_or_default();
        let delivery = self.delivery.as_ref().map(Delivery::stats);
        let mut written =
            family(encoder, "events_written", "Events written to the log", MetricType::Counter)?;
        counter(&mut written, &NONE, log.written)?;
        let mut dropped = family(
            encoder,
            "events_dropped",
            "Events lost before the log or the broker",
            MetricType::Counter,
        )?;
        counter(&mut dropped, &[("reason", "outbox_full")], outbox_dropped)?;
        counter(&mut dropped, &[("reason", "log_slow")], log.dropped_slow)?;
        counter(&mut dropped, &[("reason", "log_disk")], log.dropped_disk)?;
        let Some(delivery) = delivery else { return Ok(()) };
        let spool = &delivery.spool;
        counter(&mut dropped, &[("reason", "spool_refused")], spool.dropped_own)?;
        counter(&mut dropped, &[("reason", "spool_newest")], spool.dropped_newest)?;
        counter(&mut dropped, &[("reason", "spool_oldest")], spool.dropped_oldest)?;
        counter(&mut dropped, &[("reason", "spool_damage")], spool.lost)?;
        let mut one = |name, help, kind, value: u64| {
            let mut family = family(encoder, name, help, kind)?;
            match kind {
                MetricType::Counter => counter(&mut family, &NONE, value),
                _ => gauge(&mut family, &NONE, value as i64),
            }
        };
        let (counts, is_now) = (MetricType::Counter, MetricType::Gauge);
        one("events_delivered", "Events that the broker confirmed", counts, delivery.confirmed)?;
        one("events_not_confirmed", "Events that stay in the spool after a try", counts, delivery.failed)?;
        one("events_in_flight", "Events sent to the broker and not confirmed", is_now, delivery.in_flight)?;
        one("events_behind_seconds", "Since the broker confirmed any that wait", is_now, delivery.behind_s)?;
        one("spool_records", "Events in the spool that are not delivered", is_now, spool.depth)?;
        one("spool_bytes", "Bytes of the spool's segments", is_now, spool.bytes)?;
        one("spool_damaged_bytes", "Bytes in segments that are no records", counts, spool.damaged_bytes)?;
        let Some(relay) = &self.relay else { return Ok(()) };
        let stats = relay.stats();
        let (sources, missing) = relay.missing();
        one("relay_events_accepted", "Events taken from other nodes", counts, stats.accepted)?;
        one("relay_events_repeated", "Events that had been taken before", counts, stats.repeated)?;
        one("relay_requests_refused", "Requests to the relay that were refused", counts, stats.refused)?;
        one("relay_sources", "Sources that the relay tells apart", is_now, sources as u64)?;
        one("relay_events_missing", "Numbers that sources passed over", is_now, missing)
    }
}
