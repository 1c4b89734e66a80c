//! A provider's published keys (RFC 7517).

use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::Value;

use super::algorithm::Algorithm;
use super::key::{Curve, Key, KeyMaterial};

/// Bytes of a key set that is read; adapters stop there.
pub const MAX_KEY_SET_BYTES: usize = 256 * 1024;
/// Keys of a set that are kept, in its order.
pub(super) const MAX_KEYS: usize = 64;

#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct KeySet {
    keys: Vec<Arc<Key>>,
}

/// Why there is no new key set.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeysFailure {
    #[error("the key set could not be fetched")]
    Unreachable,
    #[error("the key set was answered with status {0}")]
    Status(u16),
    #[error("the key set is larger than {MAX_KEY_SET_BYTES} bytes")]
    TooLarge,
    #[error("what was fetched is not a key set")]
    Malformed,
    /// Whoever was to fetch it never said what came of it.
    #[error("the key set was not fetched in time")]
    Lost,
}

/// What a set has for a token.
#[derive(Debug, PartialEq)]
pub(super) enum Match {
    One(Arc<Key>),
    /// No key has that name or, for a token that names none, fits its algorithm.
    None,
    /// The key is there and must not be used with that algorithm.
    WrongAlgorithm,
    Several,
}

impl KeySet {
    /// Keys that cannot be used are left out, as RFC 7517 section 5 asks.
    pub(super) fn parse(body: &[u8]) -> Result<KeySet, KeysFailure> {
        if body.len() > MAX_KEY_SET_BYTES {
            return Err(KeysFailure::TooLarge);
        }
        let document: Value = serde_json::from_slice(body).map_err(|_| KeysFailure::Malformed)?;
        let keys = document.get("keys").and_then(Value::as_array).ok_or(KeysFailure::Malformed)?;
        Ok(KeySet { keys: keys.iter().filter_map(key).take(MAX_KEYS).map(Arc::new).collect() })
    }

    /// A name is compared and never interpreted. Keys of different kinds may share one (RFC 7517 section 4.5).
    pub(super) fn find(&self, name: Option<&str>, algorithm: Algorithm) -> Match {
        let named = || self.keys.iter().filter(|key| name.is_none() || key.name() == name);
        let mut fitting = named().filter(|key| key.allows(algorithm));
        match (fitting.next(), fitting.next()) {
            (Some(key), None) => Match::One(key.clone()),
            // Trying all of them would let a stranger choose how much work a token is.
            (Some(_), Some(_)) => Match::Several,
            (None, _) if name.is_some() && named().next().is_some() => Match::WrongAlgorithm,
            (None, _) => Match::None,
        }
    }

    pub(super) fn contains(&self, key: &Key) -> bool {
        self.keys.iter().any(|other| **other == *key)
    }
}

/// A key that may check signatures. Shared secrets (`oct`) do not belong into a published set, and a key that came with
/// its private half signs for anybody.
fn key(jwk: &Value) -> Option<Key> {
    let text = |name: &str| jwk.get(name).map(|value| value.as_str().ok_or(())).transpose().ok();
    let number = |name: &str| URL_SAFE_NO_PAD.decode(text(name)??).ok();
    let is_for_signatures = text("use")?.is_none_or(|usage| usage == "sig");
    let operations = jwk.get("key_ops");
    let verifies = operations.is_none_or(|operations| {
        operations
            .as_array()
            .is_some_and(|operations| operations.iter().any(|operation| operation == "verify"))
    });
    if !is_for_signatures || !verifies || jwk.get("d").is_some() {
        return None;
    }
    let only = match text("alg")? {
        Some(name) => Some(Algorithm::from_name(name)?),
        None => None,
    };
    let material = match (text("kty")??, text("crv")?) {
        ("RSA", _) => KeyMaterial::Rsa { n: number("n")?, e: number("e")? },
        ("EC", Some("P-256")) => KeyMaterial::Ec { curve: Curve::P256, x: number("x")?, y: number("y")? },
        ("EC", Some("P-384")) => KeyMaterial::Ec { curve: Curve::P384, x: number("x")?, y: number("y")? },
        ("OKP", Some("Ed25519")) => KeyMaterial::Ed25519 { x: number("x")?.try_into().ok()? },
        _ => return None,
    };
    Key::new(material, text("kid")?.map(str::to_owned), only).ok()
}
