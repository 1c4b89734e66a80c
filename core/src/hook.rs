//! Code of a user's own on the way of a request, compiled in.
//!
//! A policy file says most of what a gateway does. What it cannot say is a [`Hook`]: it sees the head of each request that
//! passed every rule, and the head of each upstream's response, and may change or refuse it. Like core itself it decides
//! and does no I/O, because it runs on the threads that serve everybody.

use std::borrow::Cow;
use std::fmt;

use http::{StatusCode, request, response};

use crate::exchange::State;
use crate::identity::Caller;
use crate::refusal::Refusal;

/// Runs on every request that the policy admits.
pub trait Hook: Send + Sync {
    /// As the upstream will see it, whichever endpoint it goes to. Framing fields are the gateway's: do not touch
    /// `Content-Length`, `Transfer-Encoding` or `Connection`.
    fn on_request(&self, _head: &mut request::Parts, _caller: Option<&Caller>) -> Result<(), HookRefusal> {
        Ok(())
    }

    /// Before it goes to the client. What the gateway answers itself does not come by here.
    fn on_response(&self, _head: &mut response::Parts, _caller: Option<&Caller>) {}
}

/// A hook's answer instead of a service's: a problem document as the gateway's own refusals are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HookRefusal {
    status: StatusCode,
    reason: &'static str,
    detail: Cow<'static, str>,
}

impl HookRefusal {
    /// `reason` is a stable name for events, metrics and logs; `detail` is a sentence for the client.
    ///
    /// # Panics
    /// With a status that is no error: a hook refuses, it does not answer.
    pub fn new(
        status: StatusCode,
        reason: &'static str,
        detail: impl Into<Cow<'static, str>>,
    ) -> HookRefusal {
        assert!(status.is_client_error() || status.is_server_error(), "{status} is no error");
        HookRefusal { status, reason, detail: detail.into() }
    }

    pub(crate) fn status(&self) -> StatusCode {
        self.status
    }

    pub(crate) fn reason(&self) -> &'static str {
        self.reason
    }

    pub(crate) fn detail(&self) -> &str {
        &self.detail
    }
}

impl fmt::Debug for dyn Hook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Hook")
    }
}

impl State {
    pub(crate) fn run_request_hooks(&self, head: &mut request::Parts) -> Result<(), Refusal> {
        let caller = self.subject.caller.as_ref();
        self.gateway.hooks().iter().try_for_each(|hook| hook.on_request(head, caller)).map_err(Refusal::Hook)
    }

    pub(crate) fn run_response_hooks(&self, head: &mut response::Parts) {
        let caller = self.subject.caller.as_ref();
        self.gateway.hooks().iter().for_each(|hook| hook.on_response(head, caller));
    }
}
