//! The way of a request from its head to its service, one rule after the other.

use std::net::IpAddr;
use std::sync::Arc;

use bytes::Bytes;
use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::{Method, StatusCode, request, response};

use super::{Gateway, Plan};
use crate::Now;
use crate::config::{Cidr, HashKey, LoadBalancer, ServerLimits};
use crate::event::{self, EventId, RequestText, Subject, Verdict};
use crate::exchange::{Course, Exchange, ReplyBody, RequestBody, State, Step};
use crate::headers::{self, Forwarding, Survey};
use crate::peer::{Peer, Scheme};
use crate::refusal::Refusal;
use crate::route::Miss;
use crate::upstream;
use crate::url::{Target, UrlError};

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
const TRACESTATE: HeaderName = HeaderName::from_static("tracestate");

/// Bytes of a trusted proxy's `X-Request-Id` that is passed on; a longer one is replaced.
const MAX_REQUEST_ID_BYTES: usize = 128;

/// A request as it came.
struct Arrival<'a> {
    gateway: &'a Gateway,
    peer: &'a Peer,
    /// The peer is a trusted proxy: what it says about the client is believed.
    trusted: bool,
    body: RequestBody,
    keeps_trace: bool,
}

/// Why a request does not go to a service.
enum Stop {
    Refused(Refusal),
    /// One of the gateway's own endpoints answers.
    Own(StatusCode, &'static str),
}

pub(super) fn begin(
    gateway: &Arc<Gateway>,
    mut head: request::Parts,
    body: RequestBody,
    peer: &Peer,
    now: Now,
) -> Step {
    let proxies = &gateway.config.server.trusted_proxies;
    let arrival = Arrival {
        gateway,
        peer,
        trusted: proxies.iter().any(|range| range.contains(peer.address())),
        body,
        keeps_trace: head
            .headers
            .get(&TRACEPARENT)
            .is_some_and(|value| event::is_traceparent(value.as_bytes())),
    };
    let drawn = gateway.outbox.draw(peer.lane(), !arrival.keeps_trace, now);
    let target = Target::new(&head);
    let mut exchange = Exchange::new(State {
        gateway: gateway.clone(),
        lane: peer.lane(),
        subject: Subject {
            id: drawn.id,
            started: now,
            method: head.method.clone(),
            client: headers::client_address(peer, &head.headers, proxies),
            text: RequestText::new(target.as_ref().map_or("", Target::path), &head.headers),
        },
        verdict: Verdict::default(),
        body,
        grpc: is_grpc(&head.headers),
        plan: Plan::default(),
        course: Course::default(),
    });
    match arrival.route(exchange.state(), &head, target, now) {
        Ok(()) => {
            arrival.prepare(&mut head, exchange.state(), drawn.id, drawn.traceparent);
            exchange.forward(head, drawn.random, now)
        }
        Err(Stop::Refused(refusal)) => exchange.refuse(&refusal),
        Err(Stop::Own(status, body)) => exchange.answer(status, body),
    }
}

impl Arrival<'_> {
    /// Finds the service and the route that serve the request, and plans what is forwarded.
    fn route(
        &self,
        exchange: &mut State,
        head: &request::Parts,
        target: Result<Target, UrlError>,
        now: Now,
    ) -> Result<(), Stop> {
        let target = target.map_err(Refusal::BadTarget)?;
        self.check_size(head)?;
        self.own_endpoint(&head.method, target.path())?;
        self.check_address(exchange.subject.client)?;
        self.check_scheme(head, &target)?;
        if matches!(head.method, Method::CONNECT | Method::TRACE) {
            return Err(Refusal::NotImplemented.into());
        }
        let found = self.gateway.router.find(target.host(), target.path(), &head.method, &head.headers);
        let found = found.map_err(not_found)?;
        let rule = self.gateway.router.rule(found.rule);
        exchange.verdict.service = Some(rule.service as u32);
        exchange.verdict.route = rule.route.map(|route| route as u32);
        let service = &self.gateway.services[rule.service];
        let route = rule.route.map(|route| &service.rules.routes[route]);
        if route.is_some_and(|route| !(route.roles.is_empty() && route.scopes.is_empty())) {
            return Err(Refusal::Forbidden.into());
        }
        let timeout = route.and_then(|route| route.timeout).unwrap_or(service.rules.timeouts.response);
        exchange.course.deadline_us = now.mono_us.saturating_add(timeout.as_micros() as u64);
        exchange.course.retries_left =
            route.and_then(|route| route.retries).unwrap_or(service.rules.retries.attempts);
        exchange.course.key = self.hash_key(&service.rules.load_balancer, exchange, head, &target);
        exchange.plan = Plan::new(&target, &found, rule, route, head).map_err(Refusal::BadTarget)?;
        Ok(())
    }

    fn check_size(&self, head: &request::Parts) -> Result<(), Refusal> {
        let ServerLimits { body_bytes, header_bytes, headers, target_bytes, connections: _ } =
            self.gateway.config.server.limits;
        let target = head.uri.path().len() + head.uri.query().map_or(0, |query| query.len() + 1);
        if target > target_bytes as usize {
            return Err(Refusal::TargetTooLong);
        }
        // Field lines as HTTP/1.1 writes them: `name: value\r\n`.
        let fields = head.headers.iter().map(|(name, value)| name.as_str().len() + value.len() + 4);
        if head.headers.len() > headers as usize || fields.sum::<usize>() > header_bytes as usize {
            return Err(Refusal::HeadersTooLarge);
        }
        match self.body {
            RequestBody::Sized(bytes) if bytes > body_bytes => Err(Refusal::BodyTooLarge),
            RequestBody::Streamed if headers::has_lost_coding(&head.headers) => Err(Refusal::TransferCoding),
            _ => Ok(()),
        }
    }

    fn own_endpoint(&self, method: &Method, path: &str) -> Result<(), Stop> {
        let answer = match path {
            "/health" => (StatusCode::OK, r#"{"status":"ok"}"#),
            "/ready" if self.gateway.is_draining() => {
                (StatusCode::SERVICE_UNAVAILABLE, r#"{"status":"draining"}"#)
            }
            "/ready" => (StatusCode::OK, r#"{"status":"ready"}"#),
            _ => return Ok(()),
        };
        match *method {
            Method::GET | Method::HEAD => Err(Stop::Own(answer.0, answer.1)),
            _ => Err(Refusal::MethodNotAllowed { allow: HeaderValue::from_static("GET, HEAD") }.into()),
        }
    }

    /// A range to deny goes before one to allow; ranges to allow leave out everybody else.
    fn check_address(&self, client: IpAddr) -> Result<(), Refusal> {
        let security = &self.gateway.config.security;
        let within = |ranges: &[Cidr]| ranges.iter().any(|range| range.contains(client));
        let allowed = security.ip_allow.is_empty() || within(&security.ip_allow);
        if within(&security.ip_deny) || !allowed { Err(Refusal::AddressDenied) } else { Ok(()) }
    }

    fn check_scheme(&self, head: &request::Parts, target: &Target) -> Result<(), Refusal> {
        let secure = self.peer.scheme() == Scheme::Https
            || self.trusted && headers::forwarded_proto(&head.headers) == Some("https");
        if secure || !self.gateway.config.security.https_redirect {
            return Ok(());
        }
        let location = format!("https://{}{}", target.host(), target.path_and_query());
        let location = HeaderValue::try_from(location).map_err(|_| Refusal::NotFound)?;
        Err(Refusal::HttpsRequired { location })
    }

    fn hash_key(&self, kind: &LoadBalancer, exchange: &State, head: &request::Parts, target: &Target) -> u64 {
        let LoadBalancer::ConsistentHash(key) = kind else {
            return 0;
        };
        match key {
            HashKey::Path => upstream::hash(target.path().as_bytes()),
            HashKey::Header(name) => {
                head.headers.get(name).map_or(0, |value| upstream::hash(value.as_bytes()))
            }
            HashKey::ClientAddress => upstream::hash(exchange.subject.client.to_string().as_bytes()),
        }
    }

    /// Makes the head what the upstream may see, but for what depends on the endpoint.
    fn prepare(
        &self,
        head: &mut request::Parts,
        exchange: &State,
        id: EventId,
        traceparent: Option<[u8; 55]>,
    ) {
        let reserved = self.gateway.reserved_headers();
        let headers = &mut head.headers;
        let survey = Survey::of(headers, reserved);
        headers::clean_request(headers, survey, self.trusted, reserved);
        let host = exchange.plan.host();
        Forwarding { peer: self.peer, trusted: self.trusted, host }.apply(headers);
        headers::append_via(headers, head.version);
        let keeps_id = self.trusted
            && headers.get(&REQUEST_ID).is_some_and(|id| !id.is_empty() && id.len() <= MAX_REQUEST_ID_BYTES);
        if !keeps_id {
            headers.insert(REQUEST_ID, request_id(id));
        }
        if let Some(traceparent) = traceparent {
            headers.insert(TRACEPARENT, ascii(&traceparent));
            headers.remove(TRACESTATE);
        }
        exchange.plan.prepare(headers, exchange.route());
    }
}

impl Exchange {
    /// Answers with one of the gateway's own documents.
    fn answer(mut self, status: StatusCode, body: &'static str) -> Step {
        let (mut head, ()) = http::Response::new(()).into_parts();
        head.status = status;
        head.headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        head.headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        let verdict = &mut self.state().verdict;
        (verdict.status, verdict.reason) = (status.as_u16(), "own_endpoint");
        finish_head(&mut head, self.state().subject.id);
        self.respond(head, ReplyBody::Core(Bytes::from_static(body.as_bytes())))
    }
}

/// What every answer carries, whoever made it.
pub(crate) fn finish_head(head: &mut response::Parts, id: EventId) {
    head.headers.insert(REQUEST_ID, request_id(id));
}

fn request_id(id: EventId) -> HeaderValue {
    ascii(&id.text())
}

fn ascii(text: &[u8]) -> HeaderValue {
    HeaderValue::from_bytes(text).expect("hexadecimal digits and hyphens are visible ASCII")
}

fn is_grpc(headers: &HeaderMap) -> bool {
    let kind = headers.get(header::CONTENT_TYPE).map_or(&[][..], |value| value.as_bytes());
    matches!(kind.strip_prefix(b"application/grpc"), Some([] | [b'+' | b';', ..]))
}

fn not_found(miss: Miss) -> Refusal {
    match miss.allow() {
        Some(allow) => Refusal::MethodNotAllowed { allow },
        None => Refusal::NotFound,
    }
}

impl From<Refusal> for Stop {
    fn from(refusal: Refusal) -> Stop {
        Stop::Refused(refusal)
    }
}
