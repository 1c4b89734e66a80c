//! The client of a scenario: one request on a connection of its own.

use anyhow::Result;
use bytes::Bytes;
use http::HeaderValue;
use http_body_util::{BodyExt, Either, Full, StreamBody};
use hyper::body::Frame;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

use super::expect::Got;
use super::{Exchange, START_MONO_US, START_WALL_US};

/// `wall_us,mono_us`, read by adapters that are built to play scenarios.
pub(crate) const CLOCK_HEADER: &str = "tollgate-frozen-clock";

/// What stands between a client and the platform's adapter, and so is for the client to do.
#[derive(Default)]
pub(super) struct Front {
    /// Fields beside the exchange's own.
    pub(super) headers: Vec<(&'static str, HeaderValue)>,
    /// Writes the target with its scheme and host.
    pub(super) is_absolute: bool,
}

/// Sends the exchange's request by `front`, and takes the reply.
pub(super) async fn send(stream: TcpStream, exchange: &Exchange, at_ms: u64, front: Front) -> Result<Got> {
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    tokio::spawn(connection.with_upgrades());
    let (mut head, ()) = super::play_core::request(exchange)?.into_parts();
    for (name, value) in front.headers {
        head.headers.insert(name, value);
    }
    if front.is_absolute && head.uri.authority().is_none() && head.uri.path().starts_with('/') {
        head.uri = format!("http://{}{}", exchange.host, head.uri).parse()?;
    }
    head.headers.insert(CLOCK_HEADER, clock(at_ms));
    let body = Bytes::from(exchange.body.clone().unwrap_or_default());
    let body = if exchange.chunked {
        let frames = [Ok::<_, std::convert::Infallible>(Frame::data(body))];
        Either::Left(StreamBody::new(Frames(frames.into_iter())))
    } else {
        Either::Right(Full::new(body))
    };
    let response = sender.send_request(http::Request::from_parts(head, body)).await?;
    let (head, mut body) = response.into_parts();
    let mut got =
        Got { status: head.status.as_u16(), headers: head.headers, body: Vec::new(), broken: false };
    while let Some(frame) = body.frame().await {
        match frame {
            Ok(frame) => got.body.extend_from_slice(frame.data_ref().map_or(&[][..], |data| data)),
            Err(_) => {
                got.broken = true;
                break;
            }
        }
    }
    Ok(got)
}

/// The value of [`CLOCK_HEADER`] at this time of a case.
pub(crate) fn clock(at_ms: u64) -> HeaderValue {
    let clock = format!("{},{}", START_WALL_US + at_ms * 1_000, START_MONO_US + at_ms * 1_000);
    HeaderValue::try_from(clock).expect("digits and a comma")
}

/// A stream of frames that are all there.
struct Frames<I>(I);

impl<I: Iterator + Unpin> futures_core::Stream for Frames<I> {
    type Item = I::Item;

    fn poll_next(
        mut self: std::pin::Pin<&mut Self>,
        _: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<I::Item>> {
        std::task::Poll::Ready(self.0.next())
    }
}
