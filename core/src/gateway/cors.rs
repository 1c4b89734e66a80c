//! Cross-origin requests of browsers, as the Fetch standard's CORS protocol has it (<https://fetch.spec.whatwg.org>).
//!
//! Where a policy applies the gateway alone speaks the protocol: it answers preflights, which carry no credential and
//! must be answered before anybody is identified, and what a service says in these fields is replaced.

use bytes::Bytes;
use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::{Method, StatusCode, request};

use crate::config::{Cors, CorsOverride};
use crate::exchange::{Exchange, ReplyBody, State, Step};
use crate::refusal::Refusal;

const ANY: HeaderValue = HeaderValue::from_static("*");
const TRUE: HeaderValue = HeaderValue::from_static("true");
/// What a cached answer to a preflight depends on.
const PREFLIGHT_VARIES: HeaderValue =
    HeaderValue::from_static("Origin, Access-Control-Request-Method, Access-Control-Request-Headers");

/// Fields of a response that only the gateway sets where a policy applies.
const ANSWERS: [HeaderName; 6] = [
    header::ACCESS_CONTROL_ALLOW_ORIGIN,
    header::ACCESS_CONTROL_ALLOW_CREDENTIALS,
    header::ACCESS_CONTROL_ALLOW_HEADERS,
    header::ACCESS_CONTROL_ALLOW_METHODS,
    header::ACCESS_CONTROL_EXPOSE_HEADERS,
    header::ACCESS_CONTROL_MAX_AGE,
];

/// The one `Origin` of a request.
pub(super) fn origin(headers: &HeaderMap) -> Option<HeaderValue> {
    let mut origins = headers.get_all(header::ORIGIN).into_iter();
    origins.next().filter(|_| origins.next().is_none()).cloned()
}

/// The method that a preflight asks about; `None` is no preflight.
pub(super) fn asked_method(head: &request::Parts) -> Option<Method> {
    if head.method != Method::OPTIONS || !head.headers.contains_key(header::ORIGIN) {
        return None;
    }
    Method::from_bytes(head.headers.get(header::ACCESS_CONTROL_REQUEST_METHOD)?.as_bytes()).ok()
}

impl State {
    /// The policy that applies: the route's, or the gateway's.
    pub(super) fn cors(&self) -> Option<&Cors> {
        match self.route().map(|route| &route.cors) {
            None | Some(CorsOverride::Inherit) => self.gateway.config().security.cors.as_ref(),
            Some(CorsOverride::Off) => None,
            Some(CorsOverride::Replace(cors)) => Some(cors),
        }
    }

    /// Makes a response readable, or not, for the page that asked.
    pub(super) fn share(&self, headers: &mut HeaderMap) {
        let Some(cors) = self.cors() else { return };
        for name in ANSWERS {
            headers.remove(name);
        }
        if !answers_any(cors) {
            headers.append(header::VARY, HeaderValue::from_static("Origin"));
        }
        let Some(origin) = self.origin.as_ref().filter(|origin| allows(cors, origin)) else { return };
        grant(cors, origin, headers);
        insert_list(
            headers,
            header::ACCESS_CONTROL_EXPOSE_HEADERS,
            cors.exposed_headers.iter().map(HeaderName::as_str),
        );
    }
}

impl Exchange {
    /// Answers a preflight of the policy that applies. The browser compares what it is told with what it asked.
    pub(super) fn preflight(mut self) -> Step {
        let state = self.state();
        let granted = state.cors().zip(state.origin.as_ref()).filter(|(cors, origin)| allows(cors, origin));
        let Some((cors, _)) = granted else { return self.refuse(&Refusal::ForeignOrigin) };
        let (mut head, ()) = http::Response::new(()).into_parts();
        head.status = StatusCode::NO_CONTENT;
        let lists = preflight_lists(cors);
        let verdict = &mut state.verdict;
        (verdict.status, verdict.reason) = (head.status.as_u16(), "preflight");
        state.finish_head(&mut head);
        head.headers.remove(header::ACCESS_CONTROL_EXPOSE_HEADERS);
        head.headers.extend(lists);
        head.headers.insert(header::VARY, PREFLIGHT_VARIES);
        self.respond(head, ReplyBody::Core(Bytes::new()))
    }
}

fn preflight_lists(cors: &Cors) -> HeaderMap {
    let mut headers = HeaderMap::with_capacity(3);
    insert_list(
        &mut headers,
        header::ACCESS_CONTROL_ALLOW_METHODS,
        cors.allowed_methods.iter().map(Method::as_str),
    );
    insert_list(
        &mut headers,
        header::ACCESS_CONTROL_ALLOW_HEADERS,
        cors.allowed_headers.iter().map(HeaderName::as_str),
    );
    headers.insert(header::ACCESS_CONTROL_MAX_AGE, HeaderValue::from(cors.max_age.as_secs()));
    headers
}

fn grant(cors: &Cors, origin: &HeaderValue, headers: &mut HeaderMap) {
    let allowed = if answers_any(cors) { ANY } else { origin.clone() };
    headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, allowed);
    if cors.allow_credentials {
        headers.insert(header::ACCESS_CONTROL_ALLOW_CREDENTIALS, TRUE);
    }
}

/// Every origin gets the same answer, so that caches need not tell them apart.
fn answers_any(cors: &Cors) -> bool {
    cors.allowed_origins.iter().any(|allowed| allowed == "*")
}

fn allows(cors: &Cors, origin: &HeaderValue) -> bool {
    cors.allowed_origins.iter().any(|allowed| allowed == "*" || allowed.as_bytes() == origin.as_bytes())
}

fn insert_list<'a>(headers: &mut HeaderMap, name: HeaderName, items: impl Iterator<Item = &'a str>) {
    let list = items.collect::<Vec<_>>().join(", ");
    if !list.is_empty()
        && let Ok(list) = HeaderValue::try_from(list)
    {
        headers.insert(name, list);
    }
}
