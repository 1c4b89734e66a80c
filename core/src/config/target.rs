//! What a policy asks for and an edge platform does not do, by name.
//!
//! The same file serves a region too, so what has no meaning at an edge (a listener's address, its threads) is passed
//! over. What has less effect there is a warning. What would mean something else is an error: a service that is not
//! reached as the policy says, a client that comes in without its certificate, a count that is not the exact one.

use super::document::{self, Algorithm, Document, EnforceAt, OnStoreFailure, Protocol};
use super::report::At;

/// Where a policy is to be served.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Target {
    /// By a process with sockets, files and timers of its own.
    #[default]
    Region,
    /// In the isolates of Cloudflare Workers.
    Cloudflare,
    /// In the instances of a Spin component.
    Spin,
}

impl Target {
    pub(super) fn is_edge(self) -> bool {
        self != Target::Region
    }
}

/// Reports what `target`, an edge, does not do of `document`.
pub(super) fn unserved(document: &Document, at: &At<'_>, target: Target) {
    server(&document.server, &at.field("server"));
    let places = at.field("routing").field("services").entries();
    for ((_, rules), (_, at)) in document.routing.services.0.iter().zip(places) {
        service(rules, &at, target);
    }
    if document.auth.login.is_some() {
        at.field("auth").key("login").warn(
            "no tokens are issued there: POST /auth/login and /auth/refresh are answered 404, and tokens that a \
             regional proxy issued with this secret are accepted",
        );
    }
    limits(&document.rate_limit, &at.field("rate_limit"));
    security(&document.security, &at.field("security"));
    if document.event_processing.enabled.unwrap_or(at.field("event_processing").is_set()) {
        at.key("event_processing")
            .warn("there are no files there: each event is a line of the platform's log");
    }
    if document.redis_bridge.is_some() {
        at.key("redis_bridge").warn("is not served there; it is the regional proxy's");
    }
}

fn server(server: &document::Server, at: &At<'_>) {
    if server.admin.is_some() {
        at.key("admin").warn("there is no such listener: bans, metrics and reloads are the regional proxy's");
    }
    if server.proxy_protocol {
        at.field("proxy_protocol").warn("has no effect there: the platform says who the client is");
    }
}

fn service(service: &document::Service, at: &At<'_>, target: Target) {
    let tls = at.field("tls");
    let platforms = [
        (
            service.tls.ca_file.is_some(),
            "ca_file",
            "the platform trusts authorities of its own and no others",
        ),
        (service.tls.cert_file.is_some(), "cert_file", "the platform shows services no client certificate"),
        (
            service.tls.server_name.is_some(),
            "server_name",
            "the platform asks for and verifies the URL's host",
        ),
    ];
    for (_, key, why) in platforms.into_iter().filter(|(is_set, ..)| *is_set) {
        tls.field(key).error(format_args!("{why}; remove it from the policy of this target"));
    }
    if service.protocol == Protocol::Http2 {
        at.field("protocol")
            .error("the platform chooses the protocol itself, and speaks no HTTP/2 without TLS");
    }
    if service.host_header.0.value != "upstream" {
        at.field("host_header").error(
            "the platform derives `Host` from the URL; write the host into `urls`, or leave this to a regional proxy",
        );
    }
    if service.health_check.is_some() {
        at.key("health_check").warn(
            "endpoints are checked only while requests come, by each instance for itself; `ejection` takes less",
        );
    }
    if service.max_in_flight.is_some() {
        at.field("max_in_flight")
            .warn("each instance counts its own requests; together they let more through");
    }
    if target == Target::Cloudflare {
        let (connect, idle) = (at.field("connect_timeout"), at.field("idle_timeout"));
        if connect.is_set() {
            connect.warn("fetch has no such deadline; `timeout` covers connecting, too");
        }
        if idle.is_set() {
            idle.warn("a body that streams natively has no such deadline");
        }
    }
}

fn limits(all: &document::RateLimit, at: &At<'_>) {
    if !all.enabled {
        return;
    }
    if all.store.as_ref().is_some_and(|store| store.redis.is_some()) {
        at.field("store").field("redis").error(
            "the platform opens no connection to Redis; name `rest`: Upstash, or the `redis_bridge` of a regional proxy",
        );
    }
    if let Some(rules) = &all.default {
        limit(rules, all, &at.key("default"), &at.field("default"));
    }
    for (named, section) in [(&all.per_user, "per_user"), (&all.per_service, "per_service")] {
        for ((_, rules), (key, at)) in named.0.iter().zip(at.field(section).entries()) {
            limit(rules, all, &key, &at);
        }
    }
}

/// `key` is the place of the limit's name, `at` that of the limit itself.
fn limit(limit: &document::Limit, all: &document::RateLimit, key: &At<'_>, at: &At<'_>) {
    if limit.enforce_at == EnforceAt::Region {
        return;
    }
    let algorithm = limit.algorithm.unwrap_or(all.algorithm);
    if all.store.is_some() && (algorithm == Algorithm::Distributed || limit.shared != Some(false)) {
        if limit.on_store_failure == Some(OnStoreFailure::LocalShare) {
            at.field("on_store_failure").warn(
                "nobody knows how many instances would share: while the store is away requests pass; write `deny` to \
                 refuse them",
            );
        }
        return;
    }
    let is_strict = algorithm == Algorithm::SlidingWindowCounter && limit.strict.unwrap_or(all.strict);
    let place = if at.field("algorithm").is_set() { at.field("algorithm") } else { key.clone() };
    if algorithm == Algorithm::SlidingWindowLog || is_strict {
        place.error(
            "promises never to admit more, and each instance counts for itself; write `enforce_at: region`, or an \
             algorithm that is not exact",
        );
    } else {
        key.warn(
            "each instance counts for itself; together they let more through, unless `enforce_at: region`",
        );
    }
}

fn security(security: &document::Security, at: &At<'_>) {
    if let Some(tls) = security.tls.as_ref().filter(|tls| tls.enabled) {
        match tls.client_ca_file {
            Some(_) => at.field("tls").field("client_ca_file").error(
                "the platform terminates TLS, and clients without a certificate would come in; have it ask for them, \
                 and remove this from the policy of this target",
            ),
            None => at.key("tls").warn("the platform terminates TLS, with its own certificates and versions"),
        }
    }
    let floods = &security.rate_limit;
    if floods.enabled && floods.ddos_protection.as_ref().is_some_and(|rules| rules.enabled) {
        at.field("rate_limit")
            .key("ddos_protection")
            .warn("each instance counts and bans for itself, and forgets with its end");
    }
}

#[cfg(test)]
mod tests;
