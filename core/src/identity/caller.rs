//! Who a request is from.

use std::borrow::Cow;
use std::sync::Arc;

use http::{HeaderName, HeaderValue};

use super::verified::VerifiedToken;
use crate::config::ApiKey;

/// An API key, a token, or both; a program that acts for a user has both, and what each may do adds up.
#[derive(Clone, Debug, Default)]
pub struct Caller {
    pub(super) api_key: Option<Arc<ApiKey>>,
    pub(super) token: Option<Arc<VerifiedToken>>,
}

impl Caller {
    /// Whom limits count: the API key, else the user.
    pub fn subject(&self) -> Option<&str> {
        self.key_id().or_else(|| self.user())
    }

    /// `sub` of the token.
    pub fn user(&self) -> Option<&str> {
        self.token.as_ref()?.subject()
    }

    /// Whose word the user is: names of users are unique for one issuer only.
    pub(crate) fn issuer(&self) -> Option<&str> {
        Some(self.token.as_ref()?.provider())
    }

    pub fn key_id(&self) -> Option<&str> {
        Some(&self.api_key.as_ref()?.id)
    }

    /// Of the API key, else of the token.
    pub fn tier(&self) -> Option<&str> {
        let of_key = self.api_key.as_ref().and_then(|key| key.tier.as_deref());
        of_key.or_else(|| self.token.as_ref()?.tier())
    }

    /// Of the API key, else of the token.
    pub fn tenant(&self) -> Option<&str> {
        let of_key = self.api_key.as_ref().and_then(|key| key.tenant.as_deref());
        of_key.or_else(|| self.token.as_ref()?.tenant())
    }

    /// Whether it has one of `roles`, of which there is none to have where they are empty.
    pub fn has_any_role(&self, roles: &[String]) -> bool {
        let of_key = self.api_key.iter().flat_map(|key| &key.roles);
        let of_token = self.token.iter().flat_map(|token| token.roles());
        of_key.chain(of_token).any(|role| roles.contains(role))
    }

    /// Whether it has all of `scopes`.
    pub fn has_scopes(&self, scopes: &[String]) -> bool {
        let of_key = self.api_key.as_ref().map_or(&[][..], |key| &key.scopes);
        let of_token = self.token.as_ref().map_or(&[][..], |token| token.scopes());
        scopes.iter().all(|scope| of_key.contains(scope) || of_token.contains(scope))
    }

    /// A claim of the token that is one value, by name or dotted path.
    pub fn claim(&self, name: &str) -> Option<Cow<'_, str>> {
        self.token.as_ref()?.claim(name)
    }

    /// Whether the token has a claim and, where a value is given, whether it is that value or a list with it.
    pub fn has_claim(&self, name: &str, value: Option<&str>) -> bool {
        self.token.as_ref().is_some_and(|token| token.has_claim(name, value))
    }

    /// Headers that tell the service about the token.
    pub(crate) fn forwarded(&self) -> &[(HeaderName, HeaderValue)] {
        self.token.as_ref().map_or(&[], |token| token.forwarded())
    }
}
