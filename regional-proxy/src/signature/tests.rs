use std::collections::HashMap;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::Value;

use super::*;

const ALL: [(&str, Algorithm); 12] = [
    ("HS256", Algorithm::HS256),
    ("HS384", Algorithm::HS384),
    ("HS512", Algorithm::HS512),
    ("RS256", Algorithm::RS256),
    ("RS384", Algorithm::RS384),
    ("RS512", Algorithm::RS512),
    ("PS256", Algorithm::PS256),
    ("PS384", Algorithm::PS384),
    ("PS512", Algorithm::PS512),
    ("ES256", Algorithm::ES256),
    ("ES384", Algorithm::ES384),
    ("EdDSA", Algorithm::EdDSA),
];

/// One message signed with OpenSSL 3 under every algorithm.
struct Vectors {
    message: Vec<u8>,
    keys: HashMap<&'static str, KeyMaterial>,
    signatures: HashMap<&'static str, Vec<u8>>,
}

fn vectors() -> Vectors {
    let file: Value = serde_json::from_str(include_str!("vectors.json")).unwrap();
    let bytes = |value: &Value| URL_SAFE_NO_PAD.decode(value.as_str().unwrap()).unwrap();
    let part = |key: &str, part: &str| bytes(&file["keys"][key][part]);
    let ec = |curve, name| KeyMaterial::Ec { curve, x: part(name, "x"), y: part(name, "y") };
    Vectors {
        message: file["message"].as_str().unwrap().as_bytes().to_vec(),
        keys: HashMap::from([
            ("hmac", KeyMaterial::Hmac(part("hmac", "secret"))),
            ("rsa", KeyMaterial::Rsa { n: part("rsa", "n"), e: part("rsa", "e") }),
            ("p256", ec(Curve::P256, "p256")),
            ("p384", ec(Curve::P384, "p384")),
            ("ed25519", KeyMaterial::Ed25519 { x: part("ed25519", "x").try_into().unwrap() }),
        ]),
        signatures: ALL.iter().map(|(name, _)| (*name, bytes(&file["signatures"][name]))).collect(),
    }
}

fn key_of(algorithm: &str) -> &'static str {
    match algorithm {
        "ES256" => "p256",
        "ES384" => "p384",
        "EdDSA" => "ed25519",
        other if other.starts_with("HS") => "hmac",
        _ => "rsa",
    }
}

/// Key confusion in all its forms (RFC 8725 section 2.1): of all algorithms, keys and signatures only what belongs
/// together verifies.
#[test]
fn a_signature_verifies_under_its_own_algorithm_and_key_alone() {
    let Vectors { message, keys, signatures } = vectors();
    for (name, algorithm) in ALL {
        for (key, material) in &keys {
            for (signed_with, signature) in &signatures {
                let expected = name == *signed_with && key_of(name) == *key;
                let verified = verify(algorithm, material, &message, signature);
                assert_eq!(verified, expected, "{name} with {key} on the signature of {signed_with}");
            }
        }
    }
}

#[test]
fn a_changed_bit_of_message_or_signature_does_not_verify() {
    let Vectors { message, keys, signatures } = vectors();
    for (name, algorithm) in ALL {
        let (key, signature) = (&keys[key_of(name)], &signatures[name]);
        let flipped = |bytes: &[u8], at: usize| {
            let mut bytes = bytes.to_vec();
            bytes[at] ^= 1;
            bytes
        };
        for at in [0, message.len() / 2, message.len() - 1] {
            assert!(!verify(algorithm, key, &flipped(&message, at), signature), "{name}");
        }
        for at in [0, signature.len() / 2, signature.len() - 1] {
            assert!(!verify(algorithm, key, &message, &flipped(signature, at)), "{name}");
        }
    }
}

#[test]
fn a_signature_of_another_length_does_not_verify() {
    let Vectors { message, keys, signatures } = vectors();
    for (name, algorithm) in ALL {
        let (key, signature) = (&keys[key_of(name)], &signatures[name]);
        let longer = [signature, &[0][..]].concat();
        for other in [&[][..], &signature[1..], &signature[..signature.len() - 1], &longer] {
            assert!(!verify(algorithm, key, &message, other), "{name}, {} bytes", other.len());
        }
    }
}

/// CVE-2022-21449: `r` and `s` of zero.
#[test]
fn zeros_are_no_ecdsa_signature() {
    let Vectors { message, keys, .. } = vectors();
    assert!(!verify(Algorithm::ES256, &keys["p256"], &message, &[0; 64]));
    assert!(!verify(Algorithm::ES384, &keys["p384"], &message, &[0; 96]));
}

#[test]
fn an_rsa_key_has_no_fewer_than_2048_bits_and_an_exponent() {
    let Vectors { message, keys, signatures } = vectors();
    let KeyMaterial::Rsa { n, e } = &keys["rsa"] else { panic!("it is an RSA key") };
    for (n, e) in [(&n[..255], &e[..]), (&[], e), (n, &[]), (n, &[1])] {
        let key = KeyMaterial::Rsa { n: n.to_vec(), e: e.to_vec() };
        assert!(!verify(Algorithm::RS256, &key, &message, &signatures["RS256"]));
    }
}

#[test]
fn a_point_that_is_off_its_curve_verifies_nothing() {
    let Vectors { message, keys, signatures } = vectors();
    let KeyMaterial::Ec { x, y, .. } = &keys["p256"] else { panic!("it is an EC key") };
    let key = |x: &[u8], y: &[u8]| KeyMaterial::Ec { curve: Curve::P256, x: x.to_vec(), y: y.to_vec() };
    assert!(verify(Algorithm::ES256, &key(x, y), &message, &signatures["ES256"]));
    for other in [key(y, x), key(&[0; 32], &[0; 32]), key(&[0xff; 32], y)] {
        assert!(!verify(Algorithm::ES256, &other, &message, &signatures["ES256"]));
    }
}
