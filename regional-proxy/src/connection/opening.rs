//! The first bytes of a connection: a PROXY protocol header, a TLS handshake, and which HTTP it is.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;

use bytes::{Bytes, BytesMut};
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::stream::Stream;
use crate::proxy_protocol::{self, Source};
use crate::worker::Worker;
use tollgate_core::{Peer, Scheme};

/// RFC 9113 §3.4. Its first four bytes begin no HTTP/1 request.
const PREFACE_START: &[u8] = b"PRI ";

pub(super) enum Protocol {
    Http1,
    Http2,
}

/// A connection whose protocol is known.
pub(super) struct Opened {
    pub(super) stream: Stream,
    /// Bytes that were read to find out.
    pub(super) early: Bytes,
    pub(super) peer: Peer,
    pub(super) protocol: Protocol,
}

/// `None` when the client left, took too long or spoke nothing that is understood.
pub(super) async fn open(worker: &Rc<Worker>, socket: TcpStream, address: SocketAddr) -> Option<Opened> {
    let limit = worker.shared.timeouts().header_read;
    timeout(limit, negotiate(worker, socket, address)).await.ok()?.ok()
}

async fn negotiate(worker: &Worker, mut socket: TcpStream, address: SocketAddr) -> io::Result<Opened> {
    let address = source(worker, &mut socket, address).await?;
    let tls = worker.shared.tls();
    let scheme = if tls.is_some() { Scheme::Https } else { Scheme::Http };
    let peer = Peer::new(address, scheme, worker.lane);
    if let Some(tls) = tls {
        let stream = tls.accept(socket).await?;
        let protocol = match stream.get_ref().1.alpn_protocol() {
            Some(b"h2") => Protocol::Http2,
            _ => Protocol::Http1,
        };
        return Ok(Opened {
            stream: Stream::Tls(Box::new(stream.into())),
            early: Bytes::new(),
            peer,
            protocol,
        });
    }
    let (protocol, early) = sniff(&mut socket).await?;
    Ok(Opened { stream: Stream::Clear(socket), early, peer, protocol })
}

/// The client's address: the socket's, or what a trusted load balancer says.
async fn source(worker: &Worker, socket: &mut TcpStream, address: SocketAddr) -> io::Result<IpAddr> {
    if !worker.shared.expects_proxy_header(address.ip()) {
        return Ok(address.ip());
    }
    match proxy_protocol::read(socket).await? {
        Source::Address(address) => Ok(address),
        Source::Local => Ok(address.ip()),
    }
}

/// Tells HTTP/2 with prior knowledge from HTTP/1 by its first bytes, reading no more than it takes.
async fn sniff(socket: &mut TcpStream) -> io::Result<(Protocol, Bytes)> {
    let mut start = [0; PREFACE_START.len()];
    socket.readable().await?;
    let peeked = socket.peek(&mut start).await?;
    if start[..peeked] != PREFACE_START[..peeked] {
        return Ok((Protocol::Http1, Bytes::new()));
    }
    // Rare: the first packet holds less than a preface, or a preface. Reading is the way to wait for more.
    let mut early = BytesMut::with_capacity(PREFACE_START.len());
    while early.len() < PREFACE_START.len() && PREFACE_START.starts_with(&early) {
        let missing = PREFACE_START.len() - early.len();
        let read = (&mut *socket).take(missing as u64).read_buf(&mut early).await?;
        if read == 0 {
            break;
        }
    }
    let protocol = if early == PREFACE_START { Protocol::Http2 } else { Protocol::Http1 };
    Ok((protocol, early.freeze()))
}
