//! The head of a response, out of the bytes that arrive (RFC 9112 §4, §5 and §6.3). No I/O: a reader is shown a buffer
//! that grows.

use std::mem::MaybeUninit;

use bytes::{Bytes, BytesMut};
use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::{Response, StatusCode, Version, response};
use hyper::ext::ReasonPhrase;

use super::decoder::{Chunks, Decoder};

/// Bytes of a response's head.
const MAX_HEAD_BYTES: usize = 64 * 1024;
/// Fields of a head, and of trailers.
const MAX_FIELDS: usize = 100;
/// Interim responses before the final one.
const MAX_INTERIM: usize = 64;
/// Fields that the gateway adds on the way, for which there is room from the start.
const FIELDS_TO_COME: usize = 4;

/// Why what arrived is no response that could be relayed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Malformed {
    #[error("the head cannot be read: {0}")]
    Head(#[from] httparse::Error),
    #[error("the status is below 100")]
    Status,
    #[error("the head is longer than 64 KiB")]
    HeadTooLong,
    #[error("there are more than 64 interim responses")]
    Interim,
    #[error("Content-Length is not one number")]
    Length,
    /// Others may see another end of such a response, and what is relayed has neither field (RFC 9112 §6.3).
    #[error("the transfer coding is not chunks alone")]
    Coding,
    #[error("a chunk is not as long as it says, or does not say it")]
    Chunk,
    #[error("chunk extensions are longer than 16 KiB")]
    Extensions,
    #[error("the trailers cannot be read, or are longer than 16 KiB")]
    Trailers,
}

/// A final response without its body.
#[derive(Debug)]
pub(super) struct Answered {
    pub(super) head: response::Parts,
    pub(super) body: Decoder,
    /// The connection may be used again once the body is over.
    pub(super) keeps_alive: bool,
}

/// Where the reading of one request's answer is.
#[derive(Debug, Default)]
pub(super) struct HeadReader {
    answers_head: bool,
    interim: usize,
    /// Bytes of the buffer that are known not to have the head's end.
    searched: usize,
}

impl HeadReader {
    /// For the answer to a request; one to HEAD has no body, whatever its fields say.
    pub(super) fn new(answers_head: bool) -> HeadReader {
        HeadReader { answers_head, interim: 0, searched: 0 }
    }

    /// Takes the head off the front of `received` once all of it is there. Interim responses are dropped, but for 101,
    /// which is the last message of its connection.
    pub(super) fn read(&mut self, received: &mut BytesMut) -> Result<Option<Answered>, Malformed> {
        while let Some(head) = self.message(received)? {
            if !head.status.is_informational() || head.status == StatusCode::SWITCHING_PROTOCOLS {
                return self.answered(head).map(Some);
            }
            self.interim += 1;
            if self.interim > MAX_INTERIM {
                return Err(Malformed::Interim);
            }
        }
        Ok(None)
    }

    fn message(&mut self, received: &mut BytesMut) -> Result<Option<response::Parts>, Malformed> {
        let looked_at = &received[..received.len().min(MAX_HEAD_BYTES)];
        // A head in pieces is parsed anew only once its end is there.
        let may_be_whole = !received.is_empty() && (self.searched == 0 || has_end(looked_at, self.searched));
        let mut spans = [Span::default(); MAX_FIELDS];
        match if may_be_whole { parse(looked_at, &mut spans)? } else { None } {
            Some(parsed) => {
                self.searched = 0;
                parsed.take(received, &spans).map(Some)
            }
            None if looked_at.len() == MAX_HEAD_BYTES => Err(Malformed::HeadTooLong),
            None => {
                self.searched = looked_at.len();
                Ok(None)
            }
        }
    }

    fn answered(&self, mut head: response::Parts) -> Result<Answered, Malformed> {
        let body = match head.status {
            StatusCode::SWITCHING_PROTOCOLS | StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED => {
                Decoder::Length(0)
            }
            _ if self.answers_head => Decoder::Length(0),
            _ => body(&mut head)?,
        };
        let keeps_alive =
            keeps_alive(&head) && head.status != StatusCode::SWITCHING_PROTOCOLS && body != Decoder::ToEnd;
        Ok(Answered { head, body, keeps_alive })
    }
}

/// A head whose fields are known by their places.
struct Parsed {
    len: usize,
    status: StatusCode,
    version: Version,
    reason: Option<Bytes>,
    fields: usize,
}

/// Where a field is: its name's and its value's start and end.
#[derive(Clone, Copy, Default)]
struct Span {
    name: [u32; 2],
    value: [u32; 2],
}

fn parse(bytes: &[u8], spans: &mut [Span; MAX_FIELDS]) -> Result<Option<Parsed>, Malformed> {
    let mut fields = [MaybeUninit::uninit(); MAX_FIELDS];
    let mut response = httparse::Response::new(&mut []);
    let config = httparse::ParserConfig::default();
    let parsed = config.parse_response_with_uninit_headers(&mut response, bytes, &mut fields)?;
    let httparse::Status::Complete(len) = parsed else { return Ok(None) };
    let status = response.code.and_then(|code| StatusCode::from_u16(code).ok()).ok_or(Malformed::Status)?;
    let reason = response.reason.filter(|reason| status.canonical_reason() != Some(reason));
    for (span, field) in spans.iter_mut().zip(&*response.headers) {
        *span = Span { name: place(bytes, field.name.as_bytes()), value: place(bytes, field.value) };
    }
    Ok(Some(Parsed {
        len,
        status,
        version: if response.version == Some(0) { Version::HTTP_10 } else { Version::HTTP_11 },
        reason: reason.map(|reason| Bytes::copy_from_slice(reason.as_bytes())),
        fields: response.headers.len(),
    }))
}

/// Where `part` is in `bytes`, of which it is a slice of at most [`MAX_HEAD_BYTES`].
fn place(bytes: &[u8], part: &[u8]) -> [u32; 2] {
    let start = part.as_ptr() as usize - bytes.as_ptr() as usize;
    [start as u32, (start + part.len()) as u32]
}

impl Parsed {
    /// Takes the head's bytes off the buffer, which values then share.
    fn take(self, received: &mut BytesMut, spans: &[Span; MAX_FIELDS]) -> Result<response::Parts, Malformed> {
        let bytes = received.split_to(self.len).freeze();
        let (mut head, ()) = Response::new(()).into_parts();
        head.status = self.status;
        head.version = self.version;
        head.headers = HeaderMap::with_capacity(self.fields + FIELDS_TO_COME);
        for span in &spans[..self.fields] {
            let [[name, name_end], [value, value_end]] =
                [span.name, span.value].map(|span| span.map(|at| at as usize));
            let name = HeaderName::from_bytes(&bytes[name..name_end]);
            let name = name.map_err(|_| httparse::Error::HeaderName)?;
            // SAFETY: httparse lets through the bytes of a value that `HeaderValue` does, and no others.
            let value = unsafe { HeaderValue::from_maybe_shared_unchecked(bytes.slice(value..value_end)) };
            head.headers.append(name, value);
        }
        if let Some(reason) = self.reason.and_then(|reason| ReasonPhrase::try_from(reason).ok()) {
            head.extensions.insert(reason);
        }
        Ok(head)
    }
}

/// The fields of a section that ends with an empty line, as trailers do; `None` where they are none.
pub(super) fn fields(section: &[u8]) -> Option<HeaderMap> {
    let mut parsed = [httparse::EMPTY_HEADER; MAX_FIELDS];
    let Ok(httparse::Status::Complete((len, parsed))) = httparse::parse_headers(section, &mut parsed) else {
        return None;
    };
    let mut fields = HeaderMap::with_capacity(parsed.len());
    for field in parsed {
        let name = HeaderName::from_bytes(field.name.as_bytes()).ok()?;
        fields.append(name, HeaderValue::from_bytes(field.value).ok()?);
    }
    (len == section.len()).then_some(fields)
}

/// The end of a head begins behind `searched`, or a few bytes before.
fn has_end(bytes: &[u8], searched: usize) -> bool {
    let unsearched = &bytes[searched.saturating_sub(3)..];
    unsearched.windows(3).any(|end| matches!(end, [b'\n', b'\r', b'\n'] | [_, b'\n', b'\n']))
}

/// RFC 9112 §6.3, for a response that has a body.
fn body(head: &mut response::Parts) -> Result<Decoder, Malformed> {
    let mut codings = head.headers.get_all(header::TRANSFER_ENCODING).iter();
    if let Some(coding) = codings.next() {
        let is_chunked = coding.as_bytes().eq_ignore_ascii_case(b"chunked") && codings.next().is_none();
        let is_alone = !head.headers.contains_key(header::CONTENT_LENGTH);
        let is_known = head.version == Version::HTTP_11;
        let is_plain = is_chunked && is_alone && is_known;
        return if is_plain { Ok(Decoder::Chunked(Chunks::default())) } else { Err(Malformed::Coding) };
    }
    let mut lengths = head.headers.get_all(header::CONTENT_LENGTH).iter();
    let Some(first) = lengths.next() else { return Ok(Decoder::ToEnd) };
    if let (Some(len), None) = (length(first.as_bytes()), lengths.next()) {
        return Ok(Decoder::Length(len));
    }
    // The same number several times is that number (RFC 9110 §8.6), and is passed on once.
    let mut lengths = head.headers.get_all(header::CONTENT_LENGTH).iter();
    let mut lengths = lengths.by_ref().flat_map(|value| value.as_bytes().split(|byte| *byte == b','));
    let len = lengths.next().and_then(|text| length(text.trim_ascii())).ok_or(Malformed::Length)?;
    if lengths.any(|text| length(text.trim_ascii()) != Some(len)) {
        return Err(Malformed::Length);
    }
    head.headers.insert(header::CONTENT_LENGTH, HeaderValue::from(len));
    Ok(Decoder::Length(len))
}

fn length(text: &[u8]) -> Option<u64> {
    let digit = |byte: &u8| byte.is_ascii_digit().then(|| u64::from(byte - b'0'));
    let add = |len: u64, byte| len.checked_mul(10)?.checked_add(digit(byte)?);
    if text.is_empty() { None } else { text.iter().try_fold(0, add) }
}

/// RFC 9112 §9.3. `close` wins over whatever else is said.
fn keeps_alive(head: &response::Parts) -> bool {
    let mut keeps_alive = head.version == Version::HTTP_11;
    for value in head.headers.get_all(header::CONNECTION) {
        for option in value.as_bytes().split(|byte| *byte == b',').map(<[u8]>::trim_ascii) {
            if option.eq_ignore_ascii_case(b"close") {
                return false;
            }
            keeps_alive |= option.eq_ignore_ascii_case(b"keep-alive");
        }
    }
    keeps_alive
}

#[cfg(test)]
mod tests;
