//! Events, monitoring and caching, with a warning for what is not served.

use super::url::Absolute;
use super::{DAY, MILLISECOND, not_empty, relay, time_within, within};
use crate::config::document::{self, EventProvider, Size};
use crate::config::report::At;
use crate::config::{Events, LogLevel, Monitoring};

pub(super) fn events(events: &document::EventProcessing, at: &At<'_>) -> Option<Events> {
    let enabled = events.enabled.unwrap_or(at.is_set());
    let log = at.field("log");
    let directory = not_empty(&log.field("directory"), &events.log.directory, "the folder");
    let sizes = Size(64 << 10)..=Size(16 << 30);
    let file_bytes = within(&log.field("file_bytes"), events.log.file_bytes, sizes);
    let max_files = within(&log.field("max_files"), events.log.max_files, 2..=10_000);
    brokers(events, at);
    let delivery = relay::delivery(events, enabled, at);
    if enabled && events.provider == EventProvider::Rabbitmq {
        at.field("provider").warn(format_args!(
            "`rabbitmq` is not served yet: events go to the log in `{}` on this node",
            events.log.directory
        ));
    }
    Some(Events {
        enabled,
        directory: directory?.into(),
        file_bytes: file_bytes?.0,
        max_files: max_files?,
        delivery: delivery?,
    })
}

fn brokers(events: &document::EventProcessing, at: &At<'_>) {
    if events.kafka.is_none() && events.provider == EventProvider::Kafka {
        at.field("provider")
            .error("`kafka` needs its section; write `kafka: { brokers: [\"127.0.0.1:9092\"] }`");
    }
    let rabbitmq = at.field("rabbitmq");
    match &events.rabbitmq {
        None if events.provider == EventProvider::Rabbitmq => {
            let message =
                "`rabbitmq` needs its section; write `rabbitmq: { url: \"amqp://127.0.0.1:5672/\" }`";
            at.field("provider").error(message);
        }
        Some(section) => {
            let url = section.url.expose();
            if !url.starts_with("amqp://") && !url.starts_with("amqps://") {
                rabbitmq
                    .field("url")
                    .error("is not the URL of a broker; write `amqp://user:password@host:5672/`");
            }
        }
        None => {}
    }
}

pub(super) fn monitoring(monitoring: &document::Monitoring, at: &At<'_>) -> Option<Monitoring> {
    if let Some(tracing) = &monitoring.tracing {
        let at = at.field("tracing");
        at.field("otlp_endpoint").check(tracing.otlp_endpoint.parse::<Absolute>());
        within(&at.field("sample_ratio"), tracing.sample_ratio, 0.0..=1.0);
        if tracing.enabled {
            at.warn("is not served yet: no traces are sent");
        }
    }
    Some(Monitoring {
        prometheus: monitoring.prometheus.enabled,
        access_log: monitoring.access_log,
        decision_header: monitoring.decision_header,
        log_level: match monitoring.log_level {
            document::LogLevel::Error => LogLevel::Error,
            document::LogLevel::Warn => LogLevel::Warn,
            document::LogLevel::Info => LogLevel::Info,
            document::LogLevel::Debug => LogLevel::Debug,
        },
    })
}

pub(super) fn caching(caching: Option<&document::Caching>, at: &At<'_>) {
    if let Some(caching) = caching {
        time_within(&at.field("ttl"), caching.ttl, MILLISECOND..=DAY * 366);
        if caching.enabled {
            at.warn("is not served yet: every request reaches its service");
        }
    }
}
