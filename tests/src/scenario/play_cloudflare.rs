//! Plays cases against the built Worker under workerd, with real upstreams on loopback.
//!
//! One workerd serves all cases: each has a service of its own with its policy as a binding, and thereby an isolate
//! with state of its own. The Worker is built with the feature `scenarios`, which takes the policy from there and the
//! time from a header.

use std::collections::BTreeMap;
use std::net::TcpListener;
use std::path::Path;

use anyhow::{Context, Result};
use tokio::runtime::Runtime;
use tokio::sync::Mutex;
use tollgate_core::config::{NoSources, Target, bundle};

use super::Case;
use super::expect::Differences;
use super::scene::{Platform, Scene};
use super::store::{self, Bridge};
use super::upstream::Upstreams;
use crate::workerd::{Service, Workerd};

/// A running workerd with all cases that can be played on it.
pub struct Stage {
    runtime: Runtime,
    scenes: BTreeMap<String, Mutex<Scene>>,
    _workerd: Workerd,
    _stores: Vec<Bridge>,
}

impl Stage {
    /// `worker` is the folder of a Worker built with the feature `scenarios`.
    pub fn set(cases: &[Case], worker: &Path, workerd: &Path) -> Result<Stage> {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
        let (scenes, workerd, stores) = runtime.block_on(async {
            let (mut prepared, mut services, mut stores) = (Vec::new(), Vec::new(), Vec::new());
            // Held until all addresses are chosen, so that none is chosen twice.
            let mut reserved = Vec::new();
            for case in cases {
                let mut config = case.config.clone();
                let (upstreams, names) = Upstreams::start(&mut config).await?;
                stores.extend(store::start_behind_bridge(&mut config).await?);
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
                let platform = Platform {
                    client: |address| ("cf-connecting-ip", address.to_string()),
                    is_absolute: false,
                    differences: Differences::joined,
                };
                (name, Mutex::new(Scene { platform, listen, upstreams, names, events }))
            };
            anyhow::Ok((prepared.into_iter().zip(events).map(scene).collect(), workerd, stores))
        })?;
        Ok(Stage { runtime, scenes, _workerd: workerd, _stores: stores })
    }

    pub fn play(&self, case: &Case) -> Result<()> {
        let scene = self.scenes.get(&case.name).context("the case was not prepared")?;
        self.runtime.block_on(async { scene.lock().await.play(case).await })
    }
}
