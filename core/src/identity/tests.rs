//! Identity as an adapter drives it, with real signatures.

mod attacks;
mod cache;
mod callers;
mod claims;
mod keys;
mod published;
mod vectors;

use std::sync::Arc;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::{HeaderMap, HeaderValue, header};
use ring::signature::{self, Ed25519KeyPair, KeyPair};
use ring::{hmac, rand};
use serde_json::{Value, json};

use super::{Algorithm, Curve, Identified, Identity, Key, KeyMaterial, Unauthorized};
use crate::Now;
use crate::config::{Auth, JwtProvider, KeySource};

pub(super) const SECRET: &[u8] = b"0123456789abcdef0123456789abcdef";
/// When the tests take place, in seconds.
pub(super) const NOON: u64 = 1_800_000_000;
const JWKS_URL: &str = "https://issuer.example/keys";

pub(super) fn at(seconds: f64) -> Now {
    let us = (seconds * 1e6).round() as i64;
    let later = |origin_us: u64| origin_us.saturating_add_signed(us);
    Now { wall_us: later(NOON * 1_000_000), mono_us: later(1_000_000_000) }
}

pub(super) fn provider(source: KeySource) -> JwtProvider {
    JwtProvider {
        name: "issuer".into(),
        source,
        issuer: None,
        audience: Vec::new(),
        algorithms: Vec::new(),
        roles_claim: "roles".into(),
        scope_claim: "scope".into(),
        tier_claim: "tier".into(),
        tenant_claim: "tenant".into(),
        leeway: Duration::ZERO,
        forward_claims: Vec::new(),
    }
}

pub(super) fn secret() -> JwtProvider {
    provider(KeySource::Secret(SECRET.to_vec()))
}

/// Fresh for 600 s, stale for 1000 s more, with a cool-down of 30 s.
pub(super) fn published() -> JwtProvider {
    provider(KeySource::Jwks {
        url: JWKS_URL.into(),
        refresh: Duration::from_secs(600),
        stale_for: Duration::from_secs(1000),
        cooldown: Duration::from_secs(30),
    })
}

pub(super) fn identity(providers: &[JwtProvider]) -> Identity {
    Identity::new(&Auth { jwt: providers.to_vec(), ..Auth::default() }, None)
}

pub(super) fn encode(bytes: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

pub(super) fn decode(text: &str) -> Vec<u8> {
    URL_SAFE_NO_PAD.decode(text).unwrap()
}

/// A token over any header and claims, signed with HS256 and `SECRET`.
pub(super) fn hs256(header: impl AsRef<[u8]>, claims: impl AsRef<[u8]>) -> String {
    let message = format!("{}.{}", encode(header), encode(claims));
    let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, SECRET), message.as_bytes());
    format!("{message}.{}", encode(tag))
}

/// A token of the usual header.
pub(super) fn token(claims: Value) -> String {
    hs256(r#"{"alg":"HS256","typ":"JWT"}"#, claims.to_string())
}

pub(super) fn expiring(seconds: u64) -> Value {
    json!({ "sub": "ann", "exp": NOON + seconds })
}

/// A key pair whose published half is called by its seed.
pub(super) struct Signer {
    seed: u8,
    pair: Ed25519KeyPair,
}

impl Signer {
    pub(super) fn new(seed: u8) -> Signer {
        Signer { seed, pair: Ed25519KeyPair::from_seed_unchecked(&[seed; 32]).unwrap() }
    }

    pub(super) fn name(&self) -> String {
        format!("key-{}", self.seed)
    }

    pub(super) fn jwk(&self) -> Value {
        let x = encode(self.pair.public_key());
        json!({ "kty": "OKP", "crv": "Ed25519", "kid": self.name(), "x": x })
    }

    pub(super) fn token(&self, claims: Value) -> String {
        self.token_with(json!({ "alg": "EdDSA", "kid": self.name() }), claims)
    }

    pub(super) fn token_with(&self, header: Value, claims: Value) -> String {
        let message = format!("{}.{}", encode(header.to_string()), encode(claims.to_string()));
        format!("{message}.{}", encode(self.pair.sign(message.as_bytes())))
    }
}

pub(super) fn key_set(keys: &[Value]) -> Vec<u8> {
    json!({ "keys": keys }).to_string().into_bytes()
}

pub(super) fn bearer(token: &str) -> HeaderMap {
    headers(&[("authorization", &format!("Bearer {token}"))])
}

pub(super) fn headers(fields: &[(&'static str, &str)]) -> HeaderMap {
    let field = |(name, value): &(&'static str, &str)| {
        (header::HeaderName::from_static(name), HeaderValue::from_bytes(value.as_bytes()).unwrap())
    };
    fields.iter().map(field).collect()
}

/// Identifies a bearer of `token` and checks its signature where that is asked for.
pub(super) fn identify(identity: &Identity, token: &str, now: Now) -> Identified {
    conclude(identity, identity.identify(&bearer(token), now), now)
}

pub(super) fn conclude(identity: &Identity, identified: Identified, now: Now) -> Identified {
    match identified {
        Identified::Unsigned(unsigned) => {
            let valid =
                verifies(unsigned.key(), unsigned.algorithm(), unsigned.message(), unsigned.signature());
            unsigned.verified(identity, valid, now)
        }
        other => other,
    }
}

/// One word for what became of a request: the subject, the reason of its refusal, or what it waits for.
pub(super) fn outcome(identified: &Identified) -> String {
    match identified {
        Identified::Anonymous => "anonymous".into(),
        Identified::Known(caller) => format!("known {}", caller.subject().unwrap_or("nobody")),
        Identified::Refused(Unauthorized::KeysUnavailable { retry_after_us }) => {
            format!("keys_unavailable {retry_after_us}")
        }
        Identified::Refused(refusal) => refusal.reason().into(),
        Identified::Unsigned(_) => "unsigned".into(),
        Identified::Keyless(_) => "keyless".into(),
    }
}

pub(super) fn check(identity: &Identity, token: &str, now: Now, expected: &str) {
    assert_eq!(outcome(&identify(identity, token, now)), expected, "{token}");
}

fn verifies(key: &Arc<Key>, algorithm: Algorithm, message: &[u8], signature: &[u8]) -> bool {
    use signature::*;
    let public = |algorithm: &'static dyn VerificationAlgorithm, key: &[u8]| {
        UnparsedPublicKey::new(algorithm, key).verify(message, signature).is_ok()
    };
    match key.material() {
        KeyMaterial::Hmac(secret) => {
            let algorithm = match algorithm {
                Algorithm::HS256 => hmac::HMAC_SHA256,
                Algorithm::HS384 => hmac::HMAC_SHA384,
                _ => hmac::HMAC_SHA512,
            };
            hmac::verify(&hmac::Key::new(algorithm, secret), message, signature).is_ok()
        }
        KeyMaterial::Rsa { n, e } => {
            let parameters = match algorithm {
                Algorithm::RS256 => &RSA_PKCS1_2048_8192_SHA256,
                Algorithm::RS384 => &RSA_PKCS1_2048_8192_SHA384,
                Algorithm::RS512 => &RSA_PKCS1_2048_8192_SHA512,
                Algorithm::PS256 => &RSA_PSS_2048_8192_SHA256,
                Algorithm::PS384 => &RSA_PSS_2048_8192_SHA384,
                _ => &RSA_PSS_2048_8192_SHA512,
            };
            RsaPublicKeyComponents { n, e }.verify(parameters, message, signature).is_ok()
        }
        KeyMaterial::Ec { curve, x, y } => {
            let point = [&[4], &x[..], &y[..]].concat();
            match curve {
                Curve::P256 => public(&ECDSA_P256_SHA256_FIXED, &point),
                Curve::P384 => public(&ECDSA_P384_SHA384_FIXED, &point),
            }
        }
        KeyMaterial::Ed25519 { x } => public(&ED25519, x),
    }
}

/// An ES384 key pair, which needs randomness to sign.
pub(super) fn es384(claims: Value) -> (Value, String) {
    use signature::{ECDSA_P384_SHA384_FIXED_SIGNING, EcdsaKeyPair};
    let random = rand::SystemRandom::new();
    let pkcs8 = EcdsaKeyPair::generate_pkcs8(&ECDSA_P384_SHA384_FIXED_SIGNING, &random).unwrap();
    let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P384_SHA384_FIXED_SIGNING, pkcs8.as_ref(), &random).unwrap();
    let (x, y) = pair.public_key().as_ref()[1..].split_at(48);
    let jwk = json!({ "kty": "EC", "crv": "P-384", "kid": "p384", "x": encode(x), "y": encode(y) });
    let message = format!("{}.{}", encode(r#"{"alg":"ES384","kid":"p384"}"#), encode(claims.to_string()));
    let signature = pair.sign(&random, message.as_bytes()).unwrap();
    (jwk, format!("{message}.{}", encode(signature)))
}
