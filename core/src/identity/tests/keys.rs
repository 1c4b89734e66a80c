//! Keys of policy files and of key sets.

use super::*;
use crate::identity::key::KeyError;
use crate::identity::key_set::{KeySet, MAX_KEYS, Match};

/// How many keys of a set may be used, of all algorithms.
fn usable(jwk: Value) -> usize {
    let set = KeySet::parse(&key_set(&[jwk])).unwrap();
    usize::from(Algorithm::ALL.iter().any(|algorithm| set.find(None, *algorithm) != Match::None))
}

fn with(mut jwk: Value, name: &str, value: Value) -> Value {
    jwk[name] = value;
    jwk
}

fn rsa(n: &[u8], e: &[u8]) -> Value {
    json!({ "kty": "RSA", "n": encode(n), "e": encode(e) })
}

#[test]
fn unusable_keys_are_left_out() {
    let key = Signer::new(1).jwk();
    for (name, value) in [("use", json!("sig")), ("key_ops", json!(["verify"])), ("alg", json!("EdDSA"))] {
        assert_eq!(usable(with(key.clone(), name, value)), 1, "{name}");
    }
    let wrong = [
        ("use", json!("enc")),
        ("use", json!(1)),
        ("key_ops", json!(["sign"])),
        ("key_ops", json!("verify")),
        ("alg", json!("ES256")),
        ("alg", json!("none")),
        ("kty", json!("EC")),
        ("kty", json!("oct")),
        ("crv", json!("X25519")),
        ("x", json!("AA")),
        ("x", json!(null)),
        ("x", json!(format!("{}=", encode([1; 32])))),
        ("kid", json!(1)),
        ("d", json!(encode([1; 32]))),
    ];
    for (name, value) in wrong {
        assert_eq!(usable(with(key.clone(), name, value.clone())), 0, "{name}: {value}");
    }
    assert_eq!(usable(json!({ "kty": "oct", "k": encode(SECRET) })), 0);
    for other in [json!(null), json!("key"), json!([])] {
        assert_eq!(usable(other), 0);
    }
    let short = json!({ "kty": "EC", "crv": "P-256", "x": encode([1; 31]), "y": encode([1; 32]) });
    assert_eq!(usable(short), 0);
}

#[test]
fn rsa_keys_are_of_2048_to_8192_bits() {
    let n = |bytes: usize, top: u8| [&[top][..], &vec![1; bytes - 1]].concat();
    let check = |n: Vec<u8>, e: &[u8], expected| assert_eq!(usable(rsa(&n, e)), expected);
    check(n(256, 0x80), &[1, 0, 1], 1);
    check(n(256, 0x7f), &[1, 0, 1], 0);
    check(n(1024, 0xff), &[3], 1);
    check(n(1025, 0x01), &[3], 0);
    check([&[0, 0][..], &n(256, 0x80)].concat(), &[0, 3], 1);
    check(n(256, 0x80), &[1], 0);
    check(n(256, 0x80), &[2], 0);
    check(n(256, 0x80), &[], 0);
    check(n(256, 0x80), &[1, 0, 0, 0, 1], 0);
    check([&n(255, 0x80)[..], &[2]].concat(), &[3], 0);
    check(Vec::new(), &[3], 0);
}

#[test]
fn a_set_is_bounded_and_an_object_with_keys() {
    let failure = |body: &[u8]| KeySet::parse(body).unwrap_err();
    for wrong in [&b""[..], b"[]", b"{}", br#"{"keys":{}}"#, br#"{"keys":null}"#, b"<html>"] {
        assert_eq!(failure(wrong), crate::KeysFailure::Malformed);
    }
    assert_eq!(failure(&vec![b' '; crate::MAX_KEY_SET_BYTES + 1]), crate::KeysFailure::TooLarge);
    let named = |index: usize| with(Signer::new(1).jwk(), "kid", json!(index.to_string()));
    let set = KeySet::parse(&key_set(&(0..=MAX_KEYS).map(named).collect::<Vec<_>>())).unwrap();
    assert!(matches!(set.find(Some("63"), Algorithm::EdDSA), Match::One(_)));
    assert_eq!(set.find(Some("64"), Algorithm::EdDSA), Match::None);
}

#[test]
fn a_key_is_found_by_name_or_because_no_other_fits() {
    let [one, two] = [Signer::new(1), Signer::new(2)];
    let p256 = json!({ "kty": "EC", "crv": "P-256", "kid": "key-1", "x": vectors::A3_X, "y": vectors::A3_Y });
    let set = KeySet::parse(&key_set(&[one.jwk(), two.jwk(), p256])).unwrap();
    assert!(matches!(set.find(Some("key-1"), Algorithm::EdDSA), Match::One(_)));
    assert!(matches!(set.find(Some("key-1"), Algorithm::ES256), Match::One(_)));
    assert!(matches!(set.find(None, Algorithm::ES256), Match::One(_)));
    assert_eq!(set.find(Some("key-2"), Algorithm::ES256), Match::WrongAlgorithm);
    assert_eq!(set.find(Some("key-3"), Algorithm::EdDSA), Match::None);
    assert_eq!(set.find(None, Algorithm::EdDSA), Match::Several);
    assert_eq!(set.find(None, Algorithm::RS256), Match::None);
}

#[test]
fn a_secret_allows_what_it_is_long_enough_for() {
    let allowed = |bytes: usize| {
        let key = Key::from_secret(vec![1; bytes]);
        Algorithm::ALL
            .into_iter()
            .filter(|algorithm| key.allows(*algorithm))
            .map(Algorithm::name)
            .collect::<Vec<_>>()
    };
    assert_eq!(allowed(31), [""; 0]);
    assert_eq!(allowed(32), ["HS256"]);
    assert_eq!(allowed(48), ["HS256", "HS384"]);
    assert_eq!(allowed(64), ["HS256", "HS384", "HS512"]);
    assert_eq!(format!("{:?}", Key::from_secret(vec![1; 32]).material()), "Hmac([redacted])");
}

#[test]
fn an_id_is_that_of_the_material() {
    let key =
        |x: u8, name: &str| Key::new(KeyMaterial::Ed25519 { x: [x; 32] }, Some(name.into()), None).unwrap();
    assert_eq!(key(1, "a").id(), key(1, "b").id());
    assert_ne!(key(1, "a").id(), key(2, "a").id());
    assert_ne!(key(1, "a").id(), Key::from_secret(vec![1; 32]).id());
    let wrong = Key::new(KeyMaterial::Ed25519 { x: [1; 32] }, None, Some(Algorithm::RS256));
    assert_eq!(wrong.unwrap_err(), KeyError::Algorithm);
}

#[test]
fn pem_gives_the_key_that_the_published_form_gives() {
    use crate::identity::pem::{PemError, public_key};
    let check = |pem: &str, expected| assert_eq!(public_key(pem).map(|key| key.material().clone()), expected);
    let a2 = KeyMaterial::Rsa { n: decode(vectors::A2_N), e: vec![1, 0, 1] };
    check(include_str!("../testdata/rfc7515-a2.pem"), Ok(a2.clone()));
    check(include_str!("../testdata/rfc7515-a2-pkcs1.pem"), Ok(a2));
    let a3 = KeyMaterial::Ec { curve: Curve::P256, x: decode(vectors::A3_X), y: decode(vectors::A3_Y) };
    check(include_str!("../testdata/rfc7515-a3.pem"), Ok(a3));
    let x = decode(vectors::ED25519_X).try_into().unwrap();
    check(include_str!("../testdata/rfc8037.pem"), Ok(KeyMaterial::Ed25519 { x }));
    check(include_str!("../testdata/rfc7515-a3-compressed.pem"), Err(PemError::Compressed));
    check(include_str!("../testdata/rsa-1024.pem"), Err(PemError::Unusable(KeyError::RsaBits(1024))));
    check(include_str!("../testdata/p-521.pem"), Err(PemError::Kind));
    check("-----BEGIN EC PRIVATE KEY-----\n", Err(PemError::Private));
    check("-----BEGIN CERTIFICATE-----\n", Err(PemError::Certificate));
    check("-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n", Err(PemError::NotAKey));
    check("ssh-ed25519 AAAA", Err(PemError::NotPem));
}
