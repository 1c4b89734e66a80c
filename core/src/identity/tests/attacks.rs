//! What RFC 8725 and practice know of attacks on tokens.

use proptest::prelude::*;

use super::*;

const HEADER: &str = r#"{"alg":"HS256"}"#;

fn check(header: &str, claims: &str, expected: &str) {
    super::check(&identity(&[secret()]), &hs256(header, claims), at(0.0), expected);
}

fn claims() -> String {
    expiring(10).to_string()
}

#[test]
fn only_known_algorithms_of_the_key_are_accepted() {
    check(HEADER, &claims(), "known ann");
    for name in
        ["none", "None", "NONE", "nOnE", "", "hs256", "HS384", "HS512", "RS256", "ES256", "ES512", "EdDSA"]
    {
        check(&json!({ "alg": name }).to_string(), &claims(), "token_algorithm");
    }
    for header in ["{}", r#"{"alg":null}"#, r#"{"alg":["HS256"]}"#, r#"{"alg":1}"#, "[]", "HS256", ""] {
        check(header, &claims(), "token_malformed");
    }
}

/// RFC 8725 section 2.1: the public key's text as a secret.
#[test]
fn a_public_key_is_no_secret() {
    let material = KeyMaterial::Rsa { n: decode(vectors::A2_N), e: vec![1, 0, 1] };
    let key = Key::new(material, None, None).unwrap();
    let identity = identity(&[provider(KeySource::PublicKey(Arc::new(key)))]);
    super::check(&identity, &hs256(HEADER, claims()), at(0.0), "token_algorithm");
    let published = identity_with_set();
    let header = r#"{"alg":"HS256","kid":"key-1"}"#;
    super::check(&published, &hs256(header, claims()), at(0.0), "token_algorithm");
}

fn identity_with_set() -> Identity {
    let identity = identity(&[published()]);
    let signer = Signer::new(1);
    let identified = identity.identify(&bearer(&signer.token(expiring(10))), at(0.0));
    let Identified::Keyless(keyless) = identified else { panic!("{identified:?}") };
    keyless.resume(Ok(&key_set(&[signer.jwk()])), at(0.0));
    identity
}

#[test]
fn the_algorithms_of_a_provider_narrow_those_of_its_key() {
    let mut rules = secret();
    rules.algorithms = vec![Algorithm::HS512];
    super::check(&identity(&[rules]), &hs256(HEADER, claims()), at(0.0), "token_algorithm");
}

/// RFC 8725 section 3.10: keys that a token brings along say nothing.
#[test]
fn embedded_keys_are_ignored() {
    let [stranger, issuer] = [Signer::new(9), Signer::new(1)];
    let identity = identity_with_set();
    let header = json!({ "alg": "EdDSA", "kid": "key-1", "jwk": stranger.jwk(), "x5c": ["MIIB"],
                         "jku": "https://evil.example/keys", "x5u": "https://evil.example/x" });
    super::check(&identity, &stranger.token_with(header.clone(), expiring(10)), at(0.0), "token_signature");
    super::check(&identity, &issuer.token_with(header, expiring(10)), at(0.0), "known ann");
}

#[test]
fn a_key_name_is_only_compared() {
    for name in
        ["../../etc/passwd", "' OR 1=1 --", "https://evil.example/k", "key-1\0", "KEY-1", "", "key-1 "]
    {
        let identity = identity_with_set();
        let header = json!({ "alg": "EdDSA", "kid": name });
        let token = Signer::new(1).token_with(header, expiring(10));
        // The set was fetched just now, so that it is not fetched again for that.
        super::check(&identity, &token, at(0.0), "keys_unavailable 30000000");
    }
    check(r#"{"alg":"HS256","kid":7}"#, &claims(), "token_malformed");
}

#[test]
fn extensions_and_foreign_types_are_refused() {
    for member in [r#""crit":["exp"]"#, r#""crit":[]"#, r#""crit":null"#, r#""b64":false"#, r#""b64":true"#] {
        check(&format!(r#"{{"alg":"HS256",{member}}}"#), &claims(), "token_extension");
    }
    for kind in ["JWT", "jwt", "at+jwt", "AT+JWT", "application/at+jwt", "Application/JWT"] {
        check(&json!({ "alg": "HS256", "typ": kind }).to_string(), &claims(), "known ann");
    }
    for kind in
        ["", "rt+jwt", "logout+jwt", "dpop+jwt", "application/", "JWT ", "application/application/jwt"]
    {
        check(&json!({ "alg": "HS256", "typ": kind }).to_string(), &claims(), "token_type");
    }
    check(r#"{"alg":"HS256","typ":1}"#, &claims(), "token_malformed");
}

#[test]
fn a_repeated_member_is_refused() {
    check(r#"{"alg":"HS256","alg":"HS256"}"#, &claims(), "token_malformed");
    check(r#"{"alg":"HS256","kid":"a","\u006bid":"b"}"#, &claims(), "token_malformed");
    check(HEADER, r#"{"sub":"ann","exp":1800000010,"sub":"root"}"#, "token_malformed");
    check(HEADER, r#"{"exp":1800000010,"x":{"roles":["a"],"roles":["admin"]}}"#, "token_malformed");
}

#[test]
fn sizes_are_bounded() {
    let padded = |bytes: usize| {
        let empty = json!({ "exp": NOON + 10, "sub": "ann", "x": "" }).to_string().len();
        json!({ "exp": NOON + 10, "sub": "ann", "x": "x".repeat(bytes - empty) }).to_string()
    };
    check(HEADER, &padded(6_000), "known ann");
    check(HEADER, &padded(6_001), "token_too_large");
    let header = |bytes: usize| {
        let empty = json!({ "alg": "HS256", "x5c": "" }).to_string().len();
        json!({ "alg": "HS256", "x5c": "x".repeat(bytes - empty) }).to_string()
    };
    check(&header(2_048), &claims(), "known ann");
    check(&header(2_049), &claims(), "token_too_large");
    let identity = identity(&[secret()]);
    super::check(&identity, &"a".repeat(8_192), at(0.0), "token_malformed");
    super::check(&identity, &"a".repeat(8_193), at(0.0), "token_too_large");
}

#[test]
fn a_token_has_one_spelling() {
    let token = token(expiring(10));
    let [header, payload, signature] = token.split('.').collect::<Vec<_>>()[..] else { panic!() };
    let check = |text: &str| super::check(&identity(&[secret()]), text, at(0.0), "token_malformed");
    check(&format!("{header}.{payload}"));
    check(&format!("{token}."));
    check(&format!("{token}.{signature}.{signature}"));
    check(&format!(".{token}"));
    check(&format!("{header}..{signature}"));
    check(&format!("{header}=.{payload}.{signature}"));
    check(&format!("{token}="));
    check(&format!("{header}.{payload} .{signature}"));
    check(&format!("{header}.\t{payload}.{signature}"));
    check(&format!("{header}.{payload}.{signature}, Bearer x"));
    check(&token.replacen(signature, &format!("{}+", &signature[1..]), 1));
    // 32 bytes are 43 characters, the last of which has two bits to spare.
    let stray = format!("{}{}", &token[..token.len() - 1], next_character(token.as_bytes()[token.len() - 1]));
    check(&stray);
}

fn next_character(last: u8) -> char {
    const ALPHABET: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let place = ALPHABET.iter().position(|character| *character == last).unwrap();
    char::from(ALPHABET[place + 1])
}

#[test]
fn a_signature_of_another_length_or_message_is_refused() {
    let token = token(expiring(10));
    let (message, _) = token.rsplit_once('.').unwrap();
    let identity = identity(&[secret()]);
    for bytes in [0, 31, 33, 64] {
        let forged = format!("{message}.{}", encode(vec![0; bytes]));
        assert_eq!(outcome(&identity.identify(&bearer(&forged), at(0.0))), "token_signature");
    }
    super::check(&identity, &format!("{message}.{}", encode([0; 32])), at(0.0), "token_signature");
    let other =
        format!("{}.{}", encode(HEADER), encode(json!({ "exp": NOON + 10, "sub": "root" }).to_string()));
    let forged = format!("{other}.{}", token.rsplit_once('.').unwrap().1);
    super::check(&identity, &forged, at(0.0), "token_signature");
    // A refusal is not kept, and neither keeps the right token out.
    super::check(&identity, &token, at(0.0), "known ann");
}

#[test]
fn credentials_come_once_and_from_their_headers() {
    let token = token(expiring(10));
    let bearer = format!("Bearer {token}");
    let check = |fields: &[(&'static str, &str)], expected: &str| {
        let identity = identity(&[secret()]);
        let identified = identity.identify(&headers(fields), at(0.0));
        assert_eq!(outcome(&conclude(&identity, identified, at(0.0))), expected, "{fields:?}");
    };
    check(&[], "anonymous");
    check(&[("authorization", &bearer)], "known ann");
    check(&[("authorization", &format!("bEARER   {token} "))], "known ann");
    check(&[("authorization", &bearer), ("authorization", &bearer)], "credential_repeated");
    check(&[("authorization", &bearer), ("authorization", "Basic eA==")], "credential_repeated");
    for other in ["Basic eA==", "Bearerx", "BearerX y", "DPoP x", "", "bear", "Negotiate"] {
        check(&[("authorization", other)], "anonymous");
    }
    check(&[("authorization", "Bearer")], "token_missing");
    check(&[("authorization", "Bearer  ")], "token_missing");
    check(
        &[("cookie", &bearer), ("x-authorization", &bearer), ("proxy-authorization", &bearer)],
        "anonymous",
    );
}

#[test]
fn what_nobody_configured_is_between_client_and_service() {
    let identity = identity(&[]);
    assert!(!identity.is_configured());
    let fields = [("authorization", "Bearer x"), ("authorization", "Bearer y"), ("x-api-key", "z")];
    assert_eq!(outcome(&identity.identify(&headers(&fields), at(0.0))), "anonymous");
}

#[test]
fn refusals_fit_an_error_description() {
    for refusal in
        [Unauthorized::Repeated, Unauthorized::Signature, Unauthorized::Issuer, Unauthorized::ApiKey]
    {
        let text = refusal.to_string();
        assert!(text.bytes().all(|byte| matches!(byte, 0x20..=0x21 | 0x23..=0x5b | 0x5d..=0x7e)), "{text}");
    }
    assert_eq!(Unauthorized::NoToken.error_code(), Some("invalid_request"));
    assert_eq!(Unauthorized::Expired.error_code(), Some("invalid_token"));
    assert_eq!(Unauthorized::KeysUnavailable { retry_after_us: 1 }.error_code(), None);
}

proptest! {
    #[test]
    fn any_authorization_is_refused_or_not_ours(bytes: Vec<u8>, is_bearer: bool) {
        let value = [if is_bearer { &b"Bearer "[..] } else { b"" }, &bytes].concat();
        if let Ok(value) = HeaderValue::from_bytes(&value) {
            let headers = HeaderMap::from_iter([(header::AUTHORIZATION, value)]);
            let identified = identity(&[secret()]).identify(&headers, at(0.0));
            let refused = matches!(identified, Identified::Refused(_));
            prop_assert!(refused || !is_bearer && matches!(identified, Identified::Anonymous), "{identified:?}");
        }
    }

    #[test]
    fn any_header_and_claims_end_in_an_answer(header in ".*", claims in ".*", signature: Vec<u8>) {
        let token = format!("{}.{}.{}", encode(header), encode(claims), encode(signature));
        let identified = identity(&[secret()]).identify(&bearer(&token), at(0.0));
        prop_assert!(matches!(identified, Identified::Refused(_)), "{identified:?}");
    }

    #[test]
    fn any_key_set_is_read_or_refused(body: Vec<u8>, member in "[a-z_]{1,7}", value in ".*") {
        let jwk = json!({ "kty": "RSA", "n": value, "e": "AQAB", member: value });
        let _ = crate::identity::key_set::KeySet::parse(&key_set(&[jwk]));
        let _ = crate::identity::key_set::KeySet::parse(&body);
    }
}
