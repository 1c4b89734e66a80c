//! One route: what it matches, what it changes, and what it claims for itself.

use super::pattern::{Pattern, Segment};
use super::rewrite::{rewrite, transform};
use super::routing::{RESERVED, RETRIES_MAX};
use super::url::parse_host;
use super::{
    DAY, MILLISECOND, each, header_name, header_value, methods, names, optional, security, time_within,
    within,
};
use crate::config::document;
use crate::config::report::At;
use crate::config::{Access, CorsOverride, HeaderMatch, Route};

/// Transformations of one route: which of them hold for a request is kept as bits.
const TRANSFORMS_MAX: usize = 32;

/// `service` is what a route takes over that says nothing of its own.
pub(super) fn route(route: &document::Route, service: Option<&Access>, at: &At<'_>) -> Option<Route> {
    let pattern = at.field("path").check(Pattern::parse(&route.path));
    if let Some(pattern) = &pattern {
        reserved(pattern, &at.field("path"));
    }
    let (hosts_at, headers_at) = (or(at.field("hosts"), at.field("host")), at.field("headers"));
    let hosts = each(&route.hosts.0, &hosts_at, |item, at| host(item, at));
    let methods = methods(&route.methods.0, &at.field("methods"));
    let headers: Vec<_> = route
        .headers
        .0
        .iter()
        .map(|(name, value)| header_match(name, value.as_deref(), &headers_at))
        .collect();
    let rewrite = rewrite(&route.rewrite, pattern.as_ref(), &at.field("rewrite"));
    let transforms_at = at.field("transform");
    if route.transform.0.len() > TRANSFORMS_MAX {
        transforms_at
            .error(format_args!("there are more than {TRANSFORMS_MAX}; merge some or split the route"));
    }
    let transforms =
        each(&route.transform.0, &transforms_at, |item, at| transform(item, pattern.as_ref(), at));
    let timeout =
        optional(route.timeout, |timeout| time_within(&at.field("timeout"), timeout, MILLISECOND..=DAY));
    let retries = optional(route.retries, |retries| within(&at.field("retries"), retries, 0..=RETRIES_MAX));
    let access = match (route.public, route.roles.0.is_empty(), route.scopes.0.is_empty()) {
        (None, true, true) => service.cloned(),
        (public, _, _) => access(public.unwrap_or(false), &route.roles, &route.scopes, at),
    };
    let cors = match &route.cors {
        None => Some(CorsOverride::Inherit),
        Some(cors) if !cors.enabled => Some(CorsOverride::Off),
        Some(cors) => security::cors(cors, &at.field("cors")).map(CorsOverride::Replace),
    };
    pattern?;
    Some(Route {
        path: route.path.clone(),
        hosts: hosts?,
        methods: methods?,
        headers: headers.into_iter().collect::<Option<_>>()?,
        rewrite: rewrite?,
        transforms: transforms?,
        timeout: timeout?,
        retries: retries?,
        access: access?,
        cors: cors?,
    })
}

/// Of a service or a route.
pub(super) fn access(
    public: bool,
    roles: &document::OneOrMany<String>,
    scopes: &document::OneOrMany<String>,
    at: &At<'_>,
) -> Option<Access> {
    if public && !(roles.0.is_empty() && scopes.0.is_empty()) {
        at.field("public").error("what is public asks for no roles or scopes; remove one of them");
    }
    let roles = names(roles, &at.field("roles"), "the role");
    let scopes = names(scopes, &at.field("scopes"), "the scope");
    Some(Access { public, roles: roles?, scopes: scopes? })
}

/// What a route claims: two routes that share one of these cannot be told apart. `shape` is that of its path.
pub(super) fn conflict_keys(shape: &str, route: &document::Route) -> Vec<String> {
    let any = |items: &[String]| match items.is_empty() {
        true => vec![String::new()],
        false => items.iter().map(|item| item.to_ascii_lowercase()).collect(),
    };
    let header =
        |(name, value): &(String, Option<String>)| format!("{}={value:?}", name.to_ascii_lowercase());
    let mut headers: Vec<_> = route.headers.0.iter().map(header).collect();
    headers.sort();
    let methods = any(&route.methods.0);
    let hosts = any(&route.hosts.0);
    let key = |host: &String, method: &String| format!("{host} {method} {shape} {headers:?}");
    let mut keys: Vec<_> =
        hosts.iter().flat_map(|host| methods.iter().map(move |method| key(host, method))).collect();
    // A host or method that is written twice is no conflict with itself.
    keys.sort();
    keys.dedup();
    keys
}

impl document::Route {
    /// Without a condition but its path.
    pub(super) fn everything() -> document::Route {
        document::Route {
            path: "/*".into(),
            hosts: Default::default(),
            methods: Default::default(),
            headers: Default::default(),
            rewrite: Default::default(),
            transform: Default::default(),
            timeout: None,
            retries: None,
            public: None,
            roles: Default::default(),
            scopes: Default::default(),
            cors: None,
        }
    }
}

fn or<'a>(first: At<'a>, second: At<'a>) -> At<'a> {
    if second.is_set() { second } else { first }
}

fn reserved(pattern: &Pattern<'_>, at: &At<'_>) {
    if let Some(Segment::Literal(first)) = pattern.segments.first()
        && RESERVED.contains(first)
    {
        at.error(format_args!("`/{first}` is the gateway's own; choose another first segment"));
    }
}

pub(super) fn host(host: &str, at: &At<'_>) -> Option<String> {
    let (wildcard, name) = match host.strip_prefix("*.") {
        Some(name) => ("*.", name),
        None => ("", host),
    };
    let parsed = parse_host(name).map(|name| if host.starts_with('[') { format!("[{name}]") } else { name });
    if parsed.is_none() {
        at.error(format_args!(
            "`{host}` is not a host; write `api.example.com` or `*.example.com`, without a port"
        ));
    }
    parsed.map(|name| format!("{wildcard}{name}"))
}

pub(super) fn header_match(name: &str, value: Option<&str>, at: &At<'_>) -> Option<HeaderMatch> {
    let parsed = header_name(name, &at.key(name));
    let value = optional(value, |value| header_value(value, &at.field(name)));
    Some(HeaderMatch { name: parsed?, value: value? })
}
