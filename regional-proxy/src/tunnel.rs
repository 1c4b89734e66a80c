//! Two connections joined after `101 Switching Protocols`: bytes go both ways until either side is done.

mod websocket;

use std::future::poll_fn;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::time::timeout;

use crate::clock::now;
use crate::connection::channel::Channel;
use crate::connection::stream::Stream;
use crate::upstream::Switch;
use crate::watch::Party;
use tollgate_core::{End, Exchange};
use websocket::Frames;

/// Bytes of one direction that may wait for the other side.
const BUFFER_BYTES: usize = 8 * 1024;
/// How long a side may take to accept the last bytes.
const FAREWELL: Duration = Duration::from_millis(200);

/// The upstream's side of a tunnel, and the exchange that ends with it.
pub(crate) struct Switched {
    pub(crate) upstream: Switch,
    pub(crate) idle: Duration,
    pub(crate) exchange: Exchange,
}

/// Joins a client's stream, of which `early` was read already, with the upstream's until either side ends, nothing
/// moved for the idle time, or the drain is nearly over.
pub(crate) async fn join(client: Stream, early: Bytes, switched: Switched, channel: &Channel) {
    let Switched { upstream, idle, exchange } = switched;
    let (mut client, mut service) = (client, upstream.stream);
    let mut up = Direction::new(early);
    let mut down = Direction::new(upstream.early);
    channel.watch.set(Party::Client, idle);
    let end = poll_fn(|cx| {
        channel.watch.register(cx);
        if channel.watch.has_rung(Party::Client) || channel.worker.is_parting() {
            return Poll::Ready(End::Complete);
        }
        let before = up.moved + down.moved;
        let sent = up.poll(&mut client, &mut service, cx);
        let received = down.poll(&mut service, &mut client, cx);
        if up.moved + down.moved > before {
            channel.watch.set(Party::Client, idle);
        }
        match (sent, received) {
            (_, Poll::Ready(Err(_))) => Poll::Ready(End::UpstreamReset),
            (Poll::Ready(Err(_)), _) => Poll::Ready(End::Aborted),
            (Poll::Ready(Ok(())), Poll::Ready(Ok(()))) => Poll::Ready(End::Complete),
            _ => Poll::Pending,
        }
    })
    .await;
    if channel.worker.is_parting() {
        // The sockets are closed next, whether or not the farewell arrives.
        let farewell = async {
            if down.may_interject() {
                let _ = client.write_all(&websocket::going_away()).await;
            }
            if up.may_interject() {
                let _ = service.write_all(&websocket::going_away_masked()).await;
            }
            let _ = client.shutdown().await;
            let _ = service.shutdown().await;
        };
        let _ = timeout(FAREWELL, farewell).await;
    }
    exchange.finish(end, down.moved, now());
}

/// What flows one way.
struct Direction {
    waiting: Bytes,
    buffer: Box<[u8]>,
    /// The part of `buffer` that was read and not written yet.
    unsent: std::ops::Range<usize>,
    is_at_end: bool,
    is_flushed: bool,
    moved: u64,
    /// Where the frames of a WebSocket begin and end in what was written.
    frames: Frames,
}

impl Direction {
    fn new(early: Bytes) -> Direction {
        Direction {
            waiting: early,
            buffer: Box::default(),
            unsent: 0..0,
            is_at_end: false,
            is_flushed: true,
            moved: 0,
            frames: Frames::default(),
        }
    }

    /// Moves bytes until `from` has ended and `to` was told so.
    fn poll(
        &mut self,
        from: &mut Stream,
        to: &mut Stream,
        cx: &mut Context<'_>,
    ) -> Poll<std::io::Result<()>> {
        loop {
            while !self.waiting.is_empty() || !self.unsent.is_empty() {
                let chunk = if self.waiting.is_empty() {
                    &self.buffer[self.unsent.clone()]
                } else {
                    &self.waiting[..]
                };
                let written = ready!(Pin::new(&mut *to).poll_write(cx, chunk))?;
                if written == 0 {
                    return Poll::Ready(Err(std::io::ErrorKind::WriteZero.into()));
                }
                self.wrote(written);
            }
            if self.is_at_end {
                return Pin::new(to).poll_shutdown(cx);
            }
            if self.buffer.is_empty() {
                self.buffer = vec![0; BUFFER_BYTES].into();
            }
            let mut read = ReadBuf::new(&mut self.buffer);
            let Poll::Ready(outcome) = Pin::new(&mut *from).poll_read(cx, &mut read) else {
                return self.poll_flush(to, cx);
            };
            outcome?;
            self.unsent = 0..read.filled().len();
            self.is_at_end = self.unsent.is_empty();
        }
    }

    fn wrote(&mut self, written: usize) {
        let chunk =
            if self.waiting.is_empty() { &self.buffer[self.unsent.clone()] } else { &self.waiting[..] };
        self.frames.pass(&chunk[..written]);
        self.moved += written as u64;
        self.is_flushed = false;
        match self.waiting.is_empty() {
            true => self.unsent.start += written,
            false => self.waiting = self.waiting.slice(written..),
        }
    }

    /// TLS may hold back what was written.
    fn poll_flush(&mut self, to: &mut Stream, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        if !self.is_flushed {
            ready!(Pin::new(to).poll_flush(cx))?;
            self.is_flushed = true;
        }
        Poll::Pending
    }

    /// A frame of the gateway's own fits in: none is cut in two by it.
    fn may_interject(&self) -> bool {
        self.unsent.is_empty() && self.waiting.is_empty() && self.frames.are_whole()
    }
}
