//! Bodies of any size pass in little memory, and at the pace of the slower side.

use std::io::{Read, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use serde_json::json;

use super::common::{Gateway, Upstream, Wire, until};

const BODY_BYTES: u64 = 1 << 30;
const GROWTH_KIB: u64 = 64 * 1024;
static PIECE: [u8; 256 * 1024] = [b'x'; 256 * 1024];

fn start(upstream: &Upstream) -> Gateway {
    Gateway::start(json!({
        "server": { "limits": { "body_bytes": "2GiB" } },
        "routing": { "services": { "echo": { "urls": [format!("http://{}", upstream.address)] } } },
    }))
}

/// Reads a gibibyte, and answers how much memory `gateway` took meanwhile at most, in KiB.
fn read_all(wire: &mut Wire, gateway: Option<&Gateway>) -> u64 {
    let (mut left, mut most) = (BODY_BYTES, 0);
    let mut buffer = vec![0; PIECE.len()];
    while left > 0 {
        let read = wire.socket().read(&mut buffer).unwrap() as u64;
        assert!(read > 0, "{left} bytes are missing");
        if let Some(gateway) = gateway
            && left / (64 << 20) != (left - read) / (64 << 20)
        {
            most = most.max(gateway.resident_kib());
        }
        left -= read;
    }
    most
}

fn write_all(wire: &mut Wire) {
    for _ in 0..BODY_BYTES / PIECE.len() as u64 {
        wire.socket().write_all(&PIECE).unwrap();
    }
}

#[test]
fn a_gibibyte_down_takes_little_memory() {
    let upstream = Upstream::scripted(|wire, _| {
        wire.request();
        wire.send(format!("HTTP/1.1 200 OK\r\ncontent-length: {BODY_BYTES}\r\n\r\n"));
        write_all(wire);
        wire.rest();
    });
    let gateway = start(&upstream);
    let before = gateway.resident_kib();
    let mut wire = gateway.connect();
    wire.send("GET /echo/x HTTP/1.1\r\nhost: a\r\n\r\n");
    let unread = wire.head_alone();
    assert_eq!(unread.status(), 200);
    let most = read_all(&mut wire, Some(&gateway));
    assert!(most < before + GROWTH_KIB, "from {before} to {most} KiB");
    assert_eq!(gateway.event("/echo/x")["end"], "complete");
}

#[test]
fn a_gibibyte_up_takes_little_memory() {
    let upstream = Upstream::scripted(|wire, _| {
        assert_eq!(wire.head_alone().field("content-length"), Some(BODY_BYTES.to_string()));
        read_all(wire, None);
        wire.send("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok");
    });
    let gateway = start(&upstream);
    let before = gateway.resident_kib();
    let mut wire = gateway.connect();
    wire.send(format!("PUT /echo/x HTTP/1.1\r\nhost: a\r\ncontent-length: {BODY_BYTES}\r\n\r\n"));
    write_all(&mut wire);
    assert_eq!(wire.reply().text(), "ok");
    let after = gateway.resident_kib();
    assert!(after < before + GROWTH_KIB, "from {before} to {after} KiB");
}

#[test]
fn a_slow_reader_slows_the_writer_down() {
    const SENT_MAX: u64 = 32 << 20;
    let sent = Arc::new(AtomicU64::new(0));
    let counted = sent.clone();
    let upstream = Upstream::scripted(move |wire, _| {
        wire.request();
        wire.send(format!("HTTP/1.1 200 OK\r\ncontent-length: {BODY_BYTES}\r\n\r\n"));
        while wire.try_send(&PIECE[..]).is_ok() {
            counted.fetch_add(PIECE.len() as u64, Ordering::SeqCst);
        }
    });
    let gateway = start(&upstream);
    let mut wire = gateway.connect();
    wire.send("GET /echo/x HTTP/1.1\r\nhost: a\r\n\r\n");
    assert_eq!(wire.head_alone().status(), 200);
    let mut before = u64::MAX;
    until("the service has to wait", || {
        thread::sleep(Duration::from_millis(200));
        let now = sent.load(Ordering::SeqCst);
        now == std::mem::replace(&mut before, now)
    });
    assert!(before < SENT_MAX, "{before} bytes are on their way");
}

/// Each piece waits for the one before to arrive: nothing on the way collects them.
#[test]
fn small_pieces_are_not_held_back() {
    let upstream = Upstream::scripted(|wire, _| {
        wire.head();
        wire.send("HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n");
        for _ in 0..20 {
            let piece = wire.take(6);
            wire.send(piece);
        }
        wire.send("0\r\n\r\n");
        wire.rest();
    });
    let gateway = start(&upstream);
    let mut wire = gateway.connect();
    wire.send("POST /echo/x HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n1\r\n0\r\n");
    assert_eq!(wire.head().unwrap().status(), 200);
    assert_eq!(wire.take(6), b"1\r\n0\r\n");
    for nth in 1..20 {
        let piece = format!("1\r\n{}\r\n", nth % 10);
        wire.send(&piece);
        assert_eq!(wire.take(6), piece.as_bytes());
    }
    assert_eq!(wire.take(5), b"0\r\n\r\n");
}
