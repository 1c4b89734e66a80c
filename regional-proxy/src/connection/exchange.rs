//! One request from its head to the head of its reply: does what core's steps ask for.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::rc::Rc;
use std::task::Poll;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response, StatusCode, Version, response};
use http_body::Body;
use hyper::body::Incoming;

use super::channel::{Channel, Ticket};
use super::own;
use crate::body::{BodyRefusal, ReplyBody, RequestBody};
use crate::clock::now;
use crate::key_sets::as_core_takes_it;
use crate::signature;
use crate::tunnel::Switched;
use crate::upstream::{self, Answer, LinkError, Upstream};
use crate::watch::Party;
use core::config::UpstreamProtocol;
use tollgate_core::{self as core, Failure, Forward, Outcome, Progress, Sent, Step};

/// What an attempt left for the reply that core makes of it.
struct Arrived {
    answer: Answer,
    idle: Duration,
}

/// Why an attempt brought no response head.
struct Missed {
    failure: Failure,
    nothing_sent: bool,
}

/// Answers one request. Dropping the future is how a client that leaves is noticed.
pub(super) async fn exchange(ticket: Ticket, request: Request<Incoming>) -> Response<ReplyBody> {
    let channel = ticket.channel.clone();
    #[cfg_attr(
        not(feature = "frozen-clock"),
        expect(unused_mut, reason = "the frozen clock takes its header out")
    )]
    let (mut head, incoming) = request.into_parts();
    #[cfg(feature = "frozen-clock")]
    crate::clock::frozen::take(&mut head.headers);
    let declared = declared(&incoming);
    let gateway = channel.worker.gateway();
    let limit = channel.worker.shared.limits().body_bytes;
    let body = RequestBody::new(incoming, &channel, limit);
    let mut arrived = None;
    let mut step = gateway.begin(head, declared, &channel.peer, now());
    let reply = loop {
        channel.worker.errands.look(&gateway);
        step = match step {
            Step::Respond(reply) => break reply,
            Step::Verify(verify) => {
                let (key, algorithm) = (verify.key().material(), verify.algorithm());
                let valid = signature::verify(algorithm, key, verify.message(), verify.signature());
                verify.resume(valid, now())
            }
            Step::Keys(keys) => {
                let fetched = channel.worker.shared.key_sets.fetch(keys.url()).await;
                keys.resume(as_core_takes_it(&fetched), now())
            }
            Step::Charge(charge) => {
                let answers = channel.worker.errands.ask(charge.calls()).await;
                charge.resume(answers, now())
            }
            Step::Local(local) => own::serve(&channel, *local, &body).await,
            Step::Forward(forward) => {
                // What a previous attempt brought is given up before the next one.
                arrived = None;
                attempt(&channel, forward, &body, &mut arrived).await
            }
        };
    };
    respond(ticket, reply, arrived)
}

fn declared(incoming: &Incoming) -> core::RequestBody {
    match incoming.size_hint().exact() {
        Some(0) => core::RequestBody::Empty,
        Some(len) => core::RequestBody::Sized(len),
        None => core::RequestBody::Streamed,
    }
}

fn respond(ticket: Ticket, reply: core::Reply, arrived: Option<Arrived>) -> Response<ReplyBody> {
    let (mut head, reply_body, exchange) = reply.into_parts();
    // The version on this connection is the gateway's, whatever the service speaks (RFC 9110 §6.2).
    head.version = Version::HTTP_11;
    ticket.channel.answered();
    let reply_body = match (reply_body, arrived) {
        (core::ReplyBody::Core(bytes), _) => ReplyBody::made(bytes, exchange, ticket),
        (core::ReplyBody::Upstream, Some(arrived)) if head.status == StatusCode::SWITCHING_PROTOCOLS => {
            return switch(ticket, head, arrived, exchange);
        }
        (core::ReplyBody::Upstream, Some(Arrived { answer, idle })) => {
            ReplyBody::upstream(answer, idle, exchange, ticket)
        }
        // Core relays a body only after it was told of a response.
        (core::ReplyBody::Upstream, None) => ReplyBody::made(Bytes::new(), exchange, ticket),
    };
    Response::from_parts(head, reply_body)
}

/// Hands the upgraded upstream connection to the client's connection, which joins the two once the head is out.
fn switch(
    ticket: Ticket,
    head: response::Parts,
    arrived: Arrived,
    exchange: core::Exchange,
) -> Response<ReplyBody> {
    let Arrived { answer, idle } = arrived;
    if let Some(upstream) = answer.switch() {
        *ticket.channel.switched.borrow_mut() = Some(Box::new(Switched { upstream, idle, exchange }));
    }
    Response::from_parts(head, ReplyBody::switched(ticket))
}

/// One call of one endpoint.
async fn attempt(
    channel: &Rc<Channel>,
    forward: Forward,
    body: &RequestBody,
    arrived: &mut Option<Arrived>,
) -> Step {
    let backoff = forward.backoff();
    if !backoff.is_zero() {
        Box::pin(tokio::time::sleep(backoff)).await;
    }
    let upstream = channel.worker.upstreams.of(forward.endpoint());
    let timeouts = forward.timeouts(now());
    channel.watch.set(Party::Upstream, timeouts.response);
    body.set_response_within(timeouts.response);
    let called = match upstream.endpoint.protocol() {
        UpstreamProtocol::Http1 => over_http1(channel, &upstream, forward, body, timeouts.connect).await,
        // Boxed: an exchange that does not need it should not be as large as it.
        UpstreamProtocol::Http2 => {
            Box::pin(over_http2(channel, &upstream, forward, body, timeouts.connect)).await
        }
    };
    match called {
        Called::Unreachable(step) => step,
        Called::Answered(sent, head, answer) => {
            *arrived = Some(Arrived { answer, idle: timeouts.idle });
            sent.resume(Outcome::Response(head), now())
        }
        Called::Missed(sent, missed) => sent.resume(outcome(missed, body), now()),
    }
}

enum Called {
    Unreachable(Step),
    Answered(Sent, response::Parts, Answer),
    Missed(Sent, Missed),
}

async fn over_http1(
    channel: &Rc<Channel>,
    upstream: &Rc<Upstream>,
    forward: Forward,
    body: &RequestBody,
    connect_within: Duration,
) -> Called {
    let mut link = match upstream.pool.take() {
        Some(link) => link,
        None => match Box::pin(upstream::connect(&channel.worker, upstream, connect_within)).await {
            Ok(link) => link,
            Err(failure) => return Called::Unreachable(forward.unreachable(failure, now())),
        },
    };
    let (head, sent) = forward.send();
    link.request(&head, body.clone());
    // What the client sent is not kept while the service thinks.
    drop(head);
    match in_time(channel, body, link.answer()).await {
        Ok(head) => Called::Answered(sent, head, Answer::Http1(Some(link))),
        Err(missed) => Called::Missed(sent, missed),
    }
}

async fn over_http2(
    channel: &Rc<Channel>,
    upstream: &Rc<Upstream>,
    forward: Forward,
    body: &RequestBody,
    connect_within: Duration,
) -> Called {
    let mut sender = match upstream::shared(&channel.worker, upstream, connect_within).await {
        Ok(sender) => sender,
        Err(failure) => return Called::Unreachable(forward.unreachable(failure, now())),
    };
    let (mut head, sent) = forward.send();
    upstream::absolute(&mut head, &upstream.endpoint);
    let mut request = Request::from_parts(head, body.clone());
    loop {
        let sending = sender.try_send_request(request);
        let mut unsent = None;
        let sending = async {
            sending.await.map_err(|mut failed| {
                unsent = failed.take_message();
                Missed::from(failed.into_error())
            })
        };
        let missed = match in_time(channel, body, sending).await {
            Ok(response) => {
                let (head, incoming) = response.into_parts();
                return Called::Answered(sent, head, Answer::Http2(incoming));
            }
            Err(missed) => missed,
        };
        // Refused by a GOAWAY before the endpoint looked at it (RFC 9113 §6.8).
        let Some(unsent) = unsent else { return Called::Missed(sent, missed) };
        sender = match upstream::shared(&channel.worker, upstream, connect_within).await {
            Ok(sender) => sender,
            Err(failure) => return Called::Missed(sent, Missed { failure, nothing_sent: true }),
        };
        request = unsent;
    }
}

/// Awaits a response's head for as long as the channel's deadlines allow.
async fn in_time<T, E: Into<Missed>>(
    channel: &Channel,
    body: &RequestBody,
    sending: impl Future<Output = Result<T, E>>,
) -> Result<T, Missed> {
    let mut sending = pin!(sending);
    poll_fn(|cx| {
        let watch = &channel.watch;
        watch.register(cx);
        if let Poll::Ready(answer) = sending.as_mut().poll(cx) {
            return Poll::Ready(answer.map_err(E::into));
        }
        if watch.take_rung(Party::Upstream) {
            return Poll::Ready(Err(Missed::on_the_way(Failure::Timeout)));
        }
        if watch.has_rung(Party::Client) && !channel.is_write_blocked() {
            watch.take_rung(Party::Client);
            body.stall();
            return Poll::Ready(Err(Missed::on_the_way(Failure::RequestAborted)));
        }
        Poll::Pending
    })
    .await
}

impl Missed {
    /// Some of the request may have arrived.
    fn on_the_way(failure: Failure) -> Missed {
        Missed { failure, nothing_sent: false }
    }
}

impl From<LinkError> for Missed {
    fn from(error: LinkError) -> Missed {
        Missed::on_the_way(match error {
            LinkError::Malformed(_) => Failure::Protocol,
            LinkError::Io(_) => Failure::Reset,
            LinkError::Refused(_) | LinkError::WrongLength(_) => Failure::RequestAborted,
        })
    }
}

impl From<hyper::Error> for Missed {
    fn from(error: hyper::Error) -> Missed {
        Missed::on_the_way(if error.is_parse() { Failure::Protocol } else { Failure::Reset })
    }
}

fn outcome(missed: Missed, body: &RequestBody) -> Outcome {
    let failure = match body.refusal() {
        Some(BodyRefusal::TooLarge) => Failure::BodyTooLarge,
        Some(BodyRefusal::Stalled | BodyRefusal::Gone) => Failure::RequestAborted,
        None => missed.failure,
    };
    let sent = match (body.is_touched(), missed.nothing_sent) {
        (true, _) => Progress::Consumed,
        (false, true) => Progress::NothingSent,
        (false, false) => Progress::Replayable,
    };
    Outcome::Failed { failure, sent }
}
