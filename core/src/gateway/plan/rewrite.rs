//! The forwarded path and query.

use std::fmt::Write;

use http::uri::PathAndQuery;

use crate::config::Rewrite;
use crate::route::{Match, Rule};
use crate::url::{self, Target, UrlError};

/// The target as the route's rewrites want it one after the other: prefix stripped, path replaced, query edited. A route
/// that wants nothing gets the canonical target as it is, without a copy.
pub(super) fn target<'a>(
    target: &Target,
    found: &Match,
    rule: &Rule,
    rewrites: impl Iterator<Item = &'a Rewrite> + Clone,
) -> Result<PathAndQuery, UrlError> {
    let path = match rewrites.clone().filter_map(|rewrite| rewrite.path.as_deref()).last() {
        Some(template) => target.with_path(&filled(template, rule, found, target.path()))?,
        None if found.stripped() == 0 => target.path_and_query().clone(),
        None => target.rebased("", found.stripped())?,
    };
    let edits = |rewrite: &&Rewrite| !(rewrite.query_set.is_empty() && rewrite.query_remove.is_empty());
    rewrites.filter(edits).try_fold(path, |target, rewrite| {
        url::assemble(target.path(), edited(target.query(), rewrite).as_deref())
    })
}

/// `target` below a base path.
pub(super) fn under(base: &str, target: PathAndQuery) -> PathAndQuery {
    if base.is_empty() {
        return target;
    }
    PathAndQuery::try_from(format!("{base}{target}")).unwrap_or(target)
}

/// The template with each `{name}` replaced by what the route's variable of that name matched, as it was spelled.
fn filled(template: &str, rule: &Rule, found: &Match, path: &str) -> String {
    let mut out = String::with_capacity(template.len() + path.len());
    let mut rest = template;
    while let Some((before, after)) = rest.split_once('{') {
        let (name, after) = after.split_once('}').unwrap_or((after, ""));
        out.push_str(before);
        out.push_str(rule.variable(name, found, path).unwrap_or_default());
        rest = after;
    }
    out + rest
}

/// The query without the parameters that are removed or set, then with those that are set; `None` if nothing is left.
fn edited(query: Option<&str>, rewrite: &Rewrite) -> Option<String> {
    let replaced = |name: &str| {
        let name = decoded(name);
        let set = rewrite.query_set.iter().any(|(set, _)| set.as_bytes() == name);
        set || rewrite.query_remove.iter().any(|removed| removed.as_bytes() == name)
    };
    let kept = query.unwrap_or_default().split('&').filter(|pair| !pair.is_empty());
    let mut pairs: Vec<String> = kept
        .filter(|pair| !replaced(pair.split('=').next().unwrap_or_default()))
        .map(str::to_owned)
        .collect();
    pairs.extend(
        rewrite.query_set.iter().map(|(name, value)| format!("{}={}", encoded(name), encoded(value))),
    );
    (!pairs.is_empty()).then(|| pairs.join("&"))
}

/// The bytes that an application reads from a query parameter's name (WHATWG URL §5.1).
fn decoded(text: &str) -> Vec<u8> {
    let mut rest = text.as_bytes();
    let mut out = Vec::with_capacity(rest.len());
    while let [byte, after @ ..] = rest {
        let escape = after.get(..2).and_then(|hex| std::str::from_utf8(hex).ok());
        let value = escape.filter(|_| *byte == b'%').and_then(|hex| u8::from_str_radix(hex, 16).ok());
        out.push(value.unwrap_or(if *byte == b'+' { b' ' } else { *byte }));
        rest = if value.is_some() { &after[2..] } else { after };
    }
    out
}

/// All but RFC 3986's unreserved characters escaped.
fn encoded(text: &str) -> String {
    text.bytes().fold(String::with_capacity(text.len()), |mut out, byte| {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => out.push(byte.into()),
            _ => write!(out, "%{byte:02X}").expect("writing to a string cannot fail"),
        }
        out
    })
}
