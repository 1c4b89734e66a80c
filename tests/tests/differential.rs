//! Generated requests on core and on every adapter that there is a build of: `TOLLGATE_BIN` names the proxy,
//! `TOLLGATE_WORKER` and `TOLLGATE_WORKERD` the Worker and its runtime, `TOLLGATE_COMPONENT` and `TOLLGATE_WASMTIME` the
//! component and its (`tests/run edge` builds them and sets these). `TOLLGATE_FUZZ_REQUESTS` and `TOLLGATE_FUZZ_SEED` say how
//! many and which.

use anyhow::{Context, Result};
use tollgate_tests::differential::compare;
use tollgate_tests::gateway::Adapter;

const REQUESTS: usize = 1_000;
const SEED: u64 = 20_260_101;

#[test]
fn everybody_decides_alike() -> Result<()> {
    let adapters = Adapter::all()?;
    let (requests, seed) = (number("TOLLGATE_FUZZ_REQUESTS", REQUESTS)?, number("TOLLGATE_FUZZ_SEED", SEED)?);
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
    runtime.block_on(compare(&adapters, requests, seed))
}

fn number<T: std::str::FromStr>(variable: &str, default: T) -> Result<T> {
    match std::env::var(variable) {
        Ok(text) => text.parse().ok().with_context(|| format!("{variable} is no number")),
        Err(_) => Ok(default),
    }
}
