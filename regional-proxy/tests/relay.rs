//! The relay's listener as other nodes use it, with a broker that is not there: what is taken waits in the spool.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tempfile::TempDir;

/// For everything that takes milliseconds on an idle machine.
const PATIENCE: Duration = Duration::from_secs(20);
const ADMIN: &str = "an-admin-token-of-some-length";
const TOKEN: &str = "a-relay-token-of-the-test";
const BATCH: &str = "application/cloudevents-batch+json";

fn free_address() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).expect("a free port")
}

/// A running gateway, killed when dropped.
struct Gateway {
    process: Child,
    relay: SocketAddr,
    admin: SocketAddr,
    folder: TempDir,
}

struct Reply {
    status: u16,
    head: String,
    body: Value,
}

impl Gateway {
    /// `relay` is merged into the relay's section, `spool` into the spool's.
    fn start(relay: Value, spool: Value) -> Gateway {
        let folder = TempDir::new().unwrap();
        let (listen, relay_listen, admin) = (free_address(), free_address(), free_address());
        let hash = Sha256::digest(TOKEN);
        let mut policy = json!({
            "server": { "listen": listen, "workers": 1, "admin": { "listen": admin, "token": ADMIN } },
            "event_processing": {
                "provider": "kafka",
                "kafka": { "brokers": [free_address()] },
                "spool": { "directory": folder.path().join("a/spool") },
            },
            "relay": {
                "listen": relay_listen,
                "tokens": [{
                    "id": "edge", "source_prefix": "tollgate://edge",
                    "sha256": hash.iter().map(|byte| format!("{byte:02x}")).collect::<String>(),
                }],
            },
            "monitoring": { "access_log": false },
        });
        merge(&mut policy["relay"], relay);
        merge(&mut policy["event_processing"]["spool"], spool);
        std::fs::write(folder.path().join("tollgate.yaml"), policy.to_string()).unwrap();
        let mut gateway = Gateway { process: serve(&folder), relay: relay_listen, admin, folder };
        gateway.wait();
        gateway
    }

    /// Killed and started again with the same files.
    fn restart(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
        self.process = serve(&self.folder);
        self.wait();
    }

    fn wait(&mut self) {
        let start = Instant::now();
        while TcpStream::connect(self.relay).is_err() || TcpStream::connect(self.admin).is_err() {
            assert!(start.elapsed() < PATIENCE, "the gateway does not listen");
            thread::sleep(Duration::from_millis(10));
        }
    }

    fn post(&self, headers: &[(&str, &str)], body: &[u8]) -> Reply {
        let authorization = format!("Bearer {TOKEN}");
        let mut all = vec![("authorization", authorization.as_str())];
        all.extend_from_slice(headers);
        exchange(self.relay, "POST /relay/events", &all, body)
    }

    fn post_batch(&self, events: &[Value]) -> Reply {
        self.post(&[("content-type", BATCH)], Value::from(events).to_string().as_bytes())
    }

    fn events(&self) -> Value {
        let authorization = format!("Bearer {ADMIN}");
        let reply = exchange(self.admin, "GET /admin/events", &[("authorization", &authorization)], b"");
        assert_eq!(reply.status, 200);
        reply.body
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn serve(folder: &TempDir) -> Child {
    Command::new(env!("CARGO_BIN_EXE_tollgate"))
        .args(["serve", "--config"])
        .arg(folder.path().join("tollgate.yaml"))
        .env_remove("CONFIG_PATH")
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

fn merge(section: &mut Value, with: Value) {
    let (Value::Object(section), Value::Object(with)) = (section, with) else {
        panic!("sections are objects")
    };
    section.extend(with);
}

fn exchange(address: SocketAddr, request: &str, headers: &[(&str, &str)], body: &[u8]) -> Reply {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let lines: String = headers.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
    let len = body.len();
    let head = format!(
        "{request} HTTP/1.1\r\nhost: {address}\r\n{lines}content-length: {len}\r\nconnection: close\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).unwrap();
    // One that is refused early may not be read to its end.
    let _ = stream.write_all(body);
    let mut reply = Vec::new();
    let _ = stream.read_to_end(&mut reply);
    let reply = String::from_utf8_lossy(&reply).into_owned();
    let (head, body) = reply.split_once("\r\n\r\n").expect("a reply");
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).expect("a status line");
    Reply { status, head: head.to_ascii_lowercase(), body: serde_json::from_str(body).unwrap_or(Value::Null) }
}

fn event(source: &str, sequence: u64) -> Value {
    json!({
        "specversion": "1.0", "type": "dev.tollgate.api.v1", "source": source, "id": format!("{source}#{sequence}"),
        "bootepoch": "7", "sequence": sequence.to_string(), "data": { "user_id": "ann" },
    })
}

#[test]
fn events_are_taken_once_and_survive_a_kill() {
    let mut gateway = Gateway::start(json!({}), json!({}));
    let events: Vec<Value> = (1..=3).map(|sequence| event("tollgate://edge/0", sequence)).collect();
    let reply = gateway.post_batch(&events);
    assert_eq!(reply.status, 202);
    assert_eq!(reply.body, json!({ "ack": "spooled", "accepted": 3, "repeated": 0, "dropped": 0 }));
    let again: Vec<Value> = [2, 6, 6].map(|sequence| event("tollgate://edge/0", sequence)).into();
    let reply = gateway.post_batch(&again);
    assert_eq!((reply.status, &reply.body["accepted"], &reply.body["repeated"]), (202, &json!(1), &json!(2)));
    let single = event("tollgate://edge/1", 1).to_string();
    let reply = gateway.post(&[("content-type", "application/cloudevents+json")], single.as_bytes());
    assert_eq!((reply.status, &reply.body["accepted"]), (202, &json!(1)));

    let shown = gateway.events();
    assert_eq!(shown["delivery"]["spool"]["depth"], 5);
    let sources = &shown["relay"]["sources"];
    assert_eq!((&sources[0]["source"], &sources[0]["missing"]), (&json!("tollgate://edge/0"), &json!(2)));
    assert_eq!((&sources[0]["events"], &sources[0]["repeated"]), (&json!(4), &json!(2)));
    assert_eq!(sources[1]["sequence"], 1);
    gateway.restart();
    assert_eq!(gateway.events()["delivery"]["spool"]["depth"], 5);
}

#[test]
fn a_batch_with_an_event_that_is_none_is_not_taken_and_says_which() {
    let gateway = Gateway::start(json!({ "limits": { "sequence_jump": 10 } }), json!({}));
    assert_eq!(gateway.post_batch(&[event("tollgate://edge/0", 5)]).status, 202);
    let mut unknown = event("tollgate://edge/0", 6);
    unknown["type"] = json!("other");
    let reply = gateway.post_batch(&[
        event("tollgate://edge/0", 7),
        event("tollgate://lambda/0", 1),
        unknown,
        event("tollgate://edge/0", 16),
    ]);
    assert_eq!(reply.status, 422);
    assert!(reply.head.contains("content-type: application/problem+json"), "{}", reply.head);
    let errors = json!([
        { "index": 1, "detail": "comes from a source that does not begin with `tollgate://edge`" },
        { "index": 2, "detail": "is of type `other`; taken here are `dev.tollgate.api.v1` and others of `api`, `user` and `audit`" },
        { "index": 3, "detail": "is numbered 16, more than 10 after the source's 5" },
    ]);
    assert_eq!(reply.body["errors"], errors);
    assert_eq!(gateway.events()["delivery"]["spool"]["depth"], 1);
}

#[test]
fn what_is_not_a_batch_is_refused_with_what_would_be_taken() {
    let limits = json!({ "limits": { "body_bytes": "2KiB", "decoded_bytes": "4KiB", "event_bytes": "1KiB", "batch_events": 2 } });
    let gateway = Gateway::start(limits, json!({}));
    let check = |headers: &[(&str, &str)], body: &[u8], status: u16, header: &str, detail: &str| {
        let reply = gateway.post(headers, body);
        let shown = format!("{} {}", reply.head, reply.body);
        assert_eq!(reply.status, status, "{shown}");
        assert!(reply.head.contains(header), "{shown}");
        assert_eq!(reply.body["detail"], detail);
    };
    let kind = ("content-type", BATCH);
    check(
        &[("content-type", "text/plain")],
        b"[]",
        415,
        "accept: application/cloudevents-batch+json, application/cloudevents+json",
        "Send application/cloudevents-batch+json or application/cloudevents+json.",
    );
    check(
        &[kind, ("content-encoding", "br")],
        b"[]",
        415,
        "accept-encoding: gzip, zstd",
        "Send the body as it is, or compressed by gzip or zstd.",
    );
    check(&[kind], &[b' '; 2_049], 413, "413", "The body is longer than 2048 bytes.");
    let bomb = zstd::encode_all(&[b' '; 1 << 20][..], 1).unwrap();
    let coded = [kind, ("content-encoding", "zstd")];
    check(&coded, &bomb, 413, "413", "The body is longer than 4096 bytes once it is decompressed.");
    check(&coded, b"[]", 400, "400", "The body is not compressed as its Content-Encoding says.");
    check(&[kind], b"[1,2,3]", 413, "413", "A batch has up to 2 events.");
    let not_json = "The body is not what its Content-Type says: EOF while parsing a list at line 1 column 1.";
    check(&[kind], b"[", 400, "400", not_json);

    let request = |request: &str, token: &str| {
        exchange(gateway.relay, request, &[("authorization", token), kind], b"[]")
    };
    let refused = request("POST /relay/events", "Bearer another");
    assert_eq!(refused.status, 401);
    assert!(refused.head.contains("www-authenticate: bearer realm=\"tollgate-relay\""), "{}", refused.head);
    assert_eq!(request("GET /relay/events", &format!("Bearer {TOKEN}")).status, 405);
    assert_eq!(request("POST /relay", &format!("Bearer {TOKEN}")).status, 404);
    assert_eq!(gateway.post_batch(&[]).status, 202);
}

#[test]
fn a_full_spool_sends_sources_away_for_a_while() {
    let gateway = Gateway::start(json!({}), json!({ "max_bytes": "4MiB" }));
    let mut long = event("tollgate://edge/0", 1);
    long["data"]["path"] = json!("x".repeat(60_000));
    let mut taken = 0;
    let refused = loop {
        long["id"] = json!(taken.to_string());
        let reply = gateway.post_batch(&[long.clone()]);
        match reply.status {
            202 => taken += 1,
            _ => break reply,
        }
    };
    assert_eq!(refused.status, 503);
    assert!(refused.head.contains("retry-after: 5"), "{}", refused.head);
    assert_eq!(refused.body["detail"], "The events were not taken: the spool is full.");
    assert_eq!(taken, 69);
    assert_eq!(gateway.events()["delivery"]["spool"]["refused"], 1);
}

#[test]
fn in_memory_nobody_waits_and_at_the_broker_everybody_is_told_the_truth() {
    let gateway = Gateway::start(json!({ "ack": "memory" }), json!({}));
    let reply = gateway.post_batch(&[event("tollgate://edge/0", 1)]);
    assert_eq!((reply.status, &reply.body["ack"]), (202, &json!("memory")));
    let start = Instant::now();
    while gateway.events()["delivery"]["spool"]["depth"] != 1 {
        assert!(start.elapsed() < PATIENCE, "it is not written");
    }
    let shown = gateway.events();
    assert_eq!(shown["provider"], "kafka");
    let start = Instant::now();
    while gateway.events()["delivery"]["last_error"].is_null() {
        assert!(start.elapsed() < PATIENCE, "a broker that is not there is not said");
        thread::sleep(Duration::from_millis(50));
    }
    let error = gateway.events()["delivery"]["last_error"].clone();
    assert!(error.as_str().unwrap().starts_with("the brokers cannot be asked for their topics:"), "{error}");
}
