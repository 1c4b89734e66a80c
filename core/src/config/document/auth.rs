//! Who may come in.

#[cfg(feature = "yaml")]
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Named, OneOrMany, Secret, Timespan};

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "yaml", derive(JsonSchema))]
#[serde(deny_unknown_fields, default)]
pub struct Auth {
    /// Whose tokens are accepted: one issuer, or a list.
    pub jwt: OneOrMany<JwtProvider>,
    /// Keys in `X-API-Key`, known by their hash.
    pub api_keys: Vec<ApiKey>,
    /// Tokens and subjects that are refused although their signature is right.
    pub revocation: Revocation,
    /// Tokens of the gateway's own, at `POST /auth/login` and `/auth/refresh`. Default: none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub login: Option<Login>,
}

/// One of `secret`, `public_key` and `jwks_url`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "yaml", derive(JsonSchema))]
#[serde(deny_unknown_fields, default)]
pub struct JwtProvider {
    /// Shown in logs. Default: the issuer, else `jwt`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Key of HS256, HS384 and HS512; at least 32, 48 or 64 bytes (RFC 7518 section 3.2).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub secret: Option<Secret>,
    /// PEM of a public key; `${file:/etc/tollgate/issuer.pem}` reads one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub public_key: Option<String>,
    /// Where the issuer publishes its keys.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub jwks_url: Option<String>,
    /// How that key set is kept.
    pub jwks: Jwks,
    /// The only `iss` accepted. Default: not asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub issuer: Option<String>,
    /// One of these must be in `aud`. Default: not asked for.
    pub audience: OneOrMany<String>,
    /// Of HS256, HS384, HS512, RS256, RS384, RS512, PS256, PS384, PS512, ES256, ES384, EdDSA. Default: what the key allows.
    pub algorithms: OneOrMany<String>,
    /// Where in a token what is.
    pub claims: Claims,
    /// Clocks may differ by this much, up to 5m. Default: 30s.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub leeway: Option<Timespan>,
    /// Claims a service sees, as `claim: header`.
    pub forward_claims: Named<String>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "yaml", derive(JsonSchema))]
#[serde(deny_unknown_fields, default)]
pub struct Jwks {
    /// Default: 10m.
    pub refresh: Timespan,
    /// How long a set is used that can no longer be fetched. Default: 1d.
    pub stale_for: Timespan,
    /// Between two fetches for keys that are not in the set. Default: 30s.
    pub cooldown: Timespan,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "yaml", derive(JsonSchema))]
#[serde(deny_unknown_fields, default)]
pub struct Claims {
    /// Default: `roles`.
    pub roles: String,
    /// Default: `scope`.
    pub scope: String,
    /// Default: `tier`.
    pub tier: String,
    /// Default: `tenant`.
    pub tenant: String,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "yaml", derive(JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct ApiKey {
    /// Shown in logs and events.
    pub id: String,
    /// SHA-256 of the key in hexadecimal digits: `printf %s "$KEY" | sha256sum`.
    pub sha256: Secret,
    /// Which of `rate_limit.per_user` applies.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tier: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tenant: Option<String>,
    #[serde(default)]
    pub roles: OneOrMany<String>,
    #[serde(default)]
    pub scopes: OneOrMany<String>,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "yaml", derive(JsonSchema))]
#[serde(deny_unknown_fields, default)]
pub struct Revocation {
    /// Values of `jti`.
    pub token_ids: Vec<String>,
    /// Values of `sub`.
    pub subjects: Vec<String>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "yaml", derive(JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Login {
    /// Signs tokens with HS256; at least 32 bytes.
    pub secret: Secret,
    /// `iss` of the tokens. Default: `tollgate`.
    #[serde(default = "issuer")]
    pub issuer: String,
    /// `aud` of the tokens. Default: `tollgate`.
    #[serde(default = "issuer")]
    pub audience: String,
    /// Life of an access token. Default: 15m.
    #[serde(default = "access_ttl")]
    pub access_ttl: Timespan,
    /// Life of a refresh token. Default: 7d.
    #[serde(default = "refresh_ttl")]
    pub refresh_ttl: Timespan,
    pub users: Vec<LoginUser>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "yaml", derive(JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct LoginUser {
    pub username: String,
    /// Argon2id in PHC form: `$argon2id$v=19$m=…`.
    pub password_hash: Secret,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tier: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tenant: Option<String>,
    #[serde(default)]
    pub roles: OneOrMany<String>,
    #[serde(default)]
    pub scopes: OneOrMany<String>,
}

fn issuer() -> String {
    "tollgate".into()
}

fn access_ttl() -> Timespan {
    Timespan::from_secs(15 * 60)
}

fn refresh_ttl() -> Timespan {
    Timespan::from_secs(7 * 86_400)
}

impl Default for Jwks {
    fn default() -> Jwks {
        Jwks {
            refresh: Timespan::from_secs(600),
            stale_for: Timespan::from_secs(86_400),
            cooldown: Timespan::from_secs(30),
        }
    }
}

impl Default for Claims {
    fn default() -> Claims {
        Claims { roles: "roles".into(), scope: "scope".into(), tier: "tier".into(), tenant: "tenant".into() }
    }
}
