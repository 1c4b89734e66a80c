//! Access tokens: JWTs signed with HS256, which the gateway and whoever shares its secret verify.

use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use serde::Serialize;
use tollgate_core::config;

use super::families::random;
use crate::signature;

/// Of a token's identifier, which a deny list names.
const ID_BYTES: usize = 16;

/// Issues the access tokens of one configuration.
pub(super) struct AccessTokens {
    key: EncodingKey,
    header: Header,
    issuer: String,
    audience: String,
    pub(super) ttl: Duration,
}

/// RFC 7519 section 4.1, with the claims that the gateway reads by default.
#[derive(Serialize)]
struct Claims<'a> {
    iss: &'a str,
    aud: &'a str,
    sub: &'a str,
    iat: u64,
    nbf: u64,
    exp: u64,
    jti: String,
    roles: &'a [String],
    /// Separated by spaces (RFC 8693 section 4.2).
    scope: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    tier: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tenant: Option<&'a str>,
}

impl AccessTokens {
    pub(super) fn new(rules: &config::Login) -> AccessTokens {
        signature::install_in_jsonwebtoken();
        AccessTokens {
            key: EncodingKey::from_secret(&rules.secret),
            // The type stays JWT: `at+jwt` promises a client identifier (RFC 9068 section 2.2), and there are no clients.
            header: Header::new(Algorithm::HS256),
            issuer: rules.issuer.clone(),
            audience: rules.audience.clone(),
            ttl: rules.access_ttl,
        }
    }

    pub(super) fn issue(&self, user: &config::LoginUser, wall_us: u64) -> String {
        let issued_s = wall_us / 1_000_000;
        let claims = Claims {
            iss: &self.issuer,
            aud: &self.audience,
            sub: &user.username,
            iat: issued_s,
            nbf: issued_s,
            exp: issued_s + self.ttl.as_secs(),
            jti: URL_SAFE_NO_PAD.encode(random::<ID_BYTES>()),
            roles: &user.roles,
            scope: user.scopes.join(" "),
            tier: user.tier.as_deref(),
            tenant: user.tenant.as_deref(),
        };
        jsonwebtoken::encode(&self.header, &claims, &self.key)
            .expect("HMAC takes any key and strings serialise")
    }
}
