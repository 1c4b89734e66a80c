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
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::Uri;
use http::uri::{Authority, PathAndQuery, Scheme};
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;

pub(crate) use connect::{connect, shared};
pub(crate) use dns::Names;
pub(crate) use h1::{Link, LinkError, Switch};
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
    /// Until the body is over, and the connection released.
    Http1(Option<Box<Link>>),
    Http2(Incoming),
}

impl Answer {
    /// What is left of the connection after a 101.
    pub(crate) fn switch(mut self) -> Option<Switch> {
        match &mut self {
            Answer::Http1(link) => link.take()?.switch(),
            Answer::Http2(_) => None,
        }
    }

    /// The body, if all of it is here already; that is so for most short answers.
    pub(crate) fn into_whole(mut self) -> Result<Bytes, Answer> {
        let Answer::Http1(Some(link)) = &mut self else { return Err(self) };
        link.whole().ok_or(self)
    }

    pub(crate) fn poll_frame(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BrokenOff>>> {
        let link = match self {
            Answer::Http1(link) => link,
            Answer::Http2(incoming) => return Pin::new(incoming).poll_frame(cx).map_err(|_| BrokenOff),
        };
        let Some(open) = link else { return Poll::Ready(None) };
        let frame = ready!(open.poll_frame(cx));
        if frame.is_none()
            && let Some(over) = link.take()
        {
            over.release();
        }
        Poll::Ready(frame.map(|frame| frame.map_err(|_| BrokenOff)))
    }

    pub(crate) fn is_end_stream(&self) -> bool {
        match self {
            Answer::Http1(link) => link.as_ref().is_none_or(|link| link.is_at_end()),
            Answer::Http2(incoming) => incoming.is_end_stream(),
        }
    }

    pub(crate) fn size_hint(&self) -> SizeHint {
        match self {
            Answer::Http1(link) => link.as_ref().map_or(SizeHint::with_exact(0), |link| link.size_hint()),
            Answer::Http2(incoming) => incoming.size_hint(),
        }
    }
}

impl Drop for Answer {
    fn drop(&mut self) {
        if let Answer::Http1(link) = self
            && let Some(link) = link.take()
        {
            // A body that is not over keeps the connection from being used again.
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
