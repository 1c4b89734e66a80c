//! Answers of services that are slow, hostile or plain wrong: what is understood arrives whole, and nothing else ends
//! well (RFC 9112 §6.3, §7.1 and §8).

use std::sync::{Mutex, mpsc};
use std::thread;
use std::time::Duration;

use serde_json::json;

use super::common::{Gateway, Upstream};

const GET: &str = "GET /echo/x HTTP/1.1\r\nhost: a\r\n\r\n";

/// A service that gives this answer and says no more.
fn answering(answer: String) -> Upstream {
    Upstream::scripted(move |wire, _| {
        if wire.request().is_some() && wire.try_send(&answer).is_ok() {
            wire.rest();
        }
    })
}

/// The head is not understood: none is relayed, and the connection is not used again.
#[track_caller]
fn assert_refused(answer: impl Into<String>) {
    let answer = answer.into();
    let shown = answer[..answer.len().min(60)].to_owned();
    let upstream = answering(answer);
    let gateway = Gateway::before(upstream.address);
    let mut wire = gateway.connect();
    for _ in 0..2 {
        wire.send(GET);
        assert_eq!(wire.reply().status(), 502, "{shown:?}");
    }
    assert_eq!(upstream.connections(), 2, "{shown:?}");
    assert_eq!(gateway.event("/echo/x")["reason"], "upstream_protocol", "{shown:?}");
}

/// The head has been relayed when the fault in the body is seen, so that only its end can say so.
#[track_caller]
fn assert_breaks_off(body: impl Into<String>, arrived: &str) {
    let body = body.into();
    let shown = body[..body.len().min(60)].to_owned();
    let (go_on, told) = mpsc::channel();
    let told = Mutex::new(told);
    let upstream = Upstream::scripted(move |wire, _| {
        wire.request();
        wire.send("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n");
        told.lock().unwrap().recv().unwrap();
        if wire.try_send(&body).is_ok() {
            wire.rest();
        }
    });
    let gateway = Gateway::before(upstream.address);
    let mut wire = gateway.connect();
    wire.send(GET);
    let mut reply = wire.head().unwrap();
    go_on.send(()).unwrap();
    wire.body(&mut reply);
    assert_eq!((reply.status(), reply.is_broken), (200, true), "{shown:?}");
    assert!(arrived.starts_with(&reply.text()), "{shown:?} became {:?}", reply.text());
    assert_eq!(gateway.event("/echo/x")["end"], "upstream_reset", "{shown:?}");
}

#[test]
fn heads_that_would_split_the_reply_are_refused() {
    for fields in [
        "x: a\rset-cookie: stolen",
        "x: a\r\n\tset-cookie: stolen",
        " set-cookie: stolen",
        "x : a",
        "x\0: a",
        "x: a\0b",
        "no colon",
    ] {
        assert_refused(format!("HTTP/1.1 200 OK\r\n{fields}\r\ncontent-length: 0\r\n\r\n"));
    }
    for start in ["HTTP/1.1 200 O\rK", "HTTP/2 200 OK", "ICY 200 OK", "HTTP/1.1 2x0 OK", "HTTP/1.1 42 OK"] {
        assert_refused(format!("{start}\r\ncontent-length: 0\r\n\r\n"));
    }
}

#[test]
fn heads_are_bounded() {
    assert_refused(format!("HTTP/1.1 200 OK\r\nx: {}\r\ncontent-length: 0\r\n\r\n", "y".repeat(70_000)));
    assert_refused(format!("HTTP/1.1 200 OK\r\n{}content-length: 0\r\n\r\n", "x: 1\r\n".repeat(100)));
    // As many as there may be, and larger than one read.
    let fields: String = (0..99).map(|nth| format!("x-{nth}: {}\r\n", "y".repeat(500))).collect();
    let upstream = Upstream::answering(format!("HTTP/1.1 200 OK\r\n{fields}content-length: 2\r\n\r\nok"));
    let gateway = Gateway::before(upstream.address);
    let mut wire = gateway.connect();
    for _ in 0..2 {
        wire.send(GET);
        let reply = wire.reply();
        assert_eq!((reply.status(), reply.text().as_str()), (200, "ok"));
        assert_eq!(reply.field("x-98").map(|value| value.len()), Some(500));
    }
    assert_eq!(upstream.connections(), 1);
}

#[test]
fn a_flood_of_interim_responses_is_refused() {
    assert_refused("HTTP/1.1 102 Processing\r\n\r\n".repeat(65));
}

#[test]
fn chunks_that_are_none_never_end_well() {
    for body in ["x\r\nabc\r\n", "3\nabc\r\n", "-1\r\n", "0x3\r\n", "10000000000000000\r\n", "3;a\nb\r\nabc"]
    {
        assert_breaks_off(format!("2\r\nok\r\n{body}0\r\n\r\n"), "ok");
    }
    assert_breaks_off("2\r\nokay\r\n0\r\n\r\n", "ok");
    assert_breaks_off(format!("2\r\nok\r\n1;{}\r\n", "x".repeat(20_000)), "ok");
    assert_breaks_off(format!("{}0\r\n\r\n", "1;xxxxxxxxxxxxxxx\r\no\r\n".repeat(1_100)), &"o".repeat(1_024));
}

#[test]
fn trailers_that_are_none_or_too_many_never_end_well() {
    for trailers in ["no colon\r\n", "x: 1\r\n folded\r\n", &"x: 1\r\n".repeat(101), &"x".repeat(17_000)] {
        assert_breaks_off(format!("2\r\nok\r\n0\r\n{trailers}\r\n"), "ok");
    }
}

#[test]
fn trailers_that_would_change_the_message_are_dropped() {
    let upstream = Upstream::answering(
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\ntrailer: content-length, x-sum\r\n\r\n\
         2\r\nok\r\n0\r\ncontent-length: 9\r\nx-sum: 7\r\n\r\n",
    );
    let gateway = Gateway::before(upstream.address);
    let mut wire = gateway.connect();
    for _ in 0..2 {
        wire.send("GET /echo/x HTTP/1.1\r\nhost: a\r\nte: trailers\r\nconnection: te\r\n\r\n");
        let reply = wire.reply();
        assert_eq!((reply.text().as_str(), reply.is_broken), ("ok", false));
        assert_eq!(reply.trailers, [("x-sum".to_owned(), "7".to_owned())]);
    }
    assert_eq!(upstream.connections(), 1);
}

#[test]
fn an_answer_in_single_bytes_is_the_same_answer() {
    let upstream = Upstream::scripted(|wire, _| {
        while wire.request().is_some() {
            let answer = "HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 200 OK\r\nx: 1\r\ntransfer-encoding: chunked\r\n\r\n\
                2;a=b\r\nok\r\n3\r\nay!\r\n0\r\nx-sum: 7\r\n\r\n";
            for byte in answer.as_bytes().chunks(1) {
                wire.send(byte);
                thread::sleep(Duration::from_micros(200));
            }
        }
    });
    let gateway = Gateway::before(upstream.address);
    let mut wire = gateway.connect();
    for _ in 0..2 {
        wire.send(GET);
        let reply = wire.reply();
        assert_eq!((reply.status(), reply.text().as_str(), reply.is_broken), (200, "okay!", false));
        assert_eq!(reply.field("x").as_deref(), Some("1"));
    }
    assert_eq!(upstream.connections(), 1);
}

#[test]
fn the_same_length_twice_is_relayed_once() {
    let upstream =
        Upstream::answering("HTTP/1.1 200 OK\r\ncontent-length: 2\r\nContent-Length: 02\r\n\r\nok");
    let gateway = Gateway::before(upstream.address);
    let mut wire = gateway.connect();
    for _ in 0..2 {
        wire.send(GET);
        let reply = wire.reply();
        assert_eq!((reply.text().as_str(), reply.field("content-length").as_deref()), ("ok", Some("2")));
    }
    assert_eq!(upstream.connections(), 1);
}

#[test]
fn a_service_of_http_1_0_keeps_its_connection_if_it_says_so() {
    for (fields, connections) in [("", 3), ("connection: keep-alive\r\n", 1)] {
        let upstream = Upstream::answering(format!("HTTP/1.0 200 OK\r\n{fields}content-length: 2\r\n\r\nok"));
        let gateway = Gateway::before(upstream.address);
        let mut wire = gateway.connect();
        for _ in 0..3 {
            wire.send(GET);
            assert_eq!(wire.reply().text(), "ok");
        }
        assert_eq!(upstream.connections(), connections, "{fields}");
    }
}

/// RFC 9110 §9.3.1 gives such a body no meaning, and nobody the right to drop it.
#[test]
fn a_body_without_a_length_is_forwarded_with_any_method() {
    let upstream = Upstream::ok();
    let gateway = Gateway::before(upstream.address);
    let mut wire = gateway.connect();
    for method in ["GET", "DELETE", "OPTIONS", "POST"] {
        wire.send(format!(
            "{method} /echo/x HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n"
        ));
        assert_eq!(wire.reply().status(), 200, "{method}");
        assert_eq!(upstream.requests().pop().unwrap().text(), "abc", "{method}");
    }
    assert_eq!(upstream.connections(), 1);
}

/// It was sent, whatever came back: only what is idempotent is repeated (RFC 9110 §9.2.2).
#[test]
fn a_request_that_was_answered_with_nonsense_is_not_sent_twice() {
    for (method, times) in [("POST", 1), ("PUT", 3)] {
        let upstream = Upstream::answering(
            "HTTP/1.1 200 OK\r\ncontent-length: 2\r\ntransfer-encoding: chunked\r\n\r\nok",
        );
        let service = json!({ "urls": [format!("http://{}", upstream.address)], "retries": 2 });
        let gateway = Gateway::serving(service);
        let mut wire = gateway.connect();
        wire.send(format!("{method} /echo/x HTTP/1.1\r\nhost: a\r\ncontent-length: 0\r\n\r\n"));
        assert_eq!(wire.reply().status(), 502);
        assert_eq!(upstream.requests().len(), times, "{method}");
    }
}
