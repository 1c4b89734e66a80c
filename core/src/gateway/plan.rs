//! What is forwarded to whichever endpoint is chosen.

use std::iter;

use http::header::{self, HeaderMap, HeaderValue};
use http::uri::{PathAndQuery, Uri};
use http::{StatusCode, Version, request, response};

use crate::config::{HeaderEdits, HostHeader, Route, Transform, UpstreamProtocol};
use crate::headers;
use crate::identity::Caller;
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
    /// The exchange's own identifier, as the service was told it.
    pub(super) request_id: Option<HeaderValue>,
    /// Bit by bit, which of the route's transformations hold as far as the request can tell.
    transforms: u32,
}

impl Plan {
    pub(crate) fn new(
        target: &Target,
        found: &Match,
        rule: &Rule,
        route: Option<&Route>,
        head: &request::Parts,
        caller: Option<&Caller>,
    ) -> Result<Plan, UrlError> {
        let websocket = match head.version {
            Version::HTTP_11 => {
                headers::upgrade(&head.headers).filter(|to| to.as_bytes().eq_ignore_ascii_case(b"websocket"))
            }
            _ => None,
        };
        let transforms = route.map_or(0, |route| holding(&route.transforms, head, caller));
        let rewrites = route.into_iter().flat_map(|route| {
            let transforms = chosen(route, transforms).filter(|transform| transform.statuses.is_empty());
            iter::once(&route.rewrite).chain(transforms.map(|transform| &transform.rewrite))
        });
        Ok(Plan {
            target: Some(rewrite::target(target, found, rule, rewrites)?),
            transforms,
            host: client_host(head),
            request_id: None,
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
            for transform in chosen(route, self.transforms) {
                edit(headers, &transform.rewrite.request_headers);
            }
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
            for transform in chosen(route, self.transforms).filter(|transform| transform.covers(head.status))
            {
                edit(&mut head.headers, &transform.rewrite.response_headers);
            }
        }
    }
}

/// The transformations whose conditions on caller and request hold, by bit.
fn holding(transforms: &[Transform], head: &request::Parts, caller: Option<&Caller>) -> u32 {
    let holds = |transform: &Transform| {
        let has = |(name, value): &(String, Option<String>)| {
            caller.is_some_and(|caller| caller.has_claim(name, value.as_deref()))
        };
        let claims = transform.claims.iter().all(has);
        claims && transform.headers.iter().all(|wanted| wanted.is_in(&head.headers))
    };
    transforms
        .iter()
        .enumerate()
        .fold(0, |bits, (index, transform)| bits | u32::from(holds(transform)) << index)
}

fn chosen(route: &Route, bits: u32) -> impl Iterator<Item = &Transform> + Clone {
    let chosen = move |(index, _): &(usize, &Transform)| bits >> index & 1 == 1;
    route.transforms.iter().enumerate().filter(chosen).map(|(_, transform)| transform)
}

impl Transform {
    fn covers(&self, status: StatusCode) -> bool {
        let status = status.as_u16();
        self.statuses.is_empty()
            || self.statuses.iter().any(|(first, last)| (*first..=*last).contains(&status))
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
