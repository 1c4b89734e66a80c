//! A running gateway of either kind, on its own clock, for what scenarios cannot say: who breaks off, and when.

use std::net::SocketAddr;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::net::TcpStream;
use tokio::process::{Child, Command};
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::time::{sleep, timeout};
use tollgate_core::config::{NoSources, Target, bundle};

use crate::scenario::EventLog;
use crate::workerd::{Service, Workerd};

/// For everything that takes milliseconds on an idle machine.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// Where each adapter's build is.
#[derive(Clone, Debug)]
pub enum Adapter {
    /// The binary `tollgate`.
    Proxy { binary: Box<Path> },
    /// The folder of a Worker built with the feature `scenarios`, and the runtime.
    Cloudflare { worker: Box<Path>, workerd: Box<Path> },
}

pub struct Gateway {
    pub listen: SocketAddr,
    running: Running,
}

enum Running {
    Proxy { _process: Child, events: EventLog },
    Cloudflare { _workerd: Workerd, events: UnboundedReceiver<Value> },
}

impl Adapter {
    pub fn name(&self) -> &'static str {
        match self {
            Adapter::Proxy { .. } => "proxy",
            Adapter::Cloudflare { .. } => "cloudflare",
        }
    }

    /// Starts a gateway with these services.
    pub async fn start(&self, services: Value) -> Result<Gateway> {
        self.start_with(services, json!({})).await
    }

    /// Starts a gateway with these services and this section `auth`.
    pub async fn start_with(&self, services: Value, auth: Value) -> Result<Gateway> {
        let listen = std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?;
        let running = match self {
            Adapter::Proxy { binary } => proxy(binary, listen, services, auth).await?,
            Adapter::Cloudflare { worker, workerd } => {
                let policy = json!({ "routing": { "services": services }, "auth": auth });
                let (bundle, _) = bundle(&policy.to_string(), "policy", &NoSources, Target::Region)?;
                let (workerd, mut events) =
                    Workerd::start(workerd, worker, &[Service { listen, bundle }]).await?;
                Running::Cloudflare { _workerd: workerd, events: events.remove(0) }
            }
        };
        Ok(Gateway { listen, running })
    }
}

impl Gateway {
    /// The `data` of the next event.
    pub async fn event(&mut self) -> Result<Value> {
        let event = match &mut self.running {
            Running::Proxy { events, .. } => timeout(PATIENCE, events.next()).await.context("no event")??,
            Running::Cloudflare { events, .. } => {
                timeout(PATIENCE, events.recv()).await.context("no event")?.context("workerd ended")?
            }
        };
        Ok(event["data"].clone())
    }
}

async fn proxy(binary: &Path, listen: SocketAddr, services: Value, auth: Value) -> Result<Running> {
    let folder = TempDir::new()?;
    let policy = json!({
        "server": { "listen": listen, "workers": 1, "admin": { "listen": "127.0.0.1:0" } },
        "event_processing": { "enabled": true, "log": { "directory": folder.path().join("events") } },
        "routing": { "services": services },
        "auth": auth,
    });
    let file = folder.path().join("tollgate.yaml");
    std::fs::write(&file, policy.to_string())?;
    let process = Command::new(binary)
        .args(["serve", "--config"])
        .arg(&file)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .with_context(|| binary.display().to_string())?;
    let listening = async {
        while TcpStream::connect(listen).await.is_err() {
            sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(PATIENCE, listening).await.context("the proxy does not listen")?;
    Ok(Running::Proxy { _process: process, events: EventLog::of(folder) })
}
