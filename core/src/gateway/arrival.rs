//! The way of a request from its head to its route: what is decided whoever sends it.

use std::net::IpAddr;
use std::sync::Arc;

use http::header::{self, HeaderMap, HeaderValue};
use http::{Method, StatusCode, request};

use super::admission::{Admission, TRACEPARENT};
use super::{Gateway, Plan, cors};
use crate::Now;
use crate::config::{Cidr, ServerLimits};
use crate::event::{self, RequestText, Subject, Verdict};
use crate::exchange::{Course, Exchange, LocalEndpoint, RequestBody, State, Step};
use crate::headers;
use crate::peer::{Peer, Scheme};
use crate::refusal::Refusal;
use crate::route::{Match, Miss};
use crate::url::{Target, UrlError};

/// A request as it came.
struct Arrival<'a> {
    gateway: &'a Gateway,
    peer: &'a Peer,
    /// The peer is a trusted proxy: what it says about the client is believed.
    trusted: bool,
    body: RequestBody,
}

/// Where a request goes, before it is known whether it may.
struct Located {
    target: Target,
    found: Match,
}

/// Why a request does not go to a service.
enum Stop {
    Refused(Refusal),
    /// One of the gateway's own documents answers.
    Own(StatusCode, &'static str),
    /// The adapter serves it.
    Local(LocalEndpoint),
    /// A browser asks whether it may ask.
    Preflight,
}

pub(super) fn begin(
    gateway: &Arc<Gateway>,
    head: request::Parts,
    body: RequestBody,
    peer: &Peer,
    now: Now,
) -> Step {
    let proxies = &gateway.config.server.trusted_proxies;
    let trusted = proxies.iter().any(|range| range.contains(peer.address()));
    let arrival = Arrival { gateway, peer, trusted, body };
    let keeps_trace =
        head.headers.get(&TRACEPARENT).is_some_and(|value| event::is_traceparent(value.as_bytes()));
    let drawn = gateway.outbox.draw(peer.lane(), !keeps_trace, now);
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
            caller: None,
        },
        verdict: Verdict::default(),
        body,
        grpc: is_grpc(&head.headers),
        origin: gateway.crosses_origins.then(|| cors::origin(&head.headers)).flatten(),
        plan: Plan::default(),
        course: Course::default(),
    });
    match arrival.locate(exchange.state(), &head, target, now) {
        Ok(Located { target, found }) => {
            Admission { head, exchange, target, found, trusted, drawn }.begin(gateway, peer, now)
        }
        Err(Stop::Refused(refusal)) => exchange.refuse(&refusal),
        Err(Stop::Own(status, body)) => exchange.answer(status, body),
        Err(Stop::Local(endpoint)) => exchange.serve_locally(head, endpoint, now),
        Err(Stop::Preflight) => exchange.preflight(),
    }
}

impl Arrival<'_> {
    /// Finds the service and the route that serve the request.
    fn locate(
        &self,
        exchange: &mut State,
        head: &request::Parts,
        target: Result<Target, UrlError>,
        now: Now,
    ) -> Result<Located, Stop> {
        // Counted before anything else is done, and told apart only then: a probe for liveness is answered even where a
        // client behind the same address has been banned.
        let counted =
            self.gateway.flood.as_ref().map_or(Ok(()), |flood| flood.arrive(exchange.subject.client, now));
        let target = target.map_err(Refusal::BadTarget);
        if let Ok(target) = &target {
            self.own_document(&head.method, target.path())?;
        }
        counted.map_err(Refusal::Banned)?;
        let target = target?;
        self.check_size(head)?;
        self.check_address(exchange.subject.client)?;
        self.check_host(&target)?;
        self.check_scheme(head, &target)?;
        if matches!(head.method, Method::CONNECT | Method::TRACE) {
            return Err(Refusal::NotImplemented.into());
        }
        let asked = cors::asked_method(head);
        self.local_endpoint(&head.method, asked.as_ref(), target.path())?;
        let found = self.find(&target, head, asked.as_ref())?;
        let rule = self.gateway.router.rule(found.rule);
        exchange.verdict.service = Some(rule.service as u32);
        exchange.verdict.route = rule.route.map(|route| route as u32);
        if asked.is_some() && exchange.cors().is_some() {
            return Err(Stop::Preflight);
        }
        Ok(Located { target, found })
    }

    /// The rule for the request; that of the request it asks about for a preflight that the gateway answers.
    fn find(&self, target: &Target, head: &request::Parts, asked: Option<&Method>) -> Result<Match, Refusal> {
        let find = |method| self.gateway.router.find(target.host(), target.path(), method, &head.headers);
        if let Some(asked) = asked.filter(|_| self.gateway.crosses_origins)
            && let Ok(found) = find(asked)
        {
            return Ok(found);
        }
        find(&head.method).map_err(not_found)
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

    fn own_document(&self, method: &Method, path: &str) -> Result<(), Stop> {
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

    /// What the adapter answers itself, because it takes more than a decision.
    fn local_endpoint(&self, method: &Method, asked: Option<&Method>, path: &str) -> Result<(), Stop> {
        let endpoint = match path {
            _ if self.gateway.config.auth.login.is_none() => return Ok(()),
            "/auth/login" => LocalEndpoint::Login,
            "/auth/refresh" => LocalEndpoint::Refresh,
            _ => return Ok(()),
        };
        match *method {
            Method::POST => Err(Stop::Local(endpoint)),
            Method::OPTIONS if asked.is_some() && self.gateway.config.security.cors.is_some() => {
                Err(Stop::Preflight)
            }
            _ => Err(Refusal::MethodNotAllowed { allow: HeaderValue::from_static("POST") }.into()),
        }
    }

    /// A range to deny goes before one to allow; ranges to allow leave out everybody else.
    fn check_address(&self, client: IpAddr) -> Result<(), Refusal> {
        let security = &self.gateway.config.security;
        let within = |ranges: &[Cidr]| ranges.iter().any(|range| range.contains(client));
        let allowed = security.ip_allow.is_empty() || within(&security.ip_allow);
        if within(&security.ip_deny) || !allowed { Err(Refusal::AddressDenied) } else { Ok(()) }
    }

    /// Names that a browser was made to resolve to this gateway are not served (DNS rebinding).
    fn check_host(&self, target: &Target) -> Result<(), Refusal> {
        if self.gateway.config.server.serves(target.host()) { Ok(()) } else { Err(Refusal::ForeignHost) }
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
