//! Questions to the store that no request waits for.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::SharedLimit;
use super::health::Ticket;
use crate::lease;
use crate::limit::SubjectKey;
use crate::store::{Answer, Call, StoreFailure, Value};
use crate::{Gateway, Now};

/// Calls that wait to be sent; beyond it a new one is dropped, which admits too little at worst.
const CALLS_MAX: usize = 4_096;

/// One call, answered through `done`. A call that is dropped costs permits and never admits too much.
#[derive(Debug)]
pub struct StoreCall {
    pub(super) call: Call,
    pub(super) ticket: Ticket,
    pub(super) job: Job,
}

/// What the answer is for.
#[derive(Debug)]
pub(super) enum Job {
    Refill {
        limit: Arc<SharedLimit>,
        subject: SubjectKey,
        acquire: lease::Acquire,
    },
    /// Permits that are given back, of which nobody waits to hear.
    GiveBack,
    /// What other nodes said.
    Notices(Arc<Gateway>),
}

#[derive(Debug, Default)]
pub(crate) struct Backlog {
    calls: Mutex<VecDeque<StoreCall>>,
    /// So that who decides can look without a lock.
    waiting: AtomicUsize,
    dropped: AtomicU64,
}

impl StoreCall {
    pub fn call(&self) -> &Call {
        &self.call
    }

    pub fn done(self, answer: Result<Value, StoreFailure>, now: Now) {
        let StoreCall { call, ticket, job } = self;
        let read = |value| Answer::read(call.question(), &value).map_err(StoreFailure::from);
        let answer = answer.and_then(read);
        match &answer {
            Ok(_) => ticket.answered(),
            Err(_) => ticket.failed(now),
        }
        match (job, answer) {
            (Job::Refill { limit, subject, acquire }, answer) => {
                limit.refilled(subject, acquire, answer, now);
            }
            (Job::Notices(gateway), Ok(Answer::Heard(heard))) => gateway.heard(&call, Some(&heard), now),
            (Job::Notices(gateway), _) => gateway.heard(&call, None, now),
            (Job::GiveBack, _) => {}
        }
    }
}

impl Backlog {
    /// False where there was no room, and the call is gone.
    pub(super) fn push(&self, call: StoreCall) -> bool {
        let mut calls = self.lock();
        if calls.len() >= CALLS_MAX {
            self.dropped.fetch_add(1, Ordering::Relaxed);
            return false;
        }
        calls.push_back(call);
        self.waiting.store(calls.len(), Ordering::Release);
        true
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.waiting.load(Ordering::Acquire) == 0
    }

    pub(crate) fn take(&self) -> Vec<StoreCall> {
        let mut calls = self.lock();
        self.waiting.store(0, Ordering::Release);
        std::mem::take(&mut *calls).into()
    }

    /// Calls that found no room.
    pub(crate) fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }

    fn lock(&self) -> MutexGuard<'_, VecDeque<StoreCall>> {
        self.calls.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
