//! One request on its way: what core asks of an adapter, and how the answers come back.
//!
//! Every step that needs I/O is a value that is consumed when its answer is there, so that a wrong order or a second
//! answer does not compile. What was taken for a request (a place in flight, a breaker's permit) is given back when
//! its value is dropped, whatever the adapter forgot.

mod attempt;
mod waiting;

use std::net::IpAddr;
use std::ops::{Deref, DerefMut};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::HeaderValue;
use http::{request, response};

use crate::config::{Access, Route};
use crate::event::{End, Ending, Subject, Verdict};
use crate::gateway::Plan;
use crate::refusal::{Failure, Refusal};
use crate::upstream::{Endpoint, Service};
use crate::{Gateway, Now};

pub(crate) use attempt::Course;
pub use waiting::{Charge, Keys, Local, LocalEndpoint, Verify};

/// What the adapter does next.
#[derive(Debug)]
pub enum Step {
    /// Check a signature.
    Verify(Verify),
    /// Fetch a key set.
    Keys(Keys),
    /// Debit limits in the shared store.
    Charge(Charge),
    /// Serve one of the gateway's own endpoints.
    Local(Box<Local>),
    /// Call an upstream.
    Forward(Forward),
    /// Answer the client.
    Respond(Reply),
}

/// What is known of a request's body before it is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RequestBody {
    Empty,
    /// Its length in bytes, as declared.
    Sized(u64),
    /// Its length is not known.
    Streamed,
}

/// An upstream to call. Connect to `endpoint` within `timeouts`, then `send`; or say that it is `unreachable`.
#[derive(Debug)]
pub struct Forward {
    head: request::Parts,
    exchange: Exchange,
}

/// A request that was handed to an upstream and waits for its outcome.
#[derive(Debug)]
pub struct Sent {
    exchange: Exchange,
    /// The head once more, where a retry may need it.
    spare: Option<Box<request::Parts>>,
}

/// How long an attempt may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timeouts {
    pub connect: Duration,
    /// Until the response's head is there, counted from now: what other attempts left over.
    pub response: Duration,
    /// Between two reads or writes of a body.
    pub idle: Duration,
}

/// How far a failed request had come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// No byte of it reached the upstream, and its body was not read.
    NothingSent,
    /// It may have reached the upstream, and can be sent again as it was.
    Replayable,
    /// Some of its body is gone.
    Consumed,
}

#[derive(Debug)]
pub enum Outcome {
    /// The head of a final response, or of `101 Switching Protocols`.
    Response(response::Parts),
    Failed {
        failure: Failure,
        sent: Progress,
    },
}

/// The answer to the client, and what is left of the exchange.
#[derive(Debug)]
pub struct Reply {
    head: response::Parts,
    body: ReplyBody,
    exchange: Exchange,
}

#[derive(Debug, PartialEq, Eq)]
pub enum ReplyBody {
    /// The body of the upstream's response, as it comes; with `101` the upgraded connection.
    Upstream,
    /// A body that core made.
    Core(Bytes),
}

/// The rest of an exchange while its body streams: end it with `finish`. Dropped, it counts as aborted; either way
/// exactly one event is minted.
#[derive(Debug)]
pub struct Exchange(Live);

/// The state of an exchange that has not ended; dropping it ends the exchange.
#[derive(Debug)]
struct Live(Option<Box<State>>);

#[derive(Debug)]
pub(crate) struct State {
    pub(crate) gateway: Arc<Gateway>,
    pub(crate) lane: usize,
    pub(crate) subject: Subject,
    pub(crate) verdict: Verdict,
    pub(crate) body: RequestBody,
    pub(crate) grpc: bool,
    /// `Origin` of the request, where there is a policy about it.
    pub(crate) origin: Option<HeaderValue>,
    pub(crate) plan: Plan,
    pub(crate) course: Course,
}

impl Forward {
    pub fn endpoint(&self) -> &Arc<Endpoint> {
        &self.exchange.0.service().endpoints[self.exchange.0.endpoint()]
    }

    /// How long to wait before connecting: not zero only where a retry has no other endpoint to go to.
    pub fn backoff(&self) -> Duration {
        self.exchange.0.backoff()
    }

    pub fn timeouts(&self, now: Now) -> Timeouts {
        let state = &self.exchange.0;
        let rules = &state.service().rules.timeouts;
        let response = Duration::from_micros(state.course.deadline_us.saturating_sub(now.mono_us));
        Timeouts { connect: rules.connect.min(response), response, idle: rules.idle }
    }

    /// Bytes of the request's body the adapter passes on before it ends the attempt with `Failure::BodyTooLarge`.
    pub fn body_limit(&self) -> u64 {
        self.exchange.0.gateway.config().server.limits.body_bytes
    }

    /// The head to send, and the value that waits for the outcome. `head.extensions` are the client request's.
    pub fn send(self) -> (request::Parts, Sent) {
        let Forward { head, exchange } = self;
        let spare = (exchange.0.course.retries_left > 0).then(|| Box::new(head.clone()));
        (head, Sent { exchange, spare })
    }

    /// No connection could be made, so that nothing was sent.
    pub fn unreachable(self, failure: Failure, now: Now) -> Step {
        let Forward { head, exchange } = self;
        exchange.failed(failure, Progress::NothingSent, Some(head), now)
    }
}

impl Sent {
    /// The endpoint the request was sent to.
    pub fn endpoint(&self) -> &Arc<Endpoint> {
        &self.exchange.0.service().endpoints[self.exchange.0.endpoint()]
    }

    /// Takes the outcome. Where the answer is another `Forward`, drop what came of this one first.
    pub fn resume(self, outcome: Outcome, now: Now) -> Step {
        let Sent { exchange, spare } = self;
        match outcome {
            Outcome::Response(head) => exchange.responded(head, spare, now),
            Outcome::Failed { failure, sent } => exchange.failed(failure, sent, spare.map(|head| *head), now),
        }
    }
}

impl Reply {
    pub fn status(&self) -> http::StatusCode {
        self.head.status
    }

    pub fn into_parts(self) -> (response::Parts, ReplyBody, Exchange) {
        (self.head, self.body, self.exchange)
    }
}

impl Exchange {
    /// Ends the exchange after `bytes` of the reply's body.
    pub fn finish(mut self, end: End, bytes: u64, now: Now) {
        if let Some(state) = self.0.0.take() {
            state.end(Ending { end, bytes, now: Some(now) });
        }
    }

    pub(crate) fn state(&mut self) -> &mut State {
        &mut self.0
    }

    pub(crate) fn gateway(&self) -> &Arc<Gateway> {
        &self.0.gateway
    }

    pub(crate) fn client(&self) -> IpAddr {
        self.0.subject.client
    }

    pub(crate) fn access(&self) -> &Access {
        self.0.access()
    }

    pub(crate) fn new(state: State) -> Exchange {
        Exchange(Live(Some(Box::new(state))))
    }

    pub(crate) fn respond(self, head: response::Parts, body: ReplyBody) -> Step {
        Step::Respond(Reply { head, body, exchange: self })
    }

    pub(crate) fn refuse(mut self, refusal: &Refusal) -> Step {
        let state = &mut *self.0;
        let (mut head, body) = refusal.answer(state.subject.id, state.grpc, state.gateway.quotas());
        state.verdict.status = refusal.status().as_u16();
        state.verdict.reason = refusal.reason();
        state.verdict.refused = true;
        state.finish_head(&mut head);
        self.respond(head, ReplyBody::Core(body))
    }

    /// Starts the first attempt of a request that may go to its service.
    pub(crate) fn forward(mut self, head: request::Parts, random: u64, now: Now) -> Step {
        match self.0.start(random, now) {
            Ok(()) => self.attempt(head),
            Err(refusal) => self.refuse(&refusal),
        }
    }

    /// Addresses the head to the endpoint that was chosen.
    fn attempt(self, mut head: request::Parts) -> Step {
        let state = &self.0;
        state.plan.address(&mut head, state.service(), state.endpoint());
        Step::Forward(Forward { head, exchange: self })
    }

    fn failed(mut self, failure: Failure, sent: Progress, head: Option<request::Parts>, now: Now) -> Step {
        let blames_client = matches!(failure, Failure::BodyTooLarge | Failure::RequestAborted);
        if blames_client {
            self.0.release_attempt();
            return self.refuse(&Refusal::Upstream(failure));
        }
        self.0.conclude_attempt(true, now);
        match head {
            Some(head) if self.0.may_retry(sent, &head.method, now) => self.retry(head, failure, now),
            _ => self.refuse(&Refusal::Upstream(failure)),
        }
    }

    fn retry(mut self, head: request::Parts, failure: Failure, now: Now) -> Step {
        match self.0.start_again(now) {
            Ok(()) => self.attempt(head),
            // The breaker opened meanwhile: what the client should know is why the request failed.
            Err(_) => self.refuse(&Refusal::Upstream(failure)),
        }
    }

    fn responded(mut self, head: response::Parts, spare: Option<Box<request::Parts>>, now: Now) -> Step {
        let state = &mut *self.0;
        state.note_head(now);
        if let Some(spare) = spare
            && attempt::is_retriable(head.status)
            && state.may_retry(state.progress_with_response(), &spare.method, now)
        {
            state.conclude_attempt(true, now);
            // The answer at hand is the better one when no other can be had.
            if state.start_again(now).is_ok() {
                return self.attempt(*spare);
            }
            return self.relay(head);
        }
        state.record_attempt(head.status.is_server_error(), now);
        self.relay(head)
    }

    fn relay(mut self, mut head: response::Parts) -> Step {
        let state = &mut *self.0;
        if head.status == http::StatusCode::SWITCHING_PROTOCOLS && !state.plan.is_upgrade() {
            return self.refuse(&Refusal::BadUpgrade);
        }
        state.verdict.status = head.status.as_u16();
        state.verdict.reason = "forwarded";
        state.plan.finish_response(&mut head, state.route());
        state.run_response_hooks(&mut head);
        state.finish_head(&mut head);
        self.respond(head, ReplyBody::Upstream)
    }
}

impl State {
    pub(crate) fn service(&self) -> &Service {
        let index = self.verdict.service.expect("only a request with a service is forwarded");
        &self.gateway.services()[index as usize]
    }

    /// The route that was found; `None` for a service as a whole.
    pub(crate) fn route(&self) -> Option<&Route> {
        let route = self.verdict.route?;
        Some(&self.service().rules.routes[route as usize])
    }

    /// What a caller needs for the route that was found.
    pub(crate) fn access(&self) -> &Access {
        self.route().map_or(&self.service().rules.access, |route| &route.access)
    }

    fn end(mut self: Box<Self>, ending: Ending) {
        if let (Some(now), End::UpstreamReset) = (ending.now, ending.end) {
            self.record_late_failure(now);
        }
        self.release_attempt();
        self.leave();
        let State { gateway, lane, subject, verdict, .. } = *self;
        let outbox = gateway.outbox().clone();
        outbox.mint(lane, gateway, subject, verdict, ending);
    }
}

impl Deref for Live {
    type Target = State;

    fn deref(&self) -> &State {
        self.0.as_ref().expect("the state is taken only by what consumes the exchange")
    }
}

impl DerefMut for Live {
    fn deref_mut(&mut self) -> &mut State {
        self.0.as_mut().expect("the state is taken only by what consumes the exchange")
    }
}

impl Drop for Live {
    fn drop(&mut self) {
        if let Some(state) = self.0.take() {
            state.end(Ending { end: End::Aborted, bytes: 0, now: None });
        }
    }
}
