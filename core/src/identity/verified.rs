//! Tokens whose signatures were right.

use std::borrow::Cow;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use http::{HeaderName, HeaderValue};

use super::claims::{Claims, Validity};
use super::key::Key;
use super::provider::Provider;
use super::unauthorized::Unauthorized;
use crate::Now;

/// What its provider's rules made of a token, once.
#[derive(Debug)]
pub(crate) struct VerifiedToken {
    provider: Arc<Provider>,
    key: Arc<Key>,
    /// The change of the provider's key set up to which `key` is known to be in it.
    change: AtomicU64,
    validity: Validity,
    subject: Option<String>,
    roles: Vec<String>,
    scopes: Vec<String>,
    tier: Option<String>,
    tenant: Option<String>,
    forwarded: Vec<(HeaderName, HeaderValue)>,
    claims: Claims,
}

impl VerifiedToken {
    pub(super) fn new(
        provider: Arc<Provider>,
        (key, change): (Arc<Key>, u64),
        validity: Validity,
        claims: Claims,
    ) -> VerifiedToken {
        let rules = &provider.rules;
        let forwarded = rules.forward_claims.iter();
        let forwarded =
            forwarded.filter_map(|(claim, header)| Some((header.clone(), claims.header(claim)?))).collect();
        let text = |name: &str| claims.text(name).filter(|text| !text.is_empty()).map(Cow::into_owned);
        VerifiedToken {
            subject: text("sub"),
            roles: claims.words(&rules.roles_claim, |separator| separator == ',' || separator == ' '),
            scopes: claims.words(&rules.scope_claim, |separator| separator == ' '),
            tier: text(&rules.tier_claim),
            tenant: text(&rules.tenant_claim),
            forwarded,
            key,
            change: AtomicU64::new(change),
            validity,
            claims,
            provider,
        }
    }

    /// Who issued it, as the configuration calls them.
    pub(crate) fn provider(&self) -> &str {
        &self.provider.rules.name
    }

    /// `sub`, where there is one and it is not empty.
    pub(crate) fn subject(&self) -> Option<&str> {
        self.subject.as_deref()
    }

    pub(crate) fn roles(&self) -> &[String] {
        &self.roles
    }

    pub(crate) fn scopes(&self) -> &[String] {
        &self.scopes
    }

    pub(crate) fn tier(&self) -> Option<&str> {
        self.tier.as_deref()
    }

    pub(crate) fn tenant(&self) -> Option<&str> {
        self.tenant.as_deref()
    }

    /// Headers that tell the service about the token, in the order of the configuration.
    pub(crate) fn forwarded(&self) -> &[(HeaderName, HeaderValue)] {
        &self.forwarded
    }

    /// A claim that is one value, by name or dotted path.
    pub(crate) fn claim(&self, name: &str) -> Option<Cow<'_, str>> {
        self.claims.text(name)
    }

    pub(super) fn has_claim(&self, name: &str, value: Option<&str>) -> bool {
        self.claims.has(name, value)
    }

    pub(super) fn check_time(&self, now: Now) -> Result<(), Unauthorized> {
        self.validity.check(now.wall_us)
    }

    pub(super) fn key_still_counts(&self, now: Now) -> bool {
        self.provider.vouches_for(&self.key, &self.change, now)
    }
}
