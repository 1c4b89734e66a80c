//! A Redis of the test's own, on a port that was free a moment ago.

use std::fmt::Display;
use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use bytes::Bytes;
use tollgate_core::store::{Key, Value};

use crate::gateway::PATIENCE;

/// Whatever takes commands as a Redis does.
pub trait Redis {
    fn send(&mut self, command: &[Bytes]) -> Value;

    fn words(&mut self, words: &[&str]) -> Value {
        let command: Vec<Bytes> = words.iter().map(|word| Bytes::copy_from_slice(word.as_bytes())).collect();
        self.send(&command)
    }

    /// -1 when the key lives for ever, -2 when it is not there.
    fn ttl_ms(&mut self, key: &Key) -> i64 {
        match self.words(&["PTTL", key.as_str()]) {
            Value::Integer(ttl_ms) => ttl_ms,
            other => panic!("PTTL is a number, not {other:?}"),
        }
    }

    fn delete(&mut self, key: &Key) {
        assert!(matches!(self.words(&["DEL", key.as_str()]), Value::Integer(_)));
    }
}

/// A running `redis-server`, and a connection to it.
pub struct Server {
    pub port: u16,
    process: Process,
    connection: ::redis::Connection,
}

/// Killed when it is dropped; the folder it runs in goes with it.
pub struct Process {
    child: Child,
    _folder: tempfile::TempDir,
}

impl Server {
    pub fn start() -> Server {
        Server::start_with(free_port(), &[])
    }

    pub fn start_with(port: u16, arguments: &[&str]) -> Server {
        let port_text = port.to_string();
        let own = ["--port", &port_text, "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"];
        let process = Process::start(&[&own, arguments].concat());
        let client = ::redis::Client::open(("127.0.0.1", port)).unwrap();
        let connection = eventually("redis-server answers", || client.get_connection());
        Server { port, process, connection }
    }

    /// At once, with everything in it.
    pub fn kill(self) {
        drop(self.process);
    }

    /// Stops or goes on, as with SIGSTOP and SIGCONT.
    pub fn signal(&self, signal: &str) {
        self.process.signal(signal);
    }
}

impl Redis for Server {
    fn send(&mut self, command: &[Bytes]) -> Value {
        let mut packed = ::redis::Cmd::new();
        for part in command {
            packed.arg(part.as_ref());
        }
        match packed.query::<::redis::Value>(&mut self.connection) {
            Ok(value) => translated(value),
            Err(error) => {
                let code = error.code().expect("an error of the server's, not of the connection");
                Value::Error(format!("{code} {}", error.detail().unwrap_or_default()))
            }
        }
    }
}

impl Process {
    /// `redis-server` in a folder of its own, where it finds the files that the arguments name.
    pub fn start(arguments: &[&str]) -> Process {
        Process::start_in(tempfile::tempdir().unwrap(), arguments)
    }

    pub fn start_in(folder: tempfile::TempDir, arguments: &[&str]) -> Process {
        let child = Command::new("redis-server")
            .args(arguments)
            .current_dir(folder.path())
            .stdout(Stdio::null())
            .spawn()
            .expect("redis-server starts; `tests/setup/packages store` installs it");
        Process { child, _folder: folder }
    }

    pub fn signal(&self, signal: &str) {
        let pid = self.child.id().to_string();
        assert!(Command::new("kill").args(["-s", signal, &pid]).status().unwrap().success());
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

pub fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).unwrap().port()
}

pub fn eventually<T, E: Display>(what: &str, mut attempt: impl FnMut() -> Result<T, E>) -> T {
    let started = Instant::now();
    loop {
        match attempt() {
            Ok(value) => return value,
            Err(error) => assert!(started.elapsed() < PATIENCE, "it does not happen: {what}: {error}"),
        }
        std::thread::sleep(Duration::from_millis(10));
    }
}

pub fn shown(path: &Path) -> &str {
    path.to_str().expect("a temporary folder's name is text")
}

fn translated(value: ::redis::Value) -> Value {
    match value {
        ::redis::Value::Nil => Value::Nil,
        ::redis::Value::Int(number) => Value::Integer(number),
        ::redis::Value::Okay => Value::Status("OK".into()),
        ::redis::Value::SimpleString(text) => Value::Status(text),
        ::redis::Value::BulkString(bytes) => Value::Text(bytes.into()),
        ::redis::Value::Array(values) => Value::Array(values.into_iter().map(translated).collect()),
        other => panic!("no script answers {other:?}"),
    }
}
