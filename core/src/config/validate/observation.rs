//! Events, monitoring and caching, with a warning for what is not served.

use super::url::Absolute;
use super::{DAY, MILLISECOND, not_empty, time_within, within};
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
    let broker = match events.provider {
        EventProvider::Log => None,
        EventProvider::Kafka => Some("kafka"),
        EventProvider::Rabbitmq => Some("rabbitmq"),
    };
    if let Some(broker) = broker.filter(|_| enabled) {
        at.field("provider").warn(format_args!(
            "`{broker}` is not served yet: events go to the log in `{}` on this node",
            events.log.directory
        ));
    }
    Some(Events { enabled, directory: directory?.into(), file_bytes: file_bytes?.0, max_files: max_files? })
}

fn brokers(events: &document::EventProcessing, at: &At<'_>) {
    let kafka = at.field("kafka");
    match &events.kafka {
        None if events.provider == EventProvider::Kafka => {
            at.field("provider")
                .error("`kafka` needs its section; write `kafka: { brokers: [\"127.0.0.1:9092\"] }`");
        }
        Some(section) => {
            if section.brokers.is_empty() {
                kafka.field("brokers").error("no broker to write to; write `[\"127.0.0.1:9092\"]`");
            }
            for (index, broker) in section.brokers.iter().enumerate() {
                // A broker is an authority like that of a URL, with a port.
                let valid =
                    format!("http://{broker}").parse::<Absolute>().is_ok_and(|url| url.path.is_empty());
                if !valid || !broker.contains(':') || broker.ends_with('/') {
                    let message = format_args!("`{broker}` is not a broker; write `host:port`");
                    kafka.field("brokers").item(index).error(message);
                }
            }
            producer(&section.producer_config, &kafka.field("producer_config"));
        }
        None => {}
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

fn producer(producer: &document::ProducerConfig, at: &At<'_>) {
    if !["all", "-1", "1", "0"].contains(&producer.acks.as_str()) {
        at.field("acks").error(format_args!("`{}` is not known; write `all`, `1` or `0`", producer.acks));
    }
    within(&at.field("batch_size"), producer.batch_size, Size(0)..=Size(1 << 30));
    within(&at.field("linger_ms"), producer.linger_ms, 0..=900_000);
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
