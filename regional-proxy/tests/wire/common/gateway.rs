//! The binary, running.

use std::fs::{self, File};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};

use serde_json::{Value, json};
use tempfile::TempDir;

use super::{Wire, until};

const TOKEN: &str = "an-admin-token-of-some-length";

/// A running gateway, killed when dropped. What it said is shown if the test fails.
pub(crate) struct Gateway {
    process: Child,
    pub(crate) listen: SocketAddr,
    admin: SocketAddr,
    folder: TempDir,
}

impl Gateway {
    /// In front of one service, `echo`, at one address.
    pub(crate) fn before(upstream: SocketAddr) -> Gateway {
        Gateway::serving(json!({ "urls": [format!("http://{upstream}")] }))
    }

    /// In front of one service, `echo`, with these rules.
    pub(crate) fn serving(echo: Value) -> Gateway {
        Gateway::start(json!({ "routing": { "services": { "echo": echo } } }))
    }

    /// With a policy to which addresses, the admin token and the event log are added. It has one thread, and so one pool
    /// of connections, unless the policy says otherwise.
    pub(crate) fn start(policy: Value) -> Gateway {
        Gateway::start_in(TempDir::new().unwrap(), policy)
    }

    /// With files of its own in `folder`.
    pub(crate) fn start_in(folder: TempDir, policy: Value) -> Gateway {
        let (listen, admin) = (free_address(), free_address());
        let file = folder.path().join("tollgate.yaml");
        fs::write(&file, complete(policy, listen, admin, folder.path()).to_string()).unwrap();
        let log = File::create(folder.path().join("stderr.log")).unwrap();
        let mut process = Command::new(env!("CARGO_BIN_EXE_tollgate"))
            .env_remove("CONFIG_PATH")
            .args(["serve", "--config"])
            .arg(&file)
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .unwrap();
        until("the gateway listens", || {
            let ended = process.try_wait().unwrap();
            assert!(ended.is_none(), "{}", fs::read_to_string(folder.path().join("stderr.log")).unwrap());
            TcpStream::connect(listen).is_ok()
        });
        Gateway { process, listen, admin, folder }
    }

    pub(crate) fn connect(&self) -> Wire {
        Wire::connect(self.listen)
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Replaces the policy file at once, as an editor or an orchestrator does.
    pub(crate) fn write_policy(&self, policy: Value) {
        let policy = complete(policy, self.listen, self.admin, self.folder.path());
        fs::write(self.path("next.yaml"), policy.to_string()).unwrap();
        fs::rename(self.path("next.yaml"), self.path("tollgate.yaml")).unwrap();
    }

    /// The body of an answer of the admin API.
    pub(crate) fn admin(&self, request: &str) -> Value {
        let mut wire = Wire::connect(self.admin);
        wire.send(format!(
            "{request} HTTP/1.1\r\nhost: {}\r\nauthorization: Bearer {TOKEN}\r\n\r\n",
            self.admin
        ));
        match &wire.reply().body[..] {
            [] => Value::Null,
            body => serde_json::from_slice(body).unwrap(),
        }
    }

    /// What the event log holds of each request that has ended: `data` of its event.
    pub(crate) fn events(&self) -> Vec<Value> {
        let log = fs::read_to_string(self.path("events/events-000000000001.jsonl")).unwrap_or_default();
        let whole = log.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        whole.map(|mut event| event["data"].take()).collect()
    }

    /// Waits for the event of the one request to `path`.
    pub(crate) fn event(&self, path: &str) -> Value {
        let mut found = None;
        until("an event is written", || {
            found = self.events().into_iter().find(|event| event["path"] == path);
            found.is_some()
        });
        found.unwrap()
    }

    pub(crate) fn log(&self) -> String {
        fs::read_to_string(self.path("stderr.log")).unwrap()
    }

    pub(crate) fn signal(&self, name: &str) {
        let id = self.process.id().to_string();
        assert!(Command::new("kill").args(["-s", name, &id]).status().unwrap().success());
    }

    pub(crate) fn wait(&mut self) -> ExitStatus {
        self.process.wait().unwrap()
    }

    /// Memory of the process that is resident, KiB.
    pub(crate) fn resident_kib(&self) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.process.id())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
        line.trim().trim_end_matches(" kB").parse().unwrap()
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
        if std::thread::panicking() {
            eprintln!("the gateway said:\n{}", self.log());
        }
    }
}

/// An address nobody listens on. Not from the range that outgoing connections are given ports of: one of those could
/// take the port before the gateway does.
pub(crate) fn free_address() -> SocketAddr {
    const FIRST: u16 = 10_000;
    const PORTS: u16 = 20_000;
    static DRAWN: AtomicU16 = AtomicU16::new(0);
    let start = (std::process::id() * 64 % u32::from(PORTS)) as u16;
    loop {
        let drawn = DRAWN.fetch_add(1, Ordering::Relaxed);
        let address = SocketAddr::from(([127, 0, 0, 1], FIRST + (start + drawn) % PORTS));
        if TcpListener::bind(address).is_ok() {
            return address;
        }
    }
}

fn complete(policy: Value, listen: SocketAddr, admin: SocketAddr, folder: &Path) -> Value {
    let mut complete = json!({
        "server": { "listen": listen, "workers": 1, "admin": { "listen": admin, "token": TOKEN } },
        "event_processing": { "enabled": true, "log": { "directory": folder.join("events") } },
        "monitoring": { "access_log": false },
    });
    merge(&mut complete, policy);
    complete
}

fn merge(into: &mut Value, from: Value) {
    match (into, from) {
        (Value::Object(into), Value::Object(from)) => {
            for (key, value) in from {
                merge(into.entry(key).or_insert(Value::Null), value);
            }
        }
        (into, from) => *into = from,
    }
}
