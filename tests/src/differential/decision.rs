//! What was decided, in a form that is the same wherever it was.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use anyhow::{Context, Result};
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Request, Response, Version};
use http_body_util::{BodyExt, Either, Full, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::net::TcpListener;
use tokio::time::timeout;

use super::request::Generated;
use crate::gateway::{Gateway, PATIENCE};
use crate::scenario::{CLOCK_HEADER, clock};

/// Fields of an answer that say what was decided.
const DECIDING: [&str; 16] = [
    "allow",
    "location",
    "www-authenticate",
    "retry-after",
    "ratelimit",
    "ratelimit-policy",
    "vary",
    "content-type",
    "cache-control",
    "tollgate-decision",
    "access-control-allow-origin",
    "access-control-allow-credentials",
    "access-control-allow-methods",
    "access-control-allow-headers",
    "access-control-expose-headers",
    "access-control-max-age",
];

/// Fields of a forwarded request that differ by themselves: those of the connection, and identifiers.
const INCIDENTAL: [&str; 7] = [
    "host",
    "connection",
    "content-length",
    "transfer-encoding",
    "x-request-id",
    "traceparent",
    "tracestate",
];

#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Decision {
    pub(super) status: u16,
    pub(super) headers: BTreeMap<String, String>,
    /// Of a problem: all but which exchange it was.
    pub(super) problem: Option<Value>,
    pub(super) forwarded: Option<Forwarded>,
}

/// What a service saw.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Forwarded {
    pub(super) target: String,
    pub(super) headers: BTreeMap<String, String>,
    pub(super) body_bytes: usize,
}

/// A service that keeps what it sees.
pub(super) struct Echo {
    pub(super) address: SocketAddr,
    seen: Arc<Mutex<Option<Forwarded>>>,
}

impl Echo {
    pub(super) async fn start() -> Result<Echo> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let seen: Arc<Mutex<Option<Forwarded>>> = Arc::default();
        let keep = seen.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let keep = keep.clone();
                tokio::spawn(async move {
                    let answer = service_fn(move |request| answer(keep.clone(), request));
                    // A connection that breaks shows in what its client makes of it.
                    let _ = hyper::server::conn::http1::Builder::new()
                        .auto_date_header(false)
                        .serve_connection(TokioIo::new(stream), answer)
                        .await;
                });
            }
        });
        Ok(Echo { address, seen })
    }

    fn take(&self) -> Option<Forwarded> {
        self.seen.lock().expect("no holder panics").take()
    }
}

/// What every service answers with.
pub(super) fn answered() -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from_static(b"ok")));
    response.headers_mut().insert("content-type", HeaderValue::from_static("text/plain"));
    response
}

async fn answer(
    keep: Arc<Mutex<Option<Forwarded>>>,
    request: Request<Incoming>,
) -> Result<Response<Full<Bytes>>, hyper::Error> {
    let (head, body) = request.into_parts();
    let body_bytes = body.collect().await?.to_bytes().len();
    let forwarded = Forwarded::new(&head, body_bytes);
    *keep.lock().expect("no holder panics") = Some(forwarded);
    Ok(answered())
}

impl Forwarded {
    pub(super) fn new(head: &http::request::Parts, body_bytes: usize) -> Forwarded {
        let names = head.headers.keys().filter(|name| !INCIDENTAL.contains(&name.as_str()));
        let headers = names.map(|name| (name.to_string(), joined(&head.headers, name))).collect();
        Forwarded { target: format!("{} {}", head.method, head.uri), headers, body_bytes }
    }
}

impl Decision {
    pub(super) fn new(head: &http::response::Parts, body: &[u8], forwarded: Option<Forwarded>) -> Decision {
        let deciding = DECIDING.iter().map(|name| HeaderName::from_static(name));
        let there = deciding.filter(|name| head.headers.contains_key(name));
        let value = |name: &HeaderName| {
            let value = joined(&head.headers, name);
            // The proxy's policy has an address of its own in it, and with that another hash.
            value.split_once(", policy=").map_or(value.clone(), |(value, _)| value.to_owned())
        };
        let problem = forwarded.is_none().then(|| serde_json::from_slice::<Value>(body).ok()).flatten();
        Decision {
            status: head.status.as_u16(),
            headers: there.map(|name| (name.to_string(), value(&name))).collect(),
            problem: problem.map(|mut problem| {
                if let Some(members) = problem.as_object_mut() {
                    members.remove("instance");
                }
                problem
            }),
            forwarded,
        }
    }

    /// Asks a running gateway.
    pub(super) async fn of(gateway: &Gateway, echo: &Echo, request: &Generated) -> Result<Decision> {
        let (stream, front) = gateway.connect(request.from).await?;
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
        tokio::spawn(connection);
        let mut head = request.head()?;
        if gateway.wants_absolute_targets() {
            head.uri = format!("http://{}{}", request.host, request.target).parse()?;
        }
        head.headers.extend(front);
        head.headers.insert(CLOCK_HEADER, clock(request.at_ms));
        let bytes = request.body.as_ref().map(|body| Bytes::from(body.text.clone())).unwrap_or_default();
        let body = match &request.body {
            Some(body) if body.is_chunked => {
                let frame = std::future::ready(Ok::<_, Infallible>(Frame::data(bytes)));
                Either::Left(StreamBody::new(futures_util::stream::once(frame)))
            }
            _ => Either::Right(Full::new(bytes)),
        };
        let exchange = async {
            let response = sender.send_request(Request::from_parts(head, body)).await?;
            let (head, body) = response.into_parts();
            anyhow::Ok((head, body.collect().await?.to_bytes()))
        };
        let (head, body) = timeout(PATIENCE, exchange).await.context("no reply")??;
        Ok(Decision::new(&head, &body, echo.take()))
    }

    /// One a line.
    pub(super) fn differences(&self, other: &Decision) -> String {
        format!("{self:#?}\nagainst\n{other:#?}")
    }
}

impl Generated {
    /// As an HTTP/1.1 server library hands it over.
    pub(super) fn head(&self) -> Result<http::request::Parts> {
        let (mut head, ()) = Request::new(()).into_parts();
        (head.method, head.uri, head.version) =
            (self.method.parse()?, self.target.parse()?, Version::HTTP_11);
        head.headers.insert("host", HeaderValue::from_static(self.host));
        for (name, value) in &self.headers {
            head.headers.insert(*name, value.parse()?);
        }
        match &self.body {
            Some(body) if body.is_chunked => {
                head.headers.insert("transfer-encoding", HeaderValue::from_static("chunked"));
            }
            Some(body) => {
                head.headers.insert("content-length", HeaderValue::from(body.text.len()));
            }
            None => {}
        }
        Ok(head)
    }
}

fn joined(headers: &HeaderMap, name: &HeaderName) -> String {
    let values =
        headers.get_all(name).iter().map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned());
    values.collect::<Vec<_>>().join(", ")
}
