//! Where events and log lines go.

use std::io::Write;

use tollgate_core::Event;
use tollgate_core::config::{LogLevel, Monitoring};
use tracing::level_filters::LevelFilter;

use crate::EventSink;
use crate::delivery::Delivery;
use crate::event_log::EventLog;
use crate::metrics::Tallies;
use crate::spool::Batch;

/// Bytes that are handed to the spool at once, so that a burst does not have to fit as a whole.
const OFFER_BYTES: u64 = 1 << 20;

/// Where events go from here: to the log, through the spool to a broker, or nowhere.
pub(super) struct Way {
    pub(super) log: Option<EventLog>,
    pub(super) delivery: Option<Delivery>,
}

/// The process's own log, on stderr; stdout is for the access log.
pub(super) fn logs(level: LogLevel) {
    let level = match level {
        LogLevel::Error => LevelFilter::ERROR,
        LogLevel::Warn => LevelFilter::WARN,
        LogLevel::Info => LevelFilter::INFO,
        LogLevel::Debug => LevelFilter::DEBUG,
    };
    // A second subscriber in one process, as in tests, leaves the first in place.
    let _ = tracing_subscriber::fmt()
        .with_max_level(level)
        .with_target(false)
        .with_writer(std::io::stderr)
        .try_init();
}

/// Counts a lane's events and hands them to whoever wants their lines.
pub(super) fn sink(lane: usize, tallies: Tallies, way: Way, monitoring: &Monitoring) -> EventSink {
    let access_log = monitoring.access_log;
    Box::new(move |events| {
        tallies.record(lane, events);
        if let Some(delivery) = &way.delivery {
            offer(events, delivery);
        }
        if way.log.is_none() && !access_log {
            return;
        }
        let mut lines = Vec::with_capacity(events.len() * 640);
        for event in events.iter() {
            event.write_json(&mut lines);
            lines.push(b'\n');
        }
        if access_log {
            // Whoever closed stdout does not want the lines.
            let _ = std::io::stdout().lock().write_all(&lines);
        }
        if let Some(log) = &way.log {
            log.append(lines, events.len() as u64);
        }
    })
}

fn offer(events: &[Event], delivery: &Delivery) {
    let mut batch = Batch::default();
    for event in events {
        batch.push_with(|out| event.write_json(out));
        if batch.frame_bytes() >= OFFER_BYTES {
            delivery.spool.offer(std::mem::take(&mut batch));
        }
    }
    if batch.len() > 0 {
        delivery.spool.offer(batch);
    }
}
