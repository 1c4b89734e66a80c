//! Plays cases against the component under wasmtime, with real upstreams on loopback.
//!
//! Each case has a host process of its own. The component is built with the feature `scenarios`, which takes the policy
//! from its environment and the time from a header; the client's address comes in the header that Spin would write. Spin makes one URL of `Host` and
//! the target, and wasmtime takes `Host` away without doing so: a target that is a whole URL comes to the same.

use std::net::{SocketAddr, TcpListener};
use std::path::Path;

use anyhow::{Context, Result};
use tollgate_core::config::{NoSources, Target, bundle};

use super::Case;
use super::expect::Differences;
use super::scene::{Platform, Scene};
use super::store;
use super::upstream::Upstreams;
use crate::wasmtime::Component;

/// The compiled component.
pub struct Stage(Component);

impl Stage {
    /// `component` is one built with the feature `scenarios`.
    pub fn set(component: &Path, wasmtime: &Path) -> Result<Stage> {
        Component::compile(wasmtime, component).map(Stage)
    }

    pub fn play(&self, case: &Case) -> Result<()> {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
        runtime.block_on(async {
            let mut config = case.config.clone();
            let (upstreams, names) = Upstreams::start(&mut config).await?;
            let _store = store::start_behind_bridge(&mut config).await?;
            let (bundle, _) = bundle(&config.to_string(), &case.name, &NoSources, Target::Region)?;
            let listen = TcpListener::bind("127.0.0.1:0")?.local_addr()?;
            let (_wasmtime, events) = self.0.serve(listen, &bundle).await?;
            let platform = Platform {
                client: |address| ("spin-client-addr", SocketAddr::new(address, 40_000).to_string()),
                is_absolute: true,
                differences: Differences::default,
            };
            let mut scene = Scene { platform, listen, upstreams, names, events };
            scene.play(case).await.with_context(|| self.0.log(listen))
        })
    }
}
