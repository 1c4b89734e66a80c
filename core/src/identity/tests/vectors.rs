//! The examples of RFC 7515 appendix A and RFC 8037 appendix A, to the byte.

use super::*;
use crate::identity::key_set::KeySet;
use crate::identity::key_set::Match;

const A1_KEY: &str = "AyM1SysPpbyDfgZld3umj1qzKObwVMkoqQ-EstJQLr_T-1qS0gZH75aKtMN3Yj0iPS4hcgUuTwjAzZr1Z9CAow";
pub(super) const A2_N: &str = "ofgWCuLjybRlzo0tZWJjNiuSfb4p4fAkd_wWJcyQoTbji9k0l8W26mPddxHmfHQp-Vaw-4qPCJrcS2mJPMEzP1Pt0Bm4d4QlL-yRT-SFd2lZS-pCgNMsD1W_YpRPEwOWvG6b32690r2jZ47soMZo9wGzjb_7OMg0LOL-bSf63kpaSHSXndS5z5rexMdbBYUsLA9e-KXBdQOS-UTo7WTBEMa2R2CapHg665xsmtdVMTBQY4uDZlxvb3qCo5ZwKh9kG4LT6_I5IhlJH7aGhyxXFvUK-DWNmoudF8NAco9_h9iaGNj8q2ethFkMLs91kzk2PAcDTW9gb54h4FRWyuXpoQ";
const A2_SIGNATURE: &str = "cC4hiUPoj9Eetdgtv3hF80EGrhuB__dzERat0XF9g2VtQgr9PJbu3XOiZj5RZmh7AAuHIm4Bh-0Qc_lF5YKt_O8W2Fp5jujGbds9uJdbF9CUAr7t1dnZcAcQjbKBYNX4BAynRFdiuB--f_nZLgrnbyTyWzO75vRK5h6xBArLIARNPvkSjtQBMHlb1L07Qe7K0GarZRmB_eSN9383LcOLn6_dO--xi12jzDwusC-eOkHWEsqtFZESc6BfI7noOPqvhJ1phCnvWh6IeYI2w9QOYEUipUTI8np6LbgGY9Fs98rqVt5AXLIhWkWywlVmtVrBp0igcN_IoypGlUPQGe77Rw";
pub(super) const A3_X: &str = "f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU";
pub(super) const A3_Y: &str = "x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0";
const A3_SIGNATURE: &str =
    "DtEhU3ljbEg8L38VWAfUAqOyKAM6-Xx-F4GawxaepmXFCgfTjDxw5djxLa8ISlSApmWQxfKTUJqPP3-Kg6NU1Q";
const CLAIMS: &str =
    "eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ";
pub(super) const ED25519_X: &str = "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo";

/// Just before the examples expire.
const NOW: Now = Now { wall_us: 1_300_819_380_000_000 - 1, mono_us: 1 };

/// The token is parsed to the signed bytes, its signature is right for the key, and its claims are read.
fn check(identity: &Identity, algorithm: Algorithm, header: &str, signature: &str) {
    let token = format!("{header}.{CLAIMS}.{signature}");
    let Identified::Unsigned(unsigned) = identity.identify(&bearer(&token), NOW) else {
        panic!("{algorithm:?} is not asked to be verified");
    };
    assert_eq!(unsigned.algorithm(), algorithm);
    assert_eq!(unsigned.message(), format!("{header}.{CLAIMS}").as_bytes());
    assert_eq!(unsigned.signature(), decode(signature));
    let Identified::Known(caller) = conclude(identity, Identified::Unsigned(unsigned), NOW) else {
        panic!("{algorithm:?} does not verify");
    };
    assert_eq!(caller.claim("iss").as_deref(), Some("joe"));
    assert_eq!(caller.claim("http://example.com/is_root").as_deref(), Some("true"));
    let late = Now { wall_us: NOW.wall_us + 1, ..NOW };
    assert_eq!(outcome(&identity.identify(&bearer(&token), late)), "token_expired");
}

fn with_key(material: KeyMaterial) -> Identity {
    identity(&[provider(KeySource::PublicKey(Arc::new(Key::new(material, None, None).unwrap())))])
}

#[test]
fn hmac_sha_256_rfc_7515_a_1() {
    let identity = identity(&[provider(KeySource::Secret(decode(A1_KEY)))]);
    let signature = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk";
    check(&identity, Algorithm::HS256, "eyJ0eXAiOiJKV1QiLA0KICJhbGciOiJIUzI1NiJ9", signature);
}

#[test]
fn rsa_pkcs1_sha_256_rfc_7515_a_2() {
    let key = with_key(KeyMaterial::Rsa { n: decode(A2_N), e: decode("AQAB") });
    check(&key, Algorithm::RS256, "eyJhbGciOiJSUzI1NiJ9", A2_SIGNATURE);
}

#[test]
fn ecdsa_p_256_sha_256_rfc_7515_a_3() {
    let key = with_key(KeyMaterial::Ec { curve: Curve::P256, x: decode(A3_X), y: decode(A3_Y) });
    check(&key, Algorithm::ES256, "eyJhbGciOiJFUzI1NiJ9", A3_SIGNATURE);
}

/// P-521 is not among the algorithms; its header is refused before its payload, which is no JSON, is looked at.
#[test]
fn ecdsa_p_521_rfc_7515_a_4_is_not_accepted() {
    super::check(&identity(&[secret()]), "eyJhbGciOiJFUzUxMiJ9.UGF5bG9hZA.AdwM", NOW, "token_algorithm");
}

/// The payload of the example is text, which is no claims set: what is checked is the key and its signature.
#[test]
fn ed25519_rfc_8037_a_2_and_a_4() {
    let jwk = json!({ "kty": "OKP", "crv": "Ed25519", "x": ED25519_X });
    let set = KeySet::parse(&key_set(&[jwk])).unwrap();
    let Match::One(key) = set.find(None, Algorithm::EdDSA) else { panic!("the key is not found") };
    assert_eq!(*key.material(), KeyMaterial::Ed25519 { x: decode(ED25519_X).try_into().unwrap() });
    let message = "eyJhbGciOiJFZERTQSJ9.RXhhbXBsZSBvZiBFZDI1NTE5IHNpZ25pbmc";
    let signature = "hgyY0il_MGCjP0JzlnLWG1PPOt7-09PGcvMg3AIbQR6dWbhijcNR4ki4iylGjg5BhVsPt9g7sVvpAr_MuM0KAg";
    assert!(verifies(&key, Algorithm::EdDSA, message.as_bytes(), &decode(signature)));
    super::check(&identity(&[published()]), &format!("{message}.{signature}"), NOW, "token_malformed");
}

/// RFC 7519 section 3.1 is the token of RFC 7515 A.1; section 6.1 is its unsecured form.
#[test]
fn the_unsecured_token_of_rfc_7519_6_1_is_refused() {
    super::check(&identity(&[secret()]), &format!("eyJhbGciOiJub25lIn0.{CLAIMS}."), NOW, "token_algorithm");
}

/// RFC 7517 appendix A.1 publishes a P-256 key for encryption and an RSA key for RS256.
#[test]
fn the_key_set_of_rfc_7517_a_1_has_one_key_that_verifies() {
    let set = KeySet::parse(&key_set(&[
        json!({ "kty": "EC", "crv": "P-256", "x": "MKBCTNIcKUSDii11ySs3526iDZ8AiTo7Tu6KPAqv7D4",
                "y": "4Etl6SRW2YiLUrN5vfvVHuhp7x8PxltmWWlbbM4IFyM", "use": "enc", "kid": "1" }),
        json!({ "kty": "RSA", "n": A2_N, "e": "AQAB", "alg": "RS256", "kid": "2011-04-29" }),
    ]))
    .unwrap();
    assert_eq!(set.find(Some("1"), Algorithm::ES256), Match::None);
    assert_eq!(set.find(Some("2011-04-29"), Algorithm::RS384), Match::WrongAlgorithm);
    let Match::One(key) = set.find(Some("2011-04-29"), Algorithm::RS256) else { panic!("not found") };
    assert_eq!(*key.material(), KeyMaterial::Rsa { n: decode(A2_N), e: vec![1, 0, 1] });
}

#[test]
fn es384_verifies_with_a_published_key() {
    let (jwk, token) = es384(expiring(10));
    let identity = identity(&[published()]);
    let Identified::Keyless(keyless) = identity.identify(&bearer(&token), at(0.0)) else { panic!() };
    let resumed = keyless.resume(Ok(&key_set(&[jwk])), at(0.1));
    assert_eq!(outcome(&conclude(&identity, resumed, at(0.1))), "known ann");
}
