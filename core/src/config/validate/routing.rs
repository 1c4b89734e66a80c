//! Services and the routes between them.

use std::collections::HashMap;

use super::pattern::Pattern;
use super::url::{Absolute, is_path, parse_host};
use super::{DAY, HOUR, MILLISECOND, each, header_name, header_value, optional, route, time_within, within};
use crate::config::document::{self, Balancing};
use crate::config::report::At;
use crate::config::{
    CircuitBreaker, Ejection, Endpoint, HashKey, HealthCheck, HostHeader, LoadBalancer, Retries, Service,
    ServiceTimeouts, UpstreamProtocol, UpstreamTls,
};

/// First path segments that the gateway answers itself.
pub(super) const RESERVED: [&str; 7] = ["health", "ready", "auth", "redis", "relay", "admin", "metrics"];
const NAME_BYTES_MAX: usize = 63;
/// Attempts after the first.
pub(super) const RETRIES_MAX: u32 = 10;

pub(super) fn services(routing: &document::Routing, at: &At<'_>) -> Option<Vec<Service>> {
    let at = at.field("services");
    if routing.services.0.is_empty() {
        at.warn("there are none: every request is answered with 404");
    }
    let services: Vec<_> = routing
        .services
        .0
        .iter()
        .zip(at.entries())
        .map(|((name, section), (key, place))| {
            service_name(name, &key);
            service(name, section, &place)
        })
        .collect();
    route_conflicts(routing, &at);
    services.into_iter().collect()
}

fn service_name(name: &str, at: &At<'_>) {
    if RESERVED.contains(&name) {
        at.error(format_args!(
            "`/{name}` is the gateway's own; choose another name, such as `{name}_service`"
        ));
    }
    let allowed = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"_-".contains(&byte);
    if !(1..=NAME_BYTES_MAX).contains(&name.len()) || !name.bytes().all(allowed) {
        at.error(format_args!(
            "a service's name is 1 to {NAME_BYTES_MAX} lower case letters, digits, `_` and `-`"
        ));
    }
}

fn service(name: &str, service: &document::Service, at: &At<'_>) -> Option<Service> {
    let endpoints = endpoints(service, at);
    let load_balancer = load_balancer(&service.load_balancer.0, &at.field("load_balancer"));
    let timeouts = timeouts(service, at);
    let retries = retries(&service.retries.0, &at.field("retries"));
    let health_check =
        optional(service.health_check.as_ref(), |section| health_check(section, &at.field("health_check")));
    let circuit_breaker = optional(service.circuit_breaker.as_ref(), |section| {
        circuit_breaker(section, &at.field("circuit_breaker"))
    });
    let ejection = optional(service.ejection.as_ref(), |section| ejection(section, &at.field("ejection")));
    let max_in_flight =
        optional(service.max_in_flight, |limit| within(&at.field("max_in_flight"), limit, 1..=1_000_000));
    let tls = tls(service, &at.field("tls"));
    let host_header = host_header(&service.host_header.0.value, &at.field("host_header"));
    let access = route::access(service.public, &service.roles, &service.scopes, at);
    let routes =
        each(&service.routes, &at.field("routes"), |item, at| route::route(item, access.as_ref(), at));
    let protocol = match service.protocol {
        document::Protocol::Http1 => UpstreamProtocol::Http1,
        document::Protocol::Http2 => UpstreamProtocol::Http2,
    };
    Some(Service {
        name: name.into(),
        endpoints: endpoints?,
        load_balancer: load_balancer?,
        timeouts: timeouts?,
        retries: retries?,
        health_check: health_check?,
        circuit_breaker: circuit_breaker?,
        ejection: ejection?,
        max_in_flight: max_in_flight?,
        tls: tls?,
        protocol,
        host_header: host_header?,
        access: access?,
        routes: routes?,
    })
}

fn endpoints(service: &document::Service, at: &At<'_>) -> Option<Vec<Endpoint>> {
    let urls = at.field("urls");
    if service.urls.0.is_empty() {
        urls.error("a service needs at least one URL; write `urls: [\"http://127.0.0.1:9101\"]`");
        return None;
    }
    let endpoints = each(&service.urls.0, &urls, |url, at| {
        let place = if at.field("url").is_set() { at.field("url") } else { at.clone() };
        let parsed = place.check(url.0.url.parse::<Absolute>());
        let weight = within(&at.field("weight"), url.0.weight, 1..=1_000);
        if url.0.weight != 1 && service.load_balancer.0.kind == Balancing::RoundRobin {
            at.field("weight").warn("has no effect under `round_robin`; write `load_balancer: weighted`");
        }
        let Absolute { tls, host, port, path } = parsed?;
        Some(Endpoint { tls, host, port, base_path: path, weight: weight? })
    })?;
    for (index, endpoint) in endpoints.iter().enumerate() {
        let same = |other: &Endpoint| {
            (other.tls, &other.host, other.port, &other.base_path)
                == (endpoint.tls, &endpoint.host, endpoint.port, &endpoint.base_path)
        };
        if endpoints[..index].iter().any(same) {
            urls.item(index).error("is listed twice; write `{ url: …, weight: 2 }` and `load_balancer: weighted` to send it more");
        }
    }
    Some(endpoints)
}

fn load_balancer(balancer: &document::LoadBalancer, at: &At<'_>) -> Option<LoadBalancer> {
    if balancer.kind != Balancing::ConsistentHash && balancer.key.is_some() {
        at.field("key").error("only `consistent_hash` has a key; remove it");
        return None;
    }
    Some(match balancer.kind {
        Balancing::RoundRobin => LoadBalancer::RoundRobin,
        Balancing::Weighted => LoadBalancer::Weighted,
        Balancing::LeastConnections => LoadBalancer::LeastConnections,
        Balancing::RandomTwoChoices => LoadBalancer::RandomTwoChoices,
        Balancing::ConsistentHash => {
            let at = at.field("key");
            LoadBalancer::ConsistentHash(match balancer.key.as_deref() {
                None | Some("client_address") => HashKey::ClientAddress,
                Some("path") => HashKey::Path,
                Some(key) => match key.strip_prefix("header:") {
                    Some(name) => HashKey::Header(header_name(name, &at)?),
                    None => {
                        at.error(format_args!(
                            "`{key}` cannot be hashed; write `client_address`, `path` or `header:<name>`"
                        ));
                        return None;
                    }
                },
            })
        }
    })
}

fn timeouts(service: &document::Service, at: &At<'_>) -> Option<ServiceTimeouts> {
    let response = time_within(&at.field("timeout"), service.timeout, MILLISECOND..=DAY);
    let connect = time_within(&at.field("connect_timeout"), service.connect_timeout, MILLISECOND..=HOUR);
    let idle = time_within(&at.field("idle_timeout"), service.idle_timeout, MILLISECOND..=DAY);
    let response = response?;
    Some(ServiceTimeouts { connect: connect?.min(response), response, idle: idle? })
}

fn retries(retries: &document::Retries, at: &At<'_>) -> Option<Retries> {
    // The short form is the number itself.
    let attempts_at = if at.field("attempts").is_set() { at.field("attempts") } else { at.clone() };
    let attempts = within(&attempts_at, retries.attempts, 0..=RETRIES_MAX);
    let budget_ratio = within(&at.field("budget_ratio"), retries.budget_ratio, 0.0..=1.0);
    let floor_per_s = within(&at.field("floor_per_s"), retries.floor_per_s, 0..=10_000);
    Some(Retries { attempts: attempts?, budget_ratio: budget_ratio?, floor_per_s: floor_per_s? })
}

fn health_check(check: &document::HealthCheck, at: &At<'_>) -> Option<HealthCheck> {
    let valid_path = is_path(check.path.split('?').next().unwrap_or_default());
    if !valid_path {
        at.field("path").error(format_args!("`{}` is not a path; write `/health`", check.path));
    }
    let interval = time_within(&at.field("interval"), check.interval, MILLISECOND * 100..=DAY);
    let timeout = time_within(&at.field("timeout"), check.timeout, MILLISECOND..=HOUR);
    let unhealthy_after = within(&at.field("unhealthy_after"), check.unhealthy_after, 1..=1_000);
    let healthy_after = within(&at.field("healthy_after"), check.healthy_after, 1..=1_000);
    let (interval, timeout) = (interval?, timeout?);
    if timeout > interval {
        at.field("timeout")
            .error(format_args!("is longer than `interval`, {}; probes would overlap", check.interval));
    }
    Some(HealthCheck {
        path: check.path.clone(),
        interval,
        timeout,
        unhealthy_after: unhealthy_after?,
        healthy_after: healthy_after?,
    })
}

fn circuit_breaker(breaker: &document::CircuitBreaker, at: &At<'_>) -> Option<CircuitBreaker> {
    let valid_rate = breaker.failure_rate > 0.0 && breaker.failure_rate <= 1.0;
    if !valid_rate {
        at.field("failure_rate").error(format_args!(
            "`{}` is out of range; write a share above 0 and at most 1",
            breaker.failure_rate
        ));
    }
    let minimum_calls = within(&at.field("minimum_calls"), breaker.minimum_calls, 1..=1_000_000);
    let window = time_within(&at.field("window"), breaker.window, MILLISECOND * 100..=HOUR);
    let open_for = time_within(&at.field("open_for"), breaker.open_for, MILLISECOND..=DAY);
    let probes = within(&at.field("probes"), breaker.probes, 1..=100);
    Some(CircuitBreaker {
        failure_rate: breaker.failure_rate,
        minimum_calls: minimum_calls?,
        window: window?,
        open_for: open_for?,
        probes: probes?,
    })
}

fn ejection(ejection: &document::Ejection, at: &At<'_>) -> Option<Ejection> {
    let failures = within(&at.field("consecutive_failures"), ejection.consecutive_failures, 1..=1_000);
    let base = time_within(&at.field("base"), ejection.base, MILLISECOND..=DAY);
    let max_share = within(&at.field("max_share"), ejection.max_share, 0.0..=1.0);
    Some(Ejection { consecutive_failures: failures?, base: base?, max_share: max_share? })
}

fn tls(service: &document::Service, at: &At<'_>) -> Option<UpstreamTls> {
    let tls = &service.tls;
    match (&tls.cert_file, &tls.key_file) {
        (Some(_), None) => at.field("cert_file").error("a certificate needs its key; set `key_file` too"),
        (None, Some(_)) => at.field("key_file").error("a key needs its certificate; set `cert_file` too"),
        _ => {}
    }
    let is_https = |url: &str| url.get(..8).is_some_and(|scheme| scheme.eq_ignore_ascii_case("https://"));
    if at.is_set() && !service.urls.0.iter().any(|url| is_https(&url.0.url)) {
        at.warn("has no effect: none of the service's `urls` is https");
    }
    let server_name = optional(tls.server_name.as_deref(), |name| {
        let parsed = parse_host(name);
        if parsed.is_none() {
            at.field("server_name").error(format_args!("`{name}` is not the name of a host"));
        }
        parsed
    });
    Some(UpstreamTls {
        ca_file: tls.ca_file.as_ref().map(Into::into),
        cert_file: tls.cert_file.as_ref().map(Into::into),
        key_file: tls.key_file.as_ref().map(Into::into),
        server_name: server_name?,
    })
}

fn host_header(host: &str, at: &At<'_>) -> Option<HostHeader> {
    match host {
        "upstream" => Some(HostHeader::Upstream),
        "preserve" => Some(HostHeader::Preserve),
        _ => {
            let (name, port) = match host.rsplit_once(':') {
                Some((name, port)) if !port.contains(']') => (name, port),
                _ => (host, "80"),
            };
            if parse_host(name).is_none() || port.parse::<u16>().is_err() {
                at.error(format_args!("`{host}` is not a host; write `upstream`, `preserve` or a name"));
                return None;
            }
            header_value(host, at).map(HostHeader::Value)
        }
    }
}

/// Two routes that a request could not be told apart by, the implied ones of services without routes included.
fn route_conflicts(routing: &document::Routing, at: &At<'_>) {
    let mut seen = HashMap::<String, String>::new();
    for (name, service) in &routing.services.0 {
        if service.routes.is_empty() {
            let key = route::conflict_keys(&format!("/{name}/*"), &document::Route::everything());
            seen.extend(key.into_iter().map(|key| {
                (key, format!("service `{name}`, which has no routes and so is reached at `/{name}`"))
            }));
        }
    }
    for ((name, service), (_, at)) in routing.services.0.iter().zip(at.entries()) {
        for (route, at) in service.routes.iter().zip(at.field("routes").items()) {
            let Ok(pattern) = Pattern::parse(&route.path) else { continue };
            let keys = route::conflict_keys(&pattern.shape(), route);
            if let Some(other) = keys.iter().find_map(|key| seen.get(key)) {
                at.field("path").error(format_args!(
                    "`{}` is taken by {other}; change the path, hosts, methods or headers of one",
                    route.path
                ));
            }
            let owner = format!("the route in line {} (service `{name}`)", at.line());
            seen.extend(keys.into_iter().map(|key| (key, owner.clone())));
        }
    }
}
