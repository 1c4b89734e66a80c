//! Tokens that wait for the adapter: for a verdict on their signature, or for their issuer's keys.

use std::sync::Arc;

use super::algorithm::Algorithm;
use super::caller::Caller;
use super::key::Key;
use super::key_set::KeysFailure;
use super::provider::{Provider, Search};
use super::token::Token;
use super::unauthorized::Unauthorized;
use super::verified::VerifiedToken;
use super::{Identified, Identity};
use crate::Now;

/// A token whose signature is to be checked with the key and the algorithm named here, not with those it names.
#[derive(Debug)]
pub(crate) struct Unsigned {
    caller: Caller,
    provider: Arc<Provider>,
    token: Token,
    key: Arc<Key>,
    /// The change of the key set that `key` was found in.
    change: u64,
}

/// A token whose key may be in the set its issuer publishes now.
#[derive(Debug)]
pub(crate) struct Keyless {
    caller: Caller,
    token: Token,
    fetch: KeySetFetch,
}

/// A key set to fetch from `url`, within `KEY_SET_TIMEOUT` and up to `MAX_KEY_SET_BYTES`. Several may stand for one
/// fetch, of which the first to end counts; one that is dropped counts as failed when its time is up.
#[derive(Debug)]
pub struct KeySetFetch {
    provider: Arc<Provider>,
    number: u64,
}

/// A token and what its provider said about its key.
pub(super) fn proceed(
    caller: Caller,
    provider: Arc<Provider>,
    token: Token,
    search: Search,
) -> Result<Identified, Unauthorized> {
    match search {
        Search::Found { key, change } => {
            if token.signature().len() != key.signature_bytes(token.header.algorithm) {
                return Err(Unauthorized::Signature);
            }
            Ok(Identified::Unsigned(Box::new(Unsigned { caller, provider, token, key, change })))
        }
        Search::Fetch(number) => {
            let fetch = KeySetFetch { provider, number };
            Ok(Identified::Keyless(Box::new(Keyless { caller, token, fetch })))
        }
        Search::Refused(refusal) => Err(refusal),
    }
}

impl Unsigned {
    pub(crate) fn key(&self) -> &Arc<Key> {
        &self.key
    }

    pub(crate) fn algorithm(&self) -> Algorithm {
        self.token.header.algorithm
    }

    /// What was signed: the encoded header, a dot, the encoded payload.
    pub(crate) fn message(&self) -> &[u8] {
        self.token.message()
    }

    /// As long as every signature of this key and algorithm is.
    pub(crate) fn signature(&self) -> &[u8] {
        self.token.signature()
    }

    /// Goes on with the verdict. `identity` is the one that gave the token out.
    pub(crate) fn verified(self, identity: &Identity, valid: bool, now: Now) -> Identified {
        if !valid {
            return Identified::Refused(Unauthorized::Signature);
        }
        let Unsigned { mut caller, provider, token, key, change } = self;
        // Time has passed, if a key set was fetched.
        let validity = match provider.check_claims(&token.claims, now) {
            Ok(validity) => validity,
            Err(refusal) => return Identified::Refused(refusal),
        };
        let hash = *token.hash();
        let verified = Arc::new(VerifiedToken::new(provider, (key, change), validity, token.claims));
        identity.verified.insert(&hash, verified.clone(), now);
        caller.token = Some(verified);
        Identified::Known(caller)
    }
}

impl Keyless {
    pub(crate) fn provider(&self) -> &str {
        self.fetch.provider()
    }

    pub(crate) fn url(&self) -> &str {
        self.fetch.url()
    }

    /// Goes on with the key set's body, or without. Never asks for another fetch.
    pub(crate) fn resume(self, fetched: Result<&[u8], KeysFailure>, now: Now) -> Identified {
        let Keyless { caller, token, fetch } = self;
        let provider = fetch.provider.clone();
        fetch.finish(fetched, now);
        let search = provider.find_fetched_key(&token.header, now);
        proceed(caller, provider, token, search).unwrap_or_else(Identified::Refused)
    }
}

impl KeySetFetch {
    pub(super) fn new(provider: Arc<Provider>, number: u64) -> KeySetFetch {
        KeySetFetch { provider, number }
    }

    /// Whose keys they are, as the configuration calls them.
    pub fn provider(&self) -> &str {
        &self.provider.rules.name
    }

    pub fn url(&self) -> &str {
        self.provider.url()
    }

    pub fn finish(self, fetched: Result<&[u8], KeysFailure>, now: Now) {
        if let Some(ring) = self.provider.ring() {
            ring.fetched(self.number, fetched, now);
        }
    }
}
