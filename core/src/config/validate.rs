//! From what a user wrote to what makes sense, or to every reason why it does not.
//!
//! A function here takes a part of the document and its place, reports what is wrong there and returns the part of
//! the model, or `None` if there is none. It looks at all of its part before it gives up.

mod auth;
mod bridge;
mod kafka;
mod limits;
mod observation;
mod pattern;
mod relay;
mod rewrite;
mod route;
mod routing;
mod security;
mod server;
mod sharing;
mod store;
mod url;

use std::fmt::Display;
use std::ops::RangeInclusive;
use std::time::Duration;

use http::{HeaderName, HeaderValue, Method};

use super::document::{Document, OneOrMany, Timespan};
use super::report::At;
use super::{Cidr, Config};

const MILLISECOND: Duration = Duration::from_millis(1);
const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3_600);
const DAY: Duration = Duration::from_secs(86_400);

pub(super) fn config(document: &Document, at: &At<'_>) -> Option<Config> {
    let server = server::server(&document.server, &at.field("server"));
    let services = routing::services(&document.routing, &at.field("routing"));
    let auth = auth::auth(&document.auth, &at.field("auth"));
    let limits = limits::limits(&document.rate_limit, &document.routing, &at.field("rate_limit"));
    let security = security::security(&document.security, &at.field("security"));
    let events = observation::events(&document.event_processing, &at.field("event_processing"));
    let monitoring = observation::monitoring(&document.monitoring, &at.field("monitoring"));
    let bridge_at = at.field("redis_bridge");
    let redis_bridge = bridge::bridge(document.redis_bridge.as_ref(), server.as_ref(), &bridge_at);
    let relay_at = at.field("relay");
    let relay = relay::relay(document.relay.as_ref(), server.as_ref(), events.as_ref(), &relay_at);
    observation::caching(document.caching.as_ref(), &at.field("caching"));
    unprotected_routes(document, at);
    unreachable_redirect(document, at);
    Some(Config {
        server: server?,
        services: services?,
        auth: auth?,
        limits: limits?,
        security: security?,
        events: events?,
        monitoring: monitoring?,
        redis_bridge: redis_bridge?,
        relay: relay?,
    })
}

/// Roles that nobody can have refuse everybody, which is safe and hardly meant.
fn unprotected_routes(document: &Document, at: &At<'_>) {
    let auth = &document.auth;
    if !auth.jwt.0.is_empty() || !auth.api_keys.is_empty() || auth.login.is_some() {
        return;
    }
    let places = at.field("routing").field("services").entries();
    for ((_, service), (_, at)) in document.routing.services.0.iter().zip(places) {
        let unmet = |roles: &OneOrMany<String>, scopes: &OneOrMany<String>, at: &At<'_>| {
            if !roles.0.is_empty() || !scopes.0.is_empty() {
                let message = "asks for roles or scopes and `auth` gives nobody any: every request is refused; \
                               configure `auth.jwt` or `auth.api_keys`";
                at.warn(message);
            }
        };
        unmet(&service.roles, &service.scopes, &at);
        for (route, at) in service.routes.iter().zip(at.field("routes").items()) {
            unmet(&route.roles, &route.scopes, &at);
        }
    }
}

fn unreachable_redirect(document: &Document, at: &At<'_>) {
    let tls = document.security.tls.as_ref().is_some_and(|tls| tls.enabled);
    if document.security.https_redirect && !tls && document.server.trusted_proxies.is_empty() {
        let message = "nothing arrives by https: every request is redirected; enable `security.tls`, or name the \
                       proxy that terminates it in `server.trusted_proxies`";
        at.field("security").field("https_redirect").warn(message);
    }
}

fn within<T: PartialOrd + Display + Copy>(at: &At<'_>, value: T, range: RangeInclusive<T>) -> Option<T> {
    if range.contains(&value) {
        return Some(value);
    }
    at.error(format_args!("`{value}` is out of range; write {} to {}", range.start(), range.end()));
    None
}

fn time_within(at: &At<'_>, time: Timespan, range: RangeInclusive<Duration>) -> Option<Duration> {
    let range = Timespan(*range.start())..=Timespan(*range.end());
    within(at, time, range).map(|time| time.0)
}

/// A part that may be left out: `None` only if it is there and makes no sense.
fn optional<T, U>(part: Option<T>, convert: impl FnOnce(T) -> Option<U>) -> Option<Option<U>> {
    match part {
        Some(part) => convert(part).map(Some),
        None => Some(None),
    }
}

fn not_empty(at: &At<'_>, text: &str, what: &str) -> Option<String> {
    if text.trim().is_empty() {
        at.error(format_args!("{what} is empty"));
        return None;
    }
    Some(text.to_owned())
}

/// Every item that `convert` makes sense of, or `None` if there is one it cannot.
fn each<T, U>(items: &[T], at: &At<'_>, convert: impl Fn(&T, &At<'_>) -> Option<U>) -> Option<Vec<U>> {
    let places = at.items();
    let place = |index: usize| places.get(index).unwrap_or(at);
    // All of them are converted, so that all of them are reported.
    let converted: Vec<_> =
        items.iter().enumerate().map(|(index, item)| convert(item, place(index))).collect();
    converted.into_iter().collect()
}

fn names(items: &OneOrMany<String>, at: &At<'_>, what: &str) -> Option<Vec<String>> {
    each(&items.0, at, |item, at| not_empty(at, item, what))
}

fn cidrs(ranges: &[String], at: &At<'_>) -> Option<Vec<Cidr>> {
    each(ranges, at, |range, at| at.check(range.parse::<Cidr>()))
}

fn methods(items: &[String], at: &At<'_>) -> Option<Vec<Method>> {
    each(items, at, |item, at| match Method::from_bytes(item.as_bytes()) {
        Ok(method) if item.bytes().all(|byte| !byte.is_ascii_lowercase()) => Some(method),
        Ok(_) => {
            at.error(format_args!("methods are upper case; write `{}`", item.to_ascii_uppercase()));
            None
        }
        Err(_) => {
            at.error(format_args!("`{item}` is not a method; write GET, POST, …"));
            None
        }
    })
}

fn header_name(name: &str, at: &At<'_>) -> Option<HeaderName> {
    let parsed = HeaderName::from_bytes(name.as_bytes()).ok();
    if parsed.is_none() {
        at.error(format_args!("`{name}` is not a header name; write letters, digits and `-`"));
    }
    parsed
}

fn header_names(items: &[String], at: &At<'_>) -> Option<Vec<HeaderName>> {
    each(items, at, |item, at| header_name(item, at))
}

fn header_value(value: &str, at: &At<'_>) -> Option<HeaderValue> {
    let parsed = HeaderValue::from_str(value).ok();
    if parsed.is_none() {
        at.error("a header value is one line of visible characters");
    }
    parsed
}

/// SHA-256 in hexadecimal digits.
fn sha256(digits: &str, at: &At<'_>) -> Option<[u8; 32]> {
    let mut hash = [0; 32];
    let digits = digits.as_bytes();
    let valid = digits.len() == 64
        && digits.chunks(2).zip(&mut hash).all(|(pair, byte)| {
            let digit = |digit: u8| char::from(digit).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
            match (digit(pair[0]), digit(pair[1])) {
                (Some(high), Some(low)) => {
                    *byte = high << 4 | low;
                    true
                }
                _ => false,
            }
        });
    if !valid {
        at.error("a SHA-256 is 64 hexadecimal digits; make one with `printf %s \"$KEY\" | sha256sum`");
    }
    valid.then_some(hash)
}

fn warn_of_demo_secret(secret: &str, at: &At<'_>) {
    let secret = secret.to_ascii_lowercase();
    if ["change-me", "changeme", "change_me"].iter().any(|demo| secret.contains(demo)) {
        at.warn("this is the secret of an example, which everybody knows; set one of your own");
    }
}
