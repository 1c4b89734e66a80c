//! Times, audiences, issuers and revocation.

use super::*;

const MICRO: f64 = 1e-6;

fn check(rules: JwtProvider, claims: Value, seconds: f64, expected: &str) {
    super::check(&identity(&[rules]), &token(claims), at(seconds), expected);
}

#[test]
fn exp_and_nbf_hold_to_the_microsecond() {
    let mut lenient = secret();
    lenient.leeway = Duration::from_secs(30);
    let exp = json!({ "sub": "ann", "exp": NOON + 10 });
    check(secret(), exp.clone(), 10.0 - MICRO, "known ann");
    check(secret(), exp.clone(), 10.0, "token_expired");
    check(lenient.clone(), exp.clone(), 40.0 - MICRO, "known ann");
    check(lenient.clone(), exp, 40.0, "token_expired");
    let nbf = json!({ "sub": "ann", "exp": NOON + 1000, "nbf": NOON + 100 });
    check(secret(), nbf.clone(), 100.0 - MICRO, "token_not_yet_valid");
    check(secret(), nbf.clone(), 100.0, "known ann");
    check(lenient.clone(), nbf.clone(), 70.0 - MICRO, "token_not_yet_valid");
    check(lenient, nbf, 70.0, "known ann");
    let fraction = json!({ "sub": "ann", "exp": NOON as f64 + 0.5 });
    check(secret(), fraction.clone(), 0.5 - MICRO, "known ann");
    check(secret(), fraction, 0.5, "token_expired");
}

#[test]
fn a_cached_token_is_held_to_its_times() {
    let identity = identity(&[secret()]);
    let token = token(json!({ "sub": "ann", "exp": NOON + 10, "nbf": NOON }));
    super::check(&identity, &token, at(1.0), "known ann");
    let cached = |seconds| outcome(&identity.identify(&bearer(&token), at(seconds)));
    assert_eq!(cached(10.0 - MICRO), "known ann");
    assert_eq!(cached(10.0), "token_expired");
    // What was dropped is verified again, should the clock step back.
    assert_eq!(cached(5.0), "unsigned");
}

#[test]
fn odd_dates_are_edges_or_refused() {
    let check = |claims: &str, expected: &str| {
        super::check(&identity(&[secret()]), &hs256(r#"{"alg":"HS256"}"#, claims), at(0.0), expected);
    };
    check(r#"{"sub":"ann","exp":1e300}"#, "known ann");
    check(r#"{"sub":"ann","exp":18446744073709551615}"#, "known ann");
    check(r#"{"sub":"ann","exp":99999999999999999999999}"#, "known ann");
    check(r#"{"sub":"ann","exp":1e300,"nbf":-1e300,"iat":1e300}"#, "known ann");
    check(r#"{"sub":"ann","exp":1e300,"nbf":1e300}"#, "token_not_yet_valid");
    check(r#"{"exp":-1}"#, "token_expired");
    check(r#"{"exp":0}"#, "token_expired");
    for exp in ["null", "\"1900000000\"", "[1900000000]", "true", "{}"] {
        check(&format!(r#"{{"exp":{exp}}}"#), "token_claims");
        check(&format!(r#"{{"exp":1900000000,"nbf":{exp}}}"#), "token_claims");
        check(&format!(r#"{{"exp":1900000000,"iat":{exp}}}"#), "token_claims");
    }
    check("{}", "token_claims");
    check(r#"{"exp":NaN}"#, "token_malformed");
    check(r#"{"exp":1e999}"#, "token_malformed");
}

#[test]
fn the_audience_is_one_of_those_configured() {
    let mut rules = secret();
    rules.audience = vec!["api".into(), "other".into()];
    let with = |aud: Value| json!({ "sub": "ann", "exp": NOON + 10, "aud": aud });
    for accepted in [json!("api"), json!(["x", "other"])] {
        check(rules.clone(), with(accepted), 0.0, "known ann");
    }
    for other in [json!("x"), json!("API"), json!(["x"]), json!([]), json!("api other")] {
        check(rules.clone(), with(other), 0.0, "token_audience");
    }
    for malformed in [json!(7), json!(null), json!({ "api": 1 }), json!(["api", 7])] {
        check(rules.clone(), with(malformed.clone()), 0.0, "token_claims");
        check(secret(), with(malformed), 0.0, "token_claims");
    }
    check(rules, expiring(10), 0.0, "token_audience");
    check(secret(), with(json!("x")), 0.0, "known ann");
}

#[test]
fn the_issuer_chooses_the_provider() {
    let named = |issuer: &str, source| JwtProvider { issuer: Some(issuer.into()), ..provider(source) };
    let other = KeySource::Secret(vec![7; 32]);
    let identity = identity(&[named("a", KeySource::Secret(SECRET.to_vec())), named("b", other)]);
    let with = |issuer: Value| token(json!({ "sub": "ann", "exp": NOON + 10, "iss": issuer }));
    super::check(&identity, &with(json!("a")), at(0.0), "known ann");
    super::check(&identity, &with(json!("b")), at(0.0), "token_signature");
    super::check(&identity, &with(json!("c")), at(0.0), "token_issuer");
    super::check(&identity, &with(json!("a/")), at(0.0), "token_issuer");
    super::check(&identity, &with(json!(["a"])), at(0.0), "token_claims");
    super::check(&identity, &with(json!(null)), at(0.0), "token_claims");
    super::check(&identity, &token(expiring(10)), at(0.0), "token_issuer");
    check(secret(), json!({ "sub": "ann", "exp": NOON + 10, "iss": "whoever" }), 0.0, "known ann");
}

#[test]
fn revoked_tokens_and_subjects_are_refused() {
    let auth = Auth {
        jwt: vec![secret()],
        denied_token_ids: vec!["t1".into()],
        denied_subjects: vec!["eve".into()],
        ..Auth::default()
    };
    let open = identity(&[secret()]);
    let closed = Identity::new(&auth, Some(&open));
    let with = |sub: Value, jti: Value| token(json!({ "exp": NOON + 10, "sub": sub, "jti": jti }));
    let (eve, stolen) = (with(json!("eve"), json!("t2")), with(json!("ann"), json!("t1")));
    for (token, subject) in [(&eve, "known eve"), (&stolen, "known ann")] {
        super::check(&open, token, at(0.0), subject);
        assert_eq!(outcome(&open.identify(&bearer(token), at(0.0))), subject, "is cached");
        super::check(&closed, token, at(0.0), "token_revoked");
    }
    super::check(&closed, &with(json!("ann"), json!("t2")), at(0.0), "known ann");
    super::check(&closed, &with(json!(7), json!("t2")), at(0.0), "token_claims");
    super::check(&closed, &with(json!("ann"), json!(1)), at(0.0), "token_claims");
}
