//! HTTP/1 byte by byte, for either side of a connection, without a library's opinion of what is allowed.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};

use super::PATIENCE;

/// One side of a connection.
pub(crate) struct Wire<S = TcpStream> {
    stream: S,
    unread: Vec<u8>,
}

/// A request or a response as it was on the wire.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Message {
    /// `GET / HTTP/1.1`, or `HTTP/1.1 200 OK`.
    pub(crate) start: String,
    /// Names in lower case.
    pub(crate) fields: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
    pub(crate) trailers: Vec<(String, String)>,
    /// The connection ended before the message did.
    pub(crate) is_broken: bool,
}

impl Wire {
    pub(crate) fn connect(address: SocketAddr) -> Wire {
        Wire::new(TcpStream::connect(address).unwrap())
    }

    pub(crate) fn new(stream: TcpStream) -> Wire {
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_write_timeout(Some(PATIENCE)).unwrap();
        stream.set_nodelay(true).unwrap();
        Wire::over(stream)
    }

    pub(crate) fn socket(&self) -> &TcpStream {
        &self.stream
    }
}

impl<S: Read + Write> Wire<S> {
    pub(crate) fn over(stream: S) -> Wire<S> {
        Wire { stream, unread: Vec::new() }
    }

    pub(crate) fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.try_send(bytes).unwrap();
    }

    pub(crate) fn try_send(&mut self, bytes: impl AsRef<[u8]>) -> std::io::Result<()> {
        self.stream.write_all(bytes.as_ref())?;
        self.stream.flush()
    }

    /// The next message's start line and fields; `None` when the connection ended before them.
    pub(crate) fn head(&mut self) -> Option<Message> {
        let head = self.through(b"\r\n\r\n")?;
        let head = String::from_utf8(head).unwrap();
        let mut lines = head.trim_end().split("\r\n");
        let start = lines.next().unwrap().to_owned();
        Some(Message { start, fields: lines.map(field).collect(), ..Message::default() })
    }

    /// As `head`, without reading a byte beyond it, so that the rest may be read from the socket.
    pub(crate) fn head_alone(&mut self) -> Message {
        let mut byte = [0];
        while !self.unread.ends_with(b"\r\n\r\n") {
            self.stream.read_exact(&mut byte).unwrap();
            self.unread.push(byte[0]);
        }
        self.head().unwrap()
    }

    /// A whole request.
    pub(crate) fn request(&mut self) -> Option<Message> {
        let mut message = self.head()?;
        if message.is_chunked() || message.has("content-length") {
            self.body(&mut message);
        }
        Some(message)
    }

    /// A whole final response to anything but HEAD and CONNECT.
    pub(crate) fn reply(&mut self) -> Message {
        let mut message = self.head().expect("the connection ended instead of a reply");
        if !matches!(message.status(), 100..=199 | 204 | 304) {
            self.body(&mut message);
        }
        message
    }

    /// Reads what the head says belongs to the message.
    pub(crate) fn body(&mut self, message: &mut Message) {
        if message.is_chunked() {
            message.is_broken = self.chunks(message).is_none();
        } else if let Some(len) = message.field("content-length") {
            let len = len.parse().unwrap();
            while self.unread.len() < len && self.fill() {}
            message.is_broken = self.unread.len() < len;
            message.body = self.unread.drain(..len.min(self.unread.len())).collect();
        } else {
            message.body = self.rest();
        }
    }

    /// Everything up to the end of the connection, however it ends.
    pub(crate) fn rest(&mut self) -> Vec<u8> {
        while self.fill() {}
        std::mem::take(&mut self.unread)
    }

    /// The other side closed the connection and said nothing more.
    pub(crate) fn is_at_end(&mut self) -> bool {
        self.unread.is_empty() && !self.fill()
    }

    /// The next `len` bytes; fewer at the end of the connection.
    pub(crate) fn take(&mut self, len: usize) -> Vec<u8> {
        while self.unread.len() < len && self.fill() {}
        self.unread.drain(..len.min(self.unread.len())).collect()
    }

    fn chunks(&mut self, message: &mut Message) -> Option<()> {
        loop {
            let size = String::from_utf8(self.through(b"\r\n")?).unwrap();
            let size = usize::from_str_radix(size.trim_end(), 16).unwrap();
            if size == 0 {
                break;
            }
            let chunk = self.take(size + 2);
            message.body.extend_from_slice(&chunk[..size.min(chunk.len())]);
            if chunk.len() < size + 2 {
                return None;
            }
            assert_eq!(&chunk[size..], b"\r\n");
        }
        loop {
            let line = self.through(b"\r\n")?;
            if line == b"\r\n" {
                return Some(());
            }
            message.trailers.push(field(String::from_utf8(line).unwrap().trim_end()));
        }
    }

    fn through(&mut self, end: &[u8]) -> Option<Vec<u8>> {
        loop {
            if let Some(at) = self.unread.windows(end.len()).position(|window| window == end) {
                return Some(self.unread.drain(..at + end.len()).collect());
            }
            if !self.fill() {
                return None;
            }
        }
    }

    /// False at the end of the connection.
    fn fill(&mut self) -> bool {
        let mut buffer = [0; 16 * 1024];
        match self.stream.read(&mut buffer) {
            Ok(read) => {
                self.unread.extend_from_slice(&buffer[..read]);
                read > 0
            }
            // Also an end, if a rude one.
            Err(error) => {
                assert_ne!(error.kind(), ErrorKind::WouldBlock, "nothing came in time");
                false
            }
        }
    }
}

impl Message {
    pub(crate) fn status(&self) -> u16 {
        self.start.split(' ').nth(1).and_then(|status| status.parse().ok()).expect("a status line")
    }

    /// All values of a field, as one.
    pub(crate) fn field(&self, name: &str) -> Option<String> {
        let values: Vec<_> =
            self.fields.iter().filter(|field| field.0 == name).map(|field| field.1.as_str()).collect();
        (!values.is_empty()).then(|| values.join(", "))
    }

    pub(crate) fn has(&self, name: &str) -> bool {
        self.fields.iter().any(|field| field.0 == name)
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    fn is_chunked(&self) -> bool {
        self.field("transfer-encoding").is_some_and(|coding| coding.eq_ignore_ascii_case("chunked"))
    }
}

fn field(line: &str) -> (String, String) {
    let (name, value) = line.split_once(':').expect("a field line");
    (name.to_ascii_lowercase(), value.trim().to_owned())
}
