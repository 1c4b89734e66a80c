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

use tollgate_core::{Algorithm, Curve, KeyMaterial};

pub(crate) use signing::install as install_in_jsonwebtoken;

/// Bytes of the largest uncompressed point (SEC 1 section 2.3.3).
const POINT_BYTES_MAX: usize = 1 + 2 * 48;

/// Whether `signature`, in the form of RFC 7518, is the one of `message`. A key of another kind than the algorithm's, an
/// RSA key below 2,048 bits and a point that is not on its curve verify nothing.
pub fn verify(algorithm: Algorithm, key: &KeyMaterial, message: &[u8], signature: &[u8]) -> bool {
    match key {
        KeyMaterial::Hmac(secret) => hash(algorithm)
            .is_some_and(|hash| hmac::verify(&hmac::Key::new(hash, secret), message, signature).is_ok()),
        KeyMaterial::Rsa { n, e } => rsa(algorithm).is_some_and(|parameters| {
            let key = RsaPublicKeyComponents { n, e };
            key.verify(parameters, message, signature).is_ok()
        }),
        KeyMaterial::Ec { curve, x, y } => ecdsa(algorithm, *curve).is_some_and(|algorithm| {
            let mut point = [0; POINT_BYTES_MAX];
            let point = uncompressed(x, y, &mut point);
            UnparsedPublicKey::new(algorithm, point).verify(message, signature).is_ok()
        }),
        KeyMaterial::Ed25519 { x } => {
            algorithm == Algorithm::EdDSA
                && UnparsedPublicKey::new(&ED25519, x).verify(message, signature).is_ok()
        }
    }
}

fn hash(algorithm: Algorithm) -> Option<hmac::Algorithm> {
    match algorithm {
        Algorithm::HS256 => Some(hmac::HMAC_SHA256),
        Algorithm::HS384 => Some(hmac::HMAC_SHA384),
        Algorithm::HS512 => Some(hmac::HMAC_SHA512),
        _ => None,
    }
}

fn rsa(algorithm: Algorithm) -> Option<&'static RsaParameters> {
    match algorithm {
        Algorithm::RS256 => Some(&RSA_PKCS1_2048_8192_SHA256),
        Algorithm::RS384 => Some(&RSA_PKCS1_2048_8192_SHA384),
        Algorithm::RS512 => Some(&RSA_PKCS1_2048_8192_SHA512),
        Algorithm::PS256 => Some(&RSA_PSS_2048_8192_SHA256),
        Algorithm::PS384 => Some(&RSA_PSS_2048_8192_SHA384),
        Algorithm::PS512 => Some(&RSA_PSS_2048_8192_SHA512),
        _ => None,
    }
}

fn ecdsa(algorithm: Algorithm, curve: Curve) -> Option<&'static dyn VerificationAlgorithm> {
    match (algorithm, curve) {
        (Algorithm::ES256, Curve::P256) => Some(&ECDSA_P256_SHA256_FIXED),
        (Algorithm::ES384, Curve::P384) => Some(&ECDSA_P384_SHA384_FIXED),
        _ => None,
    }
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
mod tests;
