//! A running gateway of any kind, on its own clock, for what scenarios cannot say: who breaks off, and when.

use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use http::HeaderMap;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::process::{Child, Command};
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::time::{sleep, timeout};
use tollgate_core::config::{NoSources, Target, bundle};

use crate::scenario::EventLog;
use crate::scenario::store::{self, Bridge, Redis};
use crate::wasmtime::{Component, Wasmtime};
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
    /// A component built with the feature `scenarios`, under wasmtime.
    Spin(Arc<Component>),
}

pub struct Gateway {
    pub listen: SocketAddr,
    running: Running,
    adapter: Adapter,
}

/// The store of a gateway, which ends when it is dropped.
pub struct Sharing {
    _redis: Option<Redis>,
    _bridge: Option<Bridge>,
}

enum Running {
    Proxy { _process: Child, events: EventLog },
    Edge { _process: Process, events: UnboundedReceiver<Value> },
}

/// Ends when it is dropped.
enum Process {
    Workerd { _process: Workerd },
    Wasmtime { _process: Wasmtime },
}

impl Adapter {
    /// Those that the environment names the builds of.
    pub fn all() -> Result<Vec<Adapter>> {
        let place =
            |name| -> Option<Box<Path>> { std::env::var_os(name).map(|path| Path::new(&path).into()) };
        let mut adapters = Vec::new();
        if let Some(binary) = place("TOLLGATE_BIN") {
            adapters.push(Adapter::Proxy { binary });
        }
        if let (Some(worker), Some(workerd)) = (place("TOLLGATE_WORKER"), place("TOLLGATE_WORKERD")) {
            adapters.push(Adapter::Cloudflare { worker, workerd });
        }
        if let (Some(component), Some(wasmtime)) = (place("TOLLGATE_COMPONENT"), place("TOLLGATE_WASMTIME")) {
            adapters.push(Adapter::Spin(Arc::new(Component::compile(&wasmtime, &component)?)));
        }
        Ok(adapters)
    }

    pub fn name(&self) -> &'static str {
        match self {
            Adapter::Proxy { .. } => "proxy",
            Adapter::Cloudflare { .. } => "cloudflare",
            Adapter::Spin(_) => "spin",
        }
    }

    /// Starts a gateway with these services.
    pub async fn start(&self, services: Value) -> Result<Gateway> {
        self.start_with(services, json!({})).await
    }

    /// Starts a gateway with these services and this section `auth`.
    pub async fn start_with(&self, services: Value, auth: Value) -> Result<Gateway> {
        self.run(json!({ "routing": { "services": services }, "auth": auth }), false).await
    }

    /// Starts a gateway with these services and a section `rate_limit` whose store is a Redis of its own: natively, or at the
    /// edge behind a bridge.
    pub async fn start_sharing(&self, services: Value, rate_limit: Value) -> Result<(Gateway, Sharing)> {
        let mut policy = json!({ "routing": { "services": services }, "rate_limit": rate_limit });
        let sharing = match self {
            Adapter::Proxy { .. } => Sharing { _redis: store::start(&mut policy).await?, _bridge: None },
            _ => Sharing { _redis: None, _bridge: store::start_behind_bridge(&mut policy).await? },
        };
        Ok((self.run(policy, false).await?, sharing))
    }

    /// Starts a gateway with this policy, behind a runner that says who its clients are: see [`Gateway::connect`].
    pub(crate) async fn start_policy(&self, policy: Value) -> Result<Gateway> {
        self.run(policy, true).await
    }

    async fn run(&self, policy: Value, is_fronted: bool) -> Result<Gateway> {
        let listen = std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?;
        let compiled = || anyhow::Ok(bundle(&policy.to_string(), "policy", &NoSources, Target::Region)?.0);
        let running = match self {
            Adapter::Proxy { binary } => proxy(binary, listen, policy, is_fronted).await?,
            Adapter::Cloudflare { worker, workerd } => {
                let service = Service { listen, bundle: compiled()? };
                let (process, mut events) = Workerd::start(workerd, worker, &[service]).await?;
                Running::Edge { _process: Process::Workerd { _process: process }, events: events.remove(0) }
            }
            Adapter::Spin(component) => {
                let (process, events) = component.serve(listen, &compiled()?).await?;
                Running::Edge { _process: Process::Wasmtime { _process: process }, events }
            }
        };
        Ok(Gateway { listen, running, adapter: self.clone() })
    }
}

impl Gateway {
    /// A path as a request to the host `a.example` has it.
    pub fn target(&self, path: &str) -> String {
        let origin = if self.wants_absolute_targets() { "http://a.example" } else { "" };
        format!("{origin}{path}")
    }

    /// Whether the platform wants to know the host from the target.
    pub(crate) fn wants_absolute_targets(&self) -> bool {
        matches!(self.adapter, Adapter::Spin(_))
    }

    /// A connection for one request of `client`, and what goes into it.
    pub(crate) async fn connect(&self, client: IpAddr) -> Result<(TcpStream, HeaderMap)> {
        let mut stream = TcpStream::connect(self.listen).await?;
        let mut headers = HeaderMap::new();
        match self.adapter {
            Adapter::Proxy { .. } => {
                let (family, own) = if client.is_ipv4() { ("TCP4", "127.0.0.1") } else { ("TCP6", "::1") };
                stream.write_all(format!("PROXY {family} {client} {own} 40000 80\r\n").as_bytes()).await?;
            }
            Adapter::Cloudflare { .. } => {
                headers.insert("cf-connecting-ip", client.to_string().parse()?);
            }
            Adapter::Spin(_) => {
                headers.insert("spin-client-addr", SocketAddr::new(client, 40_000).to_string().parse()?);
            }
        }
        Ok((stream, headers))
    }

    /// The `data` of the next event.
    pub async fn event(&mut self) -> Result<Value> {
        let event = match &mut self.running {
            Running::Proxy { events, .. } => timeout(PATIENCE, events.next()).await.context("no event")??,
            Running::Edge { events, .. } => {
                timeout(PATIENCE, events.recv()).await.context("no event")?.context("the platform ended")?
            }
        };
        Ok(event["data"].clone())
    }
}

async fn proxy(binary: &Path, listen: SocketAddr, mut policy: Value, is_fronted: bool) -> Result<Running> {
    let folder = TempDir::new()?;
    let server = &mut policy["server"];
    server["listen"] = json!(listen);
    server["workers"] = json!(1);
    server["admin"] = json!({ "listen": "127.0.0.1:0" });
    if is_fronted {
        server["proxy_protocol"] = json!(true);
        let mut trusted = server["trusted_proxies"].as_array().cloned().unwrap_or_default();
        trusted.push(json!("127.0.0.1/32"));
        server["trusted_proxies"] = json!(trusted);
    }
    policy["event_processing"] =
        json!({ "enabled": true, "log": { "directory": folder.path().join("events") } });
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
