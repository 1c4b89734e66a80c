//! A client's HTTP/1 connection while it is in use. In between it is parked: only its socket is kept.

use std::convert::Infallible;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::rc::Rc;
use std::task::Poll;

use bytes::Bytes;
use hyper::server::conn::http1;
use hyper::service::service_fn;

use super::channel::{Channel, Phase, Ticket};
use super::exchange::exchange;
use super::stream::{Early, Stream, Watched};
use crate::engine::Shared;
use crate::watch::Party;

/// Header fields that hyper parses without an allocation of its own.
const DEFAULT_HEADERS: usize = 100;
/// hyper refuses to work with a smaller buffer.
const MIN_BUFFER_BYTES: usize = 8192;
/// Bytes read at once where a body comes fast.
const BODY_BUFFER_BYTES: usize = 64 * 1024;

pub(crate) fn builder(shared: &Shared) -> http1::Builder {
    let limits = shared.limits();
    let header_bytes = limits.header_bytes as usize;
    let mut builder = http1::Builder::new();
    builder
        .max_header_size(header_bytes)
        .max_buf_size(header_bytes.max(BODY_BUFFER_BYTES).max(MIN_BUFFER_BYTES));
    // Up to hyper's own default core does the counting, whose refusal is an event like any other. A higher number
    // costs hyper an allocation for each head.
    if limits.headers as usize > DEFAULT_HEADERS {
        builder.max_headers(limits.headers as usize);
    }
    builder
}

/// How a connection left hyper.
pub(super) enum Left {
    /// Nothing was going on; the stream can wait for the next request without buffers.
    Idle { stream: Stream, early: Bytes },
    /// Hyper is done with it: the last reply is out, or a protocol error, or 101.
    Done { stream: Stream, early: Bytes },
    /// The head of a request did not come in time.
    HeadOverdue { stream: Stream },
    /// To be dropped as it is: broken, or its client does not read.
    Cut,
}

/// Serves requests from `stream`, of which `early` was read already, until there is nothing to do on it.
pub(super) async fn serve(stream: Stream, early: Bytes, channel: Rc<Channel>) -> Left {
    channel.resume(!early.is_empty());
    let watched = Watched { inner: Early { stream, early }, channel: channel.clone() };
    let owner = channel.clone();
    let exchanges = service_fn(move |request| {
        let ticket = Ticket::new(&owner);
        async move { Ok::<_, Infallible>(exchange(ticket, request).await) }
    });
    let mut is_closing = channel.worker.is_draining();
    let mut connection = Some(match is_closing {
        true => channel.worker.http1.clone().keep_alive(false).serve_connection(watched, exchanges),
        false => channel.worker.http1.serve_connection(watched, exchanges),
    });
    let why = poll_fn(|cx| {
        channel.watch.register(cx);
        let open = connection.as_mut().expect("taken only after this future is ready");
        if channel.worker.is_draining() && !is_closing {
            if channel.phase() == Phase::Idle && !channel.is_write_blocked() {
                // hyper would close it at once, and reset a request that is on its way.
                return Poll::Ready(Why::Idle);
            }
            is_closing = true;
            Pin::new(&mut *open).graceful_shutdown();
        }
        if let Poll::Ready(done) = Pin::new(&mut *open).poll(cx) {
            return Poll::Ready(if done.is_ok() { Why::Done } else { Why::Broken });
        }
        why_leave(&channel)
    })
    .await;
    let parts = connection.take().map(http1::Connection::into_parts);
    left(why, parts.expect("this is the only place that takes it"), &channel)
}

enum Why {
    Idle,
    Done,
    HeadOverdue,
    Broken,
}

fn why_leave(channel: &Channel) -> Poll<Why> {
    if !channel.watch.has_rung(Party::Client) {
        return Poll::Pending;
    }
    match channel.phase() {
        // A client that takes no bytes is not told about it either: there is no room to.
        _ if channel.is_write_blocked() => Poll::Ready(Why::Broken),
        Phase::Idle => Poll::Ready(Why::Idle),
        Phase::Head => Poll::Ready(Why::HeadOverdue),
        // The exchange sees to a request's body that does not come.
        Phase::Exchange => Poll::Pending,
    }
}

fn left<S>(why: Why, parts: http1::Parts<Watched, S>, channel: &Channel) -> Left {
    channel.watch.clear(Party::Client);
    let Early { stream, early: unread } = parts.io.inner;
    // Never both: hyper reads what is early before it asks the stream, and keeps it in its own buffer.
    let early = if parts.read_buf.is_empty() { unread } else { parts.read_buf };
    match why {
        Why::Idle => Left::Idle { stream, early },
        Why::Done => Left::Done { stream, early },
        Why::HeadOverdue => Left::HeadOverdue { stream },
        Why::Broken => Left::Cut,
    }
}
