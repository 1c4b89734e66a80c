//! Where events and log lines go.

use std::io::Write;

use tollgate_core::config::{LogLevel, Monitoring};
use tracing::level_filters::LevelFilter;

use crate::EventSink;
use crate::event_log::EventLog;
use crate::metrics::Tallies;

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
pub(super) fn sink(
    lane: usize,
    tallies: Tallies,
    log: Option<EventLog>,
    monitoring: &Monitoring,
) -> EventSink {
    let access_log = monitoring.access_log;
    Box::new(move |events| {
        tallies.record(lane, events);
        if log.is_none() && !access_log {
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
        if let Some(log) = &log {
            log.append(lines, events.len() as u64);
        }
    })
}
