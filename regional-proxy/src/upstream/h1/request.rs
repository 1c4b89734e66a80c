//! A request as bytes: its head, and the frames of its body in the one form its head announced (RFC 9112 §3, §6 and §7).

use std::io::Write;

use bytes::Bytes;
use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::request;
use http::uri::PathAndQuery;
use http_body::SizeHint;

/// Field lines of one trailer section that may be announced.
const MAX_ANNOUNCED: usize = 100;

/// How a body is framed.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Encoder {
    /// This many bytes are still to come.
    Length(u64),
    /// In chunks; trailer fields follow where they were announced.
    Chunked { announced: Vec<HeaderName> },
}

/// The body is not as long as its head says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the request's body is not as long as its head says")]
pub(crate) struct WrongLength;

/// Writes a head. How its body is framed comes from the body, whatever the head's fields say: the two cannot differ, and
/// no request has both a length and chunks.
pub(super) fn write_head(head: &request::Parts, body: &SizeHint, text: &mut Vec<u8>) -> Encoder {
    let target = head.uri.path_and_query().map_or("/", PathAndQuery::as_str);
    for part in [head.method.as_str(), " ", target, " HTTP/1.1\r\n"] {
        text.extend_from_slice(part.as_bytes());
    }
    let mut has_length = false;
    for (name, value) in &head.headers {
        match *name {
            header::CONTENT_LENGTH => has_length = true,
            header::TRANSFER_ENCODING => {}
            _ => write_field(name, value, text),
        }
    }
    let encoder = match body.exact() {
        Some(len) => {
            // What has no body says so only if the client did: POST does, GET does not (RFC 9110 §8.6).
            if len > 0 || has_length {
                write(text, format_args!("content-length: {len}\r\n"));
            }
            Encoder::Length(len)
        }
        None => {
            text.extend_from_slice(b"transfer-encoding: chunked\r\n");
            Encoder::Chunked { announced: announced(&head.headers) }
        }
    };
    text.extend_from_slice(b"\r\n");
    encoder
}

impl Encoder {
    /// Writes what stands before `piece`, and answers what stands behind it. After the last piece that is the end.
    pub(super) fn piece(
        &mut self,
        piece: &Bytes,
        is_last: bool,
        text: &mut Vec<u8>,
    ) -> Result<&'static [u8], WrongLength> {
        match self {
            Encoder::Length(left) => {
                *left = left.checked_sub(piece.len() as u64).ok_or(WrongLength)?;
                if is_last { self.end(text).map(|()| &b""[..]) } else { Ok(b"") }
            }
            // A chunk of no bytes would be the last one.
            Encoder::Chunked { .. } if piece.is_empty() => Ok(if is_last { b"0\r\n\r\n" } else { b"" }),
            Encoder::Chunked { .. } => {
                write(text, format_args!("{:x}\r\n", piece.len()));
                Ok(if is_last { b"\r\n0\r\n\r\n" } else { b"\r\n" })
            }
        }
    }

    /// Writes the end of a body, of which the last piece was not known to be the last.
    pub(super) fn end(&self, text: &mut Vec<u8>) -> Result<(), WrongLength> {
        match self {
            Encoder::Length(0) => {}
            Encoder::Length(_) => return Err(WrongLength),
            Encoder::Chunked { .. } => text.extend_from_slice(b"0\r\n\r\n"),
        }
        Ok(())
    }

    /// Writes the end of a body with those of its trailer fields that were announced and may stand there.
    pub(super) fn trailers(&self, fields: &HeaderMap, text: &mut Vec<u8>) -> Result<(), WrongLength> {
        let Encoder::Chunked { announced } = self else { return self.end(text) };
        text.extend_from_slice(b"0\r\n");
        for (name, value) in fields {
            if announced.contains(name) && !is_of_heads_only(name) {
                write_field(name, value, text);
            }
        }
        text.extend_from_slice(b"\r\n");
        Ok(())
    }
}

fn write_field(name: &HeaderName, value: &HeaderValue, text: &mut Vec<u8>) {
    let (name, value) = (name.as_str().as_bytes(), value.as_bytes());
    text.reserve(name.len() + value.len() + 4);
    text.extend_from_slice(name);
    text.extend_from_slice(b": ");
    text.extend_from_slice(value);
    text.extend_from_slice(b"\r\n");
}

fn write(text: &mut Vec<u8>, arguments: std::fmt::Arguments<'_>) {
    text.write_fmt(arguments).expect("memory takes what is written");
}

/// The names in `Trailer`.
fn announced(headers: &HeaderMap) -> Vec<HeaderName> {
    let values = headers.get_all(header::TRAILER).into_iter();
    let names = values.flat_map(|value| value.as_bytes().split(|byte| *byte == b','));
    names.take(MAX_ANNOUNCED).filter_map(|name| HeaderName::from_bytes(name.trim_ascii()).ok()).collect()
}

/// Fields that decide about framing, routing or access and come too late behind a body (RFC 9110 §6.5.1).
fn is_of_heads_only(name: &HeaderName) -> bool {
    const NAMES: [HeaderName; 12] = [
        header::AUTHORIZATION,
        header::CACHE_CONTROL,
        header::CONTENT_ENCODING,
        header::CONTENT_LENGTH,
        header::CONTENT_RANGE,
        header::CONTENT_TYPE,
        header::HOST,
        header::MAX_FORWARDS,
        header::SET_COOKIE,
        header::TE,
        header::TRAILER,
        header::TRANSFER_ENCODING,
    ];
    NAMES.contains(name)
}

#[cfg(test)]
mod tests;
