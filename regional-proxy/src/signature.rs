//! Signatures of tokens: whether one is good, and what our own are made with.
//!
//! It is ring, which TLS already links and which builds with a C compiler and make. `benches/verify.rs` has what that is
//! worth beside jsonwebtoken on RustCrypto: a tenth of the time for RS256 and a fifth for ES256. AWS-LC builds
//! without cmake too, where its bindings come prebuilt, but it would be a second such library in the binary: for RS256
//! and ES256 it is no more than a quarter from ring either way, and only ES384 gains by it (four times).
//!
//! Nothing is prepared or cached for a key. Its numbers are what ring takes, so no PEM or DER is read, and what is left
//! (two blocks of SHA-256 for HMAC) is below the price of a cache that could serve a key that was replaced.

mod signing;

use ring::hmac;
use ring::signature::{
    ECDSA_P256_SHA256_FIXED, ECDSA_P384_SHA384_FIXED, ED25519, RSA_PKCS1_2048_8192_SHA256,
    RSA_PKCS1_2048_8192_SHA384, RSA_PKCS1_2048_8192_SHA512, RSA_PSS_2048_8192_SHA256,
    RSA_PSS_2048_8192_SHA384, RSA_PSS_2048_8192_SHA512, RsaParameters, RsaPublicKeyComponents,
    UnparsedPublicKey, VerificationAlgorithm,
};

pub(crate) use signing::install as install_in_jsonwebtoken;

/// RFC 7518 section 3.1 and RFC 8037 section 3.1. There is no `none`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Algorithm {
    Hs256,
    Hs384,
    Hs512,
    Rs256,
    Rs384,
    Rs512,
    Ps256,
    Ps384,
    Ps512,
    Es256,
    Es384,
    EdDsa,
}

/// A key as its numbers, all big-endian.
#[derive(Clone)]
pub enum KeyMaterial {
    Hmac(Vec<u8>),
    Rsa { n: Vec<u8>, e: Vec<u8> },
    Ec { curve: Curve, x: Vec<u8>, y: Vec<u8> },
    Ed25519 { x: Vec<u8> },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Curve {
    P256,
    P384,
}

/// Bytes of the largest uncompressed point (SEC 1 section 2.3.3).
const POINT_BYTES_MAX: usize = 1 + 2 * Curve::P384.coordinate_bytes();

/// Whether `signature`, in the form of RFC 7518, is the one of `message`. A key of another kind than the algorithm's, an
/// RSA key below 2,048 bits and a point that is not on its curve verify nothing.
pub fn verify(algorithm: Algorithm, key: &KeyMaterial, message: &[u8], signature: &[u8]) -> bool {
    match key {
        KeyMaterial::Hmac(secret) => hash(algorithm)
            .is_some_and(|hash| hmac::verify(&hmac::Key::new(hash, secret), message, signature).is_ok()),
        KeyMaterial::Rsa { n, e } => rsa(algorithm).is_some_and(|parameters| {
            let key = RsaPublicKeyComponents { n: significant(n), e: significant(e) };
            key.verify(parameters, message, signature).is_ok()
        }),
        KeyMaterial::Ec { curve, x, y } => ecdsa(algorithm, *curve).is_some_and(|algorithm| {
            let mut point = [0; POINT_BYTES_MAX];
            point_of(*curve, x, y, &mut point).is_some_and(|point| {
                UnparsedPublicKey::new(algorithm, point).verify(message, signature).is_ok()
            })
        }),
        KeyMaterial::Ed25519 { x } => {
            algorithm == Algorithm::EdDsa
                && UnparsedPublicKey::new(&ED25519, x).verify(message, signature).is_ok()
        }
    }
}

impl Curve {
    const fn coordinate_bytes(self) -> usize {
        match self {
            Curve::P256 => 32,
            Curve::P384 => 48,
        }
    }
}

fn hash(algorithm: Algorithm) -> Option<hmac::Algorithm> {
    match algorithm {
        Algorithm::Hs256 => Some(hmac::HMAC_SHA256),
        Algorithm::Hs384 => Some(hmac::HMAC_SHA384),
        Algorithm::Hs512 => Some(hmac::HMAC_SHA512),
        _ => None,
    }
}

fn rsa(algorithm: Algorithm) -> Option<&'static RsaParameters> {
    match algorithm {
        Algorithm::Rs256 => Some(&RSA_PKCS1_2048_8192_SHA256),
        Algorithm::Rs384 => Some(&RSA_PKCS1_2048_8192_SHA384),
        Algorithm::Rs512 => Some(&RSA_PKCS1_2048_8192_SHA512),
        Algorithm::Ps256 => Some(&RSA_PSS_2048_8192_SHA256),
        Algorithm::Ps384 => Some(&RSA_PSS_2048_8192_SHA384),
        Algorithm::Ps512 => Some(&RSA_PSS_2048_8192_SHA512),
        _ => None,
    }
}

fn ecdsa(algorithm: Algorithm, curve: Curve) -> Option<&'static dyn VerificationAlgorithm> {
    match (algorithm, curve) {
        (Algorithm::Es256, Curve::P256) => Some(&ECDSA_P256_SHA256_FIXED),
        (Algorithm::Es384, Curve::P384) => Some(&ECDSA_P384_SHA384_FIXED),
        _ => None,
    }
}

/// Some issuers write a leading zero against RFC 7518 section 6.3.1.1.
fn significant(number: &[u8]) -> &[u8] {
    let zeros = number.iter().take_while(|byte| **byte == 0).count();
    &number[zeros..]
}

/// The uncompressed point. Coordinates have their full length (RFC 7518 section 6.2.1.2).
fn point_of<'a>(curve: Curve, x: &[u8], y: &[u8], point: &'a mut [u8; POINT_BYTES_MAX]) -> Option<&'a [u8]> {
    const UNCOMPRESSED: u8 = 4;
    let bytes = curve.coordinate_bytes();
    if x.len() != bytes || y.len() != bytes {
        return None;
    }
    point[0] = UNCOMPRESSED;
    point[1..=bytes].copy_from_slice(x);
    point[1 + bytes..=2 * bytes].copy_from_slice(y);
    Some(&point[..=2 * bytes])
}

#[cfg(test)]
mod tests;
