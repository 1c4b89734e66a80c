//! A client's HTTP/2 connection.

use std::cell::Cell;
use std::convert::Infallible;
use std::future::{Future, poll_fn};
use std::pin::pin;
use std::rc::Rc;
use std::task::Poll;
use std::time::Duration;

use bytes::Bytes;
use hyper::rt::Executor;
use hyper::server::conn::http2;
use hyper::service::service_fn;
use tokio::task::spawn_local;

use super::channel::{Channel, Ticket};
use super::exchange::exchange;
use super::stream::{Early, Stream};
use crate::engine::Shared;
use crate::watch::{Party, Watch};
use crate::worker::{LocalTimer, Worker};
use tollgate_core::Peer;

/// Requests of one connection that are open at once.
const MAX_STREAMS: u32 = 200;
/// Bytes of a request's body that may wait in the gateway for its upstream.
const STREAM_WINDOW_BYTES: u32 = 256 * 1024;
const CONNECTION_WINDOW_BYTES: u32 = 1024 * 1024;
/// Bytes of a reply that may wait in the gateway for its client.
const SEND_BUFFER_BYTES: usize = 256 * 1024;
/// A client is asked for a sign of life this often.
const PING_EVERY: Duration = Duration::from_secs(30);
const PING_TIMEOUT: Duration = Duration::from_secs(20);

/// Spawns what answers a stream, and gives it up when its client takes no bytes for too long.
#[derive(Clone, Copy, Debug)]
pub(crate) struct StreamExecutor;

thread_local! {
    /// The channel of the newest stream: hyper asks the service for an answer and spawns it in one go.
    static NEWEST: Cell<Option<Rc<Channel>>> = const { Cell::new(None) };
}

pub(crate) fn builder(shared: &Shared) -> http2::Builder<StreamExecutor> {
    let mut builder = http2::Builder::new(StreamExecutor);
    builder
        .timer(LocalTimer)
        .max_concurrent_streams(MAX_STREAMS)
        .max_header_list_size(shared.limits().header_bytes)
        .initial_stream_window_size(STREAM_WINDOW_BYTES)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
        .max_send_buf_size(SEND_BUFFER_BYTES)
        .keep_alive_interval(PING_EVERY)
        .keep_alive_timeout(PING_TIMEOUT);
    builder
}

/// Serves the connection until either side ends it.
pub(super) async fn serve(stream: Stream, early: Bytes, worker: Rc<Worker>, peer: Peer) {
    let idle = Idle::new(&worker);
    let service = {
        let (worker, idle) = (worker.clone(), idle.clone());
        service_fn(move |request| {
            let channel = Channel::of_stream(worker.clone(), peer.clone(), Open::new(&idle));
            let ticket = Ticket::new(&channel);
            NEWEST.set(Some(channel));
            async move { Ok::<_, Infallible>(exchange(ticket, request).await) }
        })
    };
    let mut connection = pin!(worker.http2.serve_connection(Early { stream, early }, service));
    let mut is_closing = false;
    poll_fn(|cx| {
        idle.watch.register(cx);
        let is_idle = idle.watch.take_rung(Party::Client);
        if is_closing && is_idle {
            // No stream is open, and its client does not take what is left of the last ones.
            return Poll::Ready(());
        }
        if (is_idle || worker.is_draining()) && !is_closing {
            is_closing = true;
            connection.as_mut().graceful_shutdown();
            if idle.streams.get() == 0 {
                idle.watch.set(Party::Client, idle.after);
            }
        }
        // What broke it is seen by each exchange that was open.
        connection.as_mut().poll(cx).map(drop)
    })
    .await;
}

impl<F: Future + 'static> Executor<F> for StreamExecutor {
    fn execute(&self, answering: F) {
        let channel = NEWEST.take();
        spawn_local(async move {
            let mut answering = pin!(answering);
            poll_fn(|cx| {
                if answering.as_mut().poll(cx).is_ready() {
                    return Poll::Ready(());
                }
                let Some(channel) = &channel else { return Poll::Pending };
                channel.watch.register(cx);
                // Dropping what answers resets the stream.
                if channel.is_overdue() { Poll::Ready(()) } else { Poll::Pending }
            })
            .await;
        });
    }
}

/// How long a connection has had no stream.
struct Idle {
    watch: Watch,
    streams: Cell<usize>,
    after: Duration,
}

/// One open stream of a connection.
pub(super) struct Open(Rc<Idle>);

impl Idle {
    fn new(worker: &Worker) -> Rc<Idle> {
        let (watch, after) = (worker.watches.watch(), worker.shared.timeouts().keep_alive);
        watch.set(Party::Client, after);
        Rc::new(Idle { watch, streams: Cell::new(0), after })
    }
}

impl Open {
    fn new(idle: &Rc<Idle>) -> Open {
        idle.streams.set(idle.streams.get() + 1);
        idle.watch.clear(Party::Client);
        Open(idle.clone())
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        let left = self.0.streams.get() - 1;
        self.0.streams.set(left);
        if left == 0 {
            self.0.watch.set(Party::Client, self.0.after);
        }
    }
}
