//! Calls to the shared store that no request waits for.

use std::sync::Arc;

use tollgate_core::store::{Answered, Batch, Call, StoreFailure};
use tollgate_core::{Gateway, Now, StoreCall};

use super::lines;
use crate::store::{self, Post};

/// Calls on their way together.
#[derive(Debug)]
pub struct Errand {
    gateway: Arc<Gateway>,
    calls: Vec<StoreCall>,
    sent: Vec<Call>,
    batch: Option<Batch>,
}

impl Errand {
    /// `None` where there is nothing to send.
    pub fn new(gateway: &Arc<Gateway>, calls: Vec<StoreCall>) -> Option<Errand> {
        let sent: Vec<Call> = calls.iter().map(|call| call.call().clone()).collect();
        let batch = (!sent.is_empty()).then(|| Batch::new(sent.len()))?;
        Some(Errand { gateway: gateway.clone(), calls, sent, batch: Some(batch) })
    }

    /// The `charge` step to do next; empty when all is done.
    pub fn step(&self) -> String {
        let mut step = String::new();
        if let Some(batch) = &self.batch
            && let Some(post) = Post::new(self.gateway.config().limits.store.as_ref(), batch, &self.sent)
        {
            lines::post(&post, &mut step);
        }
        step
    }

    /// Takes the store's answer, or why there is none.
    pub fn charged(&mut self, answer: Result<(u16, &[u8]), StoreFailure>, now: Now) {
        let Some(batch) = self.batch.take() else { return };
        match store::answered(batch, answer) {
            Answered::Again(batch) => self.batch = Some(batch),
            Answered::Done(outcomes) => {
                let calls = std::mem::take(&mut self.calls);
                calls.into_iter().zip(outcomes).for_each(|(call, outcome)| call.done(outcome, now));
            }
        }
    }
}
