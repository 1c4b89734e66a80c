//! Core by itself.

use std::sync::Arc;

use anyhow::{Result, bail};
use serde_json::Value;
use tollgate_core::config::{NoSources, load};
use tollgate_core::{End, Gateway, Now, Options, Outcome, Peer, Place, ReplyBody, RequestBody, Scheme, Step};

use super::decision::{Decision, Forwarded, answered};
use super::request::Generated;
use crate::scenario::{START_MONO_US, START_WALL_US};

pub(super) fn gateway(policy: &Value) -> Result<Arc<Gateway>> {
    let loaded = load(&policy.to_string(), "policy", &NoSources)?;
    let options = Options {
        node: "core".to_owned(),
        boot_epoch: 1,
        seed: 1,
        secret: [7; 16],
        lanes: 1,
        generation: 1,
        policy: loaded.hash.clone(),
        place: Place::Edge,
        hooks: Vec::new(),
    };
    Ok(Gateway::new(loaded.config, None, options)?)
}

pub(super) fn decide(gateway: &Arc<Gateway>, request: &Generated) -> Result<Decision> {
    let us = request.at_ms * 1_000;
    let now = Now { wall_us: START_WALL_US + us, mono_us: START_MONO_US + us };
    let body = match &request.body {
        None => RequestBody::Empty,
        Some(body) if body.is_chunked => RequestBody::Streamed,
        Some(body) => RequestBody::Sized(body.text.len() as u64),
    };
    let body_bytes = request.body.as_ref().map_or(0, |body| body.text.len());
    let peer = Peer::new(request.from, Scheme::Http, 0);
    let mut forwarded = None;
    let mut step = gateway.begin(request.head()?, body, &peer, now);
    let reply = loop {
        step = match step {
            Step::Respond(reply) => break reply,
            Step::Verify(verify) => {
                let (key, algorithm) = (verify.key().material(), verify.algorithm());
                let valid = tollgate::signature::verify(algorithm, key, verify.message(), verify.signature());
                verify.resume(valid, now)
            }
            Step::Forward(forward) => {
                let (head, sent) = forward.send();
                forwarded = Some(Forwarded::new(&head, body_bytes));
                sent.resume(Outcome::Response(answered().into_parts().0), now)
            }
            Step::Keys(_) | Step::Charge(_) | Step::Local(_) => bail!("the policy has no such thing"),
        };
    };
    let (head, body, exchange) = reply.into_parts();
    let body = match body {
        ReplyBody::Core(body) if request.method != "HEAD" => body,
        _ => Default::default(),
    };
    exchange.finish(End::Complete, 0, now);
    gateway.drain(0, &mut Vec::new());
    Ok(Decision::new(&head, &body, forwarded))
}
