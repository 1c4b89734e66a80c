//! Public keys as a policy file gives them: PEM (RFC 7468) of a SubjectPublicKeyInfo (RFC 5280 section 4.1.2.7) or,
//! for RSA, of the bare key (RFC 8017 appendix A.1.1).

use pkcs1::RsaPublicKeyRef;
use spki::der::asn1::ObjectIdentifier;
use spki::der::{Decode, Document, ErrorKind};
use spki::{AlgorithmIdentifierRef, SubjectPublicKeyInfoRef};

use super::key::{Curve, Key, KeyError, KeyMaterial};

const RSA: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.1");
const EC: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.2.1");
const P256: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.3.1.7");
const P384: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.132.0.34");
const ED25519: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.101.112");

/// SEC 1 section 2.3.3: both coordinates follow.
const UNCOMPRESSED: u8 = 4;

/// Why a text is not a public key that can be used. Messages complete `auth.jwt.public_key: …`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum PemError {
    #[error(
        "is not PEM; it starts with `-----BEGIN PUBLIC KEY-----`, and `${{file:/path}}` reads it from a file"
    )]
    NotPem,
    #[error("this is a private key; give its public half (`openssl pkey -pubout`)")]
    Private,
    #[error("this is a certificate; give its key (`openssl x509 -noout -pubkey`)")]
    Certificate,
    #[error("is PEM, but what it encodes is not a public key")]
    NotAKey,
    #[error("is not a key of RSA, P-256, P-384 or Ed25519, which are the kinds that are accepted")]
    Kind,
    #[error(
        "is an elliptic-curve key in compressed form; `openssl ec -pubin -conv_form uncompressed` rewrites it"
    )]
    Compressed,
    #[error(transparent)]
    Unusable(#[from] KeyError),
}

pub(crate) fn public_key(pem: &str) -> Result<Key, PemError> {
    if pem.contains("PRIVATE KEY-----") {
        return Err(PemError::Private);
    }
    if pem.contains("-----BEGIN CERTIFICATE-----") {
        return Err(PemError::Certificate);
    }
    let (label, der) = Document::from_pem(pem.trim()).map_err(|error| match error.kind() {
        ErrorKind::Pem(_) => PemError::NotPem,
        _ => PemError::NotAKey,
    })?;
    let material = match label {
        "PUBLIC KEY" => {
            let key = SubjectPublicKeyInfoRef::from_der(der.as_bytes()).map_err(|_| PemError::NotAKey)?;
            let bits = key.subject_public_key.as_bytes().ok_or(PemError::NotAKey)?;
            material(&key.algorithm, bits)?
        }
        "RSA PUBLIC KEY" => rsa(der.as_bytes())?,
        _ => return Err(PemError::NotAKey),
    };
    Ok(Key::new(material, None, None)?)
}

fn material(algorithm: &AlgorithmIdentifierRef<'_>, bits: &[u8]) -> Result<KeyMaterial, PemError> {
    match algorithm.oid {
        RSA => rsa(bits),
        EC => match algorithm.parameters_oid() {
            Ok(P256) => point(Curve::P256, bits),
            Ok(P384) => point(Curve::P384, bits),
            _ => Err(PemError::Kind),
        },
        ED25519 => {
            let x = bits.try_into().map_err(|_| PemError::NotAKey)?;
            Ok(KeyMaterial::Ed25519 { x })
        }
        _ => Err(PemError::Kind),
    }
}

fn rsa(der: &[u8]) -> Result<KeyMaterial, PemError> {
    let key = RsaPublicKeyRef::from_der(der).map_err(|_| PemError::NotAKey)?;
    Ok(KeyMaterial::Rsa { n: key.modulus.as_bytes().to_vec(), e: key.public_exponent.as_bytes().to_vec() })
}

fn point(curve: Curve, bits: &[u8]) -> Result<KeyMaterial, PemError> {
    match bits.split_first() {
        Some((&UNCOMPRESSED, coordinates)) if coordinates.len() == 2 * curve.field_bytes() => {
            let (x, y) = coordinates.split_at(curve.field_bytes());
            Ok(KeyMaterial::Ec { curve, x: x.to_vec(), y: y.to_vec() })
        }
        Some((2 | 3, x)) if x.len() == curve.field_bytes() => Err(PemError::Compressed),
        _ => Err(PemError::NotAKey),
    }
}
