//! A gateway with code of its own: `cargo run --example hook -- tollgate.yaml`.
//!
//! This one turns away clients that are too old, which no policy file can say, and tells services the caller's tenant.

use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, Result};
use http::header::{HeaderName, HeaderValue};
use http::{StatusCode, request, response};
use tollgate::policy::PolicyFile;
use tollgate::process;
use tollgate_core::{Caller, Hook, HookRefusal};

const CLIENT_VERSION: HeaderName = HeaderName::from_static("x-client-version");
const TENANT: HeaderName = HeaderName::from_static("x-tenant");
const OLDEST: u32 = 3;

struct Versions;

impl Hook for Versions {
    fn on_request(&self, head: &mut request::Parts, caller: Option<&Caller>) -> Result<(), HookRefusal> {
        let version =
            head.headers.get(&CLIENT_VERSION).and_then(|version| version.to_str().ok()?.parse().ok());
        if version.is_some_and(|version: u32| version < OLDEST) {
            let detail = "This client is too old; please update it.";
            return Err(HookRefusal::new(StatusCode::UPGRADE_REQUIRED, "client_too_old", detail));
        }
        // Whatever the client says of its tenant goes; what its credential says stays.
        head.headers.remove(&TENANT);
        if let Some(tenant) =
            caller.and_then(Caller::tenant).and_then(|tenant| HeaderValue::try_from(tenant).ok())
        {
            head.headers.insert(TENANT, tenant);
        }
        Ok(())
    }

    fn on_response(&self, head: &mut response::Parts, _: Option<&Caller>) {
        head.headers.remove("server");
    }
}

fn main() -> Result<()> {
    let file = std::env::args().nth(1).context("usage: hook FILE")?;
    process::run(PolicyFile::read(Path::new(&file))?, vec![Arc::new(Versions)], |_| {})
}
