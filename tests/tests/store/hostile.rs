//! Servers that answer what no store does: each call fails within its time, with the reason, and was sent once.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use tollgate::store::Stores;
use tollgate_core::store::StoreFailure::{self, Garbled, Refused, TimedOut, Unreachable};

use crate::client::{charge, stores};

/// How a server ends its answer.
#[derive(Clone, Copy)]
enum End {
    Open,
    Close,
}

/// A port where each connection gets this answer, and how often the call arrived there.
fn server(answer: Vec<u8>, end: End) -> (u16, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let calls = Arc::new(AtomicUsize::new(0));
    let counted = calls.clone();
    thread::spawn(move || {
        for socket in listener.incoming() {
            let (mut socket, answer, counted) = (socket.unwrap(), answer.clone(), counted.clone());
            thread::spawn(move || {
                let mut buffer = [0; 65_536];
                while let Ok(read @ 1..) = socket.read(&mut buffer) {
                    let asked = String::from_utf8_lossy(&buffer[..read]).matches("EVALSHA").count();
                    counted.fetch_add(asked, Ordering::SeqCst);
                    if asked > 0 && (socket.write_all(&answer).is_err() || matches!(end, End::Close)) {
                        return;
                    }
                }
            });
        }
    });
    (port, calls)
}

fn check(name: &str, of: impl Fn(u16) -> Stores, answer: Vec<u8>, end: End, expected: StoreFailure) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let (port, calls) = server(answer, end);
    let stores = of(port);
    let store = stores.connect();
    let began = Instant::now();
    let outcomes = runtime.block_on(store.run(&[charge("a", 1)]));
    assert_eq!(outcomes, [Err(expected)], "{name}");
    assert!(began.elapsed() < Duration::from_secs(2), "{name} took {:?}", began.elapsed());
    assert_eq!(calls.load(Ordering::SeqCst), 1, "{name}: sent once");
    let mut failures = [0; 4];
    failures[expected as usize] = 1;
    assert_eq!(stores.stats().failures, failures, "{name}");
}

#[test]
fn a_server_that_is_no_redis_fails_the_call() {
    let of = |port| stores(&format!("redis: {{ url: \"redis://127.0.0.1:{port}\" }}"));
    let check = |answer: &str, end, expected| check(answer, of, answer.as_bytes().to_vec(), end, expected);
    check("", End::Open, TimedOut);
    check("", End::Close, Unreachable);
    check("*2\r\n:1\r\n", End::Open, TimedOut);
    check("*2\r\n:1\r\n", End::Close, Unreachable);
    check("-ERR no\r\n", End::Open, Refused);
    check("-OOM command not allowed when used memory > 'maxmemory'.\r\n", End::Open, Refused);
    check("-READONLY You can't write against a read only replica.\r\n", End::Open, Refused);
    check("-MOVED 1 127.0.0.1:1\r\n", End::Open, Refused);
    check("-LOADING Redis is loading the dataset in memory\r\n", End::Open, Refused);
    check("HTTP/1.1 200 OK\r\n\r\n", End::Open, Garbled);
    check("+OK\r\n", End::Open, Garbled);
    check(":1\r\n", End::Open, Garbled);
    check("$-1\r\n", End::Open, Garbled);
    check("$5\r\nhello\r\n", End::Open, Garbled);
    check(&"*1\r\n".repeat(50), End::Open, TimedOut);
    check(&format!("{}:1\r\n", "*1\r\n".repeat(50)), End::Open, Garbled);
    check("*-7\r\n", End::Open, Garbled);
    check("$99999999999999999999\r\n", End::Open, Garbled);
}

#[test]
fn a_server_that_is_no_rest_store_fails_the_call() {
    let of = |port| stores(&format!("rest: {{ url: \"http://127.0.0.1:{port}\", token: t }}"));
    let check = |status: &str, body: &str, expected| {
        let answer =
            format!("HTTP/1.1 {status}\r\nlocation: /x\r\ncontent-length: {}\r\n\r\n{body}", body.len());
        check(&answer, of, answer.as_bytes().to_vec(), End::Open, expected);
    };
    check("200 OK", "[{\"error\":\"ERR no\"}]", Refused);
    check("200 OK", "{\"error\":\"ERR no\"}", Refused);
    check("401 Unauthorized", "{\"error\":\"WRONGPASS\"}", Refused);
    check("429 Too Many Requests", "{\"error\":\"ERR max requests limit exceeded\"}", Refused);
    check("503 Service Unavailable", "{\"error\":\"ERR away\"}", Unreachable);
    check("502 Bad Gateway", "<html>", Unreachable);
    check("500 Internal Server Error", "<html>", Garbled);
    check("302 Found", "", Garbled);
    check("200 OK", "<html>", Garbled);
    check("200 OK", "[]", Garbled);
    check("200 OK", "[{\"result\":[1]},{\"result\":[1]}]", Garbled);
    check("200 OK", "[{\"result\":\"OK\"}]", Garbled);
    check("200 OK", &" ".repeat(5 << 20), Garbled);
}

#[test]
fn a_rest_store_that_falls_silent_fails_the_call() {
    let of = |port| stores(&format!("rest: {{ url: \"http://127.0.0.1:{port}\", token: t }}"));
    let head = "HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n[{\"result\"";
    check("half an answer", of, head.into(), End::Open, TimedOut);
    check("a broken answer", of, head.into(), End::Close, Unreachable);
    check("no answer", of, Vec::new(), End::Open, TimedOut);
    check("a closed connection", of, Vec::new(), End::Close, Unreachable);
}
