//! Active health checks, on one lane for all of them.

use std::rc::Rc;
use std::time::Duration;

use http::{Request, StatusCode, header};
use tokio::task::spawn_local;
use tokio::time::{sleep, timeout};
use tollgate_core::Probe;
use tollgate_core::config::UpstreamProtocol;

use super::absolute;
use crate::body::RequestBody;
use crate::clock::now;
use crate::key_sets::as_core_takes_it;
use crate::worker::Worker;

/// Names the checks in an upstream's own log.
const USER_AGENT: &str = "tollgate-health-check";

/// Runs what core says is due, for as long as the thread lives.
pub(crate) async fn watch(worker: Rc<Worker>) {
    loop {
        let work = worker.gateway().background(now());
        for probe in work.probes {
            spawn_local(check(worker.clone(), probe));
        }
        for fetch in work.key_sets {
            let key_sets = worker.shared.key_sets.clone();
            spawn_local(async move {
                let fetched = key_sets.fetch(fetch.url()).await;
                fetch.finish(as_core_takes_it(&fetched), now());
            });
        }
        if !work.store.is_empty() {
            let worker = worker.clone();
            spawn_local(async move { worker.errands.run(work.store).await });
        }
        sleep(Duration::from_micros(work.next_deadline_us.saturating_sub(now().mono_us).max(1_000))).await;
    }
}

async fn check(worker: Rc<Worker>, probe: Probe) {
    let answer = timeout(probe.timeout(), ask(&worker, &probe)).await;
    probe.done(answer.ok().flatten());
}

async fn ask(worker: &Worker, probe: &Probe) -> Option<StatusCode> {
    let upstream = worker.upstreams.of(probe.endpoint());
    let request = Request::get(probe.path())
        .header(header::HOST, upstream.endpoint.authority())
        .header(header::USER_AGENT, USER_AGENT)
        .body(RequestBody::Empty)
        .ok()?;
    match upstream.endpoint.protocol() {
        // A connection of its own: a kept one would say that the endpoint lived a while ago.
        UpstreamProtocol::Http1 => {
            let mut link = super::connect(worker, &upstream, probe.timeout()).await.ok()?;
            let (head, body) = request.into_parts();
            link.request(&head, body);
            Some(link.answer().await.ok()?.status)
        }
        UpstreamProtocol::Http2 => {
            let mut sender = super::shared(worker, &upstream, probe.timeout()).await.ok()?;
            let (mut head, body) = request.into_parts();
            absolute(&mut head, &upstream.endpoint);
            Some(sender.send_request(Request::from_parts(head, body)).await.ok()?.status())
        }
    }
}
