//! What is forwarded to whichever endpoint is chosen.

use http::header::{self, HeaderMap, HeaderValue};
use http::uri::{PathAndQuery, Uri};
use http::{Version, request, response};

use crate::config::{HeaderEdits, HostHeader, Route, UpstreamProtocol};
use crate::headers;
use crate::route::{Match, Rule};
use crate::upstream::Service;
use crate::url::{Target, UrlError};

mod rewrite;

const UPGRADE: HeaderValue = HeaderValue::from_static("upgrade");
const TRAILERS: HeaderValue = HeaderValue::from_static("trailers");

/// The forwarded target and what survives of the connection's own headers.
#[derive(Debug, Default)]
pub(crate) struct Plan {
    /// Without the endpoint's base path.
    target: Option<PathAndQuery>,
    /// `Host` as the client sent it.
    host: Option<HeaderValue>,
    /// The client asks to switch to WebSocket, the one protocol that is let through.
    websocket: Option<HeaderValue>,
    trailers: bool,
}

impl Plan {
    pub(crate) fn new(
        target: &Target,
        found: &Match,
        rule: &Rule,
        route: Option<&Route>,
        head: &request::Parts,
    ) -> Result<Plan, UrlError> {
        let websocket = match head.version {
            Version::HTTP_11 => {
                headers::upgrade(&head.headers).filter(|to| to.as_bytes().eq_ignore_ascii_case(b"websocket"))
            }
            _ => None,
        };
        Ok(Plan {
            target: Some(rewrite::target(target, found, rule, route.map(|route| &route.rewrite))?),
            host: client_host(head),
            websocket,
            trailers: head.headers.contains_key(header::TE) && headers::takes_trailers(&head.headers),
        })
    }

    pub(crate) fn host(&self) -> Option<&HeaderValue> {
        self.host.as_ref()
    }

    pub(crate) fn is_upgrade(&self) -> bool {
        self.websocket.is_some()
    }

    /// What the plan and the route set on the request, whichever endpoint it goes to.
    pub(crate) fn prepare(&self, headers: &mut HeaderMap, route: Option<&Route>) {
        if let Some(websocket) = &self.websocket {
            headers.insert(header::CONNECTION, UPGRADE);
            headers.insert(header::UPGRADE, websocket.clone());
        }
        if self.trailers {
            headers.insert(header::TE, TRAILERS);
        }
        if let Some(route) = route {
            edit(headers, &route.rewrite.request_headers);
        }
    }

    /// Addresses the head to one endpoint of the service.
    pub(crate) fn address(&self, head: &mut request::Parts, service: &Service, index: usize) {
        let endpoint = &service.endpoints[index];
        let target = self.target.clone().unwrap_or_else(|| PathAndQuery::from_static("/"));
        let target = rewrite::under(&service.rules.endpoints[index].base_path, target);
        let host = match &service.rules.host_header {
            HostHeader::Upstream => Some(endpoint.authority()),
            HostHeader::Preserve => self.host.as_ref(),
            HostHeader::Value(value) => Some(value),
        };
        let host = host.unwrap_or(endpoint.authority());
        head.uri = match endpoint.protocol() {
            UpstreamProtocol::Http1 => Uri::from(target),
            UpstreamProtocol::Http2 => absolute(endpoint.scheme(), host, target),
        };
        (head.version, _) = match endpoint.protocol() {
            UpstreamProtocol::Http1 => (Version::HTTP_11, head.headers.insert(header::HOST, host.clone())),
            UpstreamProtocol::Http2 => (Version::HTTP_2, head.headers.remove(header::HOST)),
        };
    }

    pub(crate) fn finish_response(&self, head: &mut response::Parts, route: Option<&Route>) {
        headers::clean_response(&mut head.headers);
        headers::append_via(&mut head.headers, head.version);
        if let (Some(websocket), http::StatusCode::SWITCHING_PROTOCOLS) = (&self.websocket, head.status) {
            head.headers.insert(header::CONNECTION, UPGRADE);
            head.headers.insert(header::UPGRADE, websocket.clone());
        }
        if let Some(route) = route {
            edit(&mut head.headers, &route.rewrite.response_headers);
        }
    }
}

/// `Host`, or what stands for it in HTTP/2 (RFC 9113 §8.3.1).
fn client_host(head: &request::Parts) -> Option<HeaderValue> {
    let authority = || HeaderValue::try_from(head.uri.authority()?.as_str()).ok();
    head.headers.get(header::HOST).cloned().or_else(authority)
}

fn absolute(scheme: http::uri::Scheme, host: &HeaderValue, target: PathAndQuery) -> Uri {
    let mut parts = http::uri::Parts::default();
    parts.authority = http::uri::Authority::try_from(host.as_bytes()).ok();
    parts.scheme = parts.authority.is_some().then_some(scheme);
    parts.path_and_query = Some(target);
    Uri::from_parts(parts).unwrap_or_default()
}

fn edit(headers: &mut HeaderMap, edits: &HeaderEdits) {
    for name in &edits.remove {
        headers.remove(name);
    }
    for (name, value) in &edits.set {
        headers.insert(name, value.clone());
    }
    for (name, value) in &edits.add {
        headers.append(name, value.clone());
    }
}
