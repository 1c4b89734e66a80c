//! A Redis of the test's own, on a port that was free a moment ago.

use std::net::TcpListener;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use bytes::Bytes;
use tollgate_core::store::{Key, Value};

const START_MAX: Duration = Duration::from_secs(10);

pub(crate) struct Server {
    process: Child,
    connection: redis::Connection,
    _folder: tempfile::TempDir,
}

impl Server {
    pub(crate) fn start() -> Server {
        let port =
            TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).unwrap().port();
        let folder = tempfile::tempdir().unwrap();
        let process = Command::new("redis-server")
            .args([
                "--port",
                &port.to_string(),
                "--bind",
                "127.0.0.1",
                "--save",
                "",
                "--appendonly",
                "no",
                "--dir",
            ])
            .arg(folder.path())
            .stdout(Stdio::null())
            .spawn()
            .expect("redis-server starts; `tests/setup/packages store` installs it");
        let client = redis::Client::open(("127.0.0.1", port)).unwrap();
        let started = Instant::now();
        let connection = loop {
            match client.get_connection() {
                Ok(connection) => break connection,
                Err(error) => assert!(started.elapsed() < START_MAX, "redis-server does not answer: {error}"),
            }
            std::thread::sleep(Duration::from_millis(10));
        };
        Server { process, connection, _folder: folder }
    }

    pub(crate) fn send(&mut self, command: &[Bytes]) -> Value {
        let mut packed = redis::Cmd::new();
        for part in command {
            packed.arg(part.as_ref());
        }
        match packed.query::<redis::Value>(&mut self.connection) {
            Ok(value) => translated(value),
            Err(error) => {
                let code = error.code().expect("an error of the server's, not of the connection");
                Value::Error(format!("{code} {}", error.detail().unwrap_or_default()))
            }
        }
    }

    /// -1 when the key lives for ever, -2 when it is not there.
    pub(crate) fn ttl_ms(&mut self, key: &Key) -> i64 {
        redis::cmd("PTTL").arg(key.as_str()).query(&mut self.connection).unwrap()
    }

    pub(crate) fn delete(&mut self, key: &Key) {
        redis::cmd("DEL").arg(key.as_str()).exec(&mut self.connection).unwrap();
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn translated(value: redis::Value) -> Value {
    match value {
        redis::Value::Nil => Value::Nil,
        redis::Value::Int(number) => Value::Integer(number),
        redis::Value::Okay => Value::Status("OK".into()),
        redis::Value::SimpleString(text) => Value::Status(text),
        redis::Value::BulkString(bytes) => Value::Text(bytes.into()),
        redis::Value::Array(values) => Value::Array(values.into_iter().map(translated).collect()),
        other => panic!("RESP2 has no {other:?}"),
    }
}
