//! Clients that are slow, silent or greedy: each is bounded by a limit of the policy, and others are served meanwhile.

use std::io::Read;
use std::net::Shutdown;
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::common::{Gateway, Upstream, Wire};

fn gateway(server: Value, upstream: &Upstream) -> Gateway {
    Gateway::start(json!({
        "server": server,
        "routing": { "services": { "echo": { "urls": [format!("http://{}", upstream.address)] } } },
    }))
}

fn timeouts(timeouts: Value) -> (Gateway, Upstream) {
    let upstream = Upstream::ok();
    (gateway(json!({ "timeouts": timeouts }), &upstream), upstream)
}

#[test]
fn a_head_that_does_not_come_to_its_end_is_408() {
    let (gateway, _) = timeouts(json!({ "header_read": "1s" }));
    let start = Instant::now();
    let mut wire = gateway.connect();
    wire.send("GET /echo/x HTTP/1.1\r\nhost: a\r\nx: ");
    let reply = wire.reply();
    assert_eq!((reply.status(), reply.field("connection").as_deref()), (408, Some("close")));
    assert!(wire.is_at_end() && start.elapsed() >= Duration::from_secs(1));
}

#[test]
fn a_byte_now_and_then_buys_a_head_no_time() {
    let (gateway, _) = timeouts(json!({ "header_read": "1s" }));
    let mut wire = gateway.connect();
    wire.send("GET /echo/x HTTP/1.1\r\nhost: a\r\n");
    let mut reader = Wire::new(wire.socket().try_clone().unwrap());
    let dribbling = thread::spawn(move || {
        while wire.try_send("x: 1\r\n").is_ok() {
            thread::sleep(Duration::from_millis(100));
        }
    });
    assert_eq!(reader.reply().status(), 408);
    // The thread ends because the connection does.
    dribbling.join().unwrap();
}

#[test]
fn a_second_head_has_as_little_time_as_the_first() {
    let (gateway, _) = timeouts(json!({ "header_read": "1s" }));
    let mut wire = gateway.connect();
    wire.send("GET /echo/x HTTP/1.1\r\nhost: a\r\n\r\n");
    assert_eq!(wire.reply().status(), 200);
    wire.send("GET /echo/x HTT");
    assert_eq!(wire.reply().status(), 408);
    assert!(wire.is_at_end());
}

#[test]
fn a_connection_without_a_request_is_closed() {
    let (gateway, _) = timeouts(json!({ "header_read": "1s", "keep_alive": "1s" }));
    assert!(gateway.connect().is_at_end());
    let mut kept = gateway.connect();
    kept.send("GET /echo/x HTTP/1.1\r\nhost: a\r\n\r\n");
    assert_eq!(kept.reply().status(), 200);
    assert!(kept.is_at_end());
}

#[test]
fn a_body_that_stops_coming_is_given_up_and_never_ends_well_upstream() {
    let (gateway, upstream) = timeouts(json!({ "idle": "1s" }));
    for (path, framing, piece) in [
        ("/echo/sized", "content-length: 100", "abc"),
        ("/echo/chunked", "transfer-encoding: chunked", "3\r\nabc\r\n"),
        ("/echo/nothing", "content-length: 100", ""),
    ] {
        let mut wire = gateway.connect();
        wire.send(format!("POST {path} HTTP/1.1\r\nhost: a\r\n{framing}\r\n\r\n{piece}"));
        assert_eq!(wire.reply().status(), 400, "{path}");
        assert!(wire.is_at_end());
        assert_eq!(gateway.event(path)["reason"], "request_aborted");
    }
    assert!(upstream.requests().iter().all(|request| request.is_broken), "{:?}", upstream.requests());
}

#[test]
fn a_client_that_leaves_in_its_body_never_ends_it_well_upstream() {
    let (gateway, upstream) = timeouts(json!({}));
    for (path, framing) in
        [("/echo/sized", "content-length: 100"), ("/echo/chunked", "transfer-encoding: chunked")]
    {
        let mut wire = gateway.connect();
        wire.send(format!("POST {path} HTTP/1.1\r\nhost: a\r\n{framing}\r\n\r\n3\r\nabc\r\n"));
        super::common::until("the service is called", || {
            gateway.admin("GET /admin/stats").to_string().contains("\"in_flight\":1")
        });
        wire.socket().shutdown(Shutdown::Both).unwrap();
        let event = gateway.event(path);
        assert!(event["reason"] == "request_aborted" || event["end"] == "aborted", "{event}");
    }
    super::common::until("the service is told", || upstream.requests().len() == 2);
    assert!(upstream.requests().iter().all(|request| request.is_broken), "{:?}", upstream.requests());
}

#[test]
fn a_client_that_does_not_read_is_cut_and_holds_little() {
    let upstream = Upstream::scripted(|wire, _| {
        wire.request();
        wire.send("HTTP/1.1 200 OK\r\ncontent-length: 1000000000\r\n\r\n");
        let piece = vec![0; 64 * 1024];
        while wire.try_send(&piece).is_ok() {}
    });
    let gateway = gateway(json!({ "timeouts": { "idle": "1s" } }), &upstream);
    let before = gateway.resident_kib();
    let mut wire = gateway.connect();
    wire.send("GET /echo/x HTTP/1.1\r\nhost: a\r\n\r\n");
    let event = gateway.event("/echo/x");
    assert_eq!(event["end"], "aborted");
    assert!(gateway.resident_kib() < before + 16 * 1024);
    // What was on its way is still there, and then the connection ends.
    let mut scrap = [0; 1024 * 1024];
    while wire.socket().read(&mut scrap).is_ok_and(|read| read > 0) {}
}

#[test]
fn what_is_too_large_has_a_status_of_its_own() {
    let upstream = Upstream::ok();
    let limits = json!({ "limits": { "body_bytes": "1KiB", "header_bytes": "4KiB", "headers": 20, "target_bytes": "1KiB" } });
    let gateway = gateway(limits, &upstream);
    let long = "x".repeat(5_000);
    let many: String = (0..25).map(|nth| format!("x-{nth}: 1\r\n")).collect();
    let chunks = "100\r\n".to_owned() + &"x".repeat(256) + "\r\n";
    for (request, status) in [
        (format!("GET /echo/{} HTTP/1.1\r\nhost: a\r\n\r\n", &long[..1_100]), 414),
        (format!("GET /echo/?{} HTTP/1.1\r\nhost: a\r\n\r\n", &long[..1_100]), 414),
        (format!("GET /echo/x HTTP/1.1\r\nhost: a\r\nx: {long}\r\n\r\n"), 431),
        (format!("GET /echo/x HTTP/1.1\r\nhost: a\r\n{many}\r\n"), 431),
        ("POST /echo/x HTTP/1.1\r\nhost: a\r\ncontent-length: 1025\r\n\r\n".to_owned(), 413),
        (
            format!(
                "POST /echo/x HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n{}",
                chunks.repeat(5)
            ),
            413,
        ),
    ] {
        let mut wire = gateway.connect();
        wire.send(&request);
        assert_eq!(wire.reply().status(), status, "{}", &request[..60]);
    }
    assert!(upstream.requests().iter().all(|request| request.is_broken));
    let mut wire = gateway.connect();
    wire.send(format!("POST /echo/x HTTP/1.1\r\nhost: a\r\ncontent-length: 1024\r\n\r\n{}", &long[..1_024]));
    assert_eq!(wire.reply().status(), 200);
}
