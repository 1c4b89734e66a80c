//! Generated requests that core, the proxy and both edges must decide alike.
//!
//! All of them have one policy and get the same requests in the same order at the same frozen times, so that limits,
//! bans and breakers are the same too. A service echoes what it sees. A divergence is made as small as it gets by
//! itself before it is reported.

mod decision;
mod native;
mod request;

use std::path::Path;
use std::sync::Arc;

use anyhow::{Result, bail};
use serde_json::Value;
use tollgate_core::Gateway as Core;

use crate::gateway::{Adapter, Gateway};
use crate::scenario::token;
use decision::{Decision, Echo};
use request::{Generated, Generator};

const POLICY: &str = include_str!("differential/policy.yaml");

/// Sends `requests` of them, made from `seed`, to core and to every one of `adapters`.
pub async fn compare(adapters: &[Adapter], requests: usize, seed: u64) -> Result<()> {
    let echo = Echo::start().await?;
    let platforms = Platforms::start(adapters, &echo).await?;
    let mut generator = Generator::new(seed)?;
    let mut refused = 0;
    for index in 0..requests {
        let request = generator.next();
        let decisions = platforms.decide(&echo, &request).await?;
        let core = &decisions[0].1;
        refused += usize::from(core.status != 200);
        if let Some((platform, decision)) = decisions.iter().find(|(_, decision)| decision != core) {
            let context = format!("request {index} of seed {seed}: {platform} differs from core");
            let differences = core.differences(decision);
            match smallest(adapters, &echo, request.clone()).await? {
                Some(smallest) => bail!("{context}; alone and at its smallest:\n{smallest}\n{differences}"),
                None => bail!("{context}, after those before it and not alone:\n{request}\n{differences}"),
            }
        }
    }
    // A policy that lets everything in or nothing compares too little.
    anyhow::ensure!((requests / 5..requests * 4 / 5).contains(&refused), "{refused} of {requests} refused");
    Ok(())
}

/// Everything that decides, with one policy.
struct Platforms {
    core: Arc<Core>,
    gateways: Vec<(&'static str, Gateway)>,
}

impl Platforms {
    async fn start(adapters: &[Adapter], echo: &Echo) -> Result<Platforms> {
        let policy = POLICY.replace("http://one", &format!("http://{}", echo.address));
        let policy = token::fill(&policy, &Path::new(env!("CARGO_MANIFEST_DIR")).join("scenarios"))?;
        let policy: Value = serde_saphyr::from_str(&policy)?;
        let mut gateways = Vec::new();
        for adapter in adapters {
            gateways.push((adapter.name(), adapter.start_policy(policy.clone()).await?));
        }
        Ok(Platforms { core: native::gateway(&policy)?, gateways })
    }

    /// Core's first.
    async fn decide(&self, echo: &Echo, request: &Generated) -> Result<Vec<(&'static str, Decision)>> {
        let mut decisions = vec![("core", native::decide(&self.core, request)?)];
        for (name, gateway) in &self.gateways {
            decisions.push((*name, Decision::of(gateway, echo, request).await?));
        }
        Ok(decisions)
    }

    async fn differ(&self, echo: &Echo, request: &Generated) -> Result<bool> {
        let decisions = self.decide(echo, request).await?;
        Ok(decisions.iter().any(|(_, decision)| *decision != decisions[0].1))
    }
}

/// The least of `request` that is decided differently by itself.
async fn smallest(adapters: &[Adapter], echo: &Echo, request: Generated) -> Result<Option<Generated>> {
    let differs =
        async |request: &Generated| Platforms::start(adapters, echo).await?.differ(echo, request).await;
    if !differs(&request).await? {
        return Ok(None);
    }
    let mut smallest = request;
    loop {
        let mut smaller = None;
        for candidate in smallest.smaller() {
            if differs(&candidate).await? {
                smaller = Some(candidate);
                break;
            }
        }
        match smaller {
            Some(smaller) => smallest = smaller,
            None => return Ok(Some(smallest)),
        }
    }
}
