//! What the gateway writes on every answer, and the answers that are all its own.

use bytes::Bytes;
use http::header::{self, HeaderName, HeaderValue};
use http::{StatusCode, request, response};

use crate::Now;
use crate::exchange::{Exchange, Local, LocalEndpoint, ReplyBody, State, Step};
use crate::identity::Caller;

use super::charging::Charging;
use super::quota::Asked;

pub(super) const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
/// Which rule decided, as a dictionary of RFC 9651.
const DECISION: HeaderName = HeaderName::from_static("tollgate-decision");

impl State {
    /// What every answer carries, whoever made it.
    pub(crate) fn finish_head(&self, head: &mut response::Parts) {
        let headers = &mut head.headers;
        let told = self.plan.request_id.clone();
        headers.insert(REQUEST_ID, told.unwrap_or_else(|| ascii(&self.subject.id.text())));
        self.gateway.quotas.report(&self.verdict.charges, headers);
        if self.gateway.crosses_origins {
            self.share(headers);
        }
        if self.gateway.config().monitoring.decision_header
            && let Ok(decision) = HeaderValue::try_from(self.decision())
        {
            headers.insert(DECISION, decision);
        }
    }

    fn decision(&self) -> String {
        let verdict = &self.verdict;
        let quotas = self.gateway.quotas();
        let mut decision = format!("reason={}", verdict.reason);
        let service = verdict.service.map(|_| self.service().name());
        let limit = verdict.charges.refused().map(|refused| quotas.name(refused.quota));
        let shadow = verdict.charges.shadowed().map(|quota| quotas.name(quota));
        let texts = [
            ("service", service),
            ("rule", self.route().map(|route| route.path.as_str())),
            ("tier", self.subject.caller.as_ref().and_then(Caller::tier)),
            ("limit", limit),
            ("shadow", shadow),
            ("policy", Some(self.gateway.policy())),
        ];
        for (key, text) in texts {
            if let Some(text) = text {
                let escaped = text.replace('\\', "\\\\").replace('"', "\\\"");
                decision.push_str(&format!(", {key}=\"{escaped}\""));
            }
        }
        decision
    }
}

impl Exchange {
    /// Answers with one of the gateway's own documents.
    pub(super) fn answer(mut self, status: StatusCode, body: &'static str) -> Step {
        let (mut head, ()) = http::Response::new(()).into_parts();
        head.status = status;
        head.headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        head.headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        let state = self.state();
        (state.verdict.status, state.verdict.reason) = (status.as_u16(), "own_endpoint");
        state.finish_head(&mut head);
        self.respond(head, ReplyBody::Core(Bytes::from_static(body.as_bytes())))
    }

    /// Hands the request to an endpoint of the adapter's, once its address may have another.
    pub(super) fn serve_locally(mut self, head: request::Parts, endpoint: LocalEndpoint, now: Now) -> Step {
        let state = self.state();
        let client = state.subject.client;
        let asked = Asked { caller: None, client, headers: &head.headers, variable: &|_| None };
        let charging = state.gateway.quotas.charge(&asked, None, now);
        let local = Local::new(head, self, endpoint);
        match charging {
            Charging::Decided(charges) => local.charged(charges),
            Charging::Waiting(waiting) => Step::charge_own(local, waiting),
        }
    }
}

pub(super) fn ascii(text: &[u8]) -> HeaderValue {
    HeaderValue::from_bytes(text).expect("hexadecimal digits and hyphens are visible ASCII")
}
