//! The gateway with a relay, as a process that is killed and started again with the same spool.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

const PATIENCE: Duration = Duration::from_secs(20);
const ADMIN: &str = "an-admin-token-of-some-length";
const TOKEN: &str = "a-relay-token-of-the-test";
/// `printf %s a-relay-token-of-the-test | sha256sum`
const TOKEN_SHA256: &str = "6c8787799ccc3c2ec41a38bbaa74b6e721fbabe3db9343c7e3d86f5b58cca4c7";

pub(crate) struct Gateway {
    process: Child,
    file: PathBuf,
    relay: SocketAddr,
    admin: SocketAddr,
}

/// Two addresses in a row that are free.
pub(crate) fn free_port() -> u16 {
    loop {
        let first = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = first.local_addr().unwrap().port();
        if port < u16::MAX && TcpListener::bind(("127.0.0.1", port + 1)).is_ok() {
            return port;
        }
    }
}

impl Gateway {
    pub(crate) fn start(folder: &Path, spool: &Path, broker: &str, ack: &str) -> Gateway {
        let address = || SocketAddr::from(([127, 0, 0, 1], free_port()));
        let (relay, admin) = (address(), address());
        let policy = json!({
            "server": { "listen": address(), "workers": 1, "admin": { "listen": admin, "token": ADMIN } },
            "event_processing": {
                "provider": "kafka",
                "kafka": { "brokers": [broker], "create_topics": true },
                "spool": { "directory": spool },
            },
            "relay": {
                "listen": relay,
                "ack": ack,
                "tokens": [{ "id": "test", "source_prefix": "tollgate://test-", "sha256": TOKEN_SHA256 }],
            },
            "monitoring": { "access_log": false, "log_level": "warn" },
        });
        let file = folder.join("tollgate.yaml");
        std::fs::write(&file, policy.to_string()).unwrap();
        let mut gateway = Gateway { process: serve(&file), file, relay, admin };
        gateway.wait();
        gateway
    }

    /// Whatever it was doing.
    pub(crate) fn kill(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }

    pub(crate) fn restart(&mut self) {
        self.kill();
        self.process = serve(&self.file);
        self.wait();
    }

    pub(crate) fn relay(&self) -> SocketAddr {
        self.relay
    }

    pub(crate) fn delivery(&self) -> Value {
        let request = format!(
            "GET /admin/events HTTP/1.1\r\nhost: {}\r\nauthorization: Bearer {ADMIN}\r\n",
            self.admin
        );
        let (status, body) = exchange(self.admin, &request, b"").expect("the admin API answers");
        assert_eq!(status, 200);
        serde_json::from_str::<Value>(&body).unwrap()["delivery"].clone()
    }

    /// Until the broker has all that is in the spool.
    pub(crate) fn drain(&self, patience: Duration) {
        let start = Instant::now();
        loop {
            let delivery = self.delivery();
            if delivery["spool"]["depth"] == 0 {
                return;
            }
            assert!(start.elapsed() < patience, "the spool is not delivered: {delivery}");
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    fn wait(&mut self) {
        let start = Instant::now();
        while TcpStream::connect(self.relay).is_err() || TcpStream::connect(self.admin).is_err() {
            assert!(start.elapsed() < PATIENCE, "the gateway does not listen");
            assert!(self.process.try_wait().unwrap().is_none(), "the gateway ended");
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        self.kill();
    }
}

/// The status of one batch; `None` if there was no answer, which says nothing of what became of it.
pub(crate) fn post(relay: SocketAddr, batch: &Value) -> Option<u16> {
    let request = format!(
        "POST /relay/events HTTP/1.1\r\nhost: {relay}\r\nauthorization: Bearer {TOKEN}\r\ncontent-type: \
         application/cloudevents-batch+json\r\n"
    );
    exchange(relay, &request, batch.to_string().as_bytes()).map(|(status, _)| status)
}

fn serve(file: &Path) -> Child {
    let binary = std::env::var_os("TOLLGATE_BIN").expect("TOLLGATE_BIN names the gateway's binary");
    Command::new(binary)
        .args(["serve", "--config"])
        .arg(file)
        .env_remove("CONFIG_PATH")
        .stdout(Stdio::null())
        .spawn()
        .unwrap()
}

fn exchange(address: SocketAddr, request: &str, body: &[u8]) -> Option<(u16, String)> {
    let mut stream = TcpStream::connect(address).ok()?;
    stream.set_read_timeout(Some(PATIENCE)).ok()?;
    let head = format!("{request}content-length: {}\r\nconnection: close\r\n\r\n", body.len());
    stream.write_all(&[head.as_bytes(), body].concat()).ok()?;
    let mut reply = Vec::new();
    let _ = stream.read_to_end(&mut reply);
    let reply = String::from_utf8_lossy(&reply).into_owned();
    let (head, body) = reply.split_once("\r\n\r\n")?;
    Some((head.split(' ').nth(1)?.parse().ok()?, body.to_owned()))
}
