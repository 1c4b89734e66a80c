//! What of the bytes behind a response's head is its body, and where that ends (RFC 9112 §6 and §7). No I/O: whoever
//! reads from the socket appends to a buffer, and frames are split off it without a copy.

use bytes::{Buf, Bytes, BytesMut};
use http::HeaderMap;

use super::response::{Malformed, fields};

/// Hexadecimal digits of a chunk's size: as many as a `u64` has.
const MAX_SIZE_DIGITS: usize = 16;
/// Bytes of chunk extensions, and of blanks, that one body may have in all its chunks. They are ignored.
const MAX_EXTENSION_BYTES: usize = 16 * 1024;
/// Bytes of a body's trailer fields.
const MAX_TRAILER_BYTES: usize = 16 * 1024;

/// How much of a body is still to come.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Decoder {
    /// This many bytes. None are the end of any body.
    Length(u64),
    Chunked(Chunks),
    /// Everything up to the end of the connection.
    ToEnd,
}

/// A look at the buffer.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Decoded {
    Data(Bytes),
    Trailers(HeaderMap),
    /// Bytes have to arrive first.
    More,
    End,
}

/// A place between two bytes of a chunked body, and what of its bounds is used up.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Chunks {
    at: Place,
    extension_bytes: usize,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Place {
    /// Before the line that says how long the next chunk is.
    #[default]
    Size,
    /// In a chunk, with this many bytes of it to come.
    Data(u64),
    /// Behind a chunk's data, before the CRLF that belongs to it.
    DataEnd,
    /// Behind the last chunk. This many bytes were searched for the end of the trailers and do not have it.
    Trailers(usize),
}

impl Decoder {
    /// Takes the next part of the body off the front of `received`.
    pub(super) fn decode(&mut self, received: &mut BytesMut) -> Result<Decoded, Malformed> {
        match self {
            Decoder::Length(0) => Ok(Decoded::End),
            _ if received.is_empty() => Ok(Decoded::More),
            Decoder::Length(left) => Ok(Decoded::Data(take(left, received))),
            Decoder::ToEnd => Ok(Decoded::Data(received.split().freeze())),
            Decoder::Chunked(chunks) => {
                let decoded = chunks.decode(received)?;
                if matches!(decoded, Decoded::Trailers(_) | Decoded::End) {
                    *self = Decoder::Length(0);
                }
                Ok(decoded)
            }
        }
    }

    /// The connection ended: false where the body did not.
    #[must_use]
    pub(super) fn close(&mut self) -> bool {
        if *self == Decoder::ToEnd {
            *self = Decoder::Length(0);
        }
        self.is_at_end()
    }

    pub(super) fn is_at_end(&self) -> bool {
        *self == Decoder::Length(0)
    }

    /// Bytes to come, where that is known.
    pub(super) fn exact(&self) -> Option<u64> {
        match self {
            Decoder::Length(left) => Some(*left),
            Decoder::Chunked(_) | Decoder::ToEnd => None,
        }
    }
}

impl Chunks {
    fn decode(&mut self, received: &mut BytesMut) -> Result<Decoded, Malformed> {
        loop {
            match &mut self.at {
                Place::Size => {
                    let Some(line) = size_line(received)? else { return Ok(Decoded::More) };
                    let (size, extension_bytes) = size(&received[..line])?;
                    self.extension_bytes += extension_bytes;
                    if self.extension_bytes > MAX_EXTENSION_BYTES {
                        return Err(Malformed::Extensions);
                    }
                    received.advance(line + 2);
                    self.at = if size == 0 { Place::Trailers(0) } else { Place::Data(size) };
                }
                Place::Data(0) => self.at = Place::DataEnd,
                Place::Data(_) if received.is_empty() => return Ok(Decoded::More),
                Place::Data(left) => return Ok(Decoded::Data(take(left, received))),
                Place::DataEnd => match &received[..] {
                    [b'\r', b'\n', ..] => {
                        received.advance(2);
                        self.at = Place::Size;
                    }
                    [] | [b'\r'] => return Ok(Decoded::More),
                    _ => return Err(Malformed::Chunk),
                },
                Place::Trailers(searched) => return trailers(received, searched),
            }
        }
    }
}

/// The length of the chunk's size line at the front, without its CRLF.
fn size_line(received: &[u8]) -> Result<Option<usize>, Malformed> {
    const MAX_LINE_BYTES: usize = MAX_SIZE_DIGITS + MAX_EXTENSION_BYTES + 2;
    let looked_at = &received[..received.len().min(MAX_LINE_BYTES)];
    match looked_at.iter().position(|byte| *byte == b'\n') {
        // A bare LF is taken for no line's end here: others might not, and see another body.
        Some(end) if !looked_at[..end].ends_with(b"\r") => Err(Malformed::Chunk),
        Some(end) => Ok(Some(end - 1)),
        None if looked_at.len() == MAX_LINE_BYTES => Err(Malformed::Extensions),
        None => Ok(None),
    }
}

/// A chunk's size, and how many bytes of its line say something else.
fn size(line: &[u8]) -> Result<(u64, usize), Malformed> {
    let digits = line.iter().take_while(|byte| byte.is_ascii_hexdigit()).count();
    let (digits, rest) = line.split_at(digits);
    if digits.is_empty() || digits.len() > MAX_SIZE_DIGITS {
        return Err(Malformed::Chunk);
    }
    let is_visible = |byte: &u8| matches!(byte, b'\t' | b' '..=b'~' | 0x80..);
    let extension = rest.trim_ascii_start();
    if !rest.iter().all(is_visible) || !(extension.is_empty() || extension.starts_with(b";")) {
        return Err(Malformed::Chunk);
    }
    let value = |digit: u8| (digit as char).to_digit(16).map_or(0, u64::from);
    let size = digits.iter().fold(0, |size, digit| size << 4 | value(*digit));
    Ok((size, rest.len()))
}

fn trailers(received: &mut BytesMut, searched: &mut usize) -> Result<Decoded, Malformed> {
    if received.starts_with(b"\r\n") {
        received.advance(2);
        return Ok(Decoded::End);
    }
    let looked_at = &received[..received.len().min(MAX_TRAILER_BYTES)];
    let from = searched.saturating_sub(3);
    match looked_at[from..].windows(4).position(|bytes| bytes == b"\r\n\r\n") {
        Some(at) => {
            let section = received.split_to(from + at + 4).freeze();
            Ok(Decoded::Trailers(fields(&section).ok_or(Malformed::Trailers)?))
        }
        None if looked_at.len() == MAX_TRAILER_BYTES => Err(Malformed::Trailers),
        None => {
            *searched = looked_at.len();
            Ok(Decoded::More)
        }
    }
}

/// At most `left` bytes off the front.
fn take(left: &mut u64, received: &mut BytesMut) -> Bytes {
    let len = usize::try_from(*left).map_or(received.len(), |left| left.min(received.len()));
    *left -= len as u64;
    received.split_to(len).freeze()
}

#[cfg(test)]
mod tests;
