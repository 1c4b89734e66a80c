//! Steps that wait for something other than a service: a signature, a key set, the shared store, an endpoint that the
//! adapter serves.

use std::net::IpAddr;
use std::sync::Arc;

use bytes::Bytes;
use http::{request, response};

use super::{Exchange, ReplyBody, Step};
use crate::gateway::{Admission, Charges, Waiting};
use crate::identity::{Algorithm, Key, Keyless, KeysFailure, Unsigned};
use crate::refusal::Refusal;
use crate::store::{Call, StoreFailure, Value};
use crate::{Failure, Now, Peer};

/// A signature to check: over `message`, by `key` with `algorithm`.
#[derive(Debug)]
pub struct Verify {
    admission: Box<Admission>,
    unsigned: Box<Unsigned>,
    peer: Peer,
}

/// A key set that is needed first. Requests that wait for the same `url` should share one fetch.
#[derive(Debug)]
pub struct Keys {
    admission: Box<Admission>,
    keyless: Box<Keyless>,
    peer: Peer,
}

/// Limits to debit in the shared store. Send all `calls` at once, each at most once, and answer within the store's timeout.
#[derive(Debug)]
pub struct Charge {
    calls: Vec<Call>,
    waiting: Box<Waiting>,
    request: Charged,
}

/// Where a request goes once its limits are charged.
#[derive(Debug)]
enum Charged {
    Service { admission: Box<Admission>, peer: Peer },
    Own(Box<Local>),
}

/// A request to one of the gateway's own endpoints that take more than a decision.
#[derive(Debug)]
pub struct Local {
    head: request::Parts,
    exchange: Exchange,
    endpoint: LocalEndpoint,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LocalEndpoint {
    /// `POST /auth/login`.
    Login,
    /// `POST /auth/refresh`.
    Refresh,
}

impl Verify {
    pub fn algorithm(&self) -> Algorithm {
        self.unsigned.algorithm()
    }

    pub fn key(&self) -> &Arc<Key> {
        self.unsigned.key()
    }

    /// What was signed.
    pub fn message(&self) -> &[u8] {
        self.unsigned.message()
    }

    pub fn signature(&self) -> &[u8] {
        self.unsigned.signature()
    }

    /// Takes whether the signature is right.
    pub fn resume(self, valid: bool, now: Now) -> Step {
        let gateway = self.admission.exchange().gateway().clone();
        let identified = self.unsigned.verified(gateway.identity(), valid, now);
        self.admission.identified(&gateway, identified, &self.peer, now)
    }
}

impl Keys {
    /// Whose keys they are, as the configuration calls them.
    pub fn provider(&self) -> &str {
        self.keyless.provider()
    }

    /// Where the issuer publishes its keys.
    pub fn url(&self) -> &str {
        self.keyless.url()
    }

    /// Takes the document that is published there (RFC 7517 section 5), at most [`MAX_KEY_SET_BYTES`] of it.
    ///
    /// [`MAX_KEY_SET_BYTES`]: crate::MAX_KEY_SET_BYTES
    pub fn resume(self, fetched: Result<&[u8], KeysFailure>, now: Now) -> Step {
        let gateway = self.admission.exchange().gateway().clone();
        let identified = self.keyless.resume(fetched, now);
        self.admission.identified(&gateway, identified, &self.peer, now)
    }
}

impl Charge {
    /// One for each limit that has to be asked for, at least one.
    pub fn calls(&self) -> &[Call] {
        &self.calls
    }

    /// Takes one answer for each call, in their order; one that is missing counts as none.
    pub fn resume(self, answers: impl IntoIterator<Item = Result<Value, StoreFailure>>, now: Now) -> Step {
        match self.request {
            Charged::Service { admission, peer } => {
                let gateway = admission.exchange().gateway().clone();
                let charges = gateway.quotas().answered(*self.waiting, answers, now);
                admission.charged(&gateway, charges, &peer, now)
            }
            Charged::Own(local) => {
                let charges = local.exchange.gateway().quotas().answered(*self.waiting, answers, now);
                local.charged(charges)
            }
        }
    }
}

impl Local {
    pub(crate) fn new(head: request::Parts, exchange: Exchange, endpoint: LocalEndpoint) -> Box<Local> {
        Box::new(Local { head, exchange, endpoint })
    }

    /// Hands the request to the adapter if its limits admit it.
    pub(crate) fn charged(mut self: Box<Self>, charges: Charges) -> Step {
        self.exchange.state().verdict.charges = charges;
        match charges.refused() {
            Some(refused) => self.exchange.refuse(&Refusal::from(refused)),
            None => Step::Local(self),
        }
    }

    pub fn endpoint(&self) -> LocalEndpoint {
        self.endpoint
    }

    pub fn head(&self) -> &request::Parts {
        &self.head
    }

    pub fn client(&self) -> IpAddr {
        self.exchange.client()
    }

    /// The request's body could not be had whole, or is more than the endpoint takes.
    pub fn failed(self, failure: Failure) -> Step {
        self.exchange.refuse(&Refusal::Upstream(failure))
    }

    /// Nobody serves the endpoint any more.
    pub fn gone(self) -> Step {
        self.exchange.refuse(&Refusal::NotFound)
    }

    /// Takes the whole answer.
    pub fn resume(mut self, mut head: response::Parts, body: Bytes) -> Step {
        let state = self.exchange.state();
        state.verdict.status = head.status.as_u16();
        state.verdict.reason = match self.endpoint {
            LocalEndpoint::Login => "login",
            LocalEndpoint::Refresh => "refresh",
        };
        state.finish_head(&mut head);
        self.exchange.respond(head, ReplyBody::Core(body))
    }
}

impl Step {
    pub(crate) fn verify(admission: Admission, unsigned: Box<Unsigned>, peer: &Peer) -> Step {
        Step::Verify(Verify { admission: Box::new(admission), unsigned, peer: peer.clone() })
    }

    pub(crate) fn keys(admission: Admission, keyless: Box<Keyless>, peer: &Peer) -> Step {
        Step::Keys(Keys { admission: Box::new(admission), keyless, peer: peer.clone() })
    }

    pub(crate) fn charge(admission: Admission, waiting: Box<Waiting>, peer: &Peer) -> Step {
        let request = Charged::Service { admission: Box::new(admission), peer: peer.clone() };
        Step::Charge(Charge { calls: waiting.calls(), waiting, request })
    }

    pub(crate) fn charge_own(local: Box<Local>, waiting: Box<Waiting>) -> Step {
        Step::Charge(Charge { calls: waiting.calls(), waiting, request: Charged::Own(local) })
    }
}
