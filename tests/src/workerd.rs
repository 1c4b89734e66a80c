//! The runtime that Cloudflare's own is built from, as a process with one service for each policy.

use std::fmt::Write;
use std::net::SocketAddr;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde_json::Value;
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::net::TcpStream;
use tokio::process::{Child, Command};
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};
use tokio::time::{sleep, timeout};

/// Until every isolate has compiled the Worker, on a busy machine.
const START_WITHIN: Duration = Duration::from_secs(60);

/// As in the Worker's wrangler.toml.
const COMPATIBILITY_DATE: &str = "2026-10-01";
const COMPATIBILITY_FLAG: &str = "enable_request_signal";

pub(crate) struct Workerd {
    _process: Child,
    _folder: TempDir,
}

pub(crate) struct Service {
    pub(crate) listen: SocketAddr,
    /// Compiled from a policy file.
    pub(crate) bundle: String,
}

impl Workerd {
    /// Starts `services`; beside the process are the events of each.
    pub(crate) async fn start(
        binary: &Path,
        worker: &Path,
        services: &[Service],
    ) -> Result<(Workerd, Vec<UnboundedReceiver<Value>>)> {
        let folder = TempDir::new()?;
        for file in ["shim.mjs", "index.wasm"] {
            let from = worker.join(file);
            std::fs::copy(&from, folder.path().join(file)).with_context(|| from.display().to_string())?;
        }
        std::fs::write(folder.path().join("config.capnp"), config(services)?)?;
        let log = folder.path().join("stderr");
        let mut process = Command::new(binary)
            .args(["serve", "config.capnp"])
            .current_dir(folder.path())
            .stdout(Stdio::piped())
            .stderr(std::fs::File::create(&log)?)
            .kill_on_drop(true)
            .spawn()
            .with_context(|| binary.display().to_string())?;
        let output = process.stdout.take().context("stdout is piped")?;
        let (senders, receivers): (Vec<_>, _) = services.iter().map(|_| unbounded_channel()).unzip();
        tokio::spawn(async move {
            let mut lines = BufReader::new(output).lines();
            while let Ok(Some(line)) = lines.next_line().await {
                let Ok(event) = serde_json::from_str::<Value>(&line) else { continue };
                if let Some(sender) = service_of(&event).and_then(|index| senders.get(index)) {
                    // A case that ended early wants no more events.
                    let _ = sender.send(event);
                }
            }
        });
        let ready = async {
            for service in services {
                while TcpStream::connect(service.listen).await.is_err() {
                    if let Some(status) = process.try_wait()? {
                        bail!("{status}: {}", std::fs::read_to_string(&log)?);
                    }
                    sleep(Duration::from_millis(5)).await;
                }
            }
            Ok(())
        };
        timeout(START_WITHIN, ready).await.context("workerd does not listen")??;
        Ok((Workerd { _process: process, _folder: folder }, receivers))
    }
}

/// A service's index is its node's name.
fn service_of(event: &Value) -> Option<usize> {
    event["source"].as_str()?.strip_prefix("tollgate://")?.split('/').next()?.parse().ok()
}

fn config(services: &[Service]) -> Result<String> {
    let mut text = String::from("using Workerd = import \"/workerd/workerd.capnp\";\n");
    let (mut named, mut sockets) = (String::new(), String::new());
    for (index, Service { listen, bundle }) in services.iter().enumerate() {
        // A text of capnp escapes as JSON does.
        let bundle = serde_json::to_string(bundle)?;
        write!(
            text,
            "const worker{index} :Workerd.Worker = (\n  \
               modules = [(name = \"shim.mjs\", esModule = embed \"shim.mjs\"), \
                          (name = \"index.wasm\", wasm = embed \"index.wasm\")],\n  \
               bindings = [(name = \"TOLLGATE_NODE\", text = \"{index}\"), \
                           (name = \"TOLLGATE_BUNDLE\", text = {bundle})],\n  \
               compatibilityDate = \"{COMPATIBILITY_DATE}\", \
               compatibilityFlags = [\"{COMPATIBILITY_FLAG}\"], globalOutbound = \"loopback\");\n"
        )?;
        write!(named, "(name = \"{index}\", worker = .worker{index}), ")?;
        write!(sockets, "(name = \"{index}\", address = \"{listen}\", http = (), service = \"{index}\"), ")?;
    }
    write!(
        text,
        "const config :Workerd.Config = (\n  services = [{named}\
         (name = \"loopback\", network = (allow = [\"private\", \"local\"]))],\n  sockets = [{sockets}]);\n"
    )?;
    Ok(text)
}
