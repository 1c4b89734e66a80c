//! What HTTP/1.1 promises to clients and services (RFC 9110, RFC 9112), through the gateway.

use super::common::{Gateway, Upstream};

fn get(path: &str, fields: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nhost: a\r\n{fields}\r\n")
}

#[test]
fn a_reply_to_head_has_its_length_and_no_body() {
    let upstream = Upstream::answering("HTTP/1.1 200 OK\r\ncontent-length: 1000\r\netag: \"x\"\r\n\r\n");
    let gateway = Gateway::before(upstream.address);
    let mut wire = gateway.connect();
    for _ in 0..2 {
        wire.send("HEAD /echo/x HTTP/1.1\r\nhost: a\r\n\r\n");
        let head = wire.head().unwrap();
        assert_eq!((head.status(), head.field("content-length").as_deref()), (200, Some("1000")));
        assert_eq!(head.field("etag").as_deref(), Some("\"x\""));
    }
    wire.send("HEAD /nowhere HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n");
    assert_eq!(wire.head().unwrap().status(), 404);
    assert!(wire.is_at_end());
    assert_eq!(upstream.connections(), 1);
}

#[test]
fn replies_without_a_body_leave_the_connection_in_step() {
    for (status, fields) in [
        ("204 No Content", ""),
        ("304 Not Modified", "content-length: 10\r\n"),
        ("304 Not Modified", "etag: \"x\"\r\n"),
    ] {
        let upstream = Upstream::answering(format!("HTTP/1.1 {status}\r\n{fields}\r\n"));
        let gateway = Gateway::before(upstream.address);
        let mut wire = gateway.connect();
        for _ in 0..2 {
            wire.send(get("/echo/x", "if-none-match: \"x\"\r\n"));
            let reply = wire.reply();
            assert_eq!(reply.status(), status[..3].parse::<u16>().unwrap());
            assert!(!reply.has("transfer-encoding"), "{reply:?}");
        }
        assert_eq!(upstream.connections(), 1, "{status}");
        assert_eq!(upstream.requests()[0].field("if-none-match").as_deref(), Some("\"x\""));
    }
}

#[test]
fn ranges_and_conditions_pass_both_ways() {
    let reply = "HTTP/1.1 206 Partial Content\r\ncontent-range: bytes 2-4/9\r\naccept-ranges: bytes\r\n\
        etag: W/\"v1\"\r\nlast-modified: Tue, 01 Jul 2025 00:00:00 GMT\r\ncontent-length: 3\r\n\r\ncde";
    let upstream = Upstream::answering(reply);
    let gateway = Gateway::before(upstream.address);
    let asked = [
        ("range", "bytes=2-4"),
        ("if-range", "W/\"v1\""),
        ("if-match", "*"),
        ("accept-encoding", "br;q=0.5"),
    ];
    let fields: String = asked.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
    let mut wire = gateway.connect();
    wire.send(get("/echo/x", &fields));
    let reply = wire.reply();
    assert_eq!((reply.status(), reply.text().as_str()), (206, "cde"));
    for (name, value) in [("content-range", "bytes 2-4/9"), ("accept-ranges", "bytes"), ("etag", "W/\"v1\"")]
    {
        assert_eq!(reply.field(name).as_deref(), Some(value));
    }
    let seen = upstream.requests().remove(0);
    for (name, value) in asked {
        assert_eq!(seen.field(name).as_deref(), Some(value));
    }
}

/// RFC 9110 §15.2: a proxy forwards interim responses unless it asked for them itself. These are dropped: few clients
/// expect one, and no answer depends on it.
#[test]
fn interim_responses_are_dropped_and_the_final_one_arrives() {
    let upstream = Upstream::answering(
        "HTTP/1.1 102 Processing\r\n\r\nHTTP/1.1 103 Early Hints\r\nlink: </x>\r\n\r\n\
         HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok",
    );
    let gateway = Gateway::before(upstream.address);
    let mut wire = gateway.connect();
    for _ in 0..2 {
        wire.send(get("/echo/x", ""));
        let reply = wire.reply();
        assert_eq!((reply.status(), reply.text().as_str()), (200, "ok"));
        assert!(!reply.has("link"));
    }
    assert_eq!(upstream.connections(), 1);
}

#[test]
fn a_client_that_expects_100_is_told_once_the_service_takes_the_body() {
    let upstream = Upstream::ok();
    let gateway = Gateway::before(upstream.address);
    let mut wire = gateway.connect();
    for _ in 0..2 {
        wire.send("PUT /echo/x HTTP/1.1\r\nhost: a\r\nexpect: 100-continue\r\ncontent-length: 3\r\n\r\n");
        let interim = wire.head().unwrap();
        assert_eq!(interim.status(), 100);
        wire.send("abc");
        assert_eq!(wire.reply().status(), 200);
    }
    let seen = upstream.requests().remove(0);
    assert_eq!((seen.text().as_str(), seen.has("expect")), ("abc", false));
}

#[test]
fn a_refused_request_is_not_asked_for_its_body() {
    let gateway = Gateway::before(Upstream::ok().address);
    for (path, length, status) in [("/nowhere", 3, 404), ("/echo/x", 1_u64 << 40, 413)] {
        let mut wire = gateway.connect();
        wire.send(format!(
            "PUT {path} HTTP/1.1\r\nhost: a\r\nexpect: 100-continue\r\ncontent-length: {length}\r\n\r\n"
        ));
        let reply = wire.reply();
        assert_eq!(reply.status(), status);
        // Whether a body follows or the next request is the client's to decide, so that nothing may follow.
        assert!(wire.is_at_end());
    }
}

#[test]
fn a_client_of_http_1_0_is_not_sent_100() {
    let gateway = Gateway::before(Upstream::ok().address);
    let mut wire = gateway.connect();
    wire.send("PUT /echo/x HTTP/1.0\r\nexpect: 100-continue\r\ncontent-length: 3\r\n\r\nabc");
    assert_eq!(wire.reply().status(), 200);
}

#[test]
fn trailers_pass_both_ways_where_they_are_announced() {
    let upstream = Upstream::answering(
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\ntrailer: x-sum\r\n\r\n2\r\nok\r\n0\r\nx-sum: 7\r\n\r\n",
    );
    let gateway = Gateway::before(upstream.address);
    let mut wire = gateway.connect();
    wire.send(
        "POST /echo/x HTTP/1.1\r\nhost: a\r\nte: trailers\r\nconnection: te\r\ntrailer: x-check\r\n\
         transfer-encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\nx-check: 9\r\n\r\n",
    );
    let reply = wire.reply();
    assert_eq!(reply.text(), "ok");
    assert_eq!(reply.trailers, [("x-sum".to_owned(), "7".to_owned())]);
    let seen = upstream.requests().remove(0);
    assert_eq!((seen.text().as_str(), seen.field("te").as_deref()), ("abc", Some("trailers")));
    assert_eq!(seen.trailers, [("x-check".to_owned(), "9".to_owned())]);
}

#[test]
fn a_client_that_takes_no_trailers_gets_none() {
    let upstream = Upstream::answering(
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\ntrailer: x-sum\r\n\r\n2\r\nok\r\n0\r\nx-sum: 7\r\n\r\n",
    );
    let gateway = Gateway::before(upstream.address);
    let mut wire = gateway.connect();
    wire.send(get("/echo/x", ""));
    let reply = wire.reply();
    assert_eq!((reply.text().as_str(), reply.trailers.len(), reply.is_broken), ("ok", 0, false));
}

#[test]
fn pipelined_requests_are_answered_in_order() {
    let upstream = Upstream::scripted(|wire, _| {
        while let Some(request) = wire.request() {
            let path = request.start.split(' ').nth(1).unwrap().to_owned();
            wire.send(format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{path}", path.len()));
        }
    });
    let gateway = Gateway::before(upstream.address);
    let mut wire = gateway.connect();
    let requests: String = (0..20).map(|nth| get(&format!("/echo/{nth}"), "")).collect();
    wire.send(requests);
    for nth in 0..20 {
        assert_eq!(wire.reply().text(), format!("/{nth}"));
    }
}

/// RFC 9110 §7.6.2 speaks of TRACE and OPTIONS; elsewhere the field has no meaning and passes.
#[test]
fn max_forwards_passes_where_it_means_nothing() {
    let upstream = Upstream::ok();
    let gateway = Gateway::before(upstream.address);
    let mut wire = gateway.connect();
    wire.send(get("/echo/x", "max-forwards: 0\r\n"));
    assert_eq!(wire.reply().status(), 200);
    assert_eq!(upstream.requests()[0].field("max-forwards").as_deref(), Some("0"));
    wire.send("TRACE /echo/x HTTP/1.1\r\nhost: a\r\nmax-forwards: 0\r\n\r\n");
    assert_eq!(wire.reply().status(), 501);
}
