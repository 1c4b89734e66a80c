//! Whether a token's signature is good, in pure Rust: a component has no WebCrypto to ask.
//!
//! The crates are RustCrypto's and dalek's, without their optional parts. Nothing is prepared or cached for a key: what
//! a verified token costs the next time is a look into core's cache.

use std::ops::RangeInclusive;

use ed25519_dalek::{Signature as EdSignature, VerifyingKey as EdKey};
use hmac::{Hmac, KeyInit, Mac};
use p256::ecdsa::signature::hazmat::PrehashVerifier;
use rsa::traits::SignatureScheme;
use rsa::{BoxedUint, Pkcs1v15Sign, Pss, PublicKey};
use sha2::{Digest, Sha256, Sha384, Sha512};
use tollgate_core::{Algorithm, Curve, KeyMaterial};

/// Bytes of the largest uncompressed point (SEC 1 section 2.3.3).
const POINT_BYTES_MAX: usize = 1 + 2 * 48;

/// Bits of an RSA modulus (RFC 7518 section 3.3), as core takes them.
const RSA_BITS: RangeInclusive<usize> = 2048..=8192;

/// Whether `signature`, in the form of RFC 7518, is the one of `message`. A key of another kind than the algorithm's, an
/// RSA key below 2,048 bits and a point that is not on its curve verify nothing.
pub(crate) fn verify(algorithm: Algorithm, key: &KeyMaterial, message: &[u8], signature: &[u8]) -> bool {
    match key {
        KeyMaterial::Hmac(secret) => hmac(algorithm, secret, message, signature),
        KeyMaterial::Rsa { n, e } => rsa(algorithm, n, e, message, signature).unwrap_or(false),
        KeyMaterial::Ec { curve, x, y } => ecdsa(algorithm, *curve, x, y, message, signature),
        KeyMaterial::Ed25519 { x } => {
            algorithm == Algorithm::EdDSA && ed25519(x, message, signature).unwrap_or(false)
        }
    }
}

fn hmac(algorithm: Algorithm, secret: &[u8], message: &[u8], signature: &[u8]) -> bool {
    match algorithm {
        Algorithm::HS256 => is_mac::<Hmac<Sha256>>(secret, message, signature),
        Algorithm::HS384 => is_mac::<Hmac<Sha384>>(secret, message, signature),
        Algorithm::HS512 => is_mac::<Hmac<Sha512>>(secret, message, signature),
        _ => false,
    }
}

fn is_mac<M: Mac + KeyInit>(secret: &[u8], message: &[u8], signature: &[u8]) -> bool {
    let Ok(mac) = <M as KeyInit>::new_from_slice(secret) else { return false };
    mac.chain_update(message).verify_slice(signature).is_ok()
}

fn rsa(algorithm: Algorithm, n: &[u8], e: &[u8], message: &[u8], signature: &[u8]) -> Option<bool> {
    let [n, e] = [n, e].map(BoxedUint::from_be_slice_vartime);
    let key = PublicKey::new_with_size_limits(n, e, RSA_BITS).ok()?;
    Some(match algorithm {
        Algorithm::RS256 => {
            is_signed(&key, Pkcs1v15Sign::new::<Sha256>(), &Sha256::digest(message), signature)
        }
        Algorithm::RS384 => {
            is_signed(&key, Pkcs1v15Sign::new::<Sha384>(), &Sha384::digest(message), signature)
        }
        Algorithm::RS512 => {
            is_signed(&key, Pkcs1v15Sign::new::<Sha512>(), &Sha512::digest(message), signature)
        }
        Algorithm::PS256 => is_signed(&key, Pss::<Sha256>::new(), &Sha256::digest(message), signature),
        Algorithm::PS384 => is_signed(&key, Pss::<Sha384>::new(), &Sha384::digest(message), signature),
        Algorithm::PS512 => is_signed(&key, Pss::<Sha512>::new(), &Sha512::digest(message), signature),
        _ => false,
    })
}

fn is_signed(key: &PublicKey, scheme: impl SignatureScheme, hash: &[u8], signature: &[u8]) -> bool {
    scheme.verify(key, hash, signature).is_ok()
}

fn ecdsa(algorithm: Algorithm, curve: Curve, x: &[u8], y: &[u8], message: &[u8], signature: &[u8]) -> bool {
    let mut point = [0; POINT_BYTES_MAX];
    let point = uncompressed(x, y, &mut point);
    match (algorithm, curve) {
        (Algorithm::ES256, Curve::P256) => p256(point, &Sha256::digest(message), signature).is_some(),
        (Algorithm::ES384, Curve::P384) => p384(point, &Sha384::digest(message), signature).is_some(),
        _ => false,
    }
}

fn p256(point: &[u8], hash: &[u8], signature: &[u8]) -> Option<()> {
    let key = p256::ecdsa::VerifyingKey::from_sec1_bytes(point).ok()?;
    key.verify_prehash(hash, &p256::ecdsa::Signature::from_slice(signature).ok()?).ok()
}

fn p384(point: &[u8], hash: &[u8], signature: &[u8]) -> Option<()> {
    let key = p384::ecdsa::VerifyingKey::from_sec1_bytes(point).ok()?;
    key.verify_prehash(hash, &p384::ecdsa::Signature::from_slice(signature).ok()?).ok()
}

/// As ring does natively, keys of a small order included in what is refused (RFC 8032 section 5.1.7).
fn ed25519(x: &[u8; 32], message: &[u8], signature: &[u8]) -> Option<bool> {
    let key = EdKey::from_bytes(x).ok()?;
    Some(key.verify_strict(message, &EdSignature::from_slice(signature).ok()?).is_ok())
}

/// SEC 1 section 2.3.3. Core sees to it that coordinates are as long as their curve's field.
fn uncompressed<'a>(x: &[u8], y: &[u8], point: &'a mut [u8; POINT_BYTES_MAX]) -> &'a [u8] {
    const UNCOMPRESSED: u8 = 4;
    let (middle, end) = (1 + x.len(), 1 + x.len() + y.len());
    point[0] = UNCOMPRESSED;
    point[1..middle].copy_from_slice(x);
    point[middle..end].copy_from_slice(y);
    &point[..end]
}

#[cfg(test)]
#[path = "../../regional-proxy/src/signature/tests.rs"]
mod tests;
