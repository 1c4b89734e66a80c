//! One request on its way through core, told in texts that JavaScript reads and writes at little cost.
//!
//! | text | lines |
//! |---|---|
//! | a request | method, URL, length of the body (`?` unknown, 0 none), client address, then the header fields |
//! | `verify` | the name of WebCrypto's algorithm in RFC 7518's words, the key's name among imported ones |
//! | `keys` | URL of the key set |
//! | `charge` | URL to post to, bearer token, milliseconds to the whole answer, body |
//! | `forward` | method, URL, milliseconds to the response, milliseconds to wait before, bytes of the body at most, fields |
//! | `upstream` or `core`, whose body is the reply's | status, fields |

use std::fmt::Write;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderName, HeaderValue, Request, Response, StatusCode, Uri, header, request};
use tollgate_core::store::{Answered, Batch, StoreFailure};
use tollgate_core::{
    Charge, End, Exchange, Failure, Forward, Gateway, Keys, KeysFailure, Now, Outcome, Peer, Progress, Reply,
    ReplyBody, RequestBody, Scheme, Sent, Step, Verify,
};

use super::jwk;
use super::lines::{self, Lines};
use crate::store::{self, Post};

/// In which Cloudflare names the client.
const CLIENT: HeaderName = HeaderName::from_static("cf-connecting-ip");

/// An exchange, from its head to its end. Dropped before that, it counts as aborted.
#[derive(Debug)]
pub struct Call {
    gateway: Arc<Gateway>,
    state: State,
    /// What JavaScript does next.
    step: String,
    /// Whether the request can be sent again: the platform reads a body as soon as it is given one.
    progress: Progress,
}

#[derive(Debug)]
enum State {
    Verify(Verify),
    Keys(Keys),
    Charge { charge: Charge, batch: Batch },
    Sent(Sent),
    Replied { body: Bytes, exchange: Exchange },
    Ended,
}

/// A request that is not HTTP. The platform lets none through.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a request: {0}")]
pub struct Malformed(&'static str);

impl Call {
    pub fn begin(gateway: &Arc<Gateway>, request: &str, now: Now) -> Result<Call, Malformed> {
        let mut lines = request.split('\n');
        let method = lines.next().and_then(|line| line.parse().ok()).ok_or(Malformed("its method"))?;
        let (scheme, host, target) = lines.next().and_then(parts_of_url).ok_or(Malformed("its URL"))?;
        let body = lines.next().and_then(declared).ok_or(Malformed("the length of its body"))?;
        let address = lines.next().ok_or(Malformed("its client"))?;
        let mut head = head(method, target, &mut lines);
        // It is the platform's, which has said it apart; behind a trusted proxy it would pass as the client's.
        head.headers.remove(CLIENT);
        if !head.headers.contains_key(header::HOST)
            && let Ok(host) = HeaderValue::try_from(host)
        {
            head.headers.insert(header::HOST, host);
        }
        let progress = match body {
            RequestBody::Empty => Progress::Replayable,
            RequestBody::Sized(_) | RequestBody::Streamed => Progress::Consumed,
        };
        // Cloudflare names every client; without it, as in a local run, nobody in particular asks.
        let peer = Peer::new(address.parse().unwrap_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED)), scheme, 0);
        let (gateway, state) = (gateway.clone(), State::Ended);
        let mut call = Call { gateway, state, step: String::new(), progress };
        call.take(call.gateway.begin(head, body, &peer, now), now);
        Ok(call)
    }

    pub fn step(&self) -> &str {
        &self.step
    }

    /// Of a `verify` step: what was signed.
    pub fn message(&self) -> &[u8] {
        match &self.state {
            State::Verify(verify) => verify.message(),
            _ => &[],
        }
    }

    /// Of a `verify` step: the signature in the form of RFC 7518, which is WebCrypto's too.
    pub fn signature(&self) -> &[u8] {
        match &self.state {
            State::Verify(verify) => verify.signature(),
            _ => &[],
        }
    }

    /// Of a `verify` step: the key as JWK (RFC 7517), for an isolate that has not imported it yet.
    pub fn key(&self) -> String {
        match &self.state {
            State::Verify(verify) => jwk::text(verify.key().material()),
            _ => String::new(),
        }
    }

    pub fn verified(&mut self, valid: bool, now: Now) {
        if let State::Verify(verify) = std::mem::replace(&mut self.state, State::Ended) {
            self.take(verify.resume(valid, now), now);
        }
    }

    /// Takes the key set's body, or why there is none.
    pub fn fetched(&mut self, fetched: Result<&[u8], KeysFailure>, now: Now) {
        if let State::Keys(keys) = std::mem::replace(&mut self.state, State::Ended) {
            self.take(keys.resume(fetched, now), now);
        }
    }

    /// Takes the store's answer, or why there is none.
    pub fn charged(&mut self, answer: Result<(u16, &[u8]), StoreFailure>, now: Now) {
        if let State::Charge { charge, batch } = std::mem::replace(&mut self.state, State::Ended) {
            match store::answered(batch, answer) {
                Answered::Again(batch) => self.ask(charge, batch, now),
                Answered::Done(outcomes) => self.take(charge.resume(outcomes, now), now),
            }
        }
    }

    /// The upstream answered; `fields` are its header fields.
    pub fn responded(&mut self, status: u16, fields: &str, now: Now) {
        let (mut head, ()) = Response::new(()).into_parts();
        let Ok(status) = StatusCode::from_u16(status) else {
            return self.failed(Failure::Protocol, now);
        };
        head.status = status;
        let mut lines = fields.split('\n');
        // The text begins with a line end.
        lines.next();
        head.headers = lines::headers(&mut lines);
        self.resume(Outcome::Response(head), now);
    }

    pub fn failed(&mut self, failure: Failure, now: Now) {
        self.resume(Outcome::Failed { failure, sent: self.progress }, now);
    }

    /// The body of a `core` reply.
    pub fn body(&self) -> &[u8] {
        match &self.state {
            State::Replied { body, .. } => body,
            _ => &[],
        }
    }

    /// Ends the exchange after `bytes` of the reply's body.
    pub fn finish(&mut self, end: End, bytes: u64, now: Now) {
        if let State::Replied { exchange, .. } = std::mem::replace(&mut self.state, State::Ended) {
            exchange.finish(end, bytes, now);
        }
    }

    fn resume(&mut self, outcome: Outcome, now: Now) {
        if let State::Sent(sent) = std::mem::replace(&mut self.state, State::Ended) {
            self.take(sent.resume(outcome, now), now);
        }
    }

    fn take(&mut self, step: Step, now: Now) {
        self.step.clear();
        // Writing into a string cannot fail.
        self.state = match step {
            Step::Verify(verify) => {
                let _ = write!(self.step, "verify\n{}\n{:x}", verify.algorithm().name(), verify.key().id());
                State::Verify(verify)
            }
            Step::Keys(keys) => {
                let _ = write!(self.step, "keys\n{}", keys.url());
                State::Keys(keys)
            }
            Step::Charge(charge) => {
                let batch = Batch::new(charge.calls().len());
                return self.ask(charge, batch, now);
            }
            // Nobody issues tokens here, as is said when the policy is compiled.
            Step::Local(local) => return self.take(local.gone(), now),
            Step::Forward(forward) => self.forward(forward, now),
            Step::Respond(reply) => self.respond(reply),
        };
    }

    fn ask(&mut self, charge: Charge, batch: Batch, now: Now) {
        let gateway = self.gateway.clone();
        match Post::new(gateway.config().limits.store.as_ref(), &batch, charge.calls()) {
            Some(post) => {
                self.step.clear();
                lines::post(&post, &mut self.step);
                self.state = State::Charge { charge, batch };
            }
            None => self.take(charge.resume([], now), now),
        }
    }

    fn forward(&mut self, forward: Forward, now: Now) -> State {
        let (backoff, limit) = (forward.backoff().as_millis(), forward.body_limit());
        let response = forward.timeouts(now).response.as_millis();
        let endpoint = forward.endpoint().clone();
        let (head, sent) = forward.send();
        let authority = String::from_utf8_lossy(endpoint.authority().as_bytes());
        let target = head.uri.path_and_query().map_or("/", |target| target.as_str());
        let _ = write!(
            self.step,
            "forward\n{}\n{}://{authority}{target}\n{response}\n{backoff}\n{limit}",
            head.method,
            endpoint.scheme().as_str(),
        );
        lines::write(&head.headers, &mut self.step);
        State::Sent(sent)
    }

    fn respond(&mut self, reply: Reply) -> State {
        let (head, body, exchange) = reply.into_parts();
        let (kind, body) = match body {
            ReplyBody::Upstream => ("upstream", Bytes::new()),
            ReplyBody::Core(body) => ("core", body),
        };
        let _ = write!(self.step, "{kind}\n{}", head.status.as_u16());
        lines::write(&head.headers, &mut self.step);
        State::Replied { body, exchange }
    }
}

fn head(method: http::Method, target: Uri, lines: &mut Lines<'_>) -> request::Parts {
    let (mut head, ()) = Request::new(()).into_parts();
    (head.method, head.uri) = (method, target);
    head.headers = lines::headers(lines);
    // The platform keeps `Connection` to itself, and with it the word that makes `Upgrade` a request for one.
    if head.headers.contains_key(header::UPGRADE) {
        head.headers.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
    }
    head
}

/// Scheme, authority, and path with query.
fn parts_of_url(url: &str) -> Option<(Scheme, &str, Uri)> {
    let (scheme, rest) = url.split_once("://")?;
    let (authority, target) = rest.split_at(rest.find('/')?);
    let scheme = if scheme == "https" { Scheme::Https } else { Scheme::Http };
    Some((scheme, authority, target.parse().ok()?))
}

fn declared(length: &str) -> Option<RequestBody> {
    match length {
        "0" => Some(RequestBody::Empty),
        "?" => Some(RequestBody::Streamed),
        length => length.parse().ok().map(RequestBody::Sized),
    }
}

#[cfg(test)]
mod tests;
