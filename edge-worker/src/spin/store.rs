//! The shared store, asked by posting to it.

use http::{HeaderMap, HeaderValue, Method, Uri, header};
use spin_sdk::wasip3::http::types::RequestOptions;
use tollgate_core::store::rest::ANSWER_BYTES_MAX;
use tollgate_core::store::{Answered, Batch, Call, Outcome, StoreFailure};
use tollgate_core::{Gateway, StoreCall};

use super::body::{self, Source, Uncollected};
use super::clock::{self, now};
use super::message::Outgoing;
use crate::store::{self, Post};

/// One outcome for each call, or none at all where the policy names no store that can be posted to.
pub(super) async fn ask(gateway: &Gateway, calls: &[Call]) -> Vec<Outcome> {
    let mut batch = Batch::new(calls.len());
    loop {
        let Some(post) = Post::new(gateway.config().limits.store.as_ref(), &batch, calls) else {
            return Vec::new();
        };
        let timeout = post.timeout;
        let answer = clock::within(timeout, send(post)).await.unwrap_or(Err(StoreFailure::TimedOut));
        let answer =
            answer.as_ref().map(|(status, body)| (*status, body.as_slice())).map_err(|failure| *failure);
        match store::answered(batch, answer) {
            Answered::Again(next) => batch = next,
            Answered::Done(outcomes) => return outcomes,
        }
    }
}

/// Sends calls that no request waits for.
pub(super) async fn run(gateway: &Gateway, calls: Vec<StoreCall>) {
    let sent: Vec<Call> = calls.iter().map(|call| call.call().clone()).collect();
    let outcomes = ask(gateway, &sent).await;
    calls.into_iter().zip(outcomes).for_each(|(call, outcome)| call.done(outcome, now()));
}

async fn send(post: Post<'_>) -> Result<(u16, Vec<u8>), StoreFailure> {
    let uri: Uri = post.url.parse().map_err(|_| StoreFailure::Unreachable)?;
    let (Some(scheme), Some(authority)) = (uri.scheme(), uri.authority()) else {
        return Err(StoreFailure::Unreachable);
    };
    let mut headers = HeaderMap::new();
    let token = HeaderValue::try_from(format!("Bearer {}", post.token));
    headers.insert(header::AUTHORIZATION, token.map_err(|_| StoreFailure::Refused)?);
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(header::CONTENT_LENGTH, HeaderValue::from(post.body.len()));
    let request = Outgoing {
        method: &Method::POST,
        scheme,
        authority: authority.as_str(),
        target: uri.path_and_query().map_or("/", |target| target.as_str()),
        headers: &headers,
        body: body::made(post.body),
        options: Some(RequestOptions::new()),
    };
    let answered = request.send().await.map_err(|_| StoreFailure::Unreachable)?;
    let status = answered.response.get_status_code();
    let collected = Source::of_response(answered.response).collect(ANSWER_BYTES_MAX).await;
    drop(answered.went);
    match collected {
        Ok(body) => Ok((status, body)),
        Err(Uncollected::TooLarge) => Err(StoreFailure::Garbled),
        Err(Uncollected::Broken) => Err(StoreFailure::Unreachable),
    }
}
