//! The event relay, and where events go from this node.

use std::collections::HashSet;

use super::server::socket_address;
use super::{each, not_empty, optional, sha256, within};
use crate::config::document::{self, Size};
use crate::config::report::At;
use crate::config::{
    Delivery, Events, Relay, RelayAck, RelayLimits, RelayToken, Server, Spool, SpoolOverflow,
};

const TOKENS_MAX: usize = 1_000;

pub(super) fn relay(
    relay: Option<&document::Relay>,
    server: Option<&Server>,
    events: Option<&Events>,
    at: &At<'_>,
) -> Option<Option<Relay>> {
    optional(relay, |section| {
        if events.is_some_and(|events| events.delivery.is_none()) {
            at.error(
                "what is relayed goes on to a broker; set `event_processing.provider: kafka`, which writes to it",
            );
        }
        event_relay(section, server, at)
    })
}

fn event_relay(relay: &document::Relay, server: Option<&Server>, at: &At<'_>) -> Option<Relay> {
    let listen_at = at.field("listen");
    let listen = socket_address(&relay.listen, &listen_at);
    if listen.is_some_and(|listen| !listen.ip().is_loopback()) && !relay.allow_external {
        listen_at.error(
            "events would be taken from other machines, in clear text; listen on `127.0.0.1`, or set \
             `allow_external: true` where the network is trusted",
        );
    }
    if let (Some(listen), Some(server)) = (listen, server)
        && (server.listen.contains(&listen)
            || server.admin.as_ref().is_some_and(|admin| admin.listen == listen))
        && listen.port() != 0
    {
        listen_at.error("clients or operators are served on this address; give the relay another");
    }
    let tokens_at = at.field("tokens");
    if !(1..=TOKENS_MAX).contains(&relay.tokens.len()) {
        tokens_at.error(format_args!("there are {}; write 1 to {TOKENS_MAX}", relay.tokens.len()));
    }
    let tokens = tokens(&relay.tokens, &tokens_at);
    let limits = limits(&relay.limits, &at.field("limits"));
    let ack = match relay.ack {
        document::RelayAck::Spooled => RelayAck::Spooled,
        document::RelayAck::Broker => RelayAck::Broker,
        document::RelayAck::Memory => RelayAck::Memory,
    };
    Some(Relay { listen: listen?, ack, tokens: tokens?, limits: limits? })
}

fn tokens(tokens: &[document::RelayToken], at: &At<'_>) -> Option<Vec<RelayToken>> {
    let checked = each(tokens, at, |token, at| {
        let id = not_empty(&at.field("id"), &token.id, "the id");
        let sha256 = sha256(token.sha256.expose(), &at.field("sha256"));
        let source_prefix = not_empty(&at.field("source_prefix"), &token.source_prefix, "the prefix");
        Some(RelayToken { id: id?, sha256: sha256?, source_prefix: source_prefix? })
    })?;
    let (mut ids, mut hashes) = (HashSet::new(), HashSet::new());
    for (index, token) in checked.iter().enumerate() {
        if !ids.insert(token.id.as_str()) {
            at.item(index).field("id").error(format_args!("another token is called `{}`", token.id));
        }
        if !hashes.insert(token.sha256) {
            at.item(index).field("sha256").error("another entry has the same token; give each its own");
        }
    }
    Some(checked)
}

fn limits(limits: &document::RelayLimits, at: &At<'_>) -> Option<RelayLimits> {
    let size = |key: &str, size: Size, max: u64| {
        within(&at.field(key), size, Size(1 << 10)..=Size(max)).map(|size| size.0 as usize)
    };
    let count = |key: &str, count: u32, min: u32, max: u32| within(&at.field(key), count, min..=max);
    let body_bytes = size("body_bytes", limits.body_bytes, 64 << 20);
    let decoded_bytes = size("decoded_bytes", limits.decoded_bytes, 256 << 20);
    let event_bytes = size("event_bytes", limits.event_bytes, 512 << 10);
    let batch_events = count("batch_events", limits.batch_events, 1, 100_000);
    let in_flight = count("in_flight", limits.in_flight, 1, 1_024);
    let sources = count("sources", limits.sources, 1, 1_000_000);
    let sequence_jump = count("sequence_jump", limits.sequence_jump, 1, 1_000_000_000);
    let remembered_events = count("remembered_events", limits.remembered_events, 0, 10_000_000);
    Some(RelayLimits {
        body_bytes: body_bytes?,
        decoded_bytes: decoded_bytes?,
        event_bytes: event_bytes?,
        batch_events: batch_events? as usize,
        in_flight: in_flight? as usize,
        sources: sources? as usize,
        sequence_jump: sequence_jump?.into(),
        remembered_events: remembered_events? as usize,
    })
}

/// Where events go that leave this node, if there is a broker for them.
pub(super) fn delivery(
    events: &document::EventProcessing,
    enabled: bool,
    at: &At<'_>,
) -> Option<Option<Delivery>> {
    let spool = spool(&events.spool, &at.field("spool"));
    let kafka = optional(events.kafka.as_ref(), |section| super::kafka::kafka(section, &at.field("kafka")));
    let kafka = kafka?.filter(|_| enabled && events.provider == document::EventProvider::Kafka);
    let spool = spool?;
    Some(kafka.map(|kafka| Delivery { spool, kafka }))
}

fn spool(spool: &document::Spool, at: &At<'_>) -> Option<Spool> {
    let directory = not_empty(&at.field("directory"), &spool.directory, "the folder");
    let max_bytes = within(&at.field("max_bytes"), spool.max_bytes, Size(4 << 20)..=Size(16 << 40));
    let overflow = match spool.overflow {
        document::SpoolOverflow::Block => SpoolOverflow::Block,
        document::SpoolOverflow::DropNewest => SpoolOverflow::DropNewest,
        document::SpoolOverflow::DropOldest => SpoolOverflow::DropOldest,
    };
    Some(Spool { directory: directory?.into(), max_bytes: max_bytes?.0, overflow })
}
