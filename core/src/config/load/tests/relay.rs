//! The relay and the way to the broker, and what is said of them when they are wrong.

use super::*;

const HASH: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";
const KAFKA: &str = "event_processing: { provider: kafka, kafka: { brokers: [\"b:9092\"] } }\n";

fn check(text: &str, expected: &[&str]) {
    let text = text.replace("HASH", HASH);
    let errors = load(&text, "f", &NoSources).expect_err(&text).to_string();
    assert_eq!(errors.lines().collect::<Vec<_>>(), expected, "{text}");
}

#[test]
fn a_relay_has_tokens_and_limits() {
    let text = r#"
relay:
  listen: "127.0.0.1:8078"
  ack: broker
  tokens: [{ id: edge, sha256: HASH, source_prefix: "tollgate://edge-" }]
  limits: { event_bytes: 8KiB, sources: 7 }
"#;
    let relay = loaded(&(KAFKA.to_owned() + &text.replace("HASH", HASH))).config.relay.unwrap();
    assert_eq!((relay.listen, relay.ack), ("127.0.0.1:8078".parse().unwrap(), RelayAck::Broker));
    assert_eq!(
        (relay.tokens[0].id.as_str(), relay.tokens[0].source_prefix.as_str()),
        ("edge", "tollgate://edge-")
    );
    let limits = RelayLimits {
        body_bytes: 4 << 20,
        decoded_bytes: 16 << 20,
        event_bytes: 8 << 10,
        batch_events: 10_000,
        in_flight: 64,
        sources: 7,
        sequence_jump: 1_000_000,
        remembered_events: 200_000,
    };
    assert_eq!(relay.limits, limits);
}

#[test]
fn a_relay_is_internal_and_needs_a_broker() {
    check(
        "relay: { listen: \"0.0.0.0:8078\", tokens: [{ id: a, sha256: HASH, source_prefix: s }] }",
        &[
            "f:1:1: relay: what is relayed goes on to a broker; set `event_processing.provider: kafka`, which writes to it",
            "f:1:18: relay.listen: events would be taken from other machines, in clear text; listen on `127.0.0.1`, or set `allow_external: true` where the network is trusted",
        ],
    );
    check(
        &format!("{KAFKA}relay: {{ listen: \"127.0.0.1:8080\", tokens: [] }}"),
        &[
            "f:2:18: relay.listen: clients or operators are served on this address; give the relay another",
            "f:2:36: relay.tokens: there are 0; write 1 to 1000",
        ],
    );
}

#[test]
fn a_token_is_one_and_a_limit_has_its_range() {
    let section = r#"relay:
  listen: "127.0.0.1:8078"
  tokens:
    - { id: a, sha256: HASH, source_prefix: s }
    - { id: a, sha256: HASH, source_prefix: t }
"#;
    check(
        &(KAFKA.to_owned() + section),
        &[
            "f:6:13: relay.tokens[1].id: another token is called `a`",
            "f:6:24: relay.tokens[1].sha256: another entry has the same token; give each its own",
        ],
    );
    let section = r#"relay:
  listen: "127.0.0.1:8078"
  ack: later
  tokens: [{ id: a, sha256: short, source_prefix: "" }]
  limits: { event_bytes: 1MiB, in_flight: 0 }
"#;
    check(
        &(KAFKA.to_owned() + section),
        &[
            "f:4:8: relay.ack: `later` is not known; write one of spooled, broker, memory",
            "f:5:29: relay.tokens[0].sha256: a SHA-256 is 64 hexadecimal digits; make one with `printf %s \"$KEY\" | sha256sum`",
            "f:5:51: relay.tokens[0].source_prefix: the prefix is empty",
            "f:6:26: relay.limits.event_bytes: `1MiB` is out of range; write 1KiB to 512KiB",
            "f:6:43: relay.limits.in_flight: `0` is out of range; write 1 to 1024",
        ],
    );
}

#[test]
fn a_spool_and_a_producer_have_their_ranges() {
    let section = r#"event_processing:
  provider: kafka
  spool: { directory: " ", max_bytes: 1MiB }
  kafka:
    brokers: ["b"]
    topics: { api_events: "a b", other: c }
    producer_config: { acks: "2" }
    sasl: { mechanism: PLAIN, username: "", password: hidden }
"#;
    check(
        section,
        &[
            "f:3:23: event_processing.spool.directory: the folder is empty",
            "f:3:39: event_processing.spool.max_bytes: `1MiB` is out of range; write 4MiB to 16384GiB",
            "f:5:15: event_processing.kafka.brokers[0]: `b` is not a broker; write `host:port`",
            "f:6:27: event_processing.kafka.topics.api_events: `a b` is not the name of a topic; write 1 to 249 letters, digits, `.`, `_` and `-`",
            "f:6:34: event_processing.kafka.topics.other: `other` is not a kind of event; write one of api_events, user_events, audit_logs",
            "f:7:30: event_processing.kafka.producer_config.acks: `2` is not known; write `all`, `1` or `0`",
            "f:8:41: event_processing.kafka.sasl.username: the user name is empty",
        ],
    );
}

#[test]
fn a_password_for_the_brokers_is_not_shown() {
    let text = "event_processing: { provider: kafka, kafka: { brokers: [\"b:1\"], sasl: { mechanism: SCRAM-SHA-512, username: u, password: hidden } } }";
    let loaded = loaded(text);
    let sasl = loaded.config.events.delivery.as_ref().unwrap().kafka.sasl.as_ref().unwrap();
    assert_eq!((sasl.mechanism, sasl.password.as_str()), ("SCRAM-SHA-512", "hidden"));
    let shown = serde_json::to_string(&loaded.document).unwrap() + &format!("{:?}", loaded.config);
    assert!(!shown.contains("hidden"), "{shown}");
}
