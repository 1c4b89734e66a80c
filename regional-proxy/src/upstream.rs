//! Connections to the services: one pool a thread and endpoint.

mod connect;
mod dns;
mod h1;
mod h2;
pub(crate) mod health;
mod pool;
mod tls;

use std::cell::RefCell;
use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::Uri;
use http::uri::{Authority, PathAndQuery, Scheme};
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;

pub(crate) use connect::{connect, shared};
pub(crate) use dns::Names;
pub(crate) use h1::{Link, Switch, Unanswered};
pub(crate) use tls::{UpstreamTlsError, roots, system_roots};

use crate::body::BrokenOff;
use crate::watch::Watches;
use pool::Pool;
use tollgate_core::Endpoint;

/// What one thread knows of one endpoint: its idle HTTP/1 connections and its HTTP/2 connection.
pub(crate) struct Upstream {
    pub(crate) endpoint: Arc<Endpoint>,
    pub(crate) pool: Pool,
    pub(crate) shared: h2::SharedConnection,
    pub(crate) tls: tls::UpstreamTls,
}

/// The upstreams of one thread, by endpoint.
pub(crate) struct Upstreams {
    watches: Rc<Watches>,
    by_id: RefCell<HashMap<u64, Rc<Upstream>, BuildHasherDefault<IdHasher>>>,
}

impl Upstreams {
    pub(crate) fn new(watches: Rc<Watches>) -> Upstreams {
        Upstreams { watches, by_id: RefCell::default() }
    }

    pub(crate) fn of(&self, endpoint: &Arc<Endpoint>) -> Rc<Upstream> {
        if let Some(upstream) = self.by_id.borrow().get(&endpoint.id()) {
            return upstream.clone();
        }
        let upstream = Rc::new(Upstream {
            endpoint: endpoint.clone(),
            pool: Pool::new(self.watches.clone()),
            shared: h2::SharedConnection::default(),
            tls: tls::UpstreamTls::default(),
        });
        self.by_id.borrow_mut().insert(endpoint.id(), upstream.clone());
        upstream
    }

    /// Closes idle connections that are too old or were closed by the other side, and forgets endpoints that no
    /// configuration names any more.
    pub(crate) fn tidy(&self) {
        self.by_id.borrow_mut().retain(|_, upstream| {
            upstream.pool.tidy();
            Arc::strong_count(&upstream.endpoint) > 1
        });
    }
}

/// An answer's body, and the connection that it arrives on.
pub(crate) enum Answer {
    Http1 { incoming: Incoming, link: Option<Box<Link>>, first: Option<Bytes> },
    Http2 { incoming: Incoming },
}

impl Answer {
    pub(crate) fn http1(incoming: Incoming, link: Box<Link>) -> Answer {
        Answer::Http1 { incoming, link: Some(link), first: None }
    }

    /// What is left of the connection after a 101.
    pub(crate) fn switch(mut self) -> Option<Switch> {
        match &mut self {
            Answer::Http1 { link, .. } => link.take()?.switch(),
            Answer::Http2 { .. } => None,
        }
    }

    /// The body, if all of it is here already; that is so for most short answers.
    pub(crate) fn into_whole(mut self) -> Result<Bytes, Answer> {
        let Answer::Http1 { incoming, first, .. } = &mut self else { return Err(self) };
        if incoming.is_end_stream() {
            return Ok(Bytes::new());
        }
        if incoming.size_hint().exact().is_none() {
            return Err(self);
        }
        if let Poll::Ready(Some(Ok(frame))) = Pin::new(&mut *incoming).poll_frame(&mut h1::deaf()) {
            // A body of known length has no trailers.
            let bytes = frame.into_data().unwrap_or_default();
            if incoming.is_end_stream() {
                return Ok(bytes);
            }
            *first = Some(bytes);
        }
        Err(self)
    }

    pub(crate) fn poll_frame(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BrokenOff>>> {
        let polled = match self {
            Answer::Http1 { first, .. } if first.is_some() => {
                Poll::Ready(first.take().map(|bytes| Ok(Frame::data(bytes))))
            }
            Answer::Http1 { incoming, link: Some(link), .. } => link.poll_frame(incoming, cx),
            Answer::Http1 { link: None, .. } => Poll::Ready(None),
            Answer::Http2 { incoming } => Pin::new(incoming).poll_frame(cx),
        };
        if let (Poll::Ready(None), Answer::Http1 { link, .. }) = (&polled, &mut *self)
            && let Some(link) = link.take()
        {
            link.release();
        }
        polled.map_err(|_| BrokenOff)
    }

    pub(crate) fn is_end_stream(&self) -> bool {
        match self {
            Answer::Http1 { link: None, .. } => true,
            Answer::Http1 { incoming, first, .. } => first.is_none() && incoming.is_end_stream(),
            Answer::Http2 { incoming } => incoming.is_end_stream(),
        }
    }

    pub(crate) fn size_hint(&self) -> SizeHint {
        match self {
            Answer::Http1 { incoming, first, .. } => {
                let first = first.as_ref().map_or(0, Bytes::len) as u64;
                match incoming.size_hint().exact() {
                    Some(rest) => SizeHint::with_exact(first + rest),
                    None => SizeHint::default(),
                }
            }
            Answer::Http2 { incoming } => incoming.size_hint(),
        }
    }
}

impl Drop for Answer {
    fn drop(&mut self) {
        let is_over = self.is_end_stream();
        if let Answer::Http1 { link, .. } = self
            && let Some(link) = link.take()
            && is_over
        {
            link.release();
        }
    }
}

/// Endpoint ids are already distinct small numbers.
#[derive(Default)]
struct IdHasher(u64);

impl Hasher for IdHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            self.write_u64(u64::from(byte));
        }
    }

    fn write_u64(&mut self, id: u64) {
        // The table takes the bucket from the low bits and the tag from the high ones.
        self.0 = (self.0.rotate_left(5) ^ id).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    }
}

/// Addresses a head to `endpoint` as HTTP/2 wants it: with scheme and authority in the target, and no `Host`.
pub(crate) fn absolute(head: &mut http::request::Parts, endpoint: &Endpoint) {
    let authority = head.headers.remove(http::header::HOST);
    let authority = authority.as_ref().unwrap_or_else(|| endpoint.authority());
    let mut uri = std::mem::take(&mut head.uri).into_parts();
    uri.scheme = Some(if endpoint.is_tls() { Scheme::HTTPS } else { Scheme::HTTP });
    uri.authority = Authority::try_from(authority.as_bytes()).ok();
    if uri.path_and_query.is_none() {
        uri.path_and_query = Some(PathAndQuery::from_static("/"));
    }
    head.uri = Uri::from_parts(uri).unwrap_or_default();
    head.version = http::Version::HTTP_2;
}
