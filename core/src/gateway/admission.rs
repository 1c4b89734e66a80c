//! From a known route to its service: who sends the request, whether they may, and how much of it.

use http::header::{HeaderName, HeaderValue};
use http::request;

use super::charging::Charging;
use super::quota::Asked;
use super::{Charges, Gateway, Plan};
use crate::Now;
use crate::config::{Access, HashKey, LoadBalancer};
use crate::event::Drawn;
use crate::exchange::{Exchange, Step};
use crate::headers::{self, Forwarding, Survey};
use crate::identity::{Caller, Identified};
use crate::peer::Peer;
use crate::refusal::Refusal;
use crate::route::Match;
use crate::upstream;
use crate::url::Target;

pub(super) const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
const TRACESTATE: HeaderName = HeaderName::from_static("tracestate");

/// Bytes of a trusted proxy's `X-Request-Id` that is passed on; a longer one is replaced.
const MAX_REQUEST_ID_BYTES: usize = 128;

/// A request whose route is known.
#[derive(Debug)]
pub(crate) struct Admission {
    pub(super) head: request::Parts,
    pub(super) exchange: Exchange,
    pub(super) target: Target,
    pub(super) found: Match,
    /// The peer is a trusted proxy: what it says about the client is believed.
    pub(super) trusted: bool,
    pub(super) drawn: Drawn,
}

impl Admission {
    pub(super) fn begin(self, gateway: &Gateway, peer: &Peer, now: Now) -> Step {
        if !gateway.identity.is_configured() {
            return self.admit(gateway, None, peer, now);
        }
        let identified = gateway.identity.identify(&self.head.headers, now);
        self.identified(gateway, identified, peer, now)
    }

    /// Goes on with what is known of the caller now.
    pub(crate) fn identified(self, gateway: &Gateway, identified: Identified, peer: &Peer, now: Now) -> Step {
        match identified {
            Identified::Anonymous => self.admit(gateway, None, peer, now),
            Identified::Known(caller) => self.admit(gateway, Some(caller), peer, now),
            // What needs no credential is not refused for a bad one: it may be meant for the service behind.
            Identified::Refused(_) if self.exchange.access().public => self.admit(gateway, None, peer, now),
            Identified::Refused(why) => self.exchange.refuse(&Refusal::Unauthorized(why)),
            Identified::Unsigned(unsigned) => Step::verify(self, unsigned, peer),
            Identified::Keyless(keyless) => Step::keys(self, keyless, peer),
        }
    }

    pub(crate) fn exchange(&self) -> &Exchange {
        &self.exchange
    }

    fn admit(mut self, gateway: &Gateway, caller: Option<Caller>, peer: &Peer, now: Now) -> Step {
        self.exchange.state().subject.caller = caller;
        match self.charge(gateway, now) {
            Ok(Charging::Decided(charges)) => self.charged(gateway, charges, peer, now),
            Ok(Charging::Waiting(waiting)) => Step::charge(self, waiting, peer),
            Err(refusal) => self.exchange.refuse(&refusal),
        }
    }

    /// Goes on once it is known what the limits say.
    pub(crate) fn charged(mut self, gateway: &Gateway, charges: Charges, peer: &Peer, now: Now) -> Step {
        self.exchange.state().verdict.charges = charges;
        let refused = charges.refused().map_or(Ok(()), |refused| Err(Refusal::from(refused)));
        match refused.and_then(|()| self.plan(gateway, now)) {
            Ok(()) => self.prepare(gateway, peer),
            Err(refusal) => return self.exchange.refuse(&refusal),
        }
        match self.exchange.state().run_request_hooks(&mut self.head) {
            Ok(()) => self.exchange.forward(self.head, self.drawn.random, now),
            Err(refusal) => self.exchange.refuse(&refusal),
        }
    }

    /// Debits the limits of a caller who may do what the request asks for: who may not consumes nothing of them.
    fn charge(&mut self, gateway: &Gateway, now: Now) -> Result<Charging, Refusal> {
        let rule = gateway.router.rule(self.found.rule);
        let state = self.exchange.state();
        let caller = state.subject.caller.as_ref();
        authorise(state.access(), gateway.identity.is_configured(), caller)?;
        let variable = |name: &str| rule.variable(name, &self.found, self.target.path());
        let asked =
            Asked { caller, client: state.subject.client, headers: &self.head.headers, variable: &variable };
        Ok(gateway.quotas.charge(&asked, Some(rule.service), now))
    }

    fn plan(&mut self, gateway: &Gateway, now: Now) -> Result<(), Refusal> {
        let rule = gateway.router.rule(self.found.rule);
        let service = &gateway.services[rule.service];
        let route = rule.route.map(|route| &service.rules.routes[route]);
        let timeout = route.and_then(|route| route.timeout).unwrap_or(service.rules.timeouts.response);
        let key = self.hash_key(&service.rules.load_balancer);
        let state = self.exchange.state();
        let course = &mut state.course;
        course.deadline_us = now.mono_us.saturating_add(timeout.as_micros() as u64);
        course.retries_left = route.and_then(|route| route.retries).unwrap_or(service.rules.retries.attempts);
        course.key = key;
        state.plan =
            Plan::new(&self.target, &self.found, rule, route, &self.head, state.subject.caller.as_ref())
                .map_err(Refusal::BadTarget)?;
        Ok(())
    }

    fn hash_key(&self, kind: &LoadBalancer) -> u64 {
        let LoadBalancer::ConsistentHash(key) = kind else {
            return 0;
        };
        match key {
            HashKey::Path => upstream::hash(self.target.path().as_bytes()),
            HashKey::Header(name) => {
                self.head.headers.get(name).map_or(0, |value| upstream::hash(value.as_bytes()))
            }
            HashKey::ClientAddress => upstream::hash(self.exchange.client().to_string().as_bytes()),
        }
    }

    /// Makes the head what the upstream may see, but for what depends on the endpoint.
    fn prepare(&mut self, gateway: &Gateway, peer: &Peer) {
        let reserved = gateway.reserved_headers();
        let state = self.exchange.state();
        let headers = &mut self.head.headers;
        let survey = Survey::of(headers, reserved);
        headers::clean_request(headers, survey, self.trusted, reserved);
        Forwarding { peer, trusted: self.trusted, host: state.plan.host() }.apply(headers);
        headers::append_via(headers, self.head.version);
        let request_id = &super::own::REQUEST_ID;
        let keeps_id = self.trusted
            && headers.get(request_id).is_some_and(|id| !id.is_empty() && id.len() <= MAX_REQUEST_ID_BYTES);
        if !keeps_id {
            let id = super::own::ascii(&state.subject.id.text());
            state.plan.request_id = Some(id.clone());
            headers.insert(request_id, id);
        }
        if let Some(traceparent) = &self.drawn.traceparent {
            headers.insert(TRACEPARENT, super::own::ascii(traceparent));
            headers.remove(TRACESTATE);
        }
        for (name, value) in state.subject.caller.iter().flat_map(Caller::forwarded) {
            headers.insert(name, value.clone());
        }
        state.plan.prepare(headers, state.route());
    }
}

/// Whether the caller may have what the route asks for. Without any way to prove an identity what asks for a role or a
/// scope is refused to all, and the rest is open.
fn authorise(access: &Access, can_identify: bool, caller: Option<&Caller>) -> Result<(), Refusal> {
    if access.public {
        return Ok(());
    }
    let asks = !(access.roles.is_empty() && access.scopes.is_empty());
    let Some(caller) = caller else {
        return match (can_identify, asks) {
            (true, _) => Err(Refusal::Unidentified),
            (false, true) => Err(Refusal::Forbidden { scope: None }),
            (false, false) => Ok(()),
        };
    };
    if !access.roles.is_empty() && !caller.has_any_role(&access.roles) {
        return Err(Refusal::Forbidden { scope: None });
    }
    if !caller.has_scopes(&access.scopes) {
        return Err(Refusal::Forbidden { scope: HeaderValue::try_from(access.scopes.join(" ")).ok() });
    }
    Ok(())
}
