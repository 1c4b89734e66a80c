//! One HTTP/1 connection to an endpoint, polled by whoever holds it.
//!
//! What is on the wire is data here: `request` makes it, `response` and `decoder` read it, and none of them does I/O.
//! `upload` and [`Link`] move it. A link has no task of its own: the one that answers the client polls it, which saves
//! two task switches a request, and a request that is written in one go and answered in one packet costs one write and
//! one read.

mod decoder;
mod request;
mod response;
mod upload;

use std::future::poll_fn;
use std::io;
use std::mem::MaybeUninit;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Context, Poll, Waker, ready};

use bytes::{Bytes, BytesMut};
use http::{Method, StatusCode, request::Parts, response::Parts as ResponseParts};
use http_body::{Frame, SizeHint};
use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncReadExt, ReadBuf};

use super::Upstream;
use crate::body::{BodyRefusal, RequestBody};
use crate::connection::stream::Stream;
use decoder::{Decoded, Decoder};
use request::WrongLength;
use response::HeadReader;
use upload::Upload;

pub(crate) use response::Malformed;

/// Bytes there is room for in one read: enough for a head and a short body. Each read that fills its room doubles it.
const READ_BYTES: usize = 8 * 1024;
const MAX_READ_BYTES: usize = 64 * 1024;

/// A connection, and the exchange that is on it.
pub(crate) struct Link {
    stream: Stream,
    upstream: Rc<Upstream>,
    upload: Upload,
    /// What arrived and was not looked at yet.
    received: BytesMut,
    room: usize,
    head: HeadReader,
    body: Decoder,
    keeps_alive: bool,
    is_switched: bool,
}

/// Why there is no answer, or no end of it.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LinkError {
    #[error(transparent)]
    Malformed(#[from] Malformed),
    #[error(transparent)]
    Io(#[from] io::Error),
    #[error(transparent)]
    Refused(#[from] BodyRefusal),
    #[error(transparent)]
    WrongLength(#[from] WrongLength),
}

/// What is left of a connection that changed its protocol.
pub(crate) struct Switch {
    pub(crate) stream: Stream,
    /// Bytes of the new protocol that arrived with the head.
    pub(crate) early: Bytes,
}

impl Link {
    pub(super) fn new(stream: Stream, upstream: Rc<Upstream>) -> Box<Link> {
        Box::new(Link {
            stream,
            upstream,
            upload: Upload::new(),
            received: BytesMut::new(),
            room: READ_BYTES,
            head: HeadReader::default(),
            body: Decoder::Length(0),
            keeps_alive: true,
            is_switched: false,
        })
    }

    /// Begins an exchange. Nothing is sent before the answer is waited for.
    pub(crate) fn request(&mut self, head: &Parts, body: RequestBody) {
        self.head = HeadReader::new(head.method == Method::HEAD);
        self.upload.begin(head, body);
    }

    /// The response's head. Bodies flow both ways only while this future, or then the answer's body, is polled.
    pub(crate) async fn answer(&mut self) -> Result<ResponseParts, LinkError> {
        poll_fn(|cx| self.poll_answer(cx)).await
    }

    fn poll_answer(&mut self, cx: &mut Context<'_>) -> Poll<Result<ResponseParts, LinkError>> {
        // An answer may come before the end of the request.
        if let Poll::Ready(sent) = self.upload.poll(&mut self.stream, cx) {
            sent?;
        }
        loop {
            if let Some(answered) = self.head.read(&mut self.received)? {
                self.body = answered.body;
                self.keeps_alive = answered.keeps_alive;
                self.is_switched = answered.head.status == StatusCode::SWITCHING_PROTOCOLS;
                return Poll::Ready(Ok(answered.head));
            }
            if ready!(self.poll_read(cx))? == 0 {
                return Poll::Ready(Err(io::Error::from(io::ErrorKind::UnexpectedEof).into()));
            }
        }
    }

    pub(super) fn poll_frame(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, LinkError>>> {
        if let Poll::Ready(sent) = self.upload.poll(&mut self.stream, cx) {
            sent?;
        }
        loop {
            match self.body.decode(&mut self.received)? {
                Decoded::Data(bytes) => return Poll::Ready(Some(Ok(Frame::data(bytes)))),
                Decoded::Trailers(fields) => return Poll::Ready(Some(Ok(Frame::trailers(fields)))),
                Decoded::End => return Poll::Ready(None),
                Decoded::More => {}
            }
            if ready!(self.poll_read(cx))? == 0 && !self.body.close() {
                return Poll::Ready(Some(Err(io::Error::from(io::ErrorKind::UnexpectedEof).into())));
            }
        }
    }

    /// The body, where its length is known and all of it is here.
    pub(super) fn whole(&mut self) -> Option<Bytes> {
        let len = usize::try_from(self.body.exact()?).ok()?;
        if self.received.len() < len {
            return None;
        }
        self.body = Decoder::Length(0);
        Some(if len == 0 { Bytes::new() } else { self.received.split_to(len).freeze() })
    }

    /// The body was read to its end.
    pub(super) fn is_at_end(&self) -> bool {
        self.body.is_at_end()
    }

    pub(super) fn size_hint(&self) -> SizeHint {
        self.body.exact().map_or_else(SizeHint::default, SizeHint::with_exact)
    }

    /// Puts the connection into the pool if it can take another request. Bytes that nobody asked for would be taken for
    /// the next answer.
    pub(super) fn release(mut self: Box<Self>) {
        let is_over = self.body.is_at_end() && self.upload.is_sent() && self.received.is_empty();
        if !(is_over && self.keeps_alive) {
            return;
        }
        self.upload.shrink();
        if self.room > READ_BYTES {
            (self.room, self.received) = (READ_BYTES, BytesMut::new());
        }
        let upstream = self.upstream.clone();
        upstream.pool.put(self);
    }

    /// Takes the stream out of a connection that answered 101.
    pub(super) fn switch(self: Box<Self>) -> Option<Switch> {
        let is_over = self.is_switched && self.upload.is_sent();
        is_over.then(|| Switch { stream: self.stream, early: self.received.freeze() })
    }

    /// Looks, without a system call where nothing happened, whether the other side closed the connection or said something
    /// unasked.
    pub(super) fn is_closed(&mut self) -> bool {
        let mut byte = [MaybeUninit::uninit()];
        let mut unasked = ReadBuf::uninit(&mut byte);
        let mut nobody = Context::from_waker(Waker::noop());
        Pin::new(&mut self.stream).poll_read(&mut nobody, &mut unasked).is_ready()
    }

    /// Asks the socket whether its peer has neither closed it nor sent anything.
    pub(super) fn is_silent(&self) -> bool {
        let mut byte = [MaybeUninit::uninit()];
        let peeked = SockRef::from(self.stream.socket()).peek(&mut byte);
        peeked.is_err_and(|error| error.kind() == io::ErrorKind::WouldBlock)
    }

    /// Appends what has arrived to `received`; no bytes are the end.
    fn poll_read(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        self.received.reserve(self.room);
        let reading = pin!(self.stream.read_buf(&mut self.received));
        let len = ready!(reading.poll(cx))?;
        if len >= self.room {
            self.room = (self.room * 2).min(MAX_READ_BYTES);
        }
        Poll::Ready(Ok(len))
    }
}
