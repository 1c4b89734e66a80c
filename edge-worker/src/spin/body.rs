//! Bodies on their way through the component, a chunk at a time.

use std::cell::Cell;
use std::pin::pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use http::HeaderMap;
use http::header;
use spin_sdk::wasip3::http::types::{ErrorCode, Request, Response, Trailers};
use spin_sdk::wasip3::wit_bindgen::{FutureReader, FutureWriter, StreamReader, StreamResult, StreamWriter};
use spin_sdk::wasip3::{spawn, wit_future, wit_stream};
use tollgate_core::{End, Failure, RequestBody};

/// Bytes that are moved at once.
const CHUNK_BYTES: usize = 65_536;

/// How a body ends: with its trailers, or before its time.
pub(super) type Ending = Result<Option<Trailers>, ErrorCode>;

/// The body of a request, which is there once.
pub(super) struct Upload {
    declared: RequestBody,
    source: Option<Source>,
    /// Why it did not arrive whole, where that is not the upstream's fault.
    blame: Rc<Cell<Option<Failure>>>,
}

/// A body that somebody else writes.
pub(super) struct Source {
    /// What was read of it already.
    first: Vec<u8>,
    stream: StreamReader<u8>,
    ending: FutureReader<Ending>,
}

/// What the host is given as a body: its bytes, unless there are none, and how it ends.
pub(super) type Given = (Option<StreamReader<u8>>, FutureReader<Ending>);

/// How far a body came.
enum Moved {
    Whole,
    /// More than its limit.
    TooLarge,
    /// Nobody reads it any more.
    Unread,
}

impl Upload {
    /// A length that is not declared may still be known to be zero: then the body has ended before it is read.
    pub(super) fn of(request: Request, headers: &HeaderMap) -> Upload {
        let length =
            headers.get(header::CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse().ok());
        let (declared, source) = match length {
            Some(0) => (RequestBody::Empty, None),
            Some(length) => (RequestBody::Sized(length), Some(Source::of_request(request))),
            None => {
                let mut source = Source::of_request(request);
                match source.has_ended() {
                    true => (RequestBody::Empty, None),
                    false => (RequestBody::Streamed, Some(source)),
                }
            }
        };
        Upload { declared, source, blame: Rc::default() }
    }

    pub(super) fn declared(&self) -> RequestBody {
        self.declared
    }

    pub(super) fn blame(&self) -> Option<Failure> {
        self.blame.get()
    }

    /// The body for an attempt, cut off at `limit` bytes. The next attempt has none, as core knows of those that had one.
    pub(super) fn give(&mut self, limit: u64) -> Given {
        let Some(source) = self.source.take() else { return nothing() };
        let blame = self.blame.clone();
        let (mut writer, stream) = wit_stream::new();
        let (end, ending) = unended();
        spawn(async move {
            let (mut source, mut bytes) = (source, 0);
            let result = match source.pump(&mut writer, limit, &mut bytes).await {
                Moved::Unread => return,
                Moved::TooLarge => {
                    blame.set(Some(Failure::BodyTooLarge));
                    Err(ErrorCode::HttpRequestBodySize(None))
                }
                Moved::Whole => {
                    let result = source.ending.await;
                    if result.is_err() {
                        blame.set(Some(Failure::RequestAborted));
                    }
                    result
                }
            };
            drop(writer);
            // An upstream that has answered already may have stopped reading.
            let _ = end.write(result).await;
        });
        (Some(stream), ending)
    }
}

impl Source {
    fn of_request(request: Request) -> Source {
        let (processed, processing) = wit_future::new(|| Ok(()));
        let (stream, ending) = Request::consume_body(request, processing);
        drop(processed);
        Source { first: Vec::new(), stream, ending }
    }

    pub(super) fn of_response(response: Response) -> Source {
        let (processed, processing) = wit_future::new(|| Ok(()));
        let (stream, ending) = Response::consume_body(response, processing);
        drop(processed);
        Source { first: Vec::new(), stream, ending }
    }

    /// Reads what is there without waiting for more.
    fn has_ended(&mut self) -> bool {
        let mut read = pin!(self.stream.read(Vec::with_capacity(CHUNK_BYTES)));
        let (result, first) = match read.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(done) => done,
            Poll::Pending => read.cancel(),
        };
        self.first = first;
        result == StreamResult::Dropped && self.first.is_empty()
    }

    /// The whole body, up to `limit` bytes.
    pub(super) async fn collect(mut self, limit: usize) -> Result<Vec<u8>, Uncollected> {
        let mut body = std::mem::take(&mut self.first);
        loop {
            let (result, chunk) = self.stream.read(Vec::with_capacity(CHUNK_BYTES)).await;
            body.extend_from_slice(&chunk);
            if body.len() > limit {
                return Err(Uncollected::TooLarge);
            }
            if result == StreamResult::Dropped {
                return self.ending.await.map(|_| body).map_err(|_| Uncollected::Broken);
            }
        }
    }

    /// Passes the body on to `writer`, which then has its end, and says how that was and how many bytes went before.
    pub(super) async fn relay(
        mut self,
        mut writer: StreamWriter<u8>,
        end: FutureWriter<Ending>,
    ) -> (End, u64) {
        let mut bytes = 0;
        let moved = self.pump(&mut writer, u64::MAX, &mut bytes).await;
        if !matches!(moved, Moved::Whole) {
            return (End::Aborted, bytes);
        }
        let result = self.ending.await;
        let how = if result.is_ok() { End::Complete } else { End::UpstreamReset };
        drop(writer);
        // A host that knows the length of a body does not wait for its end.
        let _ = end.write(result).await;
        (how, bytes)
    }

    async fn pump(&mut self, writer: &mut StreamWriter<u8>, limit: u64, bytes: &mut u64) -> Moved {
        let mut chunk = std::mem::take(&mut self.first);
        loop {
            if !chunk.is_empty() {
                let length = chunk.len() as u64;
                if *bytes + length > limit {
                    return Moved::TooLarge;
                }
                chunk = writer.write_all(chunk).await;
                *bytes += length - chunk.len() as u64;
                if !chunk.is_empty() {
                    return Moved::Unread;
                }
            }
            chunk.reserve_exact(CHUNK_BYTES);
            let result;
            (result, chunk) = self.stream.read(chunk).await;
            if result == StreamResult::Dropped && chunk.is_empty() {
                return Moved::Whole;
            }
        }
    }
}

/// Why a body could not be had whole.
pub(super) enum Uncollected {
    TooLarge,
    Broken,
}

/// No body.
pub(super) fn nothing() -> Given {
    let (end, ending) = wit_future::new(|| Ok(None));
    drop(end);
    (None, ending)
}

/// The end of a body that breaks off unless it is said to be whole.
pub(super) fn unended() -> (FutureWriter<Ending>, FutureReader<Ending>) {
    wit_future::new(|| Err(ErrorCode::InternalError(None)))
}

/// A body that core made.
pub(super) fn made(bytes: Bytes) -> Given {
    let (mut writer, stream) = wit_stream::new();
    let (end, ending) = unended();
    spawn(async move {
        let rest = writer.write_all(bytes.to_vec()).await;
        drop(writer);
        if rest.is_empty() {
            // The client may have left.
            let _ = end.write(Ok(None)).await;
        }
    });
    (Some(stream), ending)
}
