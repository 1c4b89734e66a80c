//! The gateway's own endpoints on the client listener that take more than a decision.

use std::future::poll_fn;
use std::pin::Pin;
use std::rc::Rc;
use std::task::Poll;

use bytes::{Bytes, BytesMut};
use http_body::Body;

use super::channel::Channel;
use crate::body::{BodyRefusal, RequestBody};
use crate::issuer::BODY_BYTES_MAX;
use crate::watch::Party;
use tollgate_core::{Failure, Local, Step};

/// Reads the whole request and has the issuer answer it.
pub(super) async fn serve(channel: &Rc<Channel>, local: Local, body: &RequestBody) -> Step {
    let Some(issuer) = channel.worker.shared.issuer.load_full() else { return local.gone() };
    let body = match whole(channel, body.clone()).await {
        Ok(body) => body,
        Err(failure) => return local.failed(failure),
    };
    let (head, body) = issuer.answer(local.head().clone(), body, local.client()).await.into_parts();
    local.resume(head, body)
}

async fn whole(channel: &Channel, mut body: RequestBody) -> Result<Bytes, Failure> {
    let mut whole = BytesMut::new();
    loop {
        let frame = poll_fn(|cx| {
            channel.watch.register(cx);
            match Pin::new(&mut body).poll_frame(cx) {
                Poll::Pending if channel.watch.take_rung(Party::Client) => {
                    Poll::Ready(Some(Err(BodyRefusal::Stalled)))
                }
                polled => polled,
            }
        });
        match frame.await {
            None => return Ok(whole.freeze()),
            Some(Ok(frame)) => whole.extend_from_slice(frame.data_ref().map_or(&[][..], Bytes::as_ref)),
            Some(Err(BodyRefusal::TooLarge)) => return Err(Failure::BodyTooLarge),
            Some(Err(BodyRefusal::Stalled | BodyRefusal::Gone)) => return Err(Failure::RequestAborted),
        }
        if whole.len() > BODY_BYTES_MAX {
            return Err(Failure::BodyTooLarge);
        }
    }
}
