//! Request smuggling: no bytes of a client are one message to the gateway and another to the service (RFC 9112
//! §11.2). What is refused ends its connection; what is forwarded has one length, or chunks, and never both.

use super::common::{Gateway, Message, Upstream};

const INNER: &str = "GET /echo/smuggled HTTP/1.1\r\nhost: a\r\n\r\n";

enum Expected<'a> {
    /// One reply with this status, and the end of the connection.
    Refused(u16),
    /// One request with this body, one reply, and the end of the connection.
    ForwardedThenClosed(&'a str),
    Forwarded(&'a str),
}
use Expected::{Forwarded, ForwardedThenClosed, Refused};

struct Stage {
    gateway: Gateway,
    upstream: Upstream,
}

impl Stage {
    fn set() -> Stage {
        let upstream = Upstream::ok();
        Stage { gateway: Gateway::before(upstream.address), upstream }
    }

    /// Sends the bytes, and then one more request on the same connection.
    fn check(&self, request: &str, expected: Expected) {
        let before = self.upstream.requests().len();
        let mut wire = self.gateway.connect();
        wire.send(request);
        let reply = wire.reply();
        let is_open = match expected {
            Refused(status) => {
                assert_eq!(reply.status(), status, "{request:?}");
                false
            }
            ForwardedThenClosed(_) | Forwarded(_) => {
                assert_eq!((reply.status(), reply.text().as_str()), (200, "ok"), "{request:?}");
                matches!(expected, Forwarded(_))
            }
        };
        if is_open {
            wire.send("GET /echo/next HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n");
            assert_eq!(wire.reply().status(), 200, "{request:?}");
        }
        assert_eq!(String::from_utf8_lossy(&wire.rest()), "", "{request:?}");
        let arrived = self.upstream.requests().split_off(before);
        assert_eq!(
            arrived.len(),
            [0, 1, 2][usize::from(!matches!(expected, Refused(_))) + usize::from(is_open)]
        );
        if let (Some(arrived), ForwardedThenClosed(body) | Forwarded(body)) = (arrived.first(), expected) {
            assert_unambiguous(arrived, request);
            assert_eq!(arrived.text(), body, "{request:?}");
        }
    }
}

fn assert_unambiguous(message: &Message, request: &str) {
    let count = |name| message.fields.iter().filter(|field| field.0 == name).count();
    let (lengths, codings) = (count("content-length"), count("transfer-encoding"));
    assert!(lengths + codings <= 1, "{request:?} became {message:?}");
    assert_eq!(count("host"), 1, "{request:?} became {message:?}");
}

fn post(fields: &str, body: &str) -> String {
    format!("POST /echo/x HTTP/1.1\r\nhost: a\r\n{fields}\r\n\r\n{body}")
}

#[test]
fn a_length_beside_chunks_is_never_forwarded_as_both() {
    let stage = Stage::set();
    for fields in [
        "content-length: 6\r\ntransfer-encoding: chunked",
        "transfer-encoding: chunked\r\ncontent-length: 6",
        "content-length: 0\r\ntransfer-encoding: chunked",
    ] {
        stage.check(&post(fields, &format!("3\r\nabc\r\n0\r\n\r\n{INNER}")), ForwardedThenClosed("abc"));
    }
}

#[test]
fn a_length_that_is_not_one_plain_number_is_refused() {
    let stage = Stage::set();
    for fields in [
        "content-length: 3\r\ncontent-length: 4",
        "content-length: 3, 4",
        "content-length: +3",
        "content-length: -3",
        "content-length: 0x3",
        "content-length: 3a",
        "content-length: 3.0",
        "content-length: 3 3",
        "content-length:",
        "content-length: \"3\"",
        "content-length: 18446744073709551616",
        "content-length: 99999999999999999999999",
    ] {
        stage.check(&post(fields, &format!("abc{INNER}")), Refused(400));
    }
}

#[test]
fn the_same_length_twice_is_one_length() {
    let stage = Stage::set();
    stage.check(&post("content-length: 3\r\ncontent-length: 3", "abc"), Forwarded("abc"));
    stage.check(&post("content-length: 003", "abc"), Forwarded("abc"));
}

#[test]
fn codings_other_than_chunked_alone_are_refused() {
    let stage = Stage::set();
    for fields in [
        "transfer-encoding: xchunked",
        "transfer-encoding: identity",
        "transfer-encoding: chunked, identity",
        "transfer-encoding: chunked\r\ntransfer-encoding: identity",
        "transfer-encoding: \"chunked\"",
        "transfer-encoding: chunked;q=1",
        "transfer-encoding: chunked\r\ntransfer-encoding:",
        "transfer-encoding: chunked,",
        "transfer-encoding: \u{b}chunked",
        "transfer-encoding : chunked",
        "transfer-encoding\t: chunked",
        "transfer-encoding:\r\n chunked",
        " transfer-encoding: chunked",
    ] {
        stage.check(&post(fields, &format!("3\r\nabc\r\n0\r\n\r\n{INNER}")), Refused(400));
    }
    // Understood as chunks, of a content whose coding would be lost on the way.
    for fields in [
        "transfer-encoding: gzip, chunked",
        "transfer-encoding: gzip\r\ntransfer-encoding: chunked",
        "transfer-encoding: chunked, chunked",
        "transfer-encoding: identity, chunked",
    ] {
        let fields = format!("{fields}\r\nconnection: close");
        stage.check(&post(&fields, &format!("3\r\nabc\r\n0\r\n\r\n{INNER}")), Refused(501));
    }
}

#[test]
fn chunks_arrive_as_the_bytes_in_them() {
    let stage = Stage::set();
    let chunked = |body: &str| post("transfer-encoding: Chunked", body);
    stage.check(&chunked("1\r\na\r\n02\r\nbc\r\n0\r\n\r\n"), Forwarded("abc"));
    stage.check(&chunked("3;name=value;other=\"x\"\r\nabc\r\n0;last\r\n\r\n"), Forwarded("abc"));
    stage.check(&chunked("3\r\nabc\r\n0\r\ncontent-length: 4\r\nhost: b\r\n\r\n"), Forwarded("abc"));
}

#[test]
fn chunks_that_are_none_are_refused_and_never_end_well_upstream() {
    let stage = Stage::set();
    for body in [
        "zz\r\nabc\r\n0\r\n\r\n",
        "-3\r\nabc\r\n0\r\n\r\n",
        "+3\r\nabc\r\n0\r\n\r\n",
        "0x3\r\nabc\r\n0\r\n\r\n",
        "\r\nabc\r\n0\r\n\r\n",
        "3\nabc\n0\n\n",
        "3\r\nabcd\r\n0\r\n\r\n",
        "3\r\nabc0\r\n\r\n",
        "3;a\nb\r\nabc\r\n0\r\n\r\n",
        "10000000000000003\r\nabc\r\n0\r\n\r\n",
        "fffffffffffffffff\r\nabc\r\n0\r\n\r\n",
        &format!("3;{}\r\nabc\r\n0\r\n\r\n", "x".repeat(20_000)),
    ] {
        let request = post("transfer-encoding: chunked", &format!("{body}{INNER}"));
        let mut wire = stage.gateway.connect();
        wire.send(&request);
        let reply = wire.reply();
        assert_eq!((reply.status(), wire.is_at_end()), (400, true), "{request:?}");
    }
    assert_eq!(stage.upstream.requests().iter().filter(|request| !request.is_broken).count(), 0);
    stage.check("GET /echo/x HTTP/1.1\r\nhost: a\r\n\r\n", Forwarded(""));
}

#[test]
fn http_1_0_has_no_chunks() {
    let stage = Stage::set();
    let request =
        format!("POST /echo/x HTTP/1.0\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n{INNER}");
    stage.check(&request, Refused(400));
}

#[test]
fn heads_that_others_may_read_otherwise_are_refused() {
    let stage = Stage::set();
    for request in [
        "GET /echo/x HTTP/1.1\r\nhost: a\r\nx: 1\r\n folded: 2\r\n\r\n",
        "GET /echo/x HTTP/1.1\r\n host: a\r\n\r\n",
        "GET /echo/x HTTP/1.1\r\nhost: a\r\nx y: 1\r\n\r\n",
        "GET /echo/x HTTP/1.1\r\nhost: a\r\nno colon\r\n\r\n",
        "GET /echo/x HTTP/1.1\r\nhost: a\r\n: nameless\r\n\r\n",
        "GET /echo/x HTTP/1.1\r\nhost: a\r\nx: a\rb: c\r\n\r\n",
        "GET /echo/x HTTP/1.1\r\nhost: a\r\nx: a\0b\r\n\r\n",
        "GET /echo/\0 HTTP/1.1\r\nhost: a\r\n\r\n",
        "GET /echo/x HTTP/1.1 HTTP/1.1\r\nhost: a\r\n\r\n",
        "GET  /echo/x HTTP/1.1\r\nhost: a\r\n\r\n",
        "GET\t/echo/x HTTP/1.1\r\nhost: a\r\n\r\n",
        "GET /echo/x HTTP/1.2\r\nhost: a\r\n\r\n",
        "GET /echo/x HTTP/2.0\r\nhost: a\r\n\r\n",
        "GET /echo/x http/1.1\r\nhost: a\r\n\r\n",
        "GET /echo/x\r\nhost: a\r\n\r\n",
        "G@T /echo/x HTTP/1.1\r\nhost: a\r\n\r\n",
    ] {
        stage.check(&format!("{request}{INNER}"), Refused(400));
    }
}

/// RFC 9112 §3.2: which service is asked is never a matter of taste. These requests are well framed, so that the
/// connection may go on.
#[test]
fn a_host_that_is_not_one_name_is_refused() {
    let stage = Stage::set();
    for head in [
        "GET /echo/x HTTP/1.1\r\n",
        "GET /echo/x HTTP/1.1\r\nhost:\r\n",
        "GET /echo/x HTTP/1.1\r\nhost: a\r\nhost: b\r\n",
        "GET /echo/x HTTP/1.1\r\nhost: a\r\nhost: a\r\n",
        "GET /echo/x HTTP/1.1\r\nhost: a, b\r\n",
        "GET /echo/x HTTP/1.1\r\nhost: a b\r\n",
        "GET /echo/x HTTP/1.1\r\nhost: a/echo\r\n",
        "GET /echo/x HTTP/1.1\r\nhost: user@a\r\n",
        "GET /echo/x HTTP/1.1\r\nhost: a:port\r\n",
        "GET http://b/echo/x HTTP/1.1\r\nhost: a\r\n",
        "GET http://a@b/echo/x HTTP/1.1\r\nhost: b\r\n",
        "GET ftp://a/echo/x HTTP/1.1\r\nhost: a\r\n",
    ] {
        stage.check(&format!("{head}connection: close\r\n\r\n{INNER}"), Refused(400));
    }
    stage.check("GET http://a/echo/x HTTP/1.1\r\nhost: a\r\n\r\n", Forwarded(""));
    stage.check("GET http://a/echo/x HTTP/1.1\r\nhost: A:80\r\n\r\n", Forwarded(""));
}

/// RFC 9112 §2.2 lets a recipient take a bare LF for the end of a line. It is never passed on as one.
#[test]
fn bare_line_feeds_end_lines_and_are_not_forwarded() {
    let stage = Stage::set();
    stage.check("POST /echo/x HTTP/1.1\nhost: a\ncontent-length: 3\nx: 1\n\nabc", Forwarded("abc"));
    let seen = stage.upstream.requests().remove(0);
    assert_eq!(seen.field("x").as_deref(), Some("1"));
    assert!(seen.fields.iter().all(|field| !field.1.contains('\n')));
}

#[test]
fn an_upgrade_to_anything_but_websocket_is_not_passed_on() {
    let stage = Stage::set();
    let fields = "connection: upgrade, http2-settings\r\nupgrade: h2c\r\nhttp2-settings: AAMAAABkAAQAAP__";
    stage.check(&format!("GET /echo/x HTTP/1.1\r\nhost: a\r\n{fields}\r\n\r\n"), Forwarded(""));
    let seen = stage.upstream.requests().remove(0);
    for name in ["connection", "upgrade", "http2-settings"] {
        assert!(!seen.has(name), "{seen:?}");
    }
}
