//! One HTTP/1 connection to an endpoint, polled by whoever holds it.
//!
//! hyper splits a client connection into a handle and a future to spawn. Here the future is not spawned: the task
//! that answers the client polls it, which saves two task switches a request. Both halves live in one task, so that
//! what one half wakes is this same task, in the middle of polling; such a wake-up is worth nothing and costs one
//! more poll of everything. Halves are therefore polled *deaf*, with a waker that does nothing, and only where the
//! task is about to wait for the socket once more with its own waker.

use std::future::Future;
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, BorrowedFd, RawFd};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use http::{Request, Response};
use http_body::{Body, Frame};
use hyper::body::Incoming;
use hyper::client::conn::{TrySendError, http1};
use socket2::SockRef;

use super::Upstream;
use crate::body::RequestBody;
use crate::connection::stream::Stream;

/// Bytes of a response head.
const MAX_HEAD_BYTES: usize = 64 * 1024;

type Sender = http1::SendRequest<RequestBody>;
type Connection = http1::Connection<Stream, RequestBody>;

/// A connection and the handle to it.
pub(crate) struct Link {
    sender: Sender,
    connection: Driven,
    /// The connection's socket, which hyper does not show.
    descriptor: RawFd,
    upstream: Rc<Upstream>,
    is_reused: bool,
}

enum Driven {
    Open(Connection),
    /// Ended without an error: closed by the other side, or it left HTTP behind with a 101.
    Over(Connection),
    Closed,
}

/// Why there is no answer.
pub(crate) struct Unanswered {
    /// The request, where nothing of it was sent.
    pub(crate) unsent: Option<Box<Request<RequestBody>>>,
    pub(crate) is_reused: bool,
    pub(crate) error: hyper::Error,
}

/// What is left of a connection that changed its protocol.
pub(crate) struct Switch {
    pub(crate) stream: Stream,
    /// Bytes of the new protocol that arrived with the head.
    pub(crate) early: Bytes,
}

impl Link {
    pub(crate) async fn handshake(stream: Stream, upstream: Rc<Upstream>) -> Result<Box<Link>, hyper::Error> {
        let descriptor = stream.socket().as_raw_fd();
        let (sender, connection) =
            http1::Builder::new().max_buf_size(MAX_HEAD_BYTES).handshake(stream).await?;
        Ok(Box::new(Link {
            sender,
            connection: Driven::Open(connection),
            descriptor,
            upstream,
            is_reused: false,
        }))
    }

    /// The response's head. Bodies flow both ways only while this future, or then the answer's body, is polled.
    pub(crate) async fn send(
        &mut self,
        request: Request<RequestBody>,
    ) -> Result<Response<Incoming>, Unanswered> {
        let Link { sender, connection, is_reused, .. } = self;
        let mut sending = std::pin::pin!(async move { sender.try_send_request(request).await });
        let mut is_sent = false;
        let answer = std::future::poll_fn(|cx| {
            if !is_sent {
                // The first poll only puts the request into the connection's queue.
                is_sent = true;
                if let Poll::Ready(answer) = sending.as_mut().poll(&mut deaf()) {
                    return Poll::Ready(answer);
                }
            } else if let Poll::Ready(answer) = poll_halves(connection, &mut sending, &mut deaf()) {
                return Poll::Ready(answer);
            }
            poll_halves(connection, &mut sending, cx)
        });
        answer.await.map_err(|mut failed: TrySendError<_>| Unanswered {
            unsent: failed.take_message().map(Box::new),
            is_reused: *is_reused,
            error: failed.into_error(),
        })
    }

    pub(super) fn poll_frame(
        &mut self,
        incoming: &mut Incoming,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let mut incoming = Pin::new(incoming);
        if let Poll::Ready(frame) = incoming.as_mut().poll_frame(&mut deaf()) {
            return Poll::Ready(frame);
        }
        // Deaf first: as a rule it brings the next frame, and then nobody needs waking.
        self.connection.poll(&mut deaf());
        if let Poll::Ready(frame) = incoming.as_mut().poll_frame(&mut deaf()) {
            return Poll::Ready(frame);
        }
        self.connection.poll(cx);
        incoming.poll_frame(cx)
    }

    /// Puts the connection into the pool if it can take another request.
    pub(crate) fn release(self: Box<Self>) {
        if matches!(self.connection, Driven::Open(_)) && self.sender.is_ready() {
            let upstream = self.upstream.clone();
            upstream.pool.put(self);
        }
    }

    /// Takes the stream out of a connection that answered 101.
    pub(crate) fn switch(self: Box<Self>) -> Option<Switch> {
        let Driven::Over(connection) = self.connection else { return None };
        let parts = connection.into_parts();
        Some(Switch { stream: parts.io, early: parts.read_buf })
    }

    /// Looks, without a system call, whether the other side closed the connection or said something unasked.
    pub(super) fn is_closed(&mut self) -> bool {
        self.connection.poll(&mut deaf());
        !matches!(self.connection, Driven::Open(_))
    }

    /// Asks the socket whether its peer has neither closed it nor sent anything.
    pub(super) fn is_silent(&self) -> bool {
        if !matches!(self.connection, Driven::Open(_)) {
            return false;
        }
        // SAFETY: the open connection owns the socket of this descriptor, and it is borrowed for as long.
        let socket = unsafe { BorrowedFd::borrow_raw(self.descriptor) };
        let mut byte = [MaybeUninit::uninit()];
        let peeked = SockRef::from(&socket).peek(&mut byte);
        peeked.is_err_and(|error| error.kind() == std::io::ErrorKind::WouldBlock)
    }

    pub(super) fn mark_reused(&mut self) {
        self.is_reused = true;
    }
}

impl Driven {
    fn poll(&mut self, cx: &mut Context<'_>) {
        let Driven::Open(connection) = self else { return };
        match connection.poll_without_shutdown(cx) {
            Poll::Pending => {}
            Poll::Ready(Err(_)) => *self = Driven::Closed,
            Poll::Ready(Ok(())) => {
                if let Driven::Open(connection) = std::mem::replace(self, Driven::Closed) {
                    *self = Driven::Over(connection);
                }
            }
        }
    }
}

/// A context whose wake-ups go nowhere.
pub(super) fn deaf() -> Context<'static> {
    Context::from_waker(Waker::noop())
}

fn poll_halves<F: Future>(
    connection: &mut Driven,
    sending: &mut Pin<&mut F>,
    cx: &mut Context<'_>,
) -> Poll<F::Output> {
    connection.poll(cx);
    let answer = sending.as_mut().poll(&mut deaf());
    if answer.is_pending() && !matches!(connection, Driven::Open(_)) {
        // Dropping the connection gives back a request that still waits in its queue.
        *connection = Driven::Closed;
        return sending.as_mut().poll(&mut deaf());
    }
    answer
}
