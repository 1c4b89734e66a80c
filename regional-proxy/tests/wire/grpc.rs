//! gRPC through the gateway: tonic calls a server that is made of HTTP/2 frames by hand, so that each is seen.

use std::net::SocketAddr;
use std::time::Duration;

use bytes::{Buf, BufMut, Bytes};
use futures_util::StreamExt;
use h2::server::SendResponse;
use http::{HeaderMap, HeaderValue, Request, Response};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tonic::client::Grpc;
use tonic::codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Status};

use super::common::{Gateway, PATIENCE, free_address};

/// What the server saw of a call.
#[derive(Debug)]
enum Seen {
    Called(HeaderMap),
    Reset(h2::Reason),
}

/// Answers by the method's name.
async fn server() -> (SocketAddr, mpsc::UnboundedReceiver<Seen>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (sees, seen) = mpsc::unbounded_channel();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let sees = sees.clone();
            tokio::spawn(async move {
                let mut connection = h2::server::handshake(stream).await.unwrap();
                while let Some(Ok((request, respond))) = connection.accept().await {
                    tokio::spawn(answer(request, respond, sees.clone()));
                }
            });
        }
    });
    (address, seen)
}

async fn answer(
    request: Request<h2::RecvStream>,
    mut respond: SendResponse<Bytes>,
    sees: mpsc::UnboundedSender<Seen>,
) {
    let (head, mut body) = request.into_parts();
    let _ = sees.send(Seen::Called(head.headers));
    let response = Response::builder().header("content-type", "application/grpc").header("x-initial", "1");
    match head.uri.path() {
        "/test.Echo/Talk" => {
            let mut send = respond.send_response(response.body(()).unwrap(), false).unwrap();
            while let Some(Ok(piece)) = body.data().await {
                body.flow_control().release_capacity(piece.len()).unwrap();
                let _ = send.send_data(piece, false);
            }
            let _ = send.send_trailers(trailers("0"));
        }
        "/test.Echo/Collect" => {
            while let Some(Ok(piece)) = body.data().await {
                body.flow_control().release_capacity(piece.len()).unwrap();
            }
            let _ = respond.send_response(response.header("grpc-status", "0").body(()).unwrap(), true);
        }
        "/test.Echo/Many" => {
            let mut send = respond.send_response(response.body(()).unwrap(), false).unwrap();
            for nth in 0..100u8 {
                send.send_data(frame(&[nth]), false).unwrap();
            }
            send.send_trailers(trailers("0")).unwrap();
        }
        "/test.Echo/Fail" => {
            let response = response.header("grpc-status", "9").header("grpc-message", "not%20now");
            respond.send_response(response.body(()).unwrap(), true).unwrap();
        }
        "/test.Echo/Break" => {
            let mut send = respond.send_response(response.body(()).unwrap(), false).unwrap();
            send.send_data(frame(b"half"), false).unwrap();
            tokio::time::sleep(Duration::from_millis(50)).await;
            send.send_reset(h2::Reason::INTERNAL_ERROR);
        }
        _ => {
            let reason = std::future::poll_fn(|cx| respond.poll_reset(cx)).await;
            let _ = sees.send(Seen::Reset(reason.unwrap()));
        }
    }
}

fn trailers(status: &'static str) -> HeaderMap {
    let status = ("grpc-status".parse().unwrap(), HeaderValue::from_static(status));
    [status, ("x-final".parse().unwrap(), HeaderValue::from_static("2"))].into_iter().collect()
}

/// A message behind its five bytes of prefix.
fn frame(message: &[u8]) -> Bytes {
    [&[0, 0, 0, 0, message.len() as u8], message].concat().into()
}

/// Messages that are bytes and nothing else.
#[derive(Clone, Copy, Default)]
struct Plain;

impl Codec for Plain {
    type Encode = Vec<u8>;
    type Decode = Vec<u8>;
    type Encoder = Plain;
    type Decoder = Plain;

    fn encoder(&mut self) -> Plain {
        Plain
    }

    fn decoder(&mut self) -> Plain {
        Plain
    }
}

impl Encoder for Plain {
    type Item = Vec<u8>;
    type Error = Status;

    fn encode(&mut self, message: Vec<u8>, to: &mut EncodeBuf<'_>) -> Result<(), Status> {
        to.put_slice(&message);
        Ok(())
    }
}

impl Decoder for Plain {
    type Item = Vec<u8>;
    type Error = Status;

    fn decode(&mut self, from: &mut DecodeBuf<'_>) -> Result<Option<Vec<u8>>, Status> {
        Ok(Some(from.copy_to_bytes(from.remaining()).to_vec()))
    }
}

struct Stage {
    gateway: Gateway,
    seen: mpsc::UnboundedReceiver<Seen>,
    client: Grpc<Channel>,
}

async fn stage(rules: Value) -> Stage {
    let (address, seen) = server().await;
    let mut service = json!({
        "urls": [format!("http://{address}")], "protocol": "http2", "routes": [{ "path": "/test.Echo/*" }],
    });
    service.as_object_mut().unwrap().extend(rules.as_object().unwrap().clone());
    let gateway = Gateway::start(json!({
        "server": { "limits": { "body_bytes": "1MiB" } }, "routing": { "services": { "grpc": service } },
    }));
    let channel = Endpoint::try_from(format!("http://{}", gateway.listen)).unwrap().connect().await.unwrap();
    Stage { gateway, seen, client: Grpc::new(channel) }
}

impl Stage {
    async fn unary(
        &mut self,
        path: &'static str,
        message: Vec<u8>,
    ) -> Result<tonic::Response<Vec<u8>>, Status> {
        self.client.ready().await.unwrap();
        let path = http::uri::PathAndQuery::from_static(path);
        self.client.unary(tonic::Request::new(message), path, Plain).await
    }

    async fn seen(&mut self) -> Seen {
        tokio::time::timeout(PATIENCE, self.seen.recv()).await.unwrap().unwrap()
    }
}

#[tokio::test]
async fn a_unary_call_keeps_its_metadata_and_trailers() {
    let mut stage = stage(json!({})).await;
    stage.client.ready().await.unwrap();
    let mut request = tonic::Request::new(b"hello".to_vec());
    request.metadata_mut().insert("x-asked", "0".parse().unwrap());
    let path = http::uri::PathAndQuery::from_static("/test.Echo/Talk");
    let response = stage.client.unary(request, path, Plain).await.unwrap();
    assert_eq!(response.get_ref(), b"hello");
    for (name, value) in [("x-initial", "1"), ("x-final", "2")] {
        assert_eq!(response.metadata().get(name).unwrap(), value);
    }
    let Seen::Called(headers) = stage.seen().await else { panic!("no call") };
    for (name, value) in [("te", "trailers"), ("x-asked", "0"), ("content-type", "application/grpc")] {
        assert_eq!(headers[name], value);
    }
}

#[tokio::test]
async fn a_stream_of_the_server_arrives_in_order() {
    let mut stage = stage(json!({})).await;
    stage.client.ready().await.unwrap();
    let path = http::uri::PathAndQuery::from_static("/test.Echo/Many");
    let response = stage.client.server_streaming(tonic::Request::new(vec![]), path, Plain).await.unwrap();
    let mut stream = response.into_inner();
    for nth in 0..100 {
        assert_eq!(stream.message().await.unwrap(), Some(vec![nth]));
    }
    assert_eq!(stream.message().await.unwrap(), None);
    assert_eq!(stream.trailers().await.unwrap().unwrap().get("x-final").unwrap(), "2");
}

/// Each message waits for the answer to the one before: nothing on the way collects them.
#[tokio::test]
async fn both_sides_stream_at_once() {
    let mut stage = stage(json!({})).await;
    stage.client.ready().await.unwrap();
    let (says, said) = mpsc::unbounded_channel::<Vec<u8>>();
    let said =
        futures_util::stream::unfold(said, async |mut said| said.recv().await.map(|message| (message, said)));
    let path = http::uri::PathAndQuery::from_static("/test.Echo/Talk");
    let response = stage.client.streaming(tonic::Request::new(said.boxed()), path, Plain).await.unwrap();
    let mut stream = response.into_inner();
    for nth in 0..20 {
        says.send(vec![nth; 1000]).unwrap();
        assert_eq!(stream.message().await.unwrap(), Some(vec![nth; 1000]));
    }
    drop(says);
    assert_eq!(stream.message().await.unwrap(), None);
}

#[tokio::test]
async fn an_error_without_a_message_keeps_its_status() {
    let mut stage = stage(json!({})).await;
    let status = stage.unary("/test.Echo/Fail", vec![]).await.unwrap_err();
    assert_eq!((status.code(), status.message()), (Code::FailedPrecondition, "not now"));
}

#[tokio::test]
async fn what_the_gateway_refuses_has_a_grpc_status() {
    let mut stage = stage(json!({ "timeout": "500ms" })).await;
    let unknown = stage.unary("/test.Other/Talk", vec![]).await.unwrap_err();
    assert_eq!(unknown.code(), Code::Unimplemented);
    let large = stage.unary("/test.Echo/Collect", vec![0; 2 << 20]).await.unwrap_err();
    assert_eq!(large.code(), Code::ResourceExhausted, "{large:?}");
    while stage.seen.try_recv().is_ok() {}
    let late = stage.unary("/test.Echo/Hang", vec![]).await.unwrap_err();
    assert_eq!(late.code(), Code::DeadlineExceeded);
    assert!(matches!(stage.seen().await, Seen::Called(_)));
    assert!(matches!(stage.seen().await, Seen::Reset(h2::Reason::CANCEL)));
    assert_eq!(stage.gateway.event("/test.Echo/Hang")["status_code"], 504);
}

#[tokio::test]
async fn a_server_that_is_not_there_is_unavailable() {
    let mut stage = stage(json!({ "urls": [format!("http://{}", free_address())] })).await;
    let status = stage.unary("/test.Echo/Talk", vec![]).await.unwrap_err();
    assert_eq!(status.code(), Code::Unavailable);
}

#[tokio::test]
async fn a_cancelled_call_resets_the_servers_stream() {
    let mut stage = stage(json!({})).await;
    let call = stage.unary("/test.Echo/Hang", vec![]);
    assert!(tokio::time::timeout(Duration::from_millis(300), call).await.is_err());
    assert!(matches!(stage.seen().await, Seen::Called(_)));
    assert!(matches!(stage.seen().await, Seen::Reset(h2::Reason::CANCEL)));
    assert_eq!(stage.gateway.event("/test.Echo/Hang")["end"], "aborted");
    // The connections of both sides serve on.
    assert_eq!(stage.unary("/test.Echo/Talk", b"on".to_vec()).await.unwrap().into_inner(), b"on");
}

#[tokio::test]
async fn a_stream_that_breaks_off_is_no_success() {
    let mut stage = stage(json!({})).await;
    stage.client.ready().await.unwrap();
    let path = http::uri::PathAndQuery::from_static("/test.Echo/Break");
    let response = stage.client.server_streaming(tonic::Request::new(vec![]), path, Plain).await.unwrap();
    let mut stream = response.into_inner();
    assert_eq!(stream.message().await.unwrap(), Some(b"half".to_vec()));
    assert!(stream.message().await.is_err());
    assert_eq!(stage.gateway.event("/test.Echo/Break")["end"], "upstream_reset");
}
