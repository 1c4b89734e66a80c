//! HTTP/2 frame by frame, without a library's opinion of what is allowed (RFC 9113).

use std::time::Duration;

use super::{Gateway, Wire};

pub(crate) const DATA: u8 = 0;
pub(crate) const HEADERS: u8 = 1;
pub(crate) const RST_STREAM: u8 = 3;
pub(crate) const SETTINGS: u8 = 4;
pub(crate) const PING: u8 = 6;
pub(crate) const GOAWAY: u8 = 7;
pub(crate) const CONTINUATION: u8 = 9;

pub(crate) const END_STREAM: u8 = 1;
pub(crate) const END_HEADERS: u8 = 4;

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// A client's side of a connection.
pub(crate) struct Frames {
    pub(crate) wire: Wire,
}

#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Frame {
    pub(crate) kind: u8,
    pub(crate) flags: u8,
    pub(crate) stream: u32,
    pub(crate) payload: Vec<u8>,
}

impl Frames {
    /// Opens a connection with these settings, given as identifier and value.
    pub(crate) fn connect(gateway: &Gateway, settings: &[(u16, u32)]) -> Frames {
        let mut frames = Frames { wire: gateway.connect() };
        frames.wire.send(PREFACE);
        let settings: Vec<u8> = settings
            .iter()
            .flat_map(|(id, value)| [&id.to_be_bytes()[..], &value.to_be_bytes()].concat())
            .collect();
        frames.send(SETTINGS, 0, 0, &settings);
        frames
    }

    pub(crate) fn send(&mut self, kind: u8, flags: u8, stream: u32, payload: &[u8]) {
        self.wire.send(encode(kind, flags, stream, payload));
    }

    /// Sends until told otherwise, at the latest when the gateway takes no more for a second. False if it closed.
    pub(crate) fn flood(&mut self, times: usize, bytes: &[u8]) -> bool {
        self.wire.socket().set_write_timeout(Some(Duration::from_secs(1))).unwrap();
        let several = bytes.repeat(64);
        for _ in 0..times / 64 {
            if let Err(error) = self.wire.try_send(&several) {
                return error.kind() == std::io::ErrorKind::WouldBlock;
            }
        }
        true
    }

    /// The next frame that is neither SETTINGS, PING nor WINDOW_UPDATE; `None` at the end of the connection.
    pub(crate) fn next(&mut self) -> Option<Frame> {
        loop {
            let head = self.wire.take(9);
            let [a, b, c, kind, flags, stream @ ..] = <[u8; 9]>::try_from(head).ok()?;
            let payload = self.wire.take(u32::from_be_bytes([0, a, b, c]) as usize);
            if ![SETTINGS, PING, 8].contains(&kind) {
                return Some(Frame { kind, flags, stream: u32::from_be_bytes(stream), payload });
            }
        }
    }

    /// The status that a stream is answered with, `None` if it is reset or the connection ends.
    pub(crate) fn status(&mut self, stream: u32) -> Option<u16> {
        loop {
            let frame = self.next()?;
            match frame.kind {
                HEADERS if frame.stream == stream => return Some(status(&frame.payload)),
                RST_STREAM if frame.stream == stream => return None,
                _ => {}
            }
        }
    }
}

pub(crate) fn encode(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let len = (payload.len() as u32).to_be_bytes();
    [&len[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

/// A field block of literals that are not indexed (RFC 7541 §6.2.2). Each part is up to 126 bytes.
pub(crate) fn block(fields: &[(&str, &str)]) -> Vec<u8> {
    let literal = |(name, value): &(&str, &str)| {
        [&[0, name.len() as u8], name.as_bytes(), &[value.len() as u8], value.as_bytes()].concat()
    };
    fields.iter().flat_map(literal).collect()
}

pub(crate) fn get(path: &str) -> Vec<u8> {
    block(&[(":method", "GET"), (":scheme", "http"), (":authority", "a"), (":path", path)])
}

pub(crate) fn post(path: &str) -> Vec<u8> {
    block(&[(":method", "POST"), (":scheme", "http"), (":authority", "a"), (":path", path)])
}

/// `:status` comes first, from the static table (RFC 7541 appendix A) or as a literal behind its name.
fn status(block: &[u8]) -> u16 {
    // An update of the dynamic table's size may come before.
    let block = if block[0] & 0xe0 == 0x20 { &block[1..] } else { block };
    match block[0] {
        0x88 => 200,
        0x89 => 204,
        0x8c => 400,
        0x8d => 404,
        0x8e => 500,
        _ => literal_status(&block[1..]),
    }
}

fn literal_status(value: &[u8]) -> u16 {
    let len = usize::from(value[0] & 0x7f);
    let text = &value[1..=len];
    if value[0] & 0x80 == 0 {
        return std::str::from_utf8(text).unwrap().parse().unwrap();
    }
    // Huffman codes of the ten digits: 0, 1, 2 have five bits, the others six (RFC 7541 appendix B).
    let bits: String = text.iter().map(|byte| format!("{byte:08b}")).collect();
    let (mut at, mut digits) = (0, String::new());
    while digits.len() < 3 {
        let five = u8::from_str_radix(&bits[at..at + 5], 2).unwrap();
        let (digit, len) = match five {
            0..=2 => (five, 5),
            _ => (u8::from_str_radix(&bits[at..at + 6], 2).unwrap() - 0x19 + 3, 6),
        };
        digits.push(char::from(b'0' + digit));
        at += len;
    }
    digits.parse().unwrap()
}
