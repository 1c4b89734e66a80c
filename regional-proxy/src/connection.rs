//! A client's connection from the moment it was accepted.
//!
//! Its task is small while nothing happens: what a protocol needs is boxed, made when bytes arrive and dropped when
//! the connection has been idle for a moment. That is what thousands of keep-alive connections are made of.

pub(crate) mod channel;
mod exchange;
mod h1;
mod h2;
mod opening;
mod own;
mod parting;
pub(crate) mod stream;

use std::future::poll_fn;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use tokio::net::TcpStream;
use tokio::sync::OwnedSemaphorePermit;

pub(crate) use h1::builder as http1_builder;
pub(crate) use h2::{StreamExecutor, builder as http2_builder};

use crate::engine::Shared;
use crate::tunnel;
use crate::watch::Party;
use crate::worker::Worker;
use channel::{Channel, PARK_AFTER};
use h1::Left;
use opening::{Opened, Protocol};
use stream::Stream;

/// A connection on its way to its lane.
pub(crate) struct Accepted {
    pub(crate) socket: std::net::TcpStream,
    pub(crate) address: SocketAddr,
    /// Its place among the connections that may be open.
    pub(crate) place: OwnedSemaphorePermit,
}

/// Serves one connection to its end.
pub(crate) async fn serve(worker: Rc<Worker>, accepted: Accepted) {
    let Accepted { socket, address, place } = accepted;
    let _seat = Seat { shared: worker.shared.clone(), lane: worker.lane, _place: place };
    let Ok(socket) = TcpStream::from_std(socket) else { return };
    let Some(opened) = Box::pin(opening::open(&worker, socket, address)).await else { return };
    let Opened { stream, early, peer, protocol } = opened;
    match protocol {
        Protocol::Http1 => keep_alive(stream, early, Channel::new(worker, peer)).await,
        Protocol::Http2 => Box::pin(h2::serve(stream, early, worker, peer)).await,
    }
}

/// Serves HTTP/1 requests, parked between them.
async fn keep_alive(mut stream: Stream, mut early: Bytes, channel: Rc<Channel>) {
    // A handshake may have read the first request along with its own last message: the socket then has nothing to tell.
    let mut may_wait = matches!(stream, Stream::Clear(_));
    loop {
        if early.is_empty() && may_wait && !is_readable(&stream, &channel).await {
            return;
        }
        may_wait = true;
        match Box::pin(h1::serve(stream, early, channel.clone())).await {
            Left::Idle { stream: idle, early: unread } => (stream, early) = (idle, unread),
            Left::HeadOverdue { stream } => return Box::pin(parting::head_overdue(stream)).await,
            Left::Cut => return,
            Left::Done { stream, early } => {
                let switched = channel.switched.take();
                return match switched {
                    Some(switched) => Box::pin(tunnel::join(stream, early, *switched, &channel)).await,
                    None => Box::pin(parting::linger(stream)).await,
                };
            }
        }
    }
}

/// Waits for the next request's first byte; false when the connection is to be closed instead.
async fn is_readable(stream: &Stream, channel: &Channel) -> bool {
    let wait = channel.worker.shared.timeouts().keep_alive.saturating_sub(PARK_AFTER);
    channel.watch.set(Party::Client, wait.max(Duration::from_millis(1)));
    let is_readable = poll_fn(|cx| {
        channel.watch.register(cx);
        if channel.worker.closes_idle() || channel.watch.has_rung(Party::Client) {
            return Poll::Ready(false);
        }
        Poll::Ready(ready!(stream.socket().poll_read_ready(cx)).is_ok())
    })
    .await;
    channel.watch.clear(Party::Client);
    is_readable
}

/// Counts the connection for as long as its task lives.
struct Seat {
    shared: Arc<Shared>,
    lane: u16,
    _place: OwnedSemaphorePermit,
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.shared.connections[usize::from(self.lane)].fetch_sub(1, Ordering::AcqRel);
    }
}
