//! Plays cases against the built Worker under workerd, with real upstreams on loopback.
//!
//! One workerd serves all cases: each has a service of its own with its policy as a binding, and thereby an isolate
//! with state of its own. The Worker is built with the feature `scenarios`, which takes the policy from there and the
//! time from a header.

use std::collections::BTreeMap;
use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};
use http::HeaderValue;
use serde_json::Value;
use tokio::net::TcpStream;
use tokio::runtime::Runtime;
use tokio::sync::Mutex;
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::time::timeout;
use tollgate_core::config::{NoSources, Target, bundle};

use super::expect::{Differences, Names};
use super::upstream::Upstreams;
use super::{Case, Exchange, client};
use crate::workerd::{Service, Workerd};

/// For everything that takes milliseconds on an idle machine.
const PATIENCE: Duration = Duration::from_secs(20);

/// A running workerd with all cases that can be played on it.
pub struct Stage {
    runtime: Runtime,
    scenes: BTreeMap<String, Mutex<Scene>>,
    _workerd: Workerd,
}

/// What stands around one case.
struct Scene {
    listen: SocketAddr,
    upstreams: Upstreams,
    names: Names,
    events: UnboundedReceiver<Value>,
}

impl Stage {
    /// `worker` is the folder of a Worker built with the feature `scenarios`.
    pub fn set(cases: &[Case], worker: &Path, workerd: &Path) -> Result<Stage> {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
        let (scenes, workerd) = runtime.block_on(async {
            let (mut prepared, mut services) = (Vec::new(), Vec::new());
            // Held until all addresses are chosen, so that none is chosen twice.
            let mut reserved = Vec::new();
            for case in cases {
                let mut config = case.config.clone();
                let (upstreams, names) = Upstreams::start(&mut config).await?;
                let (bundle, _) = bundle(&config.to_string(), &case.name, &NoSources, Target::Region)?;
                let listener = TcpListener::bind("127.0.0.1:0")?;
                let listen = listener.local_addr()?;
                reserved.push(listener);
                services.push(Service { listen, bundle });
                prepared.push((case.name.clone(), listen, upstreams, names));
            }
            drop(reserved);
            let (workerd, events) = Workerd::start(workerd, worker, &services).await?;
            let scene = |((name, listen, upstreams, names), events)| {
                (name, Mutex::new(Scene { listen, upstreams, names, events }))
            };
            anyhow::Ok((prepared.into_iter().zip(events).map(scene).collect(), workerd))
        })?;
        Ok(Stage { runtime, scenes, _workerd: workerd })
    }

    pub fn play(&self, case: &Case) -> Result<()> {
        let scene = self.scenes.get(&case.name).context("the case was not prepared")?;
        self.runtime.block_on(async {
            let mut scene = scene.lock().await;
            let mut at_ms = 0;
            for (index, exchange) in case.exchanges.iter().enumerate() {
                at_ms = exchange.at_ms.unwrap_or(at_ms);
                for time in 0..exchange.times {
                    scene.play(exchange, at_ms).await.with_context(|| {
                        format!("exchange {} ({}), time {}", index + 1, exchange.request, time + 1)
                    })?;
                }
            }
            Ok(())
        })
    }
}

impl Scene {
    async fn play(&mut self, exchange: &Exchange, at_ms: u64) -> Result<()> {
        let mut differences = Differences::joined();
        self.upstreams.expect(&exchange.attempts).await?;
        let from = [("cf-connecting-ip", HeaderValue::try_from(exchange.from.to_string())?)];
        let stream = TcpStream::connect(self.listen).await?;
        let got =
            timeout(PATIENCE, client::send(stream, exchange, at_ms, &from)).await.context("no reply")??;
        self.upstreams.review(&mut differences, &self.names);
        differences.reply(&got, &exchange.reply, &self.names);
        let event = timeout(PATIENCE, self.events.recv()).await.context("no event")?;
        differences.event(&event.context("workerd ended")?, &exchange.event);
        differences.into_result("the exchange differs")
    }
}
