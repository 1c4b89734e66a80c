//! Keys that signatures are checked with.

use std::fmt;

use sha2::{Digest, Sha256};

use super::algorithm::{Algorithm, AlgorithmSet};

/// Bits of the shortest RSA modulus (RFC 7518 section 3.3), and of the longest: a signature's cost grows with it.
const RSA_BITS_MIN: usize = 2048;
const RSA_BITS_MAX: usize = 8192;
/// Bytes of the longest public exponent. Implementations refuse more than 33 bits, which no issuer needs.
const RSA_EXPONENT_BYTES_MAX: usize = 4;

/// A key and what it may be used for. A key allows the algorithms of its kind and no other, whatever a token's header
/// says (RFC 8725 section 3.1).
#[derive(Clone, PartialEq, Eq)]
pub struct Key {
    id: u64,
    material: KeyMaterial,
    name: Option<String>,
    algorithms: AlgorithmSet,
}

/// Integers are big-endian without leading zeros, coordinates as long as their curve's field. That a point is on its
/// curve is for the adapter's cryptography to check.
#[derive(Clone, PartialEq, Eq)]
pub enum KeyMaterial {
    Hmac(Vec<u8>),
    Rsa { n: Vec<u8>, e: Vec<u8> },
    Ec { curve: Curve, x: Vec<u8>, y: Vec<u8> },
    Ed25519 { x: [u8; 32] },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Curve {
    P256,
    P384,
}

/// Why a key is not used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum KeyError {
    #[error(
        "is an RSA key of {0} bits; {RSA_BITS_MIN} to {RSA_BITS_MAX} are accepted (RFC 7518 section 3.3)"
    )]
    RsaBits(usize),
    #[error("is an RSA key with an unusable modulus or exponent; make a new one")]
    RsaNumbers,
    #[error("is an elliptic-curve key whose coordinates do not fit its curve")]
    Coordinates,
    #[error("cannot be used with the algorithm it is for")]
    Algorithm,
}

impl Key {
    /// `name` is what a token's `kid` may call it; `only` is the one algorithm it is for, where its owner said so.
    pub(crate) fn new(
        material: KeyMaterial,
        name: Option<String>,
        only: Option<Algorithm>,
    ) -> Result<Key, KeyError> {
        let material = material.normal()?;
        let mut algorithms: AlgorithmSet = material.algorithms().collect();
        if let Some(only) = only {
            if !algorithms.contains(only) {
                return Err(KeyError::Algorithm);
            }
            algorithms = [only].into_iter().collect();
        }
        Ok(Key { id: material.fingerprint(), material, name, algorithms })
    }

    /// A shared secret, which allows the algorithms it is long enough for.
    pub(crate) fn from_secret(secret: Vec<u8>) -> Key {
        let material = KeyMaterial::Hmac(secret);
        let algorithms = material.algorithms().collect();
        Key { id: material.fingerprint(), material, name: None, algorithms }
    }

    /// The same for the same material, in every configuration and process: adapters keep their prepared keys by it.
    pub fn id(&self) -> u64 {
        self.id
    }

    pub fn material(&self) -> &KeyMaterial {
        &self.material
    }

    pub(crate) fn name(&self) -> Option<&str> {
        self.name.as_deref()
    }

    pub(crate) fn allows(&self, algorithm: Algorithm) -> bool {
        self.algorithms.contains(algorithm)
    }

    /// How long every signature made with this key is, so that others never reach the cryptography.
    pub(crate) fn signature_bytes(&self, algorithm: Algorithm) -> usize {
        match &self.material {
            KeyMaterial::Hmac(_) => algorithm.hmac_bytes().unwrap_or_default(),
            KeyMaterial::Rsa { n, .. } => n.len(),
            KeyMaterial::Ec { curve, .. } => 2 * curve.field_bytes(),
            KeyMaterial::Ed25519 { .. } => 64,
        }
    }
}

impl KeyMaterial {
    fn algorithms(&self) -> impl Iterator<Item = Algorithm> {
        Algorithm::ALL.into_iter().filter(|algorithm| self.fits(*algorithm))
    }

    fn fits(&self, algorithm: Algorithm) -> bool {
        match self {
            KeyMaterial::Hmac(secret) => algorithm.hmac_bytes().is_some_and(|bytes| secret.len() >= bytes),
            KeyMaterial::Rsa { .. } => matches!(
                algorithm,
                Algorithm::RS256
                    | Algorithm::RS384
                    | Algorithm::RS512
                    | Algorithm::PS256
                    | Algorithm::PS384
                    | Algorithm::PS512
            ),
            KeyMaterial::Ec { curve: Curve::P256, .. } => algorithm == Algorithm::ES256,
            KeyMaterial::Ec { curve: Curve::P384, .. } => algorithm == Algorithm::ES384,
            KeyMaterial::Ed25519 { .. } => algorithm == Algorithm::EdDSA,
        }
    }

    fn normal(self) -> Result<KeyMaterial, KeyError> {
        match self {
            KeyMaterial::Rsa { n, e } => {
                let (n, e) = (without_leading_zeros(n), without_leading_zeros(e));
                let bits =
                    (n.len() * 8).saturating_sub(n.first().map_or(0, |top| top.leading_zeros() as usize));
                if !(RSA_BITS_MIN..=RSA_BITS_MAX).contains(&bits) {
                    return Err(KeyError::RsaBits(bits));
                }
                let is_odd = |number: &[u8]| number.last().is_some_and(|last| last & 1 == 1);
                // An exponent of one makes every signature its own message.
                if !is_odd(&n) || !is_odd(&e) || e == [1] || e.len() > RSA_EXPONENT_BYTES_MAX {
                    return Err(KeyError::RsaNumbers);
                }
                Ok(KeyMaterial::Rsa { n, e })
            }
            KeyMaterial::Ec { curve, ref x, ref y }
                if x.len() != curve.field_bytes() || y.len() != curve.field_bytes() =>
            {
                Err(KeyError::Coordinates)
            }
            other => Ok(other),
        }
    }

    /// The kind is hashed with the material, and lengths before what they measure: no two keys read alike.
    fn fingerprint(&self) -> u64 {
        let parts: [&[u8]; 3] = match self {
            KeyMaterial::Hmac(secret) => [b"hmac", secret, b""],
            KeyMaterial::Rsa { n, e } => [b"rsa", n, e],
            KeyMaterial::Ec { curve: Curve::P256, x, y } => [b"p-256", x, y],
            KeyMaterial::Ec { curve: Curve::P384, x, y } => [b"p-384", x, y],
            KeyMaterial::Ed25519 { x } => [b"ed25519", x, b""],
        };
        let mut hash = Sha256::new();
        for part in parts {
            hash.update((part.len() as u64).to_be_bytes());
            hash.update(part);
        }
        super::first_u64(&hash.finalize())
    }
}

impl Curve {
    pub(crate) fn field_bytes(self) -> usize {
        match self {
            Curve::P256 => 32,
            Curve::P384 => 48,
        }
    }
}

/// Only the kind of a key is printed: a configuration may end up in a log.
impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Key")
            .field("name", &self.name)
            .field("material", &self.material)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for KeyMaterial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            KeyMaterial::Hmac(_) => "Hmac([redacted])",
            KeyMaterial::Rsa { .. } => "Rsa",
            KeyMaterial::Ec { curve: Curve::P256, .. } => "P256",
            KeyMaterial::Ec { curve: Curve::P384, .. } => "P384",
            KeyMaterial::Ed25519 { .. } => "Ed25519",
        })
    }
}

fn without_leading_zeros(mut number: Vec<u8>) -> Vec<u8> {
    let zeros = number.iter().take_while(|byte| **byte == 0).count();
    number.drain(..zeros);
    number
}
