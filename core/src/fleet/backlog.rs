//! Questions to the store that no request waits for.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::SharedLimit;
use super::health::Ticket;
use crate::Now;
use crate::lease;
use crate::limit::SubjectKey;
use crate::store::{Call, StoreFailure, Value};

/// Calls that wait to be sent; beyond it a new one is dropped, which admits too little at worst.
const CALLS_MAX: usize = 4_096;

/// One call, answered through `done`. A call that is dropped costs permits and never admits too much.
#[derive(Debug)]
pub struct StoreCall {
    pub(super) call: Call,
    pub(super) ticket: Ticket,
    /// `None` for permits that are given back.
    pub(super) refill: Option<Refill>,
}

#[derive(Debug)]
pub(super) struct Refill {
    pub(super) limit: Arc<SharedLimit>,
    pub(super) subject: SubjectKey,
    pub(super) acquire: lease::Acquire,
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
        let StoreCall { call, ticket, refill } = self;
        match (refill, answer) {
            (Some(Refill { limit, subject, acquire }), answer) => {
                limit.refilled(&call, subject, acquire, ticket, answer, now);
            }
            (None, Ok(Value::Error(_)) | Err(_)) => ticket.failed(now),
            (None, Ok(_)) => ticket.answered(),
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
