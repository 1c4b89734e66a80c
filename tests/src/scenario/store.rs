//! The store of cases whose limits are shared: a `rate_limit.store` that says how and not where.

use std::net::{SocketAddr, TcpListener};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::process::{Child, Command};
use tokio::time::{sleep, timeout};

const PATIENCE: Duration = Duration::from_secs(20);
/// Where core's own player finds its store, which is in process.
const NOWHERE: &str = "redis://store.invalid:6379";

/// A Redis of one case's own.
pub(super) struct Redis {
    _server: Child,
}

/// Gives a case that shares limits a Redis, and tells its configuration where that is.
pub(super) async fn start(config: &mut Value) -> Result<Option<Redis>> {
    let Some(store) = store(config) else { return Ok(None) };
    let address = TcpListener::bind("127.0.0.1:0")?.local_addr()?;
    let server = Command::new("redis-server")
        .args([
            "--port",
            &address.port().to_string(),
            "--bind",
            "127.0.0.1",
            "--save",
            "",
            "--appendonly",
            "no",
        ])
        .stdout(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .context("redis-server; tests/setup/packages installs it")?;
    timeout(PATIENCE, answers(address)).await.context("redis-server does not answer")?;
    store["redis"] = json!({ "url": format!("redis://{address}") });
    // What the test is about is never how long a busy machine takes.
    store["timeout"] = json!("5s");
    Ok(Some(Redis { _server: server }))
}

/// For core alone, whose calls are answered by the player.
pub(super) fn imagine(config: &mut Value) {
    if let Some(store) = store(config) {
        store["redis"] = json!({ "url": NOWHERE });
    }
}

fn store(config: &mut Value) -> Option<&mut Value> {
    config.pointer_mut("/rate_limit/store").filter(|store| store.is_object())
}

async fn answers(address: SocketAddr) {
    loop {
        if let Ok(mut stream) = TcpStream::connect(address).await {
            let mut pong = [0; 5];
            let asked = stream.write_all(b"PING\r\n").await.is_ok();
            if asked && stream.read_exact(&mut pong).await.is_ok() && &pong == b"+PONG" {
                return;
            }
        }
        sleep(Duration::from_millis(5)).await;
    }
}
