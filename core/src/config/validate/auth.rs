//! Identity: keys that are long enough, and algorithms that fit them.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use sha2::{Digest, Sha256};

use super::url::Absolute;
use super::{
    DAY, MINUTE, SECOND, each, names, not_empty, optional, rewrite, sha256, time_within, warn_of_demo_secret,
};
use crate::config::document::{self, Secret, Timespan};
use crate::config::report::{At, nearest};
use crate::config::{ApiKey, Auth, JwtProvider, KeySource, Login, LoginUser};
use crate::identity::{Algorithm, pem};

const SECRET_BYTES_MIN: usize = 32;
/// Keys that are guessed first.
const GUESSED_KEYS: [&str; 8] = ["", "secret", "password", "changeme", "change-me", "test", "admin", "key"];

pub(super) fn auth(auth: &document::Auth, at: &At<'_>) -> Option<Auth> {
    let jwt = each(&auth.jwt.0, &at.field("jwt"), provider);
    if let Some(providers) = &jwt {
        distinct_providers(providers, &at.field("jwt"));
    }
    let api_keys = each(&auth.api_keys, &at.field("api_keys"), api_key);
    if let Some(keys) = &api_keys {
        distinct_keys(keys, &at.field("api_keys"));
    }
    let revocation = at.field("revocation");
    let text = |item: &String, at: &At<'_>| not_empty(at, item, "the entry");
    let denied_token_ids = each(&auth.revocation.token_ids, &revocation.field("token_ids"), text);
    let denied_subjects = each(&auth.revocation.subjects, &revocation.field("subjects"), text);
    let login = optional(auth.login.as_ref(), |section| login(section, &at.field("login")));
    Some(Auth {
        jwt: jwt?,
        api_keys: api_keys?,
        denied_token_ids: denied_token_ids?,
        denied_subjects: denied_subjects?,
        login: login?,
    })
}

fn provider(provider: &document::JwtProvider, at: &At<'_>) -> Option<JwtProvider> {
    let source = key_source(provider, at);
    let audience = names(&provider.audience, &at.field("audience"), "the audience");
    let issuer =
        optional(provider.issuer.as_deref(), |issuer| not_empty(&at.field("issuer"), issuer, "the issuer"));
    let algorithms = each(&provider.algorithms.0, &at.field("algorithms"), algorithm);
    if let (Some(source), Some(algorithms)) = (&source, &algorithms) {
        usable_algorithms(source, algorithms, at);
    }
    let claims = at.field("claims");
    let claim = |key: &str, name: &str| not_empty(&claims.field(key), name, "the claim");
    let roles_claim = claim("roles", &provider.claims.roles);
    let scope_claim = claim("scope", &provider.claims.scope);
    let tier_claim = claim("tier", &provider.claims.tier);
    let tenant_claim = claim("tenant", &provider.claims.tenant);
    let leeway = provider.leeway.unwrap_or(Timespan::from_secs(30));
    let leeway = time_within(&at.field("leeway"), leeway, Duration::ZERO..=MINUTE * 5);
    let forwarded = at.field("forward_claims");
    let forward = |(claim, header): &(String, String)| {
        rewrite::editable(header, &forwarded.field(claim)).map(|header| (claim.clone(), header))
    };
    let forward_claims: Vec<_> = provider.forward_claims.0.iter().map(forward).collect();
    Some(JwtProvider {
        name: provider.name.clone().or(provider.issuer.clone()).unwrap_or_else(|| "jwt".into()),
        source: source?,
        issuer: issuer?,
        audience: audience?,
        algorithms: algorithms?,
        roles_claim: roles_claim?,
        scope_claim: scope_claim?,
        tier_claim: tier_claim?,
        tenant_claim: tenant_claim?,
        leeway: leeway?,
        forward_claims: forward_claims.into_iter().collect::<Option<_>>()?,
    })
}

fn key_source(provider: &document::JwtProvider, at: &At<'_>) -> Option<KeySource> {
    let jwks = jwks(provider, &at.field("jwks"));
    match (&provider.secret, &provider.public_key, &provider.jwks_url) {
        (Some(secret), None, None) => shared_secret(secret, &at.field("secret")).map(KeySource::Secret),
        (None, Some(pem), None) => public_key(pem, &at.field("public_key")),
        (None, None, Some(url)) => {
            let parsed = at.field("jwks_url").check(url.parse::<Absolute>())?;
            if !parsed.tls && !parsed.is_loopback() {
                at.field("jwks_url").warn("keys fetched over http are whoever's is in between; use https");
            }
            let [refresh, stale_for, cooldown] = jwks?;
            Some(KeySource::Jwks { url: url.clone(), refresh, stale_for, cooldown })
        }
        (None, None, None) => {
            at.error("no key to verify with; set `secret`, `public_key` or `jwks_url`");
            None
        }
        _ => {
            at.error("more than one of `secret`, `public_key` and `jwks_url`; keep one, or write a list of providers");
            None
        }
    }
}

fn jwks(provider: &document::JwtProvider, at: &At<'_>) -> Option<[Duration; 3]> {
    if at.is_set() && provider.jwks_url.is_none() {
        at.warn("has no effect without `jwks_url`");
    }
    let jwks = &provider.jwks;
    let refresh = time_within(&at.field("refresh"), jwks.refresh, SECOND..=DAY);
    let stale_for = time_within(&at.field("stale_for"), jwks.stale_for, Duration::ZERO..=DAY * 30);
    let cooldown = time_within(&at.field("cooldown"), jwks.cooldown, SECOND..=DAY);
    Some([refresh?, stale_for?, cooldown?])
}

fn shared_secret(secret: &Secret, at: &At<'_>) -> Option<Vec<u8>> {
    let secret = secret.expose();
    warn_of_demo_secret(secret, at);
    if secret.len() < SECRET_BYTES_MIN {
        at.error(format_args!(
            "is {} bytes long and needs {SECRET_BYTES_MIN} (RFC 7518 section 3.2); `openssl rand -hex 32` makes one",
            secret.len()
        ));
        return None;
    }
    Some(secret.as_bytes().to_vec())
}

fn public_key(pem: &str, at: &At<'_>) -> Option<KeySource> {
    at.check(pem::public_key(pem)).map(|key| KeySource::PublicKey(Arc::new(key)))
}

fn algorithm(name: &String, at: &At<'_>) -> Option<Algorithm> {
    let known = Algorithm::ALL.map(Algorithm::name);
    let algorithm = Algorithm::from_name(name);
    if algorithm.is_none() {
        let hint = nearest(name, known).map(|near| format!("did you mean `{near}`?"));
        let hint = hint.unwrap_or_else(|| format!("write one of {}", known.join(", ")));
        at.error(format_args!("`{name}` is not an algorithm that is accepted; {hint}"));
    }
    algorithm
}

/// An algorithm that the kind of key cannot have is the beginning of key confusion (RFC 8725 section 3.1).
fn usable_algorithms(source: &KeySource, algorithms: &[Algorithm], at: &At<'_>) {
    for (index, algorithm) in algorithms.iter().enumerate() {
        let name = algorithm.name();
        let at = at.field("algorithms").item(index);
        match (source, algorithm.hmac_bytes()) {
            (KeySource::Secret(_), None) => {
                at.error(format_args!("`{name}` needs a `public_key` or `jwks_url`, not a `secret`"))
            }
            (KeySource::Secret(secret), Some(bytes)) if secret.len() < bytes => {
                at.error(format_args!("`{name}` needs a `secret` of {bytes} bytes (RFC 7518 section 3.2)"));
            }
            (KeySource::PublicKey(_) | KeySource::Jwks { .. }, Some(_)) => {
                at.error(format_args!(
                    "`{name}` is signed with a `secret`, which a public key must never stand in for"
                ));
            }
            (KeySource::PublicKey(key), None) if !key.allows(*algorithm) => {
                at.error(format_args!("`{name}` is not for keys of this kind, {:?}", key.material()));
            }
            _ => {}
        }
    }
}

/// A token's provider is found by its issuer.
fn distinct_providers(providers: &[JwtProvider], at: &At<'_>) {
    for (index, provider) in providers.iter().enumerate().filter(|_| providers.len() > 1) {
        let at = at.item(index);
        if provider.issuer.is_none() {
            at.error("one of several providers needs an `issuer`, which is how its tokens are told apart");
        } else if providers[..index].iter().any(|other| other.issuer == provider.issuer) {
            at.field("issuer").error("another provider has this issuer; keep one of the two");
        }
        if providers[..index].iter().any(|other| other.name == provider.name) && provider.issuer.is_some() {
            at.field("name").error(format_args!("another provider is called `{}`", provider.name));
        }
    }
}

fn api_key(key: &document::ApiKey, at: &At<'_>) -> Option<ApiKey> {
    let id = not_empty(&at.field("id"), &key.id, "the id");
    let hash = sha256(key.sha256.expose(), &at.field("sha256"));
    if hash.is_some_and(|hash| GUESSED_KEYS.iter().any(|guess| Sha256::digest(guess)[..] == hash)) {
        at.field("sha256")
            .warn("this is the hash of a key that is guessed first; `openssl rand -hex 32` makes a key");
    }
    let roles = names(&key.roles, &at.field("roles"), "the role");
    let scopes = names(&key.scopes, &at.field("scopes"), "the scope");
    Some(ApiKey {
        id: id?,
        sha256: hash?,
        tier: key.tier.clone(),
        tenant: key.tenant.clone(),
        roles: roles?,
        scopes: scopes?,
    })
}

fn distinct_keys(keys: &[ApiKey], at: &At<'_>) {
    let (mut ids, mut hashes) = (HashSet::new(), HashSet::new());
    for (index, key) in keys.iter().enumerate() {
        let at = at.item(index);
        if !ids.insert(&key.id) {
            at.field("id").error(format_args!("another key has the id `{}`; give each its own", key.id));
        }
        if !hashes.insert(key.sha256) {
            at.field("sha256").error("another entry has the same key; give each its own");
        }
    }
}

fn login(login: &document::Login, at: &At<'_>) -> Option<Login> {
    let secret = shared_secret(&login.secret, &at.field("secret"));
    let issuer = not_empty(&at.field("issuer"), &login.issuer, "the issuer");
    let audience = not_empty(&at.field("audience"), &login.audience, "the audience");
    let access_ttl = time_within(&at.field("access_ttl"), login.access_ttl, SECOND..=DAY);
    let refresh_ttl = time_within(&at.field("refresh_ttl"), login.refresh_ttl, SECOND..=DAY * 366);
    if let (Some(access), Some(refresh)) = (access_ttl, refresh_ttl)
        && refresh <= access
    {
        at.field("refresh_ttl").error(format_args!("is not longer than `access_ttl`, {}", login.access_ttl));
    }
    let users_at = at.field("users");
    if login.users.is_empty() {
        users_at.error("nobody can log in; add a user or remove `login`");
    }
    let users = each(&login.users, &users_at, login_user)?;
    let mut known = HashSet::new();
    for (index, user) in users.iter().enumerate() {
        if !known.insert(&user.username) {
            users_at.item(index).field("username").error(format_args!("`{}` is listed twice", user.username));
        }
    }
    Some(Login {
        secret: secret?,
        issuer: issuer?,
        audience: audience?,
        access_ttl: access_ttl?,
        refresh_ttl: refresh_ttl?,
        users,
    })
}

fn login_user(user: &document::LoginUser, at: &At<'_>) -> Option<LoginUser> {
    let username = not_empty(&at.field("username"), &user.username, "the user name");
    let hash = user.password_hash.expose();
    if !hash.starts_with("$argon2id$") {
        at.field("password_hash").error("is not an Argon2id hash; it starts with `$argon2id$`");
    }
    let roles = names(&user.roles, &at.field("roles"), "the role");
    let scopes = names(&user.scopes, &at.field("scopes"), "the scope");
    Some(LoginUser {
        username: username?,
        password_hash: hash.into(),
        tier: user.tier.clone(),
        tenant: user.tenant.clone(),
        roles: roles?,
        scopes: scopes?,
    })
}
