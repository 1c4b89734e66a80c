//! One request from its head to the head of its reply: does what core's steps ask for.

use std::sync::Arc;

use http::{HeaderValue, Method, StatusCode, header};
use spin_sdk::wasip3::http::types::{ErrorCode, Request, RequestOptions, Response};
use spin_sdk::wasip3::{spawn, wit_stream};
use tollgate_core::{
    End, Exchange, Failure, Forward, Gateway, Outcome, Progress, Reply, ReplyBody, RequestBody, Step,
};

use super::body::{self, Source, Upload};
use super::clock::{self, now};
use super::message::{self, Answered, Outgoing};
use super::{key_sets, log_events, store};
use crate::signature;

pub(super) async fn answer(gateway: &Arc<Gateway>, request: Request) -> Result<Response, ErrorCode> {
    #[cfg_attr(
        not(feature = "scenarios"),
        expect(unused_mut, reason = "the frozen clock takes its header out")
    )]
    let (mut head, peer) = message::request(&request)?;
    #[cfg(feature = "scenarios")]
    clock::frozen::take(&mut head.headers);
    let is_head = head.method == Method::HEAD;
    let mut upload = Upload::of(request, &head.headers);
    let mut answered = None;
    let mut step = gateway.begin(head, upload.declared(), &peer, now());
    let reply = loop {
        step = match step {
            Step::Respond(reply) => break reply,
            Step::Verify(verify) => {
                let (key, algorithm) = (verify.key().material(), verify.algorithm());
                let valid = signature::verify(algorithm, key, verify.message(), verify.signature());
                verify.resume(valid, now())
            }
            Step::Keys(keys) => {
                let fetched = key_sets::fetch(keys.url()).await;
                keys.resume(key_sets::as_core_takes_it(&fetched), now())
            }
            Step::Charge(charge) => {
                let outcomes = store::ask(gateway, charge.calls()).await;
                charge.resume(outcomes, now())
            }
            // Nobody issues tokens here, as is said when the policy is compiled.
            Step::Local(local) => local.gone(),
            Step::Forward(forward) => {
                // What a previous attempt brought is given up before the next one.
                answered = None;
                attempt(forward, &mut upload, &mut answered).await
            }
        };
    };
    if gateway.has_store_calls() {
        let gateway = gateway.clone();
        spawn(async move { store::run(&gateway, gateway.store_calls()).await });
    }
    Ok(respond(gateway, reply, answered, is_head))
}

/// One call of one endpoint.
async fn attempt(forward: Forward, upload: &mut Upload, answered: &mut Option<Answered>) -> Step {
    let backoff = forward.backoff();
    if !backoff.is_zero() {
        clock::sleep(backoff).await;
    }
    let options = RequestOptions::new();
    let timeouts = forward.timeouts(now());
    // A host that cannot keep one of them has a limit of its own.
    let _ = options.set_connect_timeout(Some(clock::nanoseconds(timeouts.connect)));
    let _ = options.set_first_byte_timeout(Some(clock::nanoseconds(timeouts.response)));
    let _ = options.set_between_bytes_timeout(Some(clock::nanoseconds(timeouts.idle)));
    let (endpoint, limit) = (forward.endpoint().clone(), forward.body_limit());
    let (head, sent) = forward.send();
    let called = Outgoing {
        method: &head.method,
        scheme: &endpoint.scheme(),
        authority: &String::from_utf8_lossy(endpoint.authority().as_bytes()),
        target: head.uri.path_and_query().map_or("/", |target| target.as_str()),
        headers: &head.headers,
        body: upload.give(limit),
        options: Some(options),
    }
    .send()
    .await;
    let outcome = match called {
        Ok(answer) => match message::response(&answer.response) {
            Some(head) => {
                *answered = Some(answer);
                Outcome::Response(head)
            }
            None => failed(Failure::Protocol, false, upload),
        },
        Err(code) => {
            let (failure, is_unsent) = failure(&code);
            failed(failure, is_unsent, upload)
        }
    };
    sent.resume(outcome, now())
}

/// A host reads ahead in a body before it connects, so that of one nothing is left.
fn failed(failure: Failure, is_unsent: bool, upload: &Upload) -> Outcome {
    let sent = match (upload.declared(), is_unsent) {
        (RequestBody::Empty, true) => Progress::NothingSent,
        (RequestBody::Empty, false) => Progress::Replayable,
        (RequestBody::Sized(_) | RequestBody::Streamed, _) => Progress::Consumed,
    };
    Outcome::Failed { failure: upload.blame().unwrap_or(failure), sent }
}

/// What went wrong, and whether it proves that no connection was there to send on.
fn failure(code: &ErrorCode) -> (Failure, bool) {
    match code {
        ErrorCode::DnsTimeout | ErrorCode::DnsError(_) => (Failure::Dns, true),
        ErrorCode::DestinationNotFound
        | ErrorCode::DestinationUnavailable
        | ErrorCode::DestinationIpProhibited
        | ErrorCode::DestinationIpUnroutable
        | ErrorCode::ConnectionRefused
        | ErrorCode::ConnectionTimeout
        | ErrorCode::ConnectionLimitReached
        | ErrorCode::HttpRequestDenied => (Failure::Connect, true),
        ErrorCode::TlsCertificateError => (Failure::Tls, true),
        ErrorCode::TlsProtocolError | ErrorCode::TlsAlertReceived(_) => (Failure::Tls, false),
        ErrorCode::ConnectionReadTimeout
        | ErrorCode::ConnectionWriteTimeout
        | ErrorCode::HttpResponseTimeout => (Failure::Timeout, false),
        ErrorCode::HttpResponseHeaderSectionSize(_)
        | ErrorCode::HttpResponseHeaderSize(_)
        | ErrorCode::HttpResponseBodySize(_)
        | ErrorCode::HttpResponseTransferCoding(_)
        | ErrorCode::HttpUpgradeFailed => (Failure::Protocol, false),
        // `HttpProtocolError` among them: hosts say it of a connection that broke before the answer was whole, too.
        _ => (Failure::Reset, false),
    }
}

fn respond(gateway: &Arc<Gateway>, reply: Reply, answered: Option<Answered>, is_head: bool) -> Response {
    let (mut head, body, exchange) = reply.into_parts();
    let is_bodiless = is_head || matches!(head.status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED);
    let (contents, ending) = match (body, answered) {
        (ReplyBody::Upstream, Some(_)) if is_bodiless => {
            finish(gateway, exchange, End::Complete, 0);
            body::nothing()
        }
        (ReplyBody::Upstream, Some(Answered { response, went })) => {
            let (writer, stream) = wit_stream::new();
            let (end, ending) = body::unended();
            let (gateway, source) = (gateway.clone(), Source::of_response(response));
            spawn(async move {
                let (how, bytes) = source.relay(writer, end).await;
                drop(went);
                finish(&gateway, exchange, how, bytes);
            });
            (Some(stream), ending)
        }
        (ReplyBody::Core(bytes), _) => {
            if head.status != StatusCode::NO_CONTENT && head.status != StatusCode::NOT_MODIFIED {
                head.headers.insert(header::CONTENT_LENGTH, HeaderValue::from(bytes.len()));
            }
            finish(gateway, exchange, End::Complete, bytes.len() as u64);
            if is_bodiless || bytes.is_empty() { body::nothing() } else { body::made(bytes) }
        }
        // Core relays a body only after it was told of a response.
        (ReplyBody::Upstream, None) => body::nothing(),
    };
    let (response, _) = Response::new(message::fields(&head.headers), contents, ending);
    // Core answers with statuses that HTTP has.
    let _ = response.set_status_code(head.status.as_u16());
    response
}

fn finish(gateway: &Gateway, exchange: Exchange, end: End, bytes: u64) {
    exchange.finish(end, bytes, now());
    log_events(gateway);
}
