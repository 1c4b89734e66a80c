//! A host of `wasi:http` other than Spin, as a process that serves one policy.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::net::TcpStream;
use tokio::process::{Child, Command};
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};
use tokio::time::{sleep, timeout};

/// Until a compiled component is there, on a busy machine.
const START_WITHIN: Duration = Duration::from_secs(60);

/// The component, compiled for this machine once.
#[derive(Debug)]
pub struct Component {
    wasmtime: PathBuf,
    folder: TempDir,
}

/// A running host.
pub(crate) struct Wasmtime {
    _process: Child,
}

impl Component {
    /// `component` is a component built with the feature `scenarios`.
    pub fn compile(wasmtime: &Path, component: &Path) -> Result<Component> {
        let compiled = Component { wasmtime: wasmtime.to_owned(), folder: TempDir::new()? };
        let output = std::process::Command::new(wasmtime)
            .arg("compile")
            .arg(component)
            .arg("-o")
            .arg(compiled.file())
            .output()
            .with_context(|| wasmtime.display().to_string())?;
        ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        Ok(compiled)
    }

    /// Serves `bundle`, compiled from a policy file, by one instance that stays; beside it are its events.
    pub(crate) async fn serve(
        &self,
        listen: SocketAddr,
        bundle: &str,
    ) -> Result<(Wasmtime, UnboundedReceiver<Value>)> {
        let mut process = Command::new(&self.wasmtime)
            .args(["serve", "-Scli", "--allow-precompiled", "--no-logging-prefix"])
            .args(["--max-instance-reuse-count", "1000000", "--idle-instance-timeout", "600s"])
            .args(["--max-instance-concurrent-reuse-count", "1000"])
            .args(["--addr", &listen.to_string(), "--env", &format!("TOLLGATE_BUNDLE={bundle}")])
            .arg(self.file())
            .stdout(Stdio::piped())
            .stderr(std::fs::File::create(self.folder.path().join(format!("stderr-{}", listen.port())))?)
            .kill_on_drop(true)
            .spawn()
            .with_context(|| self.wasmtime.display().to_string())?;
        let output = process.stdout.take().context("stdout is piped")?;
        let (sender, events) = unbounded_channel();
        tokio::spawn(async move {
            let mut lines = BufReader::new(output).lines();
            while let Ok(Some(line)) = lines.next_line().await {
                if let Ok(event) = serde_json::from_str(&line) {
                    // A case that ended early wants no more events.
                    let _ = sender.send(event);
                }
            }
        });
        let ready = async {
            while TcpStream::connect(listen).await.is_err() {
                if let Some(status) = process.try_wait()? {
                    bail!("{status}: {}", self.log(listen));
                }
                sleep(Duration::from_millis(5)).await;
            }
            Ok(())
        };
        timeout(START_WITHIN, ready).await.context("wasmtime does not listen")??;
        Ok((Wasmtime { _process: process }, events))
    }

    /// What the host and the component complained about.
    pub(crate) fn log(&self, listen: SocketAddr) -> String {
        let file = self.folder.path().join(format!("stderr-{}", listen.port()));
        std::fs::read_to_string(file).unwrap_or_default()
    }

    fn file(&self) -> PathBuf {
        self.folder.path().join("component.cwasm")
    }
}
