//! Work that no request asks for, done in a task beside the request that came when it was due.

use std::cell::Cell;
use std::sync::Arc;

use http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use spin_sdk::wasip3::http::types::RequestOptions;
use spin_sdk::wasip3::spawn;
use tollgate_core::{Gateway, KeySetFetch, Probe};

use super::body;
use super::clock::{self, now};
use super::message::Outgoing;
use super::{key_sets, store};

thread_local! {
    static DUE_AT_US: Cell<u64> = const { Cell::new(0) };
}

pub(super) fn start_if_due(gateway: &Arc<Gateway>) {
    let now = now();
    if now.mono_us < DUE_AT_US.get() {
        return;
    }
    let work = gateway.background(now);
    DUE_AT_US.set(work.next_deadline_us);
    for probe in work.probes {
        spawn(check(probe));
    }
    for set in work.key_sets {
        spawn(refresh(set));
    }
    if !work.store.is_empty() {
        let gateway = gateway.clone();
        spawn(async move { store::run(&gateway, work.store).await });
    }
}

async fn check(probe: Probe) {
    let status = answer(&probe).await;
    probe.done(status);
}

/// The status; no answer is an answer.
async fn answer(probe: &Probe) -> Option<StatusCode> {
    let mut headers = HeaderMap::new();
    headers.insert(header::USER_AGENT, HeaderValue::from_static("tollgate-health-check"));
    let options = RequestOptions::new();
    let timeout = Some(clock::nanoseconds(probe.timeout()));
    // A host that cannot keep one of them has a limit of its own.
    let _ = options.set_connect_timeout(timeout);
    let _ = options.set_first_byte_timeout(timeout);
    let endpoint = probe.endpoint();
    let request = Outgoing {
        method: &Method::GET,
        scheme: &endpoint.scheme(),
        authority: &String::from_utf8_lossy(endpoint.authority().as_bytes()),
        target: &probe.path(),
        headers: &headers,
        body: body::nothing(),
        options: Some(options),
    };
    let answered = request.send().await.ok()?;
    StatusCode::from_u16(answered.response.get_status_code()).ok()
}

async fn refresh(set: KeySetFetch) {
    let fetched = key_sets::fetch(set.url()).await;
    set.finish(key_sets::as_core_takes_it(&fetched), now());
}
