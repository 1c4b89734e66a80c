//! Bodies on their way through: streamed, one frame at a time, under backpressure of the other side.

use std::cell::{Cell, RefCell};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body as HttpBody, Frame, SizeHint};
use hyper::body::Incoming;

use crate::clock;
use crate::connection::channel::{Channel, Ticket};
use crate::upstream::Answer;
use crate::watch::Party;
use tollgate_core::{End, Exchange};

/// A request's body as an upstream connection pulls it from the client. Clones share one stream, so that an attempt
/// that did not touch it can hand it to the next.
#[derive(Clone)]
pub(crate) enum RequestBody {
    Empty,
    Stream(Rc<RequestStream>),
}

pub(crate) struct RequestStream {
    incoming: RefCell<Incoming>,
    channel: Rc<Channel>,
    is_touched: Cell<bool>,
    refusal: Cell<Option<BodyRefusal>>,
    /// Bytes that may still come.
    allowance: Cell<u64>,
    /// Of an upstream's; `None` while none is called.
    response_within: Cell<Option<Duration>>,
}

/// Why a request's body cannot be had whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum BodyRefusal {
    #[error("the request's body is larger than the limit")]
    TooLarge,
    #[error("the client stopped sending the request's body")]
    Stalled,
    #[error("the client left while sending the request's body")]
    Gone,
}

impl RequestBody {
    pub(crate) fn new(incoming: Incoming, channel: &Rc<Channel>, limit: u64) -> RequestBody {
        if incoming.is_end_stream() {
            return RequestBody::Empty;
        }
        RequestBody::Stream(Rc::new(RequestStream {
            incoming: RefCell::new(incoming),
            channel: channel.clone(),
            is_touched: Cell::new(false),
            refusal: Cell::new(None),
            allowance: Cell::new(limit),
            response_within: Cell::new(None),
        }))
    }

    /// Some of the body was taken from the client, so that no other attempt can send it.
    pub(crate) fn is_touched(&self) -> bool {
        self.stream().is_some_and(|stream| stream.is_touched.get())
    }

    pub(crate) fn refusal(&self) -> Option<BodyRefusal> {
        self.stream().and_then(|stream| stream.refusal.get())
    }

    pub(crate) fn stall(&self) {
        if let Some(stream) = self.stream() {
            stream.refusal.set(Some(BodyRefusal::Stalled));
        }
    }

    /// How long the upstream has for its answer after each piece of the body.
    pub(crate) fn set_response_within(&self, within: Duration) {
        if let Some(stream) = self.stream() {
            stream.response_within.set(Some(within));
        }
    }

    fn stream(&self) -> Option<&RequestStream> {
        match self {
            RequestBody::Empty => None,
            RequestBody::Stream(stream) => Some(stream),
        }
    }
}

impl HttpBody for RequestBody {
    type Data = Bytes;
    type Error = BodyRefusal;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyRefusal>>> {
        match &*self {
            RequestBody::Empty => Poll::Ready(None),
            RequestBody::Stream(stream) => stream.poll_frame(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            RequestBody::Empty => true,
            RequestBody::Stream(stream) => stream.incoming.borrow().is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            RequestBody::Empty => SizeHint::with_exact(0),
            RequestBody::Stream(stream) => stream.incoming.borrow().size_hint(),
        }
    }
}

impl RequestStream {
    fn poll_frame(&self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyRefusal>>> {
        if let Some(refusal) = self.refusal.get() {
            return Poll::Ready(Some(Err(refusal)));
        }
        let polled = Pin::new(&mut *self.incoming.borrow_mut()).poll_frame(cx);
        let Poll::Ready(frame) = polled else {
            self.channel.wants_body();
            return Poll::Pending;
        };
        self.is_touched.set(true);
        self.channel.moved_body(self.response_within.get());
        match frame {
            None => Poll::Ready(None),
            Some(Err(_)) => self.refuse(BodyRefusal::Gone),
            Some(Ok(frame)) => {
                let len = frame.data_ref().map_or(0, Bytes::len) as u64;
                let Some(left) = self.allowance.get().checked_sub(len) else {
                    return self.refuse(BodyRefusal::TooLarge);
                };
                self.allowance.set(left);
                Poll::Ready(Some(Ok(frame)))
            }
        }
    }

    fn refuse<T>(&self, refusal: BodyRefusal) -> Poll<Option<Result<T, BodyRefusal>>> {
        self.refusal.set(Some(refusal));
        Poll::Ready(Some(Err(refusal)))
    }
}

/// A reply's body as the client's connection pulls it. Dropping it ends the exchange, whichever way.
pub(crate) struct ReplyBody {
    source: Source,
    tail: Tail,
}

enum Source {
    Empty,
    Whole(Bytes),
    Upstream(Answer),
}

/// The upstream broke off in the body.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("the upstream broke off in the reply's body")]
pub(crate) struct BrokenOff;

impl ReplyBody {
    /// A body that core made.
    pub(crate) fn made(bytes: Bytes, exchange: Exchange, ticket: Ticket) -> ReplyBody {
        let source = if bytes.is_empty() { Source::Empty } else { Source::Whole(bytes) };
        ReplyBody { source, tail: Tail::new(exchange, ticket) }
    }

    pub(crate) fn upstream(answer: Answer, idle: Duration, exchange: Exchange, ticket: Ticket) -> ReplyBody {
        let source = match answer.into_whole() {
            Ok(bytes) if bytes.is_empty() => Source::Empty,
            Ok(bytes) => Source::Whole(bytes),
            Err(answer) => Source::Upstream(answer),
        };
        ticket.channel.watch.clear(Party::Upstream);
        let mut tail = Tail::new(exchange, ticket);
        tail.idle = idle;
        ReplyBody { source, tail }
    }

    /// The empty body of a 101, whose exchange goes on in a tunnel.
    pub(crate) fn switched(ticket: Ticket) -> ReplyBody {
        let tail = Tail { exchange: None, ticket, end: End::Complete, bytes: 0, idle: Duration::MAX };
        ReplyBody { source: Source::Empty, tail }
    }

    fn poll_upstream(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BrokenOff>>> {
        let Source::Upstream(answer) = &mut self.source else { return Poll::Ready(None) };
        let watch = &self.tail.ticket.channel.watch;
        watch.register(cx);
        match answer.poll_frame(cx) {
            Poll::Pending if watch.take_rung(Party::Upstream) => Poll::Ready(Some(Err(BrokenOff))),
            Poll::Pending => {
                watch.set_if_off(Party::Upstream, self.tail.idle);
                Poll::Pending
            }
            Poll::Ready(frame) => {
                watch.clear(Party::Upstream);
                Poll::Ready(frame)
            }
        }
    }
}

impl HttpBody for ReplyBody {
    type Data = Bytes;
    type Error = BrokenOff;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BrokenOff>>> {
        self.tail.ticket.channel.pulled();
        let frame = match &mut self.source {
            Source::Empty => None,
            Source::Whole(_) => match std::mem::replace(&mut self.source, Source::Empty) {
                Source::Whole(bytes) => Some(Ok(Frame::data(bytes))),
                _ => None,
            },
            Source::Upstream(_) => ready!(self.poll_upstream(cx)),
        };
        match &frame {
            Some(Ok(frame)) => self.tail.bytes += frame.data_ref().map_or(0, Bytes::len) as u64,
            Some(Err(BrokenOff)) => self.tail.end = End::UpstreamReset,
            None => self.tail.end = End::Complete,
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        match &self.source {
            Source::Empty => true,
            Source::Whole(_) => false,
            Source::Upstream(answer) => answer.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.source {
            Source::Empty => SizeHint::with_exact(0),
            Source::Whole(bytes) => SizeHint::with_exact(bytes.len() as u64),
            Source::Upstream(answer) => answer.size_hint(),
        }
    }
}

impl Drop for ReplyBody {
    fn drop(&mut self) {
        // hyper does not ask for the end of a body whose length it knows, nor for that of a reply to HEAD.
        if self.tail.end == End::Aborted && self.is_end_stream() {
            self.tail.end = End::Complete;
        }
    }
}

/// What is left to do once a reply's body is over.
struct Tail {
    exchange: Option<Exchange>,
    ticket: Ticket,
    end: End,
    bytes: u64,
    idle: Duration,
}

impl Tail {
    fn new(exchange: Exchange, ticket: Ticket) -> Tail {
        Tail { exchange: Some(exchange), ticket, end: End::Aborted, bytes: 0, idle: Duration::MAX }
    }
}

impl Drop for Tail {
    fn drop(&mut self) {
        if let Some(exchange) = self.exchange.take() {
            exchange.finish(self.end, self.bytes, clock::now());
        }
    }
}
