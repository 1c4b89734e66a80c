//! How long a connection lives, on either side, and what it may be used for again.

use std::sync::{Mutex, mpsc};
use std::thread;
use std::time::Duration;

use serde_json::json;

use super::common::{Gateway, PATIENCE, Upstream, free_address, until};

const OK: &str = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";

#[test]
fn close_is_honoured_and_said() {
    let upstream = Upstream::ok();
    let gateway = Gateway::before(upstream.address);
    let mut wire = gateway.connect();
    wire.send("GET /echo/x HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n");
    let reply = wire.reply();
    assert_eq!((reply.status(), reply.field("connection").as_deref()), (200, Some("close")));
    assert!(wire.is_at_end());
    // The client's wish is its own: the connection to the service is kept.
    let mut wire = gateway.connect();
    wire.send("GET /echo/x HTTP/1.1\r\nhost: a\r\n\r\n");
    assert_eq!(wire.reply().status(), 200);
    assert_eq!(upstream.connections(), 1);
}

#[test]
fn http_1_0_closes_unless_it_asks_otherwise() {
    let gateway = Gateway::before(Upstream::ok().address);
    let mut wire = gateway.connect();
    wire.send("GET /echo/x HTTP/1.0\r\n\r\n");
    let reply = wire.reply();
    assert_eq!((reply.status(), reply.text().as_str()), (200, "ok"));
    assert!(wire.is_at_end());
    let mut wire = gateway.connect();
    for _ in 0..2 {
        wire.send("GET /echo/x HTTP/1.0\r\nconnection: keep-alive\r\n\r\n");
        let reply = wire.reply();
        assert_eq!((reply.status(), reply.field("connection").as_deref()), (200, Some("keep-alive")));
    }
}

#[test]
fn http_1_0_gets_no_chunks_but_the_end_of_the_connection() {
    let upstream = Upstream::answering(
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n3\r\ndef\r\n0\r\n\r\n",
    );
    let gateway = Gateway::before(upstream.address);
    let mut wire = gateway.connect();
    wire.send("GET /echo/x HTTP/1.0\r\nconnection: keep-alive\r\n\r\n");
    let reply = wire.reply();
    assert!(!reply.has("transfer-encoding"), "{reply:?}");
    assert_eq!(reply.text(), "abcdef");
}

#[test]
fn a_body_that_ends_with_its_connection_becomes_chunks() {
    let upstream = Upstream::scripted(|wire, _| {
        wire.request();
        wire.send("HTTP/1.0 200 OK\r\n\r\nto the end");
    });
    let gateway = Gateway::before(upstream.address);
    let mut wire = gateway.connect();
    for _ in 0..2 {
        wire.send("GET /echo/x HTTP/1.1\r\nhost: a\r\n\r\n");
        let reply = wire.reply();
        assert_eq!((reply.text().as_str(), reply.is_broken), ("to the end", false));
        assert_eq!(reply.field("transfer-encoding").as_deref(), Some("chunked"));
    }
}

#[test]
fn a_body_that_breaks_off_is_not_ended_well() {
    for (head, version) in [
        ("content-length: 1000", "1.1"),
        ("transfer-encoding: chunked", "1.1"),
        ("content-length: 1000", "1.0"),
    ] {
        let (go_on, told) = mpsc::channel();
        let told = Mutex::new(told);
        let upstream = Upstream::scripted(move |wire, _| {
            wire.request();
            wire.send(format!("HTTP/1.1 200 OK\r\n{head}\r\n\r\n5\r\nhello\r\n"));
            told.lock().unwrap().recv().unwrap();
        });
        let gateway = Gateway::before(upstream.address);
        let mut wire = gateway.connect();
        wire.send(format!("GET /echo/x HTTP/{version}\r\nhost: a\r\n\r\n"));
        let mut reply = wire.head().unwrap();
        go_on.send(()).unwrap();
        wire.body(&mut reply);
        assert_eq!((reply.status(), reply.is_broken), (200, true), "{head}");
        assert!(reply.text().contains("hello"), "{head}");
        assert_eq!(gateway.event("/echo/x")["end"], "upstream_reset", "{head}");
    }
}

#[test]
fn a_reply_that_nobody_asked_for_reaches_nobody() {
    let upstream = Upstream::scripted(|wire, nth| {
        let poison = "HTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\npoison";
        while wire.request().is_some() {
            wire.send(format!("{OK}{}", if nth == 0 { poison } else { "" }));
        }
    });
    let gateway = Gateway::before(upstream.address);
    let mut wire = gateway.connect();
    for _ in 0..4 {
        wire.send("GET /echo/x HTTP/1.1\r\nhost: a\r\n\r\n");
        assert_eq!(wire.reply().text(), "ok");
    }
    assert_eq!(upstream.connections(), 2);
}

#[test]
fn replies_whose_end_is_ambiguous_are_refused() {
    let body = "2\r\nok\r\n0\r\n\r\n";
    for fields in [
        "content-length: 2\r\ncontent-length: 3",
        "content-length: +2",
        "content-length: 2, 3",
        "transfer-encoding: chunked\r\ncontent-length: 12",
        "transfer-encoding: chunked, identity",
        "transfer-encoding: chunked, identity\r\ncontent-length: 12",
        "transfer-encoding: gzip, chunked",
        "transfer-encoding: gzip\r\ntransfer-encoding: chunked",
    ] {
        let upstream = Upstream::answering(format!("HTTP/1.1 200 OK\r\n{fields}\r\n\r\n{body}"));
        let gateway = Gateway::before(upstream.address);
        let mut wire = gateway.connect();
        for _ in 0..2 {
            wire.send("GET /echo/x HTTP/1.1\r\nhost: a\r\n\r\n");
            assert_eq!(wire.reply().status(), 502, "{fields}");
        }
        assert_eq!(upstream.connections(), 2, "{fields}");
        assert_eq!(gateway.event("/echo/x")["reason"], "upstream_protocol", "{fields}");
    }
}

#[test]
fn a_kept_connection_that_the_service_closed_is_replaced_unseen() {
    let upstream = Upstream::scripted(|wire, _| {
        wire.request();
        wire.send(OK);
    });
    let gateway = Gateway::before(upstream.address);
    let mut wire = gateway.connect();
    for _ in 0..5 {
        wire.send("POST /echo/x HTTP/1.1\r\nhost: a\r\ncontent-length: 3\r\n\r\nabc");
        assert_eq!(wire.reply().text(), "ok");
        thread::sleep(Duration::from_millis(60));
    }
    assert_eq!(upstream.connections(), 5);
}

#[test]
fn an_answer_before_the_end_of_the_body_arrives_and_ends_the_connection() {
    let upstream = Upstream::scripted(|wire, nth| {
        wire.head();
        if nth == 0 {
            wire.send("HTTP/1.1 403 Forbidden\r\ncontent-length: 2\r\n\r\nno");
            wire.rest();
        } else {
            wire.send(OK);
        }
    });
    let gateway = Gateway::before(upstream.address);
    let mut wire = gateway.connect();
    wire.send("POST /echo/x HTTP/1.1\r\nhost: a\r\ncontent-length: 1000000\r\n\r\nabc");
    let reply = wire.reply();
    assert_eq!((reply.status(), reply.text().as_str()), (403, "no"));
    // Neither connection has an end of this message, so that neither is used again.
    let mut second = gateway.connect();
    second.send("GET /echo/x HTTP/1.1\r\nhost: a\r\n\r\n");
    assert_eq!(second.reply().status(), 200);
    assert_eq!(upstream.connections(), 2);
    drop(wire);
}

#[test]
fn a_streamed_body_goes_to_the_next_endpoint_when_the_first_refuses() {
    let upstream = Upstream::ok();
    let urls = [format!("http://{}", free_address()), format!("http://{}", upstream.address)];
    let gateway = Gateway::serving(json!({ "urls": urls, "retries": 2 }));
    for nth in 0..4 {
        let mut wire = gateway.connect();
        wire.send("PUT /echo/x HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n");
        wire.send("3\r\ndef\r\n0\r\n\r\n");
        assert_eq!(wire.reply().status(), 200, "{nth}");
        assert_eq!(upstream.requests()[nth].text(), "abcdef");
    }
}

#[test]
fn a_client_that_leaves_ends_the_call_of_the_service() {
    let (sender, gone) = mpsc::channel();
    let sender = Mutex::new(sender);
    let upstream = Upstream::scripted(move |wire, _| {
        wire.request();
        // Neither an answer nor the end, until the other side has one.
        wire.rest();
        sender.lock().unwrap().send(()).unwrap();
    });
    let gateway = Gateway::before(upstream.address);
    let mut wire = gateway.connect();
    wire.send("GET /echo/x HTTP/1.1\r\nhost: a\r\n\r\n");
    until("the request arrives", || upstream.connections() == 1);
    drop(wire);
    gone.recv_timeout(PATIENCE).unwrap();
    assert_eq!(gateway.event("/echo/x")["end"], "aborted");
}
