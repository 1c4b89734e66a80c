//! The record of one exchange: minted once, by the node that decided, and never changed.

mod encode;
mod id;
mod outbox;

use std::net::IpAddr;
use std::sync::Arc;

use http::{HeaderMap, Method, header};

pub use id::EventId;
pub(crate) use id::is_traceparent;
pub use outbox::OutboxStats;

pub(crate) use outbox::{Drawn, Ending, Outbox, Source};

use crate::gateway::Charges;
use crate::identity::Caller;
use crate::{Gateway, Now, Service};

/// Bytes of a path that an event keeps.
const MAX_PATH_BYTES: usize = 1024;
/// Bytes of a `User-Agent` that an event keeps.
const MAX_USER_AGENT_BYTES: usize = 256;

/// The status of an exchange that never had a reply, after nginx.
const CLIENT_LEFT: u16 = 499;

/// How an exchange ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// The whole reply was handed to the client's connection.
    Complete,
    /// The client left, or the exchange was dropped.
    Aborted,
    /// The upstream broke off in the body, or was silent for too long there.
    UpstreamReset,
}

impl End {
    pub fn as_str(self) -> &'static str {
        match self {
            End::Complete => "complete",
            End::Aborted => "aborted",
            End::UpstreamReset => "upstream_reset",
        }
    }
}

/// What a limit said to a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum LimitOutcome {
    Admitted,
    /// It had room, but another limit refused: nothing was debited.
    Spared,
    Refused,
    /// It would have refused, but is in shadow.
    Shadowed,
    /// Its store was away and the policy lets pass, or was not asked because another limit refused.
    Unknown,
}

impl LimitOutcome {
    pub fn as_str(self) -> &'static str {
        match self {
            LimitOutcome::Admitted => "admitted",
            LimitOutcome::Spared => "spared",
            LimitOutcome::Refused => "refused",
            LimitOutcome::Shadowed => "shadowed",
            LimitOutcome::Unknown => "unknown",
        }
    }
}

/// One exchange as it was decided and as it ended.
#[derive(Debug)]
pub struct Event {
    pub(crate) gateway: Arc<Gateway>,
    pub(crate) subject: Subject,
    pub(crate) verdict: Verdict,
    pub(crate) end: End,
    pub(crate) latency_us: u64,
    pub(crate) bytes: u64,
    pub(crate) lane: u16,
    /// Numbers the events of one lane within one boot epoch from 1, without gaps.
    pub(crate) sequence: u64,
}

/// What was asked, and by whom.
#[derive(Debug)]
pub(crate) struct Subject {
    pub(crate) id: EventId,
    pub(crate) started: Now,
    pub(crate) method: Method,
    pub(crate) client: IpAddr,
    pub(crate) text: RequestText,
    /// Once it is known.
    pub(crate) caller: Option<Caller>,
}

/// What was decided. By default the client left before anything was.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Verdict {
    /// Index of the service in the configuration.
    pub(crate) service: Option<u32>,
    /// Index of the service's route; `None` beside a service is the service as a whole.
    pub(crate) route: Option<u32>,
    pub(crate) status: u16,
    pub(crate) reason: &'static str,
    pub(crate) refused: bool,
    pub(crate) attempts: u8,
    /// From the last attempt's start to its response head.
    pub(crate) upstream_us: Option<u64>,
    pub(crate) charges: Charges,
}

impl Default for Verdict {
    fn default() -> Verdict {
        Verdict {
            service: None,
            route: None,
            status: CLIENT_LEFT,
            reason: "aborted",
            refused: false,
            attempts: 0,
            upstream_us: None,
            charges: Charges::default(),
        }
    }
}

/// The strings of a request in one allocation, copied so that no event pins the buffer its request arrived in.
#[derive(Debug)]
pub(crate) struct RequestText {
    bytes: Box<[u8]>,
    path_len: u16,
}

impl RequestText {
    pub(crate) fn new(path: &str, headers: &HeaderMap) -> RequestText {
        let user_agent = headers.get(header::USER_AGENT).map_or(&[][..], |value| value.as_bytes());
        let path = &path.as_bytes()[..path.len().min(MAX_PATH_BYTES)];
        let user_agent = &user_agent[..user_agent.len().min(MAX_USER_AGENT_BYTES)];
        let mut bytes = Vec::with_capacity(path.len() + user_agent.len());
        bytes.extend_from_slice(path);
        bytes.extend_from_slice(user_agent);
        RequestText { bytes: bytes.into_boxed_slice(), path_len: path.len() as u16 }
    }

    fn path(&self) -> &[u8] {
        &self.bytes[..usize::from(self.path_len)]
    }

    fn user_agent(&self) -> &[u8] {
        &self.bytes[usize::from(self.path_len)..]
    }
}

impl Event {
    pub fn id(&self) -> EventId {
        self.subject.id
    }

    pub fn method(&self) -> &Method {
        &self.subject.method
    }

    pub fn client(&self) -> IpAddr {
        self.subject.client
    }

    /// The canonical path, cut at 1,024 bytes.
    pub fn path(&self) -> &str {
        // Canonical paths are ASCII, so that a cut falls between characters.
        std::str::from_utf8(self.subject.text.path()).unwrap_or_default()
    }

    /// As sent, cut at 256 bytes; not necessarily UTF-8.
    pub fn user_agent(&self) -> &[u8] {
        self.subject.text.user_agent()
    }

    pub fn service(&self) -> Option<&Service> {
        self.verdict.service.map(|index| &*self.gateway.services()[index as usize])
    }

    /// The path of the route that decided, as configured; `None` where the service as a whole or no rule did.
    pub fn route(&self) -> Option<&str> {
        let route = self.verdict.route?;
        Some(&self.service()?.rules.routes[route as usize].path)
    }

    /// The status of the reply; 499 when the client left before there was one.
    pub fn status(&self) -> u16 {
        self.verdict.status
    }

    /// Why the reply is what it is: `forwarded`, or the name of the rule that refused.
    pub fn reason(&self) -> &'static str {
        self.verdict.reason
    }

    /// The gateway answered itself, and not with what was asked for.
    pub fn is_refused(&self) -> bool {
        self.verdict.refused
    }

    /// Whom the request was counted as: an API key's id, else a token's subject.
    pub fn user(&self) -> Option<&str> {
        self.subject.caller.as_ref()?.subject()
    }

    pub fn tier(&self) -> Option<&str> {
        self.subject.caller.as_ref()?.tier()
    }

    /// The limits that were asked, each with what it said.
    pub fn limits(&self) -> impl Iterator<Item = (&str, LimitOutcome)> {
        let quotas = self.gateway.quotas();
        let passed = self.verdict.charges.refused().is_none();
        self.verdict.charges.iter().map(move |charge| {
            let outcome = match (charge.standing.admitted, charge.shadow) {
                (true, _) if charge.unknown => LimitOutcome::Unknown,
                (true, _) if passed => LimitOutcome::Admitted,
                (true, _) => LimitOutcome::Spared,
                (false, false) => LimitOutcome::Refused,
                (false, true) => LimitOutcome::Shadowed,
            };
            (quotas.name(charge.quota), outcome)
        })
    }

    pub fn attempts(&self) -> u8 {
        self.verdict.attempts
    }

    pub fn end(&self) -> End {
        self.end
    }

    /// From the request's head to the end of the reply's body, µs.
    pub fn latency_us(&self) -> u64 {
        self.latency_us
    }

    /// From the last attempt's start to its response head, µs; `None` when no upstream answered.
    pub fn upstream_us(&self) -> Option<u64> {
        self.verdict.upstream_us
    }

    /// Bytes of the reply's body.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    pub fn sequence(&self) -> u64 {
        self.sequence
    }

    /// Wall time at which the request's head was complete, µs since the Unix epoch.
    pub fn started_us(&self) -> u64 {
        self.subject.started.wall_us
    }
}
