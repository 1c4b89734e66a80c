//! What is known of a caller.

use sha2::{Digest, Sha256};

use super::*;
use crate::config::{ApiKey, Login};
use crate::identity::Caller;

fn known(identity: &Identity, fields: &[(&'static str, &str)]) -> Caller {
    match conclude(identity, identity.identify(&headers(fields), at(0.0)), at(0.0)) {
        Identified::Known(caller) => caller,
        other => panic!("{other:?}"),
    }
}

fn strings(items: &[&str]) -> Vec<String> {
    items.iter().map(|item| item.to_string()).collect()
}

fn api_key(id: &str, key: &str) -> ApiKey {
    ApiKey {
        id: id.into(),
        sha256: Sha256::digest(key).into(),
        tier: Some("gold".into()),
        tenant: None,
        roles: strings(&["batch"]),
        scopes: strings(&["read"]),
    }
}

#[test]
fn an_api_key_is_known_by_its_hash() {
    let auth = Auth { api_keys: vec![api_key("one", "k1"), api_key("two", "k2")], ..Auth::default() };
    let identity = Identity::new(&auth, None);
    assert!(identity.is_configured());
    let check = |fields: &[(&'static str, &str)], expected: &str| {
        assert_eq!(outcome(&identity.identify(&headers(fields), at(0.0))), expected, "{fields:?}");
    };
    check(&[("x-api-key", "k1")], "known one");
    check(&[("x-api-key", "k2"), ("authorization", "Bearer x")], "known two");
    for other in ["k3", "", "K1", "k1 k2"] {
        check(&[("x-api-key", other)], "api_key_unknown");
    }
    check(&[("x-api-key", "k1"), ("x-api-key", "k1")], "credential_repeated");
    check(&[("x-api-key", &"k".repeat(1025))], "api_key_unknown");
    check(&[], "anonymous");
    let mut near = api_key("near", "k1");
    near.sha256[31] ^= 1;
    let identity = Identity::new(&Auth { api_keys: vec![near], ..Auth::default() }, None);
    assert_eq!(outcome(&identity.identify(&headers(&[("x-api-key", "k1")]), at(0.0))), "api_key_unknown");
}

#[test]
fn a_key_and_a_token_add_up() {
    let auth = Auth { jwt: vec![secret()], api_keys: vec![api_key("one", "k1")], ..Auth::default() };
    let identity = Identity::new(&auth, None);
    let token = token(json!({ "sub": "ann", "exp": NOON + 10, "roles": ["user"], "scope": "write list",
                              "tier": "free", "tenant": "acme" }));
    let bearer = format!("Bearer {token}");
    let caller = known(&identity, &[("x-api-key", "k1"), ("authorization", &bearer)]);
    assert_eq!(
        [caller.subject(), caller.user(), caller.key_id(), caller.tier(), caller.tenant()],
        [Some("one"), Some("ann"), Some("one"), Some("gold"), Some("acme")]
    );
    assert!(caller.has_any_role(&strings(&["admin", "user"])) && caller.has_any_role(&strings(&["batch"])));
    assert!(!caller.has_any_role(&strings(&["admin"])) && !caller.has_any_role(&[]));
    assert!(caller.has_scopes(&strings(&["read", "write", "list"])) && caller.has_scopes(&[]));
    assert!(!caller.has_scopes(&strings(&["read", "delete"])));
    let wrong = format!("{bearer}x");
    let refused = identity.identify(&headers(&[("x-api-key", "k1"), ("authorization", &wrong)]), at(0.0));
    assert_eq!(outcome(&refused), "token_signature");
    let user = known(&identity, &[("authorization", &bearer)]);
    assert_eq!([user.subject(), user.key_id(), user.tier()], [Some("ann"), None, Some("free")]);
}

#[test]
fn roles_are_found_by_name_before_path() {
    let check = |name: &str, claims: Value, expected: &[&str]| {
        let mut rules = secret();
        rules.roles_claim = name.into();
        let mut claims = claims;
        claims["exp"] = json!(NOON + 10);
        let caller = known(&identity(&[rules]), &[("authorization", &format!("Bearer {}", token(claims)))]);
        assert_eq!(caller.token.unwrap().roles(), expected, "{name}");
    };
    check("roles", json!({ "roles": ["a", 7, "", "b c"] }), &["a", "b c"]);
    check("roles", json!({ "roles": "a, b c,d" }), &["a", "b", "c", "d"]);
    check("realm_access.roles", json!({ "realm_access": { "roles": ["a"] } }), &["a"]);
    check("https://x.example/roles", json!({ "https://x.example/roles": ["a"] }), &["a"]);
    check("a.b", json!({ "a": { "b": "nested" }, "a.b": "literal" }), &["literal"]);
    for absent in
        [json!({}), json!({ "a": 1 }), json!({ "a": { "b": { "c": 1 } } }), json!({ "a": [{ "b": "x" }] })]
    {
        check("a.b", absent, &[]);
    }
}

#[test]
fn claims_are_forwarded_where_they_can_be_read_back() {
    let mut rules = secret();
    let name = |name: &'static str| header::HeaderName::from_static(name);
    for claim in ["sub", "org.id", "groups", "commas", "object", "lines", "absent"] {
        rules.forward_claims.push((claim.into(), name("x-claim")));
    }
    let token =
        token(json!({ "exp": NOON + 10, "sub": "zoë", "org": { "id": 42 }, "groups": ["a", "b", true],
        "commas": ["a,b"], "object": {}, "lines": "a\r\nx-admin: 1" }));
    let caller = known(&identity(&[rules]), &[("authorization", &format!("Bearer {token}"))]);
    let values: Vec<&[u8]> = caller.forwarded().iter().map(|(_, value)| value.as_bytes()).collect();
    assert_eq!(values, ["zoë".as_bytes(), b"42", b"a,b,true"]);
}

#[test]
fn the_gateways_own_tokens_are_accepted_and_its_refresh_tokens_are_not() {
    let login = Login {
        secret: SECRET.to_vec(),
        issuer: "tollgate".into(),
        audience: "tollgate".into(),
        access_ttl: Duration::from_secs(900),
        refresh_ttl: Duration::from_secs(9000),
        users: Vec::new(),
    };
    let identity = Identity::new(&Auth { login: Some(login), ..Auth::default() }, None);
    let claims = json!({ "iss": "tollgate", "aud": "tollgate", "sub": "ann", "exp": NOON + 10 });
    check(&identity, &token(claims.clone()), at(0.0), "known ann");
    check(&identity, &hs256(r#"{"alg":"HS256","typ":"rt+jwt"}"#, claims.to_string()), at(0.0), "token_type");
}
