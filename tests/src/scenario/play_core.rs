//! Plays a case against core, without sockets: the runner is the adapter.

use std::collections::VecDeque;
use std::sync::Arc;

use anyhow::{Context, Result, bail};
use http::{HeaderName, HeaderValue, Method, Request, Response, Uri, Version};
use tollgate_core::store::model::Model;
use tollgate_core::store::{Call, StoreFailure, Value};
use tollgate_core::{
    End, Failure, Forward, Gateway, Keys, KeysFailure, Now, Options, Outcome, Peer, Place, Progress,
    ReplyBody, RequestBody, Scheme, Step,
};

use super::expect::{Differences, Got, Names};
use super::{Answer, Attempt, Case, Exchange, Fault, Headers, START_MONO_US, START_WALL_US};

pub fn play(case: &Case) -> Result<()> {
    let mut config = case.config.clone();
    super::store::imagine(&mut config);
    let text = serde_json::to_string(&config)?;
    let loaded = tollgate_core::config::load(&text, "scenario", &tollgate_core::config::NoSources)?;
    let options = Options {
        node: "scenario".to_owned(),
        boot_epoch: 1,
        seed: 1,
        lanes: 1,
        generation: 1,
        policy: loaded.hash.clone(),
        secret: *b"scenario's secret"[..16].first_chunk().expect("16 bytes"),
        place: Place::Region,
        hooks: Vec::new(),
    };
    let gateway = Gateway::new(loaded.config, None, options)?;
    let mut store = Store::default();
    let mut at_ms = 0;
    for (index, exchange) in case.exchanges.iter().enumerate() {
        at_ms = exchange.at_ms.unwrap_or(at_ms);
        let now = Now { wall_us: START_WALL_US + at_ms * 1_000, mono_us: START_MONO_US + at_ms * 1_000 };
        for time in 0..exchange.times {
            play_exchange(&gateway, &mut store, exchange, now).with_context(|| {
                format!("exchange {} ({}), time {}", index + 1, exchange.request, time + 1)
            })?;
        }
    }
    Ok(())
}

/// The store of a fleet, in process.
#[derive(Default)]
struct Store(Model);

impl Store {
    fn run(&mut self, call: &Call, now: Now) -> Result<Value, StoreFailure> {
        Ok(self.0.answer(call, now.wall_us))
    }
}

fn play_exchange(gateway: &Arc<Gateway>, store: &mut Store, exchange: &Exchange, now: Now) -> Result<()> {
    let mut differences = Differences::default();
    let names = Names::default();
    let peer = Peer::new(exchange.from, Scheme::Http, 0);
    let body = match &exchange.body {
        None => RequestBody::Empty,
        Some(_) if exchange.chunked => RequestBody::Streamed,
        Some(body) => RequestBody::Sized(body.len() as u64),
    };
    let (head, ()) = request(exchange)?.into_parts();
    let mut step = gateway.begin(head, body, &peer, now);
    let mut attempts: VecDeque<&Attempt> = exchange.attempts.iter().collect();
    let mut upstream_answer: Option<&Answer> = None;
    let reply = loop {
        let mut next = || attempts.pop_front().context("an upstream was called once more than expected");
        step = match step {
            Step::Respond(reply) => break reply,
            Step::Verify(verify) => {
                let (key, algorithm) = (verify.key().material(), verify.algorithm());
                let valid = tollgate::signature::verify(algorithm, key, verify.message(), verify.signature());
                verify.resume(valid, now)
            }
            Step::Keys(keys) => play_key_set(keys, next()?, now, &mut differences)?,
            Step::Charge(charge) => {
                let answers: Vec<_> = charge.calls().iter().map(|call| store.run(call, now)).collect();
                charge.resume(answers, now)
            }
            Step::Local(_) => bail!("only the regional proxy has this endpoint"),
            Step::Forward(forward) => {
                let attempt = next()?;
                upstream_answer = Some(&attempt.answer);
                play_attempt(forward, attempt, body, now, &mut differences)?
            }
        };
    };
    if let Some(attempt) = attempts.front() {
        differences.note(format!("upstream {} was not called", attempt.at));
    }
    for call in gateway.store_calls() {
        let answer = store.run(call.call(), now);
        call.done(answer, now);
    }
    let (head, body, rest) = reply.into_parts();
    let (body, broken) = match (body, upstream_answer) {
        (ReplyBody::Core(body), _) => (body.to_vec(), false),
        (ReplyBody::Upstream, Some(answer)) => (answer.body.clone().into_bytes(), answer.breaks_off),
        (ReplyBody::Upstream, None) => bail!("the reply is the upstream's, but none was called"),
    };
    let end = if broken { End::UpstreamReset } else { End::Complete };
    rest.finish(end, body.len() as u64, now);
    let body = if exchange.request.starts_with("HEAD ") { Vec::new() } else { body };
    let got = Got { status: head.status.as_u16(), headers: head.headers, body, broken };
    differences.reply(&got, &exchange.reply, &names);
    differences.event(&only_event(gateway)?, &exchange.event);
    differences.into_result("the exchange differs")
}

/// A key set is fetched from an upstream like any other.
fn play_key_set(keys: Keys, attempt: &Attempt, now: Now, differences: &mut Differences) -> Result<Step> {
    let url: Uri = keys.url().parse()?;
    differences.equal("upstream called", url.host().unwrap_or_default(), attempt.at.as_str());
    if let Some(sees) = &attempt.sees {
        differences.equal("upstream sees", format!("GET {}", url.path()), sees.clone());
    }
    let answered = attempt.fails.is_none() && attempt.answer.status == 200;
    let fetched = if answered { Ok(attempt.answer.body.as_bytes()) } else { Err(KeysFailure::Unreachable) };
    Ok(keys.resume(fetched, now))
}

fn play_attempt(
    forward: Forward,
    attempt: &Attempt,
    body: RequestBody,
    now: Now,
    differences: &mut Differences,
) -> Result<Step> {
    differences.equal("upstream called", forward.endpoint().host(), attempt.at.as_str());
    if attempt.fails == Some(Fault::Connect) {
        return Ok(forward.unreachable(Failure::Connect, now));
    }
    let endpoint = forward.endpoint().clone();
    let mut names = Names::default();
    let authority = endpoint.authority().to_str()?.to_owned();
    names.0.insert(attempt.at.clone(), authority);
    let (head, sent) = forward.send();
    if let Some(sees) = &attempt.sees {
        differences.equal("upstream sees", format!("{} {}", head.method, head.uri), sees.clone());
    }
    differences.headers("upstream's", &head.headers, &attempt.headers, &names);
    let sent_so_far = if body == RequestBody::Empty { Progress::Replayable } else { Progress::Consumed };
    let outcome = match attempt.fails {
        None => Outcome::Response(response(&attempt.answer)?.into_parts().0),
        Some(Fault::Silence) => Outcome::Failed { failure: Failure::Timeout, sent: sent_so_far },
        Some(_) => Outcome::Failed { failure: Failure::Reset, sent: sent_so_far },
    };
    Ok(sent.resume(outcome, now))
}

fn only_event(gateway: &Gateway) -> Result<serde_json::Value> {
    let mut events = Vec::new();
    gateway.drain(0, &mut events);
    let [event] = events.as_slice() else { bail!("{} events instead of one", events.len()) };
    let mut json = Vec::new();
    event.write_json(&mut json);
    Ok(serde_json::from_slice(&json)?)
}

/// The request as an HTTP/1.1 server library hands it over.
pub(super) fn request(exchange: &Exchange) -> Result<Request<()>> {
    let (method, target) = exchange.method_and_target()?;
    let mut request = Request::new(());
    *request.version_mut() = Version::HTTP_11;
    *request.method_mut() = Method::try_from(method)?;
    *request.uri_mut() = Uri::try_from(target)?;
    if !exchange.host.is_empty() {
        request.headers_mut().insert("host", HeaderValue::try_from(&exchange.host)?);
    }
    append(request.headers_mut(), &exchange.headers)?;
    match &exchange.body {
        Some(body) if !exchange.chunked => {
            request.headers_mut().insert("content-length", HeaderValue::from(body.len()));
        }
        Some(_) => {
            request.headers_mut().insert("transfer-encoding", HeaderValue::from_static("chunked"));
        }
        None => {}
    }
    Ok(request)
}

pub(super) fn response(answer: &Answer) -> Result<Response<()>> {
    let mut response = Response::new(());
    *response.status_mut() = answer.status.try_into()?;
    append(response.headers_mut(), &answer.headers)?;
    Ok(response)
}

fn append(map: &mut http::HeaderMap, headers: &Headers) -> Result<()> {
    for (name, values) in headers {
        for value in values.iter() {
            map.append(HeaderName::try_from(name.as_str())?, HeaderValue::try_from(value)?);
        }
    }
    Ok(())
}
