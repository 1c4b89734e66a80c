//! Plays a case against the running proxy over HTTP, with real upstreams on loopback.
//!
//! The binary is built with the feature `frozen-clock`, which takes the time of each decision from a header: windows
//! of a day pass at once, and nothing depends on how busy the machine is.

use std::io::{BufRead, BufReader};
use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::process::{Child, Command};
use tokio::time::{sleep, timeout};

use super::client::{self, Front};
use super::expect::{Differences, Got, Names};
use super::store::{self, Redis};
use super::upstream::Upstreams;
use super::{Case, Exchange};

/// For everything that takes milliseconds on an idle machine.
const PATIENCE: Duration = Duration::from_secs(20);

/// `binary` is a `tollgate` built with the feature `frozen-clock`.
pub fn play(case: &Case, binary: &Path) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
    runtime.block_on(async {
        let mut stage = Stage::set(case, binary).await?;
        let mut at_ms = 0;
        for (index, exchange) in case.exchanges.iter().enumerate() {
            at_ms = exchange.at_ms.unwrap_or(at_ms);
            for time in 0..exchange.times {
                let played = stage.play(exchange, at_ms).await;
                played.with_context(|| {
                    format!("exchange {} ({}), time {}", index + 1, exchange.request, time + 1)
                })?;
            }
        }
        Ok(())
    })
}

/// A running proxy and what stands around it.
struct Stage {
    _proxy: Child,
    _store: Option<Redis>,
    listen: SocketAddr,
    upstreams: Upstreams,
    names: Names,
    events: EventLog,
}

impl Stage {
    async fn set(case: &Case, binary: &Path) -> Result<Stage> {
        let mut config = case.config.clone();
        let (upstreams, names) = Upstreams::start(&mut config).await?;
        let store = store::start(&mut config).await?;
        let folder = TempDir::new()?;
        let listen = free_address()?;
        // The runner is the load balancer that the PROXY header is believed of, beside those of the case.
        let mut trusted = config["server"]["trusted_proxies"].as_array().cloned().unwrap_or_default();
        trusted.push(json!("127.0.0.1/32"));
        let server = json!({
            "listen": listen, "workers": 1, "proxy_protocol": true, "trusted_proxies": trusted,
            "admin": { "listen": free_address()? },
        });
        overlay(&mut config, "server", server);
        let log = folder.path().join("events");
        overlay(&mut config, "event_processing", json!({ "enabled": true, "log": { "directory": log } }));
        let file = folder.path().join("tollgate.yaml");
        std::fs::write(&file, serde_json::to_vec(&config)?)?;
        let mut proxy = Command::new(binary)
            .args(["serve", "--config"])
            .arg(&file)
            .stdout(Stdio::null())
            .stderr(std::fs::File::create(folder.path().join("stderr"))?)
            .kill_on_drop(true)
            .spawn()
            .with_context(|| binary.display().to_string())?;
        let ready = async {
            while TcpStream::connect(listen).await.is_err() {
                if let Some(status) = proxy.try_wait()? {
                    bail!("{status}: {}", std::fs::read_to_string(folder.path().join("stderr"))?);
                }
                sleep(Duration::from_millis(5)).await;
            }
            Ok(())
        };
        timeout(PATIENCE, ready).await.context("the proxy does not listen")??;
        let events = EventLog::of(folder);
        Ok(Stage { _proxy: proxy, _store: store, listen, upstreams, names, events })
    }

    async fn play(&mut self, exchange: &Exchange, at_ms: u64) -> Result<()> {
        let mut differences = Differences::default();
        self.upstreams.expect(&exchange.attempts).await?;
        let got = timeout(PATIENCE, self.send(exchange, at_ms)).await.context("no reply")??;
        self.upstreams.review(&mut differences, &self.names);
        differences.reply(&got, &exchange.reply, &self.names);
        let event = timeout(PATIENCE, self.events.next()).await.context("no event")??;
        differences.event(&event, &exchange.event);
        differences.into_result("the exchange differs")
    }

    async fn send(&self, exchange: &Exchange, at_ms: u64) -> Result<Got> {
        let mut stream = TcpStream::connect(self.listen).await?;
        let family = if exchange.from.is_ipv4() { "TCP4" } else { "TCP6" };
        let own = if exchange.from.is_ipv4() { "127.0.0.1" } else { "::1" };
        stream.write_all(format!("PROXY {family} {} {own} 40000 80\r\n", exchange.from).as_bytes()).await?;
        client::send(stream, exchange, at_ms, Front::default()).await
    }
}

/// The proxy's event log, read line by line as it grows.
pub(crate) struct EventLog {
    folder: TempDir,
    read: usize,
}

impl EventLog {
    /// The log in `events` of a folder.
    pub(crate) fn of(folder: TempDir) -> EventLog {
        EventLog { folder, read: 0 }
    }

    pub(crate) async fn next(&mut self) -> Result<Value> {
        loop {
            if let Some(line) = self.lines()?.get(self.read) {
                self.read += 1;
                return Ok(serde_json::from_str(line)?);
            }
            sleep(Duration::from_millis(5)).await;
        }
    }

    fn lines(&self) -> Result<Vec<String>> {
        let mut lines = Vec::new();
        let Ok(folder) = std::fs::read_dir(self.folder.path().join("events")) else { return Ok(lines) };
        let mut files: Vec<_> = folder.map(|entry| Ok(entry?.path())).collect::<Result<_>>()?;
        files.sort();
        for file in files {
            let text = std::fs::read(&file)?;
            let whole = text.iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1);
            for line in BufReader::new(&text[..whole]).lines() {
                lines.push(line?);
            }
        }
        Ok(lines)
    }
}

/// Sets members of one section of a configuration, keeping the others.
fn overlay(config: &mut Value, section: &str, members: Value) {
    if config.is_null() {
        *config = json!({});
    }
    let known = config[section].take();
    let mut merged = if known.is_null() { json!({}) } else { known };
    super::merge(&mut merged, members);
    config[section] = merged;
}

fn free_address() -> Result<SocketAddr> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?)
}
