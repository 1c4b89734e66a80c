//! WebSocket (RFC 6455) through the gateway, between a client and a server that know nothing of it.

use std::net::SocketAddr;
use std::thread;
use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use serde_json::json;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::handshake::server::{ErrorResponse, Request, Response};
use tokio_tungstenite::tungstenite::protocol::CloseFrame;
use tokio_tungstenite::tungstenite::protocol::frame::Frame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::{CloseCode, Data, OpCode};
use tokio_tungstenite::tungstenite::{Error, Message};
use tokio_tungstenite::{WebSocketStream, accept_hdr_async, client_async};

use super::common::{Gateway, PATIENCE, Upstream};

const HANDSHAKE: &str = "GET /echo/chat HTTP/1.1\r\nhost: a\r\nconnection: keep-alive, Upgrade\r\nupgrade: websocket\r\n\
    sec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n";

/// Says what it hears. Texts `close` and `refuse` it obeys; what ends a connection is reported.
async fn server() -> (SocketAddr, mpsc::UnboundedReceiver<Option<CloseFrame>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (ends, ended) = mpsc::unbounded_channel();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(serve(stream, ends.clone()));
        }
    });
    (address, ended)
}

async fn serve(stream: TcpStream, ends: mpsc::UnboundedSender<Option<CloseFrame>>) {
    let Ok(mut socket) = accept_hdr_async(stream, welcome).await else { return };
    while let Some(Ok(message)) = socket.next().await {
        match message {
            Message::Close(frame) => return ends.send(frame).unwrap_or(()),
            Message::Text(text) if text == "close" => {
                let farewell = CloseFrame { code: CloseCode::from(4321), reason: "as told".into() };
                socket.close(Some(farewell)).await.unwrap();
            }
            Message::Text(_) | Message::Binary(_) => socket.send(message).await.unwrap(),
            _ => {}
        }
    }
    ends.send(None).unwrap_or(());
}

#[expect(clippy::result_large_err, reason = "the library's own type")]
fn welcome(request: &Request, mut response: Response) -> Result<Response, ErrorResponse> {
    if request.uri().path() == "/refuse" {
        let refusal =
            http::Response::builder().status(403).header("x-why", "closed").header("content-length", 2);
        return Err(refusal.body(Some("no".to_owned())).unwrap());
    }
    let offered = request.headers().get("sec-websocket-protocol").map(|offered| offered.to_str().unwrap());
    if offered == Some("chat.v2, chat.v1") {
        response.headers_mut().insert("sec-websocket-protocol", "chat.v1".parse().unwrap());
    }
    Ok(response)
}

async fn open(
    gateway: &Gateway,
    path: &str,
) -> Result<(WebSocketStream<TcpStream>, http::Response<Option<Vec<u8>>>), Error> {
    let mut request = format!("ws://{}{path}", gateway.listen).into_client_request().unwrap();
    request.headers_mut().insert("sec-websocket-protocol", "chat.v2, chat.v1".parse().unwrap());
    client_async(request, TcpStream::connect(gateway.listen).await.unwrap()).await
}

async fn next(socket: &mut WebSocketStream<TcpStream>) -> Message {
    tokio::time::timeout(PATIENCE, socket.next()).await.unwrap().unwrap().unwrap()
}

#[tokio::test]
async fn messages_and_pings_go_both_ways_under_the_chosen_subprotocol() {
    let gateway = Gateway::before(server().await.0);
    let (mut socket, response) = open(&gateway, "/echo/chat").await.unwrap();
    assert_eq!(response.headers()["sec-websocket-protocol"], "chat.v1");
    for text in ["hello", "", "ä"] {
        socket.send(Message::text(text)).await.unwrap();
        assert_eq!(next(&mut socket).await, Message::text(text));
    }
    socket.send(Message::Ping("p".into())).await.unwrap();
    assert_eq!(next(&mut socket).await, Message::Pong("p".into()));
}

#[tokio::test]
async fn a_large_message_in_fragments_arrives_whole() {
    const FRAGMENTS: usize = 12;
    const FRAGMENT_BYTES: usize = 512 * 1024;
    let gateway = Gateway::before(server().await.0);
    let (socket, _) = open(&gateway, "/echo/chat").await.unwrap();
    let (mut sink, mut stream) = socket.split();
    let sending = tokio::spawn(async move {
        for nth in 0..FRAGMENTS {
            let kind = if nth == 0 { Data::Binary } else { Data::Continue };
            let payload = vec![nth as u8; FRAGMENT_BYTES];
            let frame = Frame::message(payload, OpCode::Data(kind), nth == FRAGMENTS - 1);
            sink.send(Message::Frame(frame)).await.unwrap();
            // Control frames may come between fragments (§5.4).
            sink.send(Message::Ping("between".into())).await.unwrap();
        }
        sink
    });
    let echoed = loop {
        match tokio::time::timeout(PATIENCE, stream.next()).await.unwrap().unwrap().unwrap() {
            Message::Binary(echoed) => break echoed,
            pong => assert_eq!(pong, Message::Pong("between".into())),
        }
    };
    assert_eq!(echoed.len(), FRAGMENTS * FRAGMENT_BYTES);
    assert!(
        echoed
            .chunks(FRAGMENT_BYTES)
            .enumerate()
            .all(|(nth, chunk)| chunk.iter().all(|&byte| byte == nth as u8))
    );
    drop(sending.await.unwrap());
}

#[tokio::test]
async fn close_codes_pass_in_both_directions() {
    let (address, mut ended) = server().await;
    let gateway = Gateway::before(address);
    let (mut socket, _) = open(&gateway, "/echo/chat").await.unwrap();
    socket.send(Message::text("close")).await.unwrap();
    let farewell = CloseFrame { code: CloseCode::from(4321), reason: "as told".into() };
    assert_eq!(next(&mut socket).await, Message::Close(Some(farewell)));
    assert!(socket.next().await.is_none());
    let (mut socket, _) = open(&gateway, "/echo/by-client").await.unwrap();
    let farewell = CloseFrame { code: CloseCode::from(4000), reason: "bye".into() };
    socket.close(Some(farewell.clone())).await.unwrap();
    loop {
        let seen = tokio::time::timeout(PATIENCE, ended.recv()).await.unwrap().unwrap();
        if seen == Some(farewell.clone()) {
            break;
        }
    }
    drop(socket);
    let event = gateway.event("/echo/by-client");
    assert_eq!((&event["status_code"], &event["end"]), (&json!(101), &json!("complete")));
}

#[tokio::test]
async fn a_client_that_leaves_without_a_word_is_noticed_by_the_server() {
    let (address, mut ended) = server().await;
    let gateway = Gateway::before(address);
    let (mut socket, _) = open(&gateway, "/echo/chat").await.unwrap();
    socket.send(Message::text("hello")).await.unwrap();
    assert_eq!(next(&mut socket).await, Message::text("hello"));
    drop(socket);
    assert_eq!(tokio::time::timeout(PATIENCE, ended.recv()).await.unwrap(), Some(None));
    assert_eq!(gateway.event("/echo/chat")["status_code"], 101);
}

#[tokio::test]
async fn a_refusal_of_the_upgrade_is_the_servers_own() {
    let gateway = Gateway::before(server().await.0);
    let Err(Error::Http(refusal)) = open(&gateway, "/echo/refuse").await else { panic!("it was let in") };
    assert_eq!((refusal.status().as_u16(), &refusal.headers()["x-why"]), (403, &"closed".parse().unwrap()));
}

#[tokio::test]
async fn open_tunnels_are_told_1001_near_the_end_of_a_drain() {
    let (address, mut ended) = server().await;
    let mut gateway = Gateway::start(json!({
        "server": { "timeouts": { "drain": "3s" } },
        "routing": { "services": { "echo": { "urls": [format!("http://{address}")] } } },
    }));
    let (mut socket, _) = open(&gateway, "/echo/chat").await.unwrap();
    gateway.signal("TERM");
    // Until then it works as before.
    for _ in 0..5 {
        socket.send(Message::text("still here")).await.unwrap();
        assert_eq!(next(&mut socket).await, Message::text("still here"));
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let farewell = CloseFrame { code: CloseCode::Away, reason: "".into() };
    assert_eq!(next(&mut socket).await, Message::Close(Some(farewell.clone())));
    assert_eq!(tokio::time::timeout(PATIENCE, ended.recv()).await.unwrap(), Some(Some(farewell)));
    assert_eq!(gateway.wait().code(), Some(0));
    assert_eq!(gateway.events().len(), 1);
}

#[test]
fn the_handshake_passes_as_it_is_and_early_bytes_are_kept() {
    let reply = "HTTP/1.1 101 Switching Protocols\r\nconnection: Upgrade\r\nupgrade: websocket\r\n\
        sec-websocket-accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\nsec-websocket-extensions: permessage-deflate\r\n\r\nearly";
    let upstream = Upstream::scripted(move |wire, _| {
        let head = wire.head().unwrap();
        for (name, value) in [
            ("connection", "upgrade"),
            ("upgrade", "websocket"),
            ("sec-websocket-version", "13"),
            ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="),
            ("sec-websocket-extensions", "permessage-deflate; client_max_window_bits"),
        ] {
            assert_eq!(head.field(name).as_deref(), Some(value));
        }
        wire.send(reply);
        let heard = wire.take(6);
        wire.send(heard);
        wire.rest();
    });
    let gateway = Gateway::before(upstream.address);
    let mut wire = gateway.connect();
    wire.send(format!(
        "{HANDSHAKE}sec-websocket-extensions: permessage-deflate; client_max_window_bits\r\n\r\neager "
    ));
    let head = wire.head().unwrap();
    assert_eq!((head.status(), head.field("connection").as_deref()), (101, Some("upgrade")));
    assert_eq!(head.field("sec-websocket-accept").as_deref(), Some("s3pPLMBiTxaQ9kYGzzhZRbK+xOo="));
    assert_eq!(head.field("sec-websocket-extensions").as_deref(), Some("permessage-deflate"));
    assert_eq!(String::from_utf8(wire.take(11)).unwrap(), "earlyeager ");
}

/// Bytes behind a refused upgrade are the next request, to gateway and service alike.
#[test]
fn after_a_refused_upgrade_the_connection_speaks_http() {
    let upstream = Upstream::answering("HTTP/1.1 426 Upgrade Required\r\ncontent-length: 0\r\n\r\n");
    let gateway = Gateway::before(upstream.address);
    let mut wire = gateway.connect();
    wire.send(format!("{HANDSHAKE}\r\nGET /echo/second HTTP/1.1\r\nhost: a\r\n\r\n"));
    assert_eq!((wire.reply().status(), wire.reply().status()), (426, 426));
    let second = &upstream.requests()[1];
    assert_eq!((second.start.as_str(), second.has("x-forwarded-for")), ("GET /second HTTP/1.1", true));
}

#[test]
fn a_switch_that_nobody_asked_for_is_a_bad_gateway() {
    let upstream =
        Upstream::answering("HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: x\r\n\r\n");
    let gateway = Gateway::before(upstream.address);
    let mut wire = gateway.connect();
    wire.send("GET /echo/x HTTP/1.1\r\nhost: a\r\n\r\n");
    assert_eq!(wire.reply().status(), 502);
    assert_eq!(gateway.event("/echo/x")["reason"], "bad_upgrade");
}

#[test]
fn a_silent_tunnel_ends_after_the_idle_time() {
    let upstream = Upstream::scripted(|wire, _| {
        wire.head();
        wire.send("HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n");
        wire.rest();
    });
    let gateway = Gateway::serving(json!({
        "urls": [format!("http://{}", upstream.address)], "idle_timeout": "1s",
    }));
    let mut wire = gateway.connect();
    wire.send(format!("{HANDSHAKE}\r\n"));
    assert_eq!(wire.head().unwrap().status(), 101);
    for _ in 0..4 {
        // Either direction keeps it alive.
        wire.send("x");
        thread::sleep(Duration::from_millis(400));
    }
    assert!(wire.is_at_end());
}
