//! The brokers of Kafka, and how a producer writes to them.

use super::url::Absolute;
use super::{each, not_empty, optional, within};
use crate::config::document::{self, Compression, SaslMechanism, Size};
use crate::config::report::At;
use crate::config::{Kafka, KafkaAcks, KafkaSasl, KafkaTls, KafkaTopics};

/// Bytes of a topic's name, which Kafka makes a folder of.
const TOPIC_BYTES_MAX: usize = 249;

pub(super) fn kafka(kafka: &document::Kafka, at: &At<'_>) -> Option<Kafka> {
    let brokers_at = at.field("brokers");
    if kafka.brokers.is_empty() {
        brokers_at.error("no broker to write to; write `[\"127.0.0.1:9092\"]`");
    }
    let brokers = each(&kafka.brokers, &brokers_at, broker);
    let topics = topics(kafka, &at.field("topics"));
    let producer = &kafka.producer_config;
    let producer_at = at.field("producer_config");
    let acks = acks(&producer.acks, &producer_at.field("acks"));
    let batch_bytes = within(&producer_at.field("batch_size"), producer.batch_size, Size(0)..=Size(1 << 30));
    let linger_ms = within(&producer_at.field("linger_ms"), producer.linger_ms, 0..=900_000);
    let compression = match producer.compression {
        Compression::None => "none",
        Compression::Gzip => "gzip",
        Compression::Snappy => "snappy",
        Compression::Lz4 => "lz4",
        Compression::Zstd => "zstd",
    };
    let tls =
        kafka.tls.as_ref().map(|section| KafkaTls { ca_file: section.ca_file.as_ref().map(Into::into) });
    let sasl = optional(kafka.sasl.as_ref(), |section| sasl(section, &at.field("sasl")));
    Some(Kafka {
        brokers: brokers?,
        topics: topics?,
        create_topics: kafka.create_topics,
        acks: acks?,
        compression,
        batch_bytes: batch_bytes?.0 as u32,
        linger_ms: linger_ms?,
        tls,
        sasl: sasl?,
    })
}

/// A broker is an authority like that of a URL, with a port.
fn broker(broker: &String, at: &At<'_>) -> Option<String> {
    let valid = format!("http://{broker}").parse::<Absolute>().is_ok_and(|url| url.path.is_empty());
    if !valid || !broker.contains(':') || broker.ends_with('/') {
        at.error(format_args!("`{broker}` is not a broker; write `host:port`"));
        return None;
    }
    Some(broker.clone())
}

fn topics(kafka: &document::Kafka, at: &At<'_>) -> Option<KafkaTopics> {
    let mut topics = KafkaTopics {
        api_events: "api-events".into(),
        user_events: "user-events".into(),
        audit_logs: "audit-logs".into(),
    };
    let mut valid = true;
    for ((kind, topic), (kind_at, topic_at)) in kafka.topics.0.iter().zip(at.entries()) {
        let place = match kind.as_str() {
            "api_events" => &mut topics.api_events,
            "user_events" => &mut topics.user_events,
            "audit_logs" => &mut topics.audit_logs,
            _ => {
                let message = "is not a kind of event; write one of api_events, user_events, audit_logs";
                kind_at.error(format_args!("`{kind}` {message}"));
                valid = false;
                continue;
            }
        };
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
        if !(1..=TOPIC_BYTES_MAX).contains(&topic.len()) || !topic.bytes().all(allowed) {
            topic_at.error(format_args!(
                "`{topic}` is not the name of a topic; write 1 to {TOPIC_BYTES_MAX} letters, digits, `.`, `_` and `-`"
            ));
            valid = false;
        }
        place.clone_from(topic);
    }
    valid.then_some(topics)
}

fn acks(acks: &str, at: &At<'_>) -> Option<KafkaAcks> {
    let acks = match acks {
        "all" | "-1" => return Some(KafkaAcks::All),
        "1" => KafkaAcks::Leader,
        "0" => KafkaAcks::Nobody,
        _ => {
            at.error(format_args!("`{acks}` is not known; write `all`, `1` or `0`"));
            return None;
        }
    };
    at.warn("a broker that is lost takes events with it that count as delivered; `all` keeps them");
    Some(acks)
}

fn sasl(sasl: &document::KafkaSasl, at: &At<'_>) -> Option<KafkaSasl> {
    let username = not_empty(&at.field("username"), &sasl.username, "the user name");
    let mechanism = match sasl.mechanism {
        SaslMechanism::Plain => "PLAIN",
        SaslMechanism::ScramSha256 => "SCRAM-SHA-256",
        SaslMechanism::ScramSha512 => "SCRAM-SHA-512",
    };
    Some(KafkaSasl { mechanism, username: username?, password: sasl.password.expose().to_owned() })
}
