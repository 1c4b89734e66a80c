//! A request on its way to the socket: what is written goes out at once, one piece of the body at a time.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes};
use http::{HeaderMap, request};
use http_body::{Body, Frame};
use tokio::io::AsyncWrite;

use super::LinkError;
use super::request::{Encoder, write_head};
use crate::body::RequestBody;
use crate::connection::stream::Stream;

/// Bytes of a buffer that is kept for the next request.
const MAX_KEPT_BYTES: usize = 8 * 1024;

pub(super) struct Upload {
    /// The head, and what stands before a piece of the body.
    text: Vec<u8>,
    /// Bytes of `text` that were written.
    written: usize,
    piece: Bytes,
    /// What stands behind the piece.
    tail: &'static [u8],
    encoder: Encoder,
    state: State,
}

enum State {
    /// Pieces may come.
    Body(RequestBody),
    /// Everything was taken from the body. It is sent once TLS does not hold it back either.
    Ended,
    Sent,
    /// The other side takes no more. It may have said why.
    Refused,
}

impl Upload {
    pub(super) fn new() -> Upload {
        Upload {
            text: Vec::new(),
            written: 0,
            piece: Bytes::new(),
            tail: b"",
            encoder: Encoder::Length(0),
            state: State::Sent,
        }
    }

    /// Starts with a request's head, after the one before was sent.
    pub(super) fn begin(&mut self, head: &request::Parts, body: RequestBody) {
        self.text.clear();
        self.written = 0;
        self.encoder = write_head(head, &body.size_hint(), &mut self.text);
        self.state = if body.is_end_stream() { State::Ended } else { State::Body(body) };
    }

    pub(super) fn is_sent(&self) -> bool {
        matches!(self.state, State::Sent)
    }

    /// Gives back what one long head made the buffer grow to.
    pub(super) fn shrink(&mut self) {
        if self.text.capacity() > MAX_KEPT_BYTES {
            self.text = Vec::new();
        }
    }

    /// Writes what can be written now; ready when there will be nothing more. That the socket fails is no error here: the
    /// other side may have answered before.
    pub(super) fn poll(&mut self, stream: &mut Stream, cx: &mut Context<'_>) -> Poll<Result<(), LinkError>> {
        while !matches!(self.state, State::Sent | State::Refused) {
            // A piece that is here goes out together with what is to be written before it.
            let pulled = self.poll_piece(cx)?;
            let outcome = if self.has_unwritten() {
                ready!(self.poll_write(stream, cx))
            } else if pulled.is_ready() {
                // A frame without bytes.
                continue;
            } else {
                // TLS may hold back what was written.
                let flushed = ready!(Pin::new(&mut *stream).poll_flush(cx));
                match self.state {
                    State::Body(_) if flushed.is_ok() => return Poll::Pending,
                    _ => self.state = State::Sent,
                }
                flushed
            };
            if outcome.is_err() {
                self.state = State::Refused;
            }
        }
        Poll::Ready(Ok(()))
    }

    /// Takes the body's next frame, where there is room for it.
    fn poll_piece(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), LinkError>> {
        let State::Body(body) = &mut self.state else { return Poll::Pending };
        if !(self.piece.is_empty() && self.tail.is_empty()) {
            return Poll::Pending;
        }
        let frame = ready!(Pin::new(&mut *body).poll_frame(cx)).transpose()?;
        let mut is_last = body.is_end_stream();
        match frame.map(Frame::into_data) {
            None => {
                self.encoder.end(&mut self.text)?;
                is_last = true;
            }
            Some(Ok(piece)) => {
                self.tail = self.encoder.piece(&piece, is_last, &mut self.text)?;
                self.piece = piece;
            }
            Some(Err(frame)) => {
                self.encoder.trailers(frame.trailers_ref().unwrap_or(&HeaderMap::new()), &mut self.text)?;
                is_last = true;
            }
        }
        if is_last {
            self.state = State::Ended;
        }
        Poll::Ready(Ok(()))
    }

    fn has_unwritten(&self) -> bool {
        !(self.text.is_empty() && self.piece.is_empty() && self.tail.is_empty())
    }

    fn poll_write(&mut self, stream: &mut Stream, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let text = &self.text[self.written..];
        let stream = Pin::new(stream);
        let written = if self.piece.is_empty() && self.tail.is_empty() {
            ready!(stream.poll_write(cx, text))?
        } else {
            let slices = [text, &self.piece, self.tail].map(IoSlice::new);
            ready!(AsyncWrite::poll_write_vectored(stream, cx, &slices))?
        };
        if written == 0 {
            return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
        }
        self.wrote(written);
        Poll::Ready(Ok(()))
    }

    fn wrote(&mut self, bytes: usize) {
        let of_text = bytes.min(self.text.len() - self.written);
        let of_piece = (bytes - of_text).min(self.piece.len());
        self.written += of_text;
        self.piece.advance(of_piece);
        self.tail = &self.tail[bytes - of_text - of_piece..];
        if self.written == self.text.len() {
            self.text.clear();
            self.written = 0;
        }
    }
}
