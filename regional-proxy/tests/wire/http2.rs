//! HTTP/2 as clients should not speak it, and how a connection ends. What h2spec checks is not repeated here.

use std::sync::{Mutex, mpsc};
use std::thread;

use serde_json::{Value, json};

use super::common::frames::{
    CONTINUATION, DATA, END_HEADERS, END_STREAM, Frames, GOAWAY, HEADERS, PING, RST_STREAM, SETTINGS, block,
    encode, get, post,
};
use super::common::{Gateway, Upstream};

/// RFC 9113 §7.
const ENHANCE_YOUR_CALM: u8 = 0xb;
const FLOOD_FRAMES: usize = 1 << 20;
const GROWTH_KIB: u64 = 16 * 1024;

fn gateway(server: Value, upstream: &Upstream) -> Gateway {
    Gateway::start(json!({
        "server": server,
        "routing": { "services": { "echo": { "urls": [format!("http://{}", upstream.address)] } } },
    }))
}

fn assert_serves(gateway: &Gateway) {
    let mut frames = Frames::connect(gateway, &[]);
    frames.send(HEADERS, END_HEADERS | END_STREAM, 1, &get("/echo/after"));
    assert_eq!(frames.status(1), Some(200));
}

/// RFC 9113 §8.2, §8.3 and §10.3: what could become another message in HTTP/1.1 goes no further.
#[test]
fn heads_that_would_smuggle_reach_no_service() {
    let upstream = Upstream::ok();
    let gateway = gateway(json!({}), &upstream);
    let usual = [(":method", "GET"), (":scheme", "http"), (":authority", "a"), (":path", "/echo/x")];
    for extra in [
        ("transfer-encoding", "chunked"),
        ("connection", "close"),
        ("keep-alive", "timeout=5"),
        ("upgrade", "h2c"),
        ("proxy-connection", "x"),
        ("te", "gzip"),
        ("x", "a\r\nb: c"),
        ("x", "a\nb: c"),
        ("x", "a\0b"),
        ("x\r\ny", "1"),
        ("x y", "1"),
        ("x:", "1"),
        ("", "1"),
        ("X", "1"),
        (":path", "/echo/y"),
        (":unknown", "1"),
        ("host", "b"),
        ("content-length", "+3"),
        ("content-length", "3"),
    ] {
        let mut frames = Frames::connect(&gateway, &[]);
        frames.send(HEADERS, END_HEADERS | END_STREAM, 1, &block(&[&usual[..], &[extra]].concat()));
        let status = frames.status(1);
        assert!(matches!(status, None | Some(400)), "{extra:?}: {status:?}");
    }
    for (name, value) in [
        (":method", "GET /echo/x HTTP/1.1\r\nhost: a\r\n\r\nGET"),
        (":method", ""),
        (":scheme", "ftp"),
        (":scheme", "http://a/"),
        (":authority", "a\r\nx: y"),
        (":authority", "user@a"),
        (":authority", ""),
        (":path", ""),
        (":path", "echo/x"),
        (":path", "/echo/x HTTP/1.1\r\nhost: a"),
        (":path", "/echo/\0"),
    ] {
        let fields: Vec<_> =
            usual.iter().map(|field| if field.0 == name { (name, value) } else { *field }).collect();
        let mut frames = Frames::connect(&gateway, &[]);
        frames.send(HEADERS, END_HEADERS | END_STREAM, 1, &block(&fields));
        let status = frames.status(1);
        assert!(matches!(status, None | Some(400)), "{name} {value:?}: {status:?}");
    }
    assert_eq!(upstream.requests(), []);
    assert_serves(&gateway);
}

#[test]
fn a_body_of_another_length_than_declared_never_ends_well_upstream() {
    let upstream = Upstream::ok();
    let gateway = gateway(json!({}), &upstream);
    for body in ["abc", "abcdefghijkl"] {
        let head = [post("/echo/x"), block(&[("content-length", "10")])].concat();
        let mut frames = Frames::connect(&gateway, &[]);
        frames.send(HEADERS, END_HEADERS, 1, &head);
        frames.send(DATA, END_STREAM, 1, body.as_bytes());
        assert!(!matches!(frames.status(1), Some(200)));
    }
    assert!(upstream.requests().iter().all(|request| request.is_broken), "{:?}", upstream.requests());
    assert_serves(&gateway);
}

#[test]
fn crumbs_of_cookies_are_one_field_to_a_service_of_http_1() {
    let upstream = Upstream::ok();
    let gateway = gateway(json!({}), &upstream);
    let mut frames = Frames::connect(&gateway, &[]);
    let crumbs = block(&[("cookie", "a=1"), ("cookie", "b=2"), ("te", "trailers")]);
    frames.send(HEADERS, END_HEADERS | END_STREAM, 1, &[get("/echo/x?q"), crumbs].concat());
    assert_eq!(frames.status(1), Some(200));
    let seen = upstream.requests().remove(0);
    assert_eq!(seen.start, "GET /x?q HTTP/1.1");
    let field = |name| seen.field(name).unwrap();
    assert_eq!(
        (field("cookie"), field("te"), field("via")),
        ("a=1; b=2".into(), "trailers".into(), "2 tollgate".into())
    );
    assert_eq!(field("x-forwarded-host"), "a");
}

#[test]
fn a_head_beyond_the_limit_is_431() {
    let upstream = Upstream::ok();
    let gateway = gateway(json!({ "limits": { "header_bytes": "4KiB" } }), &upstream);
    let mut frames = Frames::connect(&gateway, &[]);
    let long = "x".repeat(120);
    let fields: Vec<_> = (0..60).flat_map(|_| block(&[("x", &long)])).collect();
    frames.send(HEADERS, END_HEADERS | END_STREAM, 1, &[get("/echo/x"), fields].concat());
    assert_eq!(frames.status(1), Some(431));
    assert_serves(&gateway);
}

/// CVE-2023-44487.
#[test]
fn rapid_resets_end_the_connection() {
    let upstream = Upstream::ok();
    let gateway = gateway(json!({}), &upstream);
    let before = gateway.resident_kib();
    let mut frames = Frames::connect(&gateway, &[]);
    let bytes: Vec<u8> = (0..10_000)
        .flat_map(|nth| {
            let stream = 2 * nth + 1;
            let open = encode(HEADERS, END_HEADERS | END_STREAM, stream, &get("/echo/x"));
            [open, encode(RST_STREAM, 0, stream, &[0, 0, 0, 8])].concat()
        })
        .collect();
    // It may be closed before all is said.
    let _ = frames.wire.try_send(&bytes);
    let goaway = std::iter::from_fn(|| frames.next()).find(|frame| frame.kind == GOAWAY);
    assert_eq!(goaway.map(|frame| frame.payload[7]), Some(ENHANCE_YOUR_CALM));
    assert!(gateway.resident_kib() < before + GROWTH_KIB);
    assert!(upstream.requests().len() < 1_000, "{}", upstream.requests().len());
    assert_serves(&gateway);
}

/// CVE-2024-27316 and its kin.
#[test]
fn endless_continuations_end_the_connection() {
    let gateway = gateway(json!({}), &Upstream::ok());
    let before = gateway.resident_kib();
    let mut frames = Frames::connect(&gateway, &[]);
    frames.send(HEADERS, END_STREAM, 1, &get("/echo/x"));
    let long = "x".repeat(120);
    let fields: Vec<_> = (0..100).flat_map(|_| block(&[("x", &long)])).collect();
    assert!(!frames.flood(FLOOD_FRAMES / 64, &encode(CONTINUATION, 0, 1, &fields)));
    assert!(gateway.resident_kib() < before + GROWTH_KIB);
    assert_serves(&gateway);
}

#[test]
fn floods_of_frames_that_want_an_answer_take_no_memory() {
    let gateway = gateway(json!({}), &Upstream::ok());
    for flood in [encode(PING, 0, 0, b"12345678"), encode(SETTINGS, 0, 0, &[])] {
        let before = gateway.resident_kib();
        let mut frames = Frames::connect(&gateway, &[]);
        // Nothing is read: the gateway stops reading too, or ends the connection.
        frames.flood(FLOOD_FRAMES, &flood);
        let after = gateway.resident_kib();
        assert!(after < before + GROWTH_KIB, "from {before} to {after} KiB");
        assert_serves(&gateway);
    }
}

#[test]
fn a_client_that_opens_no_window_is_given_up() {
    const INITIAL_WINDOW_SIZE: u16 = 4;
    let body = "x".repeat(1 << 20);
    let upstream =
        Upstream::answering(format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{body}", body.len()));
    let gateway = gateway(json!({ "timeouts": { "idle": "1s" } }), &upstream);
    let mut frames = Frames::connect(&gateway, &[(INITIAL_WINDOW_SIZE, 0)]);
    frames.send(HEADERS, END_HEADERS | END_STREAM, 1, &get("/echo/x"));
    assert_eq!(frames.status(1), Some(200));
    assert_eq!(gateway.event("/echo/x")["end"], "aborted");
    assert_eq!(frames.next().map(|frame| frame.kind), Some(RST_STREAM));
    assert_serves(&gateway);
}

#[test]
fn a_body_that_stops_coming_is_given_up() {
    let upstream = Upstream::ok();
    let gateway = gateway(json!({ "timeouts": { "idle": "1s" } }), &upstream);
    let mut frames = Frames::connect(&gateway, &[]);
    frames.send(HEADERS, END_HEADERS, 1, &post("/echo/x"));
    frames.send(DATA, 0, 1, b"abc");
    assert_eq!(frames.status(1), Some(400));
    assert_eq!(gateway.event("/echo/x")["reason"], "request_aborted");
    assert!(upstream.requests().iter().all(|request| request.is_broken));
}

#[test]
fn a_drain_says_goaway_and_finishes_what_is_open() {
    let (go_on, told) = mpsc::channel();
    let told = Mutex::new(told);
    let upstream = Upstream::scripted(move |wire, _| {
        wire.request();
        told.lock().unwrap().recv().unwrap();
        wire.send("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok");
    });
    let mut gateway = gateway(json!({}), &upstream);
    let mut frames = Frames::connect(&gateway, &[]);
    frames.send(HEADERS, END_HEADERS | END_STREAM, 1, &get("/echo/x"));
    super::common::until("the service is called", || upstream.connections() == 1);
    gateway.signal("TERM");
    assert_eq!(frames.next().map(|frame| frame.kind), Some(GOAWAY));
    go_on.send(()).unwrap();
    assert_eq!(frames.status(1), Some(200));
    let body = std::iter::from_fn(|| frames.next()).find(|frame| frame.kind == DATA);
    assert_eq!(body.map(|frame| frame.payload), Some(b"ok".to_vec()));
    drop(frames);
    assert_eq!(gateway.wait().code(), Some(0));
}

#[test]
fn a_stream_without_an_end_does_not_outlive_the_drain() {
    let upstream = Upstream::scripted(|wire, _| {
        wire.request();
        wire.send("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n");
        while wire.try_send("1\r\nx\r\n").is_ok() {
            thread::sleep(std::time::Duration::from_millis(20));
        }
    });
    let mut gateway = gateway(json!({ "timeouts": { "drain": "1s" } }), &upstream);
    let mut frames = Frames::connect(&gateway, &[]);
    frames.send(HEADERS, END_HEADERS | END_STREAM, 1, &get("/echo/x"));
    assert_eq!(frames.status(1), Some(200));
    gateway.signal("TERM");
    let kinds: Vec<_> = std::iter::from_fn(|| frames.next()).map(|frame| frame.kind).collect();
    assert!(kinds.contains(&GOAWAY));
    assert_eq!(gateway.wait().code(), Some(0));
    assert_eq!(gateway.events()[0]["end"], "aborted");
}
