//! The binary as its users run it: arguments, errors, reload, drain, the admin API.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tempfile::TempDir;

/// For everything that takes milliseconds on an idle machine.
const PATIENCE: Duration = Duration::from_secs(20);
const TOKEN: &str = "an-admin-token-of-some-length";

fn tollgate() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tollgate"));
    command.env_remove("CONFIG_PATH");
    command
}

fn free_address() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).expect("a free port")
}

/// A running gateway in front of one upstream, killed when dropped.
struct Gateway {
    process: Child,
    listen: SocketAddr,
    admin: SocketAddr,
    folder: TempDir,
}

impl Gateway {
    fn start(upstream: SocketAddr) -> Gateway {
        let folder = TempDir::new().unwrap();
        let (listen, admin) = (free_address(), free_address());
        let file = folder.path().join("tollgate.yaml");
        std::fs::write(&file, policy(listen, admin, upstream, folder.path()).to_string()).unwrap();
        let process = tollgate()
            .args(["serve", "--config"])
            .arg(&file)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        until(|| TcpStream::connect(listen).is_ok());
        Gateway { process, listen, admin, folder }
    }

    fn file(&self) -> PathBuf {
        self.folder.path().join("tollgate.yaml")
    }

    fn admin(&self, request: &str) -> (u16, String) {
        ask(self.admin, request, &format!("authorization: Bearer {TOKEN}\r\n"))
    }

    fn terminate(&self) {
        let killed = Command::new("kill").arg(self.process.id().to_string()).status().unwrap();
        assert!(killed.success());
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn policy(listen: SocketAddr, admin: SocketAddr, upstream: SocketAddr, folder: &Path) -> Value {
    json!({
        "server": { "listen": listen, "workers": 2, "admin": { "listen": admin, "token": TOKEN } },
        "routing": { "services": { "echo": {
            "urls": [format!("http://{upstream}")],
            "circuit_breaker": { "failure_rate": 0.5, "minimum_calls": 20, "window": "10s", "open_for": "15s" },
        } } },
        "event_processing": { "enabled": true, "log": { "directory": folder.join("events") } },
        "monitoring": { "access_log": false },
    })
}

fn until(mut done: impl FnMut() -> bool) {
    let start = Instant::now();
    while !done() {
        assert!(start.elapsed() < PATIENCE, "it does not happen");
        thread::sleep(Duration::from_millis(10));
    }
}

/// One request on a connection of its own: status and body.
fn ask(address: SocketAddr, request: &str, headers: &str) -> (u16, String) {
    let reply = exchange(
        address,
        &format!("{request} HTTP/1.1\r\nhost: {address}\r\n{headers}connection: close\r\n\r\n"),
    );
    let status = reply.split(' ').nth(1).and_then(|status| status.parse().ok()).expect("a status line");
    let body = reply.split_once("\r\n\r\n").map_or("", |(_, body)| body);
    (status, body.to_owned())
}

fn exchange(address: SocketAddr, bytes: &str) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.write_all(bytes.as_bytes()).unwrap();
    let mut reply = Vec::new();
    // A connection that is reset after the reply has still replied.
    let _ = stream.read_to_end(&mut reply);
    String::from_utf8_lossy(&reply).into_owned()
}

/// An upstream that answers every request on every connection with `body`, each after `delay`.
fn upstream(body: &'static str, delay: Duration) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            thread::spawn(move || answer(stream, body, delay));
        }
    });
    address
}

fn answer(mut stream: TcpStream, body: &str, delay: Duration) {
    let (mut seen, mut buffer) = (Vec::new(), [0; 4096]);
    while let Ok(read) = stream.read(&mut buffer) {
        seen.extend_from_slice(&buffer[..read]);
        if read == 0 {
            return;
        }
        while let Some(end) = seen.windows(4).position(|window| window == b"\r\n\r\n") {
            seen.drain(..end + 4);
            thread::sleep(delay);
            let reply = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{body}", body.len());
            if stream.write_all(reply.as_bytes()).is_err() {
                return;
            }
        }
    }
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn check_reports_every_mistake_with_its_place_and_the_nearest_key() {
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("bad.yaml");
    std::fs::write(
        &file,
        "server:\n  listne: 127.0.0.1:1\nrouting:\n  services:\n    a: { urls: [\"ftp://x\"] }\n",
    )
    .unwrap();
    let output = tollgate().arg("check").arg(&file).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let errors = stderr(&output);
    assert_eq!(errors.matches("bad.yaml:2:3: server.listne:").count(), 1, "{errors}");
    assert!(errors.contains("`listen`"), "{errors}");
    assert!(errors.contains("bad.yaml:5:"), "{errors}");
}

#[test]
fn check_for_an_edge_names_what_is_not_done_there() {
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("edge.yaml");
    let check = |rule: &str, target: &str| {
        let policy = format!("routing:\n  services:\n    a:\n      urls: ['https://one']\n      {rule}\n");
        std::fs::write(&file, policy).unwrap();
        let output = tollgate().args(["check", "--target", target]).arg(&file).output().unwrap();
        (output.status.code(), stderr(&output))
    };
    let name = file.display();
    let refused = format!(
        "tollgate: the configuration is not valid:\n{name}:5:20: routing.services.a.host_header: the platform derives \
         `Host` from the URL; write the host into `urls`, or leave this to a regional proxy\n"
    );
    let warned = format!(
        "{name}:5:24: routing.services.a.connect_timeout: fetch has no such deadline; `timeout` covers connecting, too\n"
    );
    assert_eq!(check("host_header: preserve", "spin"), (Some(1), refused));
    assert_eq!(check("connect_timeout: 1s", "cloudflare"), (Some(0), warned));
    assert_eq!(check("connect_timeout: 1s", "spin"), (Some(0), String::new()));
}

#[test]
fn a_missing_file_is_named() {
    let output = tollgate().args(["serve", "--config", "/nowhere.yaml"]).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(stderr(&output).contains("cannot read /nowhere.yaml"), "{}", stderr(&output));
}

#[test]
fn a_port_in_use_is_an_error_that_says_what_to_change() {
    let gateway = Gateway::start(upstream("ok", Duration::ZERO));
    let second = tollgate().env("CONFIG_PATH", gateway.file()).output().unwrap();
    assert_eq!(second.status.code(), Some(1));
    let expected = format!("cannot listen on {}: another process does already", gateway.listen);
    assert!(stderr(&second).contains(&expected), "{}", stderr(&second));
}

#[test]
fn the_admin_api_wants_its_own_credential() {
    let gateway = Gateway::start(upstream("ok", Duration::ZERO));
    assert_eq!(ask(gateway.admin, "GET /admin/stats", "").0, 401);
    assert_eq!(ask(gateway.admin, "GET /admin/stats", "authorization: Bearer wrong\r\n").0, 401);
    let rebound = "GET /admin/stats HTTP/1.1\r\nhost: evil.example\r\nconnection: close\r\n\r\n";
    assert!(exchange(gateway.admin, rebound).starts_with("HTTP/1.1 421"));
    assert_eq!(gateway.admin("GET /admin/stats").0, 200);
    assert_eq!(gateway.admin("GET /admin/nothing").0, 404);
    assert_eq!(ask(gateway.admin, "GET /health", "").0, 200);
}

#[test]
fn the_admin_api_shows_the_configuration_without_its_secrets() {
    let gateway = Gateway::start(upstream("ok", Duration::ZERO));
    let (status, body) = gateway.admin("GET /admin/config");
    assert_eq!(status, 200);
    assert!(body.contains("[redacted]") && !body.contains(TOKEN), "{body}");
    let (_, breakers) = gateway.admin("GET /admin/circuit-breakers");
    let expected = json!({ "circuit_breakers": [{ "service": "echo", "state": "closed" }] });
    assert_eq!(serde_json::from_str::<Value>(&breakers).unwrap(), expected);
}

#[test]
fn requests_are_counted_and_written_down() {
    let gateway = Gateway::start(upstream("ok", Duration::ZERO));
    for _ in 0..3 {
        assert_eq!(ask(gateway.listen, "GET /echo/x", ""), (200, "ok".to_owned()));
    }
    let line = "http_requests_total{service=\"echo\",method=\"GET\",status=\"200\"} 3\n";
    until(|| ask(gateway.admin, "GET /metrics", "").1.contains(line));
    until(|| gateway.admin("GET /admin/events").1.contains("\"written\":3"));
    let log =
        std::fs::read_to_string(gateway.folder.path().join("events/events-000000000001.jsonl")).unwrap();
    let sequences: Vec<Value> =
        log.lines().map(|line| serde_json::from_str::<Value>(line).unwrap()["data"]["path"].take()).collect();
    assert_eq!(sequences, ["/echo/x", "/echo/x", "/echo/x"]);
}

#[test]
fn an_invalid_file_is_refused_and_the_former_configuration_stays() {
    let gateway = Gateway::start(upstream("ok", Duration::ZERO));
    std::fs::write(gateway.file(), "routing: { services: { echo: { urls: [] } } }").unwrap();
    let (status, body) = gateway.admin("POST /admin/config/reload");
    assert_eq!(status, 422);
    assert!(body.contains("tollgate.yaml:1:"), "{body}");
    assert_eq!(ask(gateway.listen, "GET /echo/x", "").0, 200);
}

#[test]
fn a_changed_file_is_served_without_dropping_a_connection() {
    let (first, second) = (upstream("first", Duration::ZERO), upstream("second", Duration::ZERO));
    let gateway = Gateway::start(first);
    let mut kept = TcpStream::connect(gateway.listen).unwrap();
    kept.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut on_kept = |expected: &str| {
        kept.write_all(b"GET /echo/ HTTP/1.1\r\nhost: a\r\n\r\n").unwrap();
        let mut reply = Vec::new();
        while !reply.ends_with(b"first") && !reply.ends_with(b"second") {
            let mut buffer = [0; 1024];
            let read = kept.read(&mut buffer).unwrap();
            assert!(read > 0, "the kept connection was closed");
            reply.extend_from_slice(&buffer[..read]);
        }
        reply.ends_with(expected.as_bytes())
    };
    assert!(on_kept("first"));
    let changed = policy(gateway.listen, gateway.admin, second, gateway.folder.path());
    std::fs::write(gateway.file(), changed.to_string()).unwrap();
    until(|| on_kept("second"));
}

#[test]
fn a_request_in_flight_survives_sigterm() {
    let mut gateway = Gateway::start(upstream("late", Duration::from_millis(700)));
    let listen = gateway.listen;
    let in_flight = thread::spawn(move || ask(listen, "GET /echo/x", ""));
    until(|| gateway.admin("GET /admin/stats").1.contains("\"in_flight\":1"));
    gateway.terminate();
    assert_eq!(in_flight.join().unwrap(), (200, "late".to_owned()));
    assert_eq!(gateway.process.wait().unwrap().code(), Some(0));
    let log =
        std::fs::read_to_string(gateway.folder.path().join("events/events-000000000001.jsonl")).unwrap();
    assert_eq!(log.lines().count(), 1);
}

/// RFC 9112 §6.3: a message whose length is ambiguous is refused, or forwarded on a connection that is then closed.
#[test]
fn smuggling_shapes_reach_no_second_request() {
    let gateway = Gateway::start(upstream("ok", Duration::ZERO));
    let inner = "GET /echo/smuggled HTTP/1.1\r\nhost: a\r\n\r\n";
    for head in [
        "content-length: 3\r\ncontent-length: 4",
        "content-length: +3",
        "content-length: 0x3",
        "transfer-encoding: chunked, identity",
        "transfer-encoding: xchunked",
        "transfer-encoding: chunked\r\ntransfer-encoding: identity",
    ] {
        let reply = exchange(
            gateway.listen,
            &format!("POST /echo/ HTTP/1.1\r\nhost: a\r\n{head}\r\n\r\n0\r\n\r\n{inner}"),
        );
        assert!(reply.starts_with("HTTP/1.1 400"), "{head}: {reply}");
    }
    let both = "content-length: 5\r\ntransfer-encoding: chunked";
    let reply = exchange(
        gateway.listen,
        &format!("POST /echo/ HTTP/1.1\r\nhost: a\r\n{both}\r\n\r\n0\r\n\r\n{inner}"),
    );
    assert_eq!(reply.matches("HTTP/1.1 ").count(), 1, "{reply}");
}

#[test]
fn malformed_heads_are_refused_and_the_process_goes_on() {
    let gateway = Gateway::start(upstream("ok", Duration::ZERO));
    for request in [
        "GET /echo/ HTTP/1.1\r\nhost: a\r\nbad header: x\r\n\r\n",
        "GET /echo/ HTTP/1.1\r\nhost: a\r\nx: \0\r\n\r\n",
        "GET  /echo/ HTTP/1.1\r\nhost: a\r\n\r\n",
        "GET /echo/%00 HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n",
        "GET /echo/ HTTP/1.1\r\nhost: a\r\nhost: b\r\nconnection: close\r\n\r\n",
        "GET /echo/ HTTP/1.1\r\nconnection: close\r\n\r\n",
    ] {
        let reply = exchange(gateway.listen, request);
        assert!(reply.starts_with("HTTP/1.1 400"), "{request:?}: {reply}");
    }
    assert_eq!(ask(gateway.listen, "GET /echo/", ""), (200, "ok".to_owned()));
}
