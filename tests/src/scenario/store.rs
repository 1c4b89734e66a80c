//! The store of cases whose limits are shared: a `rate_limit.store` that says how and not where.

use std::net::{SocketAddr, TcpListener};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::process::{Child, Command};
use tokio::time::{sleep, timeout};

const PATIENCE: Duration = Duration::from_secs(20);
/// The edge's at the bridge.
const TOKEN: &str = "the-scenarios-gateway-token";
/// Where core's own player finds its store, which is in process.
const NOWHERE: &str = "redis://store.invalid:6379";

/// A Redis of one case's own.
pub(crate) struct Redis {
    _server: Child,
}

/// Gives a case that shares limits a Redis, and tells its configuration where that is.
pub(crate) async fn start(config: &mut Value) -> Result<Option<Redis>> {
    let Some(store) = store(config) else { return Ok(None) };
    let address = free()?;
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

/// A Redis behind the bridge of a running proxy, which is how an edge reaches one.
pub(crate) struct Bridge {
    _redis: Redis,
    _proxy: Child,
    _folder: TempDir,
}

/// The same for an edge. `TOLLGATE_BIN` names the proxy.
pub(crate) async fn start_behind_bridge(config: &mut Value) -> Result<Option<Bridge>> {
    let Some(redis) = start(config).await? else { return Ok(None) };
    let store = store(config).context("it was there a moment ago")?;
    let binary =
        std::env::var_os("TOLLGATE_BIN").context("TOLLGATE_BIN names no proxy to serve the bridge")?;
    let [listen, own] = [free()?, free()?];
    let token = json!({
        "name": "edge", "kind": "gateway", "prefix": "tg:{default:",
        "sha256": Sha256::digest(TOKEN).iter().map(|byte| format!("{byte:02x}")).collect::<String>(),
    });
    let policy = json!({
        "server": { "listen": own, "workers": 1 },
        "redis_bridge": { "listen": listen, "redis": { "url": store["redis"]["url"] }, "tokens": [token] },
    });
    let folder = TempDir::new()?;
    let file = folder.path().join("tollgate.yaml");
    std::fs::write(&file, policy.to_string())?;
    let log = std::fs::File::create(folder.path().join("stderr"))?;
    let proxy = Command::new(binary)
        .args(["serve", "--config"])
        .arg(&file)
        .stdout(Stdio::null())
        .stderr(log)
        .kill_on_drop(true)
        .spawn()?;
    timeout(PATIENCE, async {
        while TcpStream::connect(listen).await.is_err() {
            sleep(Duration::from_millis(5)).await;
        }
    })
    .await
    .context("the bridge does not listen")?;
    if let Some(store) = store.as_object_mut() {
        store.remove("redis");
    }
    store["rest"] = json!({ "url": format!("http://{listen}"), "token": TOKEN });
    Ok(Some(Bridge { _redis: redis, _proxy: proxy, _folder: folder }))
}

/// For core alone, whose calls are answered by the player.
pub(crate) fn imagine(config: &mut Value) {
    if let Some(store) = store(config) {
        store["redis"] = json!({ "url": NOWHERE });
    }
}

fn store(config: &mut Value) -> Option<&mut Value> {
    config.pointer_mut("/rate_limit/store").filter(|store| store.is_object())
}

fn free() -> Result<SocketAddr> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?)
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
