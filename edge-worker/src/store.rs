//! The store that nodes share limits in, as an edge reaches it: by the Upstash REST protocol, which core reads and writes.

use std::time::Duration;

use bytes::Bytes;
use tollgate_core::config::{Store, StoreWay};
use tollgate_core::store::rest::{Endpoint, read_all, request};
use tollgate_core::store::{Answered, Batch, Call, StoreFailure};

/// A pipeline to post, with `Content-Type: application/json` and the token as bearer.
pub(crate) struct Post<'a> {
    pub(crate) url: String,
    pub(crate) token: &'a str,
    /// Until the whole answer is there.
    pub(crate) timeout: Duration,
    pub(crate) body: Bytes,
}

impl Post<'_> {
    /// `None` where the policy's store is spoken to natively: that is refused when a policy is compiled for an edge.
    pub(crate) fn new<'a>(store: Option<&'a Store>, batch: &Batch, calls: &[Call]) -> Option<Post<'a>> {
        let store = store?;
        let StoreWay::Rest(rest) = &store.way else { return None };
        Some(Post {
            url: format!("{}{}", rest.url, Endpoint::Pipeline.path()),
            token: rest.token.expose(),
            timeout: store.timeout,
            body: request(Endpoint::Pipeline, &batch.commands(calls)).body,
        })
    }
}

/// Takes the status and the body that came, or why none did.
pub(crate) fn answered(batch: Batch, answer: Result<(u16, &[u8]), StoreFailure>) -> Answered {
    let expected = batch.len();
    let read = |(status, body)| read_all(status, body, expected).map_err(StoreFailure::from);
    batch.answered(answer.and_then(read))
}
