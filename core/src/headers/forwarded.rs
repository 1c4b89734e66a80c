//! Who the client is, and how the upstream is told.

use std::net::IpAddr;

use bytes::{BufMut, BytesMut};
use http::header::{self, HeaderMap, HeaderName, HeaderValue};

use crate::config::Cidr;
use crate::peer::{Peer, parse_forwarded};

/// Hops of an `X-Forwarded-For` that are looked at, from the right; what lies beyond is not believed.
const MAX_FORWARDED_HOPS: usize = 32;

const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");

/// Names, lower case, that say who the client is or what it asked for. From an untrusted peer all are deleted.
pub(super) fn is_forwarding(name: &str) -> bool {
    match name.as_bytes().first() {
        Some(b'x') => {
            const EXACT: [&str; 9] = [
                "x-real-ip",
                "x-client-ip",
                "x-cluster-client-ip",
                "x-original-url",
                "x-original-host",
                "x-original-forwarded-for",
                "x-rewrite-url",
                "x-remote-user",
                "x-host",
            ];
            const PREFIXES: [&str; 5] =
                ["x-forwarded", "x-auth-request-", "x-authenticated-", "x-envoy-", "x-tollgate-"];
            EXACT.contains(&name) || PREFIXES.iter().any(|prefix| name.starts_with(prefix))
        }
        Some(b'f') => matches!(name, "forwarded" | "forwarded-for" | "fastly-client-ip"),
        Some(b't') => name == "true-client-ip",
        Some(b'c') => matches!(name, "cf-connecting-ip" | "cf-connecting-ipv6" | "client-ip"),
        Some(b'r') => name == "remote-user",
        _ => false,
    }
}

/// The rightmost hop that is not a trusted proxy. A hop that cannot be read ends the search: what stands left of it
/// was written by somebody who is not understood.
pub(crate) fn client_address(peer: &Peer, headers: &HeaderMap, trusted: &[Cidr]) -> IpAddr {
    let is_trusted = |address: IpAddr| trusted.iter().any(|range| range.contains(address));
    let mut client = peer.address();
    if !is_trusted(client) {
        return client;
    }
    let values: Vec<&str> =
        headers.get_all(FORWARDED_FOR).iter().map(|value| value.to_str().unwrap_or("?")).collect();
    let hops = values.iter().rev().flat_map(|value| value.rsplit(','));
    for hop in hops.take(MAX_FORWARDED_HOPS) {
        let Some(address) = parse_forwarded(hop) else {
            break;
        };
        client = address;
        if !is_trusted(address) {
            break;
        }
    }
    client
}

/// The scheme a trusted proxy says its client used.
pub(crate) fn forwarded_proto(headers: &HeaderMap) -> Option<&str> {
    headers.get(FORWARDED_PROTO)?.to_str().ok()
}

/// What is said about the client to the upstream.
pub(crate) struct Forwarding<'a> {
    pub(crate) peer: &'a Peer,
    /// The peer is one of the trusted proxies, so that what it said stays.
    pub(crate) trusted: bool,
    /// The `Host` the client asked for.
    pub(crate) host: Option<&'a HeaderValue>,
}

impl Forwarding<'_> {
    pub(crate) fn apply(&self, headers: &mut HeaderMap) {
        let forwarded_for = match self.trusted {
            true => appended(headers, self.peer.text()),
            false => self.peer.text().clone(),
        };
        headers.insert(FORWARDED_FOR, forwarded_for);
        if !(self.trusted && headers.contains_key(FORWARDED_PROTO)) {
            headers.insert(FORWARDED_PROTO, HeaderValue::from_static(self.peer.scheme().as_str()));
        }
        if !(self.trusted && headers.contains_key(FORWARDED_HOST))
            && let Some(host) = self.host
        {
            headers.insert(FORWARDED_HOST, host.clone());
        }
    }
}

/// `X-Forwarded-For` with one hop more.
fn appended(headers: &HeaderMap, hop: &HeaderValue) -> HeaderValue {
    let mut list = BytesMut::new();
    for value in headers.get_all(FORWARDED_FOR) {
        list.put_slice(value.as_bytes());
        list.put_slice(b", ");
    }
    list.put_slice(hop.as_bytes());
    HeaderValue::from_maybe_shared(list.freeze()).unwrap_or_else(|_| hop.clone())
}

/// Appends this hop to `Via` (RFC 9110 §7.6.3); `version` is that of the message received.
pub(crate) fn append_via(headers: &mut HeaderMap, version: http::Version) {
    let hop = match version {
        http::Version::HTTP_10 => "1.0 tollgate",
        http::Version::HTTP_2 => "2 tollgate",
        _ => "1.1 tollgate",
    };
    headers.append(header::VIA, HeaderValue::from_static(hop));
}
