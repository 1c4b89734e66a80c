//! Who a request is from: tokens and API keys, decided on without I/O and without cryptography.
//!
//! Core takes a token apart, says which key and algorithm its signature must be checked with, and checks everything
//! else; the adapter checks the signature and core resumes with the verdict. Where keys are published by the issuer,
//! core says when they are fetched. RFC 8725 is followed in full: a key allows the algorithms of its kind and no
//! others, and nothing that a token brings along is trusted, not even to find its key.

mod algorithm;
mod api_key;
mod cache;
mod caller;
mod claims;
mod json;
mod key;
mod key_ring;
mod key_set;
pub(crate) mod pem;
mod provider;
mod token;
mod unauthorized;
mod verified;
mod waiting;

use std::collections::HashSet;
use std::sync::Arc;

use http::header::{self, HeaderMap, HeaderName, HeaderValue};

pub use algorithm::Algorithm;
pub use caller::Caller;
pub use key::{Curve, Key, KeyMaterial};
pub use key_ring::KEY_SET_TIMEOUT;
pub use key_set::{KeysFailure, MAX_KEY_SET_BYTES};
pub(crate) use unauthorized::Unauthorized;
pub use waiting::KeySetFetch;
pub(crate) use waiting::{Keyless, Unsigned};

use crate::Now;
use crate::config::{Auth, JwtProvider, KeySource, Login};
use api_key::ApiKeys;
use cache::TokenCache;
use claims::Claims;
use provider::Provider;
use token::{Bearer, Token};

const X_API_KEY: HeaderName = HeaderName::from_static("x-api-key");

/// What core knows of who may come in, for one configuration generation.
#[derive(Debug)]
pub(crate) struct Identity {
    providers: Vec<Arc<Provider>>,
    api_keys: ApiKeys,
    denied_token_ids: HashSet<String>,
    denied_subjects: HashSet<String>,
    verified: TokenCache,
}

/// What a request's credentials came to.
#[derive(Debug)]
pub(crate) enum Identified {
    /// It has none that are this gateway's to read.
    Anonymous,
    Known(Caller),
    Refused(Unauthorized),
    /// A signature is to be checked first.
    Unsigned(Box<Unsigned>),
    /// A key set is to be fetched first.
    Keyless(Box<Keyless>),
}

/// Key sets to fetch for no request in particular.
#[derive(Debug)]
pub(crate) struct DueKeySets {
    pub(crate) fetches: Vec<KeySetFetch>,
    /// When to ask again, on the clock of `Now::mono_us`.
    pub(crate) next_us: u64,
}

impl Identity {
    /// Takes over the keys that `previous` has fetched from URLs that are still named. Tokens that it has verified are
    /// verified again: under other rules they might not be let in.
    pub(crate) fn new(auth: &Auth, previous: Option<&Identity>) -> Identity {
        let previous = previous.map_or(&[][..], |previous| &previous.providers);
        let own = auth.login.as_ref().map(own_provider);
        let providers = auth.jwt.iter().chain(&own);
        Identity {
            providers: providers.map(|rules| Arc::new(Provider::new(rules, previous))).collect(),
            api_keys: ApiKeys::new(&auth.api_keys),
            denied_token_ids: auth.denied_token_ids.iter().cloned().collect(),
            denied_subjects: auth.denied_subjects.iter().cloned().collect(),
            verified: TokenCache::new(),
        }
    }

    /// Whether anybody can be known at all.
    pub(crate) fn is_configured(&self) -> bool {
        !self.providers.is_empty() || !self.api_keys.is_empty()
    }

    /// Reads `Authorization: Bearer` and `X-API-Key`, each where the configuration has a use for it; what it has none
    /// for is between the client and the service.
    pub(crate) fn identify(&self, headers: &HeaderMap, now: Now) -> Identified {
        let credentials = self.api_key(headers).and_then(|caller| Ok((caller, self.bearer(headers)?)));
        match credentials {
            Ok((caller, Some(bearer))) => self.identify_token(caller, bearer, now),
            Ok((caller, None)) if caller.api_key.is_some() => Identified::Known(caller),
            Ok((_, None)) => Identified::Anonymous,
            Err(refusal) => Identified::Refused(refusal),
        }
    }

    /// Providers whose last key set could not be fetched, and why.
    pub(crate) fn failing_key_sets(&self) -> impl Iterator<Item = (&str, KeysFailure)> {
        let failure = |provider: &'_ Arc<Provider>| provider.ring()?.failure();
        self.providers.iter().filter_map(move |provider| Some((&*provider.rules.name, failure(provider)?)))
    }

    /// Key sets that are in use and about to be too old; each is given out once.
    pub(crate) fn due_key_sets(&self, now: Now) -> DueKeySets {
        let mut due = DueKeySets { fetches: Vec::new(), next_us: u64::MAX };
        for provider in &self.providers {
            let Some(ring) = provider.ring() else { continue };
            let (fetch, next_us) = ring.due(now);
            due.fetches.extend(fetch.map(|fetch| KeySetFetch::new(provider.clone(), fetch)));
            due.next_us = due.next_us.min(next_us);
        }
        due
    }

    fn api_key(&self, headers: &HeaderMap) -> Result<Caller, Unauthorized> {
        let presented = if self.api_keys.is_empty() { None } else { only(headers, &X_API_KEY)? };
        let api_key = presented.map(|presented| self.api_keys.find(presented.as_bytes())).transpose()?;
        Ok(Caller { api_key, token: None })
    }

    fn bearer<'a>(&self, headers: &'a HeaderMap) -> Result<Option<Bearer<'a>>, Unauthorized> {
        if self.providers.is_empty() {
            return Ok(None);
        }
        only(headers, &header::AUTHORIZATION)?.map_or(Ok(None), Bearer::from_field)
    }

    fn identify_token(&self, mut caller: Caller, bearer: Bearer<'_>, now: Now) -> Identified {
        if let Some(token) = self.verified.get(bearer.hash()) {
            if let Err(refusal) = token.check_time(now) {
                self.verified.remove(bearer.hash());
                return Identified::Refused(refusal);
            }
            if token.key_still_counts(now) {
                caller.token = Some(token);
                return Identified::Known(caller);
            }
            self.verified.remove(bearer.hash());
        }
        self.examine(caller, bearer, now).unwrap_or_else(Identified::Refused)
    }

    /// Everything that can be said of a token that was not seen before.
    fn examine(&self, caller: Caller, bearer: Bearer<'_>, now: Now) -> Result<Identified, Unauthorized> {
        let token = Token::parse(bearer)?;
        let provider = self.provider(token.claims.registered("iss")?).ok_or(Unauthorized::Issuer)?;
        provider.check_claims(&token.claims, now)?;
        self.check_revocation(&token.claims)?;
        let search = provider.find_key(&token.header, now);
        waiting::proceed(caller, provider.clone(), token, search)
    }

    /// The provider with the token's issuer or, where there is only one and it names none, that one.
    fn provider(&self, issuer: Option<&str>) -> Option<&Arc<Provider>> {
        let exact = self
            .providers
            .iter()
            .find(|provider| issuer.is_some() && provider.rules.issuer.as_deref() == issuer);
        exact.or_else(|| self.providers.iter().find(|provider| provider.rules.issuer.is_none()))
    }

    fn check_revocation(&self, claims: &Claims) -> Result<(), Unauthorized> {
        let is_denied = |name, denied: &HashSet<String>| {
            Ok(claims.registered(name)?.is_some_and(|id| denied.contains(id)))
        };
        match is_denied("jti", &self.denied_token_ids)? || is_denied("sub", &self.denied_subjects)? {
            true => Err(Unauthorized::Revoked),
            false => Ok(()),
        }
    }
}

/// The gateway's own issuer, whose tokens have the claims of the default names. A refresh token is of another `typ`.
fn own_provider(login: &Login) -> JwtProvider {
    JwtProvider {
        name: login.issuer.clone(),
        source: KeySource::Secret(login.secret.clone()),
        issuer: Some(login.issuer.clone()),
        audience: vec![login.audience.clone()],
        algorithms: vec![Algorithm::HS256],
        roles_claim: "roles".into(),
        scope_claim: "scope".into(),
        tier_claim: "tier".into(),
        tenant_claim: "tenant".into(),
        leeway: std::time::Duration::ZERO,
        forward_claims: Vec::new(),
    }
}

/// The value of a field that may occur once.
fn only<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Result<Option<&'a HeaderValue>, Unauthorized> {
    let mut values = headers.get_all(name).iter();
    match (values.next(), values.next()) {
        (value, None) => Ok(value),
        _ => Err(Unauthorized::Repeated),
    }
}

fn first_u64(hash: &[u8]) -> u64 {
    hash.first_chunk().map_or(0, |start| u64::from_be_bytes(*start))
}

#[cfg(test)]
mod tests;
