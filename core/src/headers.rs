//! What a proxy owes the header fields that pass through it: RFC 9110 §7.6, RFC 9113 §8.2, and no trust in
//! forwarding headers that a stranger wrote.

mod forwarded;

use http::header::{self, HeaderMap, HeaderName, HeaderValue};

pub(crate) use forwarded::{Forwarding, append_via, client_address, forwarded_proto};

/// Names that one `Connection` header may nominate; more are ignored, and the request's head is bounded anyway.
const MAX_NOMINATED: usize = 16;

/// Fields between neighbours, in requests and in responses. Names, not texts: a text is parsed at each look-up.
static HOP_BY_HOP: [HeaderName; 9] = [
    header::CONNECTION,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
    header::TE,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
    header::PROXY_AUTHENTICATE,
    header::PROXY_AUTHORIZATION,
    // Answered at this hop: the body is read only when the upstream is there to take it.
    header::EXPECT,
];

/// What one pass over a message's header names found, so that the common message pays for nothing else.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Survey {
    hop_by_hop: bool,
    /// A header only a trusted proxy may set, in its usual spelling.
    forwarding: bool,
    /// A header only the gateway may set.
    reserved: bool,
    /// A name with an underscore that an application could read as one with a hyphen.
    underscored: bool,
    several_cookies: bool,
}

impl Survey {
    pub(crate) fn of(headers: &HeaderMap, reserved: &[HeaderName]) -> Survey {
        let mut survey = Survey::default();
        for name in headers.keys() {
            match name.as_str() {
                "connection"
                | "keep-alive"
                | "proxy-connection"
                | "te"
                | "transfer-encoding"
                | "upgrade"
                | "proxy-authorization"
                | "proxy-authenticate"
                | "expect" => survey.hop_by_hop = true,
                "cookie" => survey.several_cookies = headers.get_all(name).iter().nth(1).is_some(),
                // Of bytes: a search for a character costs more than such short texts are worth.
                text if text.as_bytes().contains(&b'_') => survey.underscored = true,
                _ if reserved.contains(name) => survey.reserved = true,
                text if forwarded::is_forwarding(text) => survey.forwarding = true,
                _ => {}
            }
        }
        survey
    }
}

/// Makes a request's headers fit to be forwarded.
pub(crate) fn clean_request(headers: &mut HeaderMap, survey: Survey, trusted: bool, reserved: &[HeaderName]) {
    if survey.hop_by_hop {
        remove_hop_by_hop(headers);
    }
    if survey.underscored {
        remove_matching(headers, |name| {
            let hyphenated = name.replace('_', "-");
            name.contains('_')
                && (forwarded::is_forwarding(&hyphenated)
                    || reserved.iter().any(|name| name.as_str() == hyphenated))
        });
    }
    if survey.forwarding && !trusted {
        remove_matching(headers, forwarded::is_forwarding);
    }
    if survey.reserved {
        // Also from a trusted proxy, which may pass on what its client said.
        reserved.iter().for_each(|name| drop(headers.remove(name)));
    }
    if survey.several_cookies {
        join_cookies(headers);
    }
}

pub(crate) fn clean_response(headers: &mut HeaderMap) {
    remove_hop_by_hop(headers);
}

/// The protocols a request with `Connection: upgrade` asks for, RFC 9110 §7.8; `None` without such a nomination.
pub(crate) fn upgrade(headers: &HeaderMap) -> Option<HeaderValue> {
    let upgrade = headers.get(header::UPGRADE)?;
    let nominated = tokens(headers, &header::CONNECTION).any(|token| token.eq_ignore_ascii_case("upgrade"));
    nominated.then(|| upgrade.clone())
}

/// True when `TE` says that the sender takes trailers, which gRPC needs to be told (RFC 9110 §10.1.4).
pub(crate) fn takes_trailers(headers: &HeaderMap) -> bool {
    tokens(headers, &header::TE).any(|token| token.eq_ignore_ascii_case("trailers"))
}

/// True when chunks are not the body's only transfer coding: the others would be lost on the way (RFC 9112 §6.1).
pub(crate) fn has_lost_coding(headers: &HeaderMap) -> bool {
    let mut codings = headers.get_all(header::TRANSFER_ENCODING).iter();
    let is_chunked = |coding: &HeaderValue| coding.as_bytes().eq_ignore_ascii_case(b"chunked");
    codings.next().is_some_and(|coding| !is_chunked(coding)) || codings.next().is_some()
}

/// Comma-separated tokens over all values of one header.
pub(crate) fn tokens<'a>(headers: &'a HeaderMap, name: &HeaderName) -> impl Iterator<Item = &'a str> {
    let values = headers.get_all(name).into_iter().filter_map(|value| value.to_str().ok());
    values
        .flat_map(|value| value.split(','))
        .map(|token| token.trim_matches([' ', '\t']))
        .filter(|token| !token.is_empty())
}

fn remove_hop_by_hop(headers: &mut HeaderMap) {
    // One pass finds the few that there are: a look-up of each would cost several times as much.
    let mut present = 0_u32;
    for key in headers.keys() {
        for (bit, name) in HOP_BY_HOP.iter().enumerate() {
            present |= u32::from(key == name) << bit;
        }
    }
    if present == 0 {
        return;
    }
    let nominated: Vec<HeaderName> = tokens(headers, &header::CONNECTION)
        // Removed below like the others, and what nearly every HTTP/1 peer nominates.
        .filter(|token| !token.eq_ignore_ascii_case("keep-alive"))
        .filter_map(|token| HeaderName::try_from(token).ok())
        // Not a sender's to nominate: the message would lose its framing or its address (RFC 9110 §7.6.1).
        .filter(|name| *name != header::HOST && *name != header::CONTENT_LENGTH)
        .take(MAX_NOMINATED)
        .collect();
    for name in nominated {
        headers.remove(name);
    }
    for (_, name) in HOP_BY_HOP.iter().enumerate().filter(|(bit, _)| present >> bit & 1 == 1) {
        headers.remove(name);
    }
}

fn remove_matching(headers: &mut HeaderMap, matches: impl Fn(&str) -> bool) {
    let names: Vec<HeaderName> = headers.keys().filter(|name| matches(name.as_str())).cloned().collect();
    for name in names {
        headers.remove(name);
    }
}

/// HTTP/2 may split cookies into crumbs; HTTP/1.1 wants one field again (RFC 9113 §8.2.3).
fn join_cookies(headers: &mut HeaderMap) {
    let crumbs: Vec<&[u8]> = headers.get_all(header::COOKIE).iter().map(HeaderValue::as_bytes).collect();
    if let Ok(joined) = HeaderValue::from_bytes(&crumbs.join(&b"; "[..])) {
        headers.insert(header::COOKIE, joined);
    }
}

#[cfg(test)]
mod tests;
