//! One route: what it matches, what it changes, and what it claims for itself.

use http::{HeaderName, HeaderValue};

use super::pattern::{Pattern, Segment};
use super::routing::{RESERVED, RETRIES_MAX};
use super::url::parse_host;
use super::{
    DAY, MILLISECOND, each, header_name, header_names, header_value, methods, names, optional, security,
    time_within, within,
};
use crate::config::document::{self, Named};
use crate::config::report::At;
use crate::config::{CorsOverride, HeaderEdits, HeaderMatch, Rewrite, Route};

/// Fields that describe one connection or one message's framing, which the gateway writes itself (RFC 9110
/// section 7.6.1).
const FRAMING: [&str; 9] = [
    "connection",
    "content-length",
    "host",
    "keep-alive",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

pub(super) fn route(route: &document::Route, at: &At<'_>) -> Option<Route> {
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
    let timeout =
        optional(route.timeout, |timeout| time_within(&at.field("timeout"), timeout, MILLISECOND..=DAY));
    let retries = optional(route.retries, |retries| within(&at.field("retries"), retries, 0..=RETRIES_MAX));
    let roles = names(&route.roles, &at.field("roles"), "the role");
    let scopes = names(&route.scopes, &at.field("scopes"), "the scope");
    if route.public && !(route.roles.0.is_empty() && route.scopes.0.is_empty()) {
        at.field("public").error("a public route asks for no roles or scopes; remove one of them");
    }
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
        timeout: timeout?,
        retries: retries?,
        public: route.public,
        roles: roles?,
        scopes: scopes?,
        cors: cors?,
    })
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
            timeout: None,
            retries: None,
            public: false,
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

fn host(host: &str, at: &At<'_>) -> Option<String> {
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

fn header_match(name: &str, value: Option<&str>, at: &At<'_>) -> Option<HeaderMatch> {
    let parsed = header_name(name, &at.key(name));
    let value = optional(value, |value| header_value(value, &at.field(name)));
    Some(HeaderMatch { name: parsed?, value: value? })
}

fn rewrite(rewrite: &document::Rewrite, pattern: Option<&Pattern<'_>>, at: &At<'_>) -> Option<Rewrite> {
    if rewrite.path.is_some() && rewrite.strip_prefix.is_some() {
        at.field("strip_prefix").error("there is a `path` too; keep one of the two");
    }
    if let (Some(path), Some(pattern)) = (&rewrite.path, pattern) {
        rewritten_path(path, pattern, &at.field("path"));
    }
    if let (Some(prefix), Some(pattern)) = (&rewrite.strip_prefix, pattern) {
        stripped_prefix(prefix, pattern, &at.field("strip_prefix"));
    }
    let request_headers = header_edits(&rewrite.request_headers, &at.field("request_headers"));
    let response_headers = header_edits(&rewrite.response_headers, &at.field("response_headers"));
    Some(Rewrite {
        path: rewrite.path.clone(),
        strip_prefix: rewrite.strip_prefix.clone(),
        request_headers: request_headers?,
        response_headers: response_headers?,
        query_set: rewrite.query.set.0.clone(),
        query_remove: rewrite.query.remove.0.clone(),
    })
}

fn rewritten_path(path: &str, pattern: &Pattern<'_>, at: &At<'_>) {
    let Some(target) = at.check(Pattern::parse(path)) else { return };
    if target.tail {
        at.error("`*` has no meaning in a rewritten path; use `strip_prefix` to keep the rest of a path");
    }
    for name in target.variables() {
        if !pattern.variables().any(|known| known == name) {
            at.error(format_args!("the route's path has no variable `{{{name}}}`"));
        }
    }
}

fn stripped_prefix(prefix: &str, pattern: &Pattern<'_>, at: &At<'_>) {
    let trimmed = prefix.strip_suffix('/').unwrap_or(prefix);
    if trimmed.is_empty() {
        return;
    }
    let Some(stripped) = at.check(Pattern::parse(trimmed)) else { return };
    if stripped.tail || !pattern.segments.starts_with(&stripped.segments) {
        at.error(format_args!("`{prefix}` is not made of the first segments of the route's path"));
    }
}

fn header_edits(edits: &document::HeaderEdits, at: &At<'_>) -> Option<HeaderEdits> {
    let remove = header_names(&edits.remove.0, &at.field("remove"));
    let set = header_pairs(&edits.set, &at.field("set"));
    let add = header_pairs(&edits.add, &at.field("add"));
    Some(HeaderEdits { remove: remove?, set: set?, add: add? })
}

fn header_pairs(pairs: &Named<String>, at: &At<'_>) -> Option<Vec<(HeaderName, HeaderValue)>> {
    let convert = |(name, value): &(String, String)| {
        let parsed = editable(name, &at.key(name));
        let value = header_value(value, &at.field(name));
        Some((parsed?, value?))
    };
    let converted: Vec<_> = pairs.0.iter().map(convert).collect();
    converted.into_iter().collect()
}

/// A header that a policy may write.
pub(super) fn editable(name: &str, at: &At<'_>) -> Option<HeaderName> {
    let parsed = header_name(name, at)?;
    if FRAMING.contains(&parsed.as_str()) {
        let hint = if parsed == http::header::HOST { "; use `host_header`" } else { "" };
        at.error(format_args!("the gateway writes `{parsed}` itself{hint}"));
        return None;
    }
    Some(parsed)
}
