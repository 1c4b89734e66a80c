//! What a route changes: paths with variables it has, and header fields that are a policy's to write.

use http::{HeaderName, HeaderValue, StatusCode};

use super::pattern::Pattern;
use super::route::header_match;
use super::{each, header_name, header_names, header_value, within};
use crate::config::document::{self, Named, Status};
use crate::config::report::At;
use crate::config::{HeaderEdits, Rewrite, Transform};

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

pub(super) fn rewrite(
    rewrite: &document::Rewrite,
    pattern: Option<&Pattern<'_>>,
    at: &At<'_>,
) -> Option<Rewrite> {
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

pub(super) fn transform(
    transform: &document::Transform,
    pattern: Option<&Pattern<'_>>,
    at: &At<'_>,
) -> Option<Transform> {
    let when = at.field("when");
    let statuses =
        each(&transform.when.status.0, &when.field("status"), |status, at| self::status(&status.0, at));
    let headers_at = when.field("headers");
    let header = |(name, value): &(String, Option<String>)| header_match(name, value.as_deref(), &headers_at);
    let headers: Vec<_> = transform.when.headers.0.iter().map(header).collect();
    let rewrite = rewrite(
        &document::Rewrite {
            path: transform.path.clone(),
            strip_prefix: None,
            request_headers: transform.request_headers.clone(),
            response_headers: transform.response_headers.clone(),
            query: transform.query.clone(),
        },
        pattern,
        at,
    );
    let changes_request = transform.path.is_some()
        || transform.request_headers != document::HeaderEdits::default()
        || transform.query != document::QueryEdits::default();
    if changes_request && !transform.when.status.0.is_empty() {
        when.field("status").error(
            "the response's status is not known before the request is sent; only `response_headers` can depend on it",
        );
    }
    Some(Transform {
        claims: transform.when.claims.0.clone(),
        headers: headers.into_iter().collect::<Option<_>>()?,
        statuses: statuses?,
        rewrite: rewrite?,
    })
}

fn status(status: &Status, at: &At<'_>) -> Option<(u16, u16)> {
    let known = StatusCode::CONTINUE.as_u16()..=599;
    let (first, last) = (within(at, status.first, known.clone())?, within(at, status.last, known)?);
    if first > last {
        at.error(format_args!("`{first}-{last}` is empty; write the lower status first"));
    }
    Some((first, last))
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
