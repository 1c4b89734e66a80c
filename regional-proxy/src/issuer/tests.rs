use argon2::{Argon2, Params, PasswordHasher};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::{Method, StatusCode};
use ring::hmac;
use serde_json::{Value, json};
use std::time::Duration;

use super::*;

const SECRET: &[u8] = b"a secret of at least thirty-two bytes";
const CLIENT: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 1));
const ADA: &str = r#"{"username":"ada","password":"ada's password"}"#;

/// At the least cost there is; what it costs is not what these tests are about.
fn cheap(password: &str) -> String {
    let argon2 = Argon2::from(Params::new(8, 1, 1, None).unwrap());
    argon2.hash_password(password.as_bytes()).unwrap().to_string()
}

fn user(username: &str) -> LoginUser {
    LoginUser {
        username: username.to_owned(),
        password_hash: cheap(&format!("{username}'s password")),
        tier: None,
        tenant: None,
        roles: Vec::new(),
        scopes: Vec::new(),
    }
}

fn rules(users: Vec<LoginUser>) -> config::Login {
    config::Login {
        secret: SECRET.to_vec(),
        issuer: "https://gateway.example".to_owned(),
        audience: "services".to_owned(),
        access_ttl: Duration::from_secs(900),
        refresh_ttl: Duration::from_secs(3600),
        users,
    }
}

fn issuer() -> Issuer {
    Issuer::new(&rules(vec![user("ada"), user("bob")])).unwrap()
}

struct Answer {
    status: StatusCode,
    headers: HeaderMap,
    body: Value,
}

async fn ask(issuer: &Issuer, request: http::request::Builder, body: &str, client: IpAddr) -> Answer {
    let (head, ()) = request.body(()).unwrap().into_parts();
    let (head, body) = issuer.answer(head, Bytes::from(body.to_owned()), client).await.into_parts();
    assert_eq!(head.headers[header::CACHE_CONTROL], "no-store");
    let body = serde_json::from_slice(&body).unwrap_or_default();
    Answer { status: head.status, headers: head.headers, body }
}

async fn post(issuer: &Issuer, path: &str, body: &str) -> Answer {
    post_from(issuer, path, body, CLIENT).await
}

async fn post_from(issuer: &Issuer, path: &str, body: &str, client: IpAddr) -> Answer {
    let request = Request::post(path).header(header::CONTENT_TYPE, "application/json");
    ask(issuer, request, body, client).await
}

async fn log_in(issuer: &Issuer, body: &str) -> Answer {
    post(issuer, "/auth/login", body).await
}

async fn refresh(issuer: &Issuer, token: &str) -> Answer {
    post(issuer, "/auth/refresh", &json!({ "refresh_token": token }).to_string()).await
}

impl Answer {
    fn refresh_token(&self) -> &str {
        assert_eq!(self.status, StatusCode::OK, "{}", self.body);
        self.body["refresh_token"].as_str().unwrap()
    }

    fn access_token(&self) -> &str {
        self.body["access_token"].as_str().unwrap()
    }

    fn is_problem(&self, status: StatusCode, kind: &str, detail: &str) {
        let title = status.canonical_reason().unwrap();
        let problem = json!({ "type": kind, "title": title, "status": status.as_u16(), "detail": detail });
        assert_eq!(self.body, problem);
        assert_eq!(self.status, status);
        assert_eq!(self.headers[header::CONTENT_TYPE], "application/problem+json");
    }
}

/// Header and claims of a token whose signature is right.
fn parts(token: &str) -> (Value, Value) {
    let (message, signature) = token.rsplit_once('.').unwrap();
    let signature = URL_SAFE_NO_PAD.decode(signature).unwrap();
    hmac::verify(&hmac::Key::new(hmac::HMAC_SHA256, SECRET), message.as_bytes(), &signature).unwrap();
    let json = |part: &str| serde_json::from_slice(&URL_SAFE_NO_PAD.decode(part).unwrap()).unwrap();
    let (header, claims) = message.split_once('.').unwrap();
    (json(header), json(claims))
}

#[tokio::test]
async fn a_login_brings_tokens_with_what_the_user_may() {
    let rich = LoginUser {
        tier: Some("premium".to_owned()),
        tenant: Some("acme".to_owned()),
        roles: vec!["admin".to_owned(), "auditor".to_owned()],
        scopes: vec!["orders:read".to_owned(), "orders:write".to_owned()],
        ..user("ada")
    };
    let issuer = Issuer::new(&rules(vec![rich])).unwrap();
    let before_s = now().wall_us / 1_000_000;
    let answer = log_in(&issuer, ADA).await;
    assert_eq!(answer.status, StatusCode::OK);
    assert_eq!(answer.headers[header::CONTENT_TYPE], "application/json");
    let mut members: Vec<_> = answer.body.as_object().unwrap().keys().map(String::as_str).collect();
    members.sort_unstable();
    assert_eq!(members, ["access_token", "expires_in", "refresh_token", "token_type"]);
    assert_eq!((&answer.body["token_type"], &answer.body["expires_in"]), (&json!("Bearer"), &json!(900)));
    let (header, mut claims) = parts(answer.access_token());
    assert_eq!(header, json!({ "typ": "JWT", "alg": "HS256" }));
    let (issued_s, id) = (claims["iat"].as_u64().unwrap(), claims["jti"].take());
    assert!((before_s..=before_s + 5).contains(&issued_s));
    assert_eq!(id.as_str().map(str::len), Some(22));
    let expected = json!({
        "iss": "https://gateway.example", "aud": "services", "sub": "ada", "jti": null,
        "iat": issued_s, "nbf": issued_s, "exp": issued_s + 900,
        "roles": ["admin", "auditor"], "scope": "orders:read orders:write", "tier": "premium", "tenant": "acme",
    });
    assert_eq!(claims, expected);
}

#[tokio::test]
async fn a_user_without_tier_and_tenant_has_no_such_claim() {
    let answer = log_in(&issuer(), ADA).await;
    let (_, claims) = parts(answer.access_token());
    assert_eq!((claims.get("tier"), claims.get("tenant")), (None, None));
    assert_eq!((&claims["roles"], &claims["scope"]), (&json!([]), &json!("")));
}

#[tokio::test]
async fn two_logins_have_two_token_ids() {
    let issuer = issuer();
    let [first, second] = [log_in(&issuer, ADA).await, log_in(&issuer, ADA).await];
    assert_ne!(parts(first.access_token()).1["jti"], parts(second.access_token()).1["jti"]);
}

#[tokio::test]
async fn a_wrong_password_and_an_unknown_name_are_told_the_same() {
    for body in [
        r#"{"username":"ada","password":"bob's password"}"#,
        r#"{"username":"eve","password":"eve's password"}"#,
        // The decoy's own password.
        r#"{"username":"eve","password":"ada's password"}"#,
        r#"{"username":"eve","password":"bob's password"}"#,
        r#"{"username":"","password":""}"#,
        r#"{"username":"Ada","password":"ada's password"}"#,
    ] {
        let answer = log_in(&issuer(), body).await;
        let detail = "The user name or the password is wrong.";
        answer.is_problem(StatusCode::UNAUTHORIZED, "about:blank", detail);
        assert_eq!(answer.headers[header::WWW_AUTHENTICATE], "Bearer");
    }
}

#[tokio::test]
async fn a_refresh_brings_new_tokens_of_the_same_user() {
    let issuer = issuer();
    let first = log_in(&issuer, ADA).await;
    let second = refresh(&issuer, first.refresh_token()).await;
    assert_ne!(second.refresh_token(), first.refresh_token());
    assert_eq!((&second.body["token_type"], &second.body["expires_in"]), (&json!("Bearer"), &json!(900)));
    assert_eq!(parts(second.access_token()).1["sub"], "ada");
}

#[tokio::test]
async fn a_replayed_refresh_token_ends_what_came_of_it() {
    let issuer = issuer();
    let first = log_in(&issuer, ADA).await;
    let second = refresh(&issuer, first.refresh_token()).await;
    for token in [first.refresh_token(), second.refresh_token(), "neither"] {
        let answer = refresh(&issuer, token).await;
        let detail = "The refresh token is not good any more; log in again.";
        answer.is_problem(StatusCode::UNAUTHORIZED, "about:blank", detail);
        assert_eq!(answer.headers[header::WWW_AUTHENTICATE], "Bearer");
    }
}

#[tokio::test]
async fn a_body_that_is_not_what_is_asked_for_is_malformed() {
    let issuer = issuer();
    for body in [
        "",
        "{",
        "null",
        r#"["ada","ada's password"]"#,
        r#"{"username":"ada"}"#,
        r#"{"username":"ada","password":1}"#,
        r#"{"username":"ada","username":"ada","password":"ada's password"}"#,
        r#"{"username":"ada","password":"ada's password"} "#.repeat(2).as_str(),
        "{\"username\":\"ada\",\"password\":\"\u{0}\"}",
    ] {
        let detail = "The body is not a JSON object with the strings `username` and `password`.";
        log_in(&issuer, body).await.is_problem(StatusCode::BAD_REQUEST, "about:blank", detail);
    }
    let detail = "The body is not a JSON object with the string `refresh_token`.";
    post(&issuer, "/auth/refresh", "{}").await.is_problem(StatusCode::BAD_REQUEST, "about:blank", detail);
}

#[tokio::test]
async fn a_body_says_that_it_is_json() {
    let issuer = issuer();
    for kind in
        [None, Some("text/plain"), Some("application/x-www-form-urlencoded"), Some("application/jsonp")]
    {
        let request = kind
            .into_iter()
            .fold(Request::post("/auth/login"), |request, kind| request.header(header::CONTENT_TYPE, kind));
        let detail = "The body is JSON, and Content-Type says so: application/json.";
        let answer = ask(&issuer, request, ADA, CLIENT).await;
        answer.is_problem(StatusCode::UNSUPPORTED_MEDIA_TYPE, "about:blank", detail);
    }
    for kind in ["application/json; charset=utf-8", "Application/JSON"] {
        let request = Request::post("/auth/login").header(header::CONTENT_TYPE, kind);
        assert_eq!(ask(&issuer, request, ADA, CLIENT).await.status, StatusCode::OK);
    }
}

#[tokio::test]
async fn a_body_of_4096_bytes_is_read_and_no_longer_one() {
    let issuer = issuer();
    let padded = |bytes: usize| format!("{ADA:<bytes$}");
    assert_eq!(log_in(&issuer, &padded(4096)).await.status, StatusCode::OK);
    let detail = "The body is longer than 4096 bytes.";
    log_in(&issuer, &padded(4097)).await.is_problem(StatusCode::PAYLOAD_TOO_LARGE, "about:blank", detail);
}

#[tokio::test]
async fn there_are_two_resources_and_one_method() {
    let issuer = issuer();
    for path in ["/auth/login", "/auth/refresh"] {
        for method in [Method::GET, Method::PUT, Method::DELETE, Method::OPTIONS] {
            let answer = ask(&issuer, Request::builder().method(method).uri(path), "", CLIENT).await;
            let detail = "Tokens are asked for with POST.";
            answer.is_problem(StatusCode::METHOD_NOT_ALLOWED, "about:blank", detail);
            let allow: Vec<_> = answer.headers.get_all(header::ALLOW).iter().collect();
            assert_eq!(allow, ["POST"]);
        }
    }
    for path in ["/auth", "/auth/", "/auth/login/", "/auth/logout", "/"] {
        let detail = "Nothing is here but /auth/login and /auth/refresh.";
        post(&issuer, path, ADA).await.is_problem(StatusCode::NOT_FOUND, "about:blank", detail);
    }
}

#[tokio::test]
async fn guessing_is_told_to_wait_even_when_the_guess_is_right() {
    const ABNORMAL: &str = "https://iana.org/assignments/http-problem-types#abnormal-usage-detected";
    let issuer = issuer();
    let from = |last: u8| IpAddr::from([198, 51, 100, last]);
    for last in 0..10 {
        let body = r#"{"username":"ada","password":"a guess"}"#;
        let answer = post_from(&issuer, "/auth/login", body, from(last)).await;
        assert_eq!(answer.status, StatusCode::UNAUTHORIZED);
    }
    let answer = post_from(&issuer, "/auth/login", ADA, from(10)).await;
    let detail = "Too many attempts failed for this user name or from this address.";
    answer.is_problem(StatusCode::TOO_MANY_REQUESTS, ABNORMAL, detail);
    let wait_s: u64 = answer.headers[header::RETRY_AFTER].to_str().unwrap().parse().unwrap();
    assert!((55..=60).contains(&wait_s), "{wait_s}");
    // Another user is not meant.
    let bob = r#"{"username":"bob","password":"bob's password"}"#;
    assert_eq!(post_from(&issuer, "/auth/login", bob, from(0)).await.status, StatusCode::OK);
}

#[tokio::test]
async fn right_passwords_are_not_counted() {
    let issuer = issuer();
    for _ in 0..40 {
        assert_eq!(log_in(&issuer, ADA).await.status, StatusCode::OK);
    }
}

#[tokio::test]
async fn logins_beyond_the_places_are_told_to_come_back() {
    let issuer = issuer();
    let taken: Vec<_> = std::iter::from_fn(|| issuer.desk.state.verifying.place()).collect();
    assert!(taken.len() > 64);
    let answer = log_in(&issuer, ADA).await;
    let kind = "https://iana.org/assignments/http-problem-types#temporary-reduced-capacity";
    answer.is_problem(StatusCode::SERVICE_UNAVAILABLE, kind, "Too many log in at once.");
    assert_eq!(answer.headers[header::RETRY_AFTER], "2");
    drop(taken);
    assert_eq!(log_in(&issuer, ADA).await.status, StatusCode::OK);
}

#[tokio::test]
async fn a_reload_keeps_logins_and_failures() {
    let users = vec![user("ada"), user("bob")];
    let first = Issuer::new(&rules(users.clone())).unwrap();
    let login = log_in(&first, ADA).await;
    for _ in 0..10 {
        log_in(&first, r#"{"username":"bob","password":"a guess"}"#).await;
    }
    let mut changed = users;
    changed[0].roles = vec!["admin".to_owned()];
    let second = Issuer::taking_over(&rules(changed), &first).unwrap();
    let refreshed = refresh(&second, login.refresh_token()).await;
    assert_eq!(refreshed.status, StatusCode::OK);
    // The roles are those of now.
    assert_eq!(parts(refreshed.access_token()).1["roles"], json!(["admin"]));
    let bob = log_in(&second, r#"{"username":"bob","password":"bob's password"}"#).await;
    assert_eq!(bob.status, StatusCode::TOO_MANY_REQUESTS);
}

#[tokio::test]
async fn a_reload_logs_out_who_is_gone_or_has_a_new_password() {
    for users in [vec![user("bob")], vec![user("ada"), user("bob")]] {
        let first = issuer();
        let login = log_in(&first, ADA).await;
        // Both hashes of the second case are of the same passwords with other salts: a new hash is a new password.
        let second = Issuer::taking_over(&rules(users), &first).unwrap();
        assert_eq!(refresh(&second, login.refresh_token()).await.status, StatusCode::UNAUTHORIZED);
    }
}

#[test]
fn a_hash_that_does_not_parse_is_an_error_that_names_its_user() {
    let broken =
        LoginUser { password_hash: "$argon2id$v=19$m=8,t=1,p=1$c29tZXNhbHQ".to_owned(), ..user("bob") };
    let error = Issuer::new(&rules(vec![user("ada"), broken])).err().map(|error| error.to_string());
    let expected = "auth.login.users: the password_hash of `bob` cannot be used: its version, salt, hash or parameters are \
                    missing or out of range; `tollgate hash-password` makes one";
    assert_eq!(error.as_deref(), Some(expected));
}

#[test]
fn the_decoy_is_the_dearest_hash() {
    let dear = Argon2::from(Params::new(16, 2, 1, None).unwrap()).hash_password(b"x").unwrap().to_string();
    let dear = LoginUser { password_hash: dear, ..user("bob") };
    let issuer = Issuer::new(&rules(vec![user("ada"), dear, user("eve")])).unwrap();
    assert_eq!(issuer.desk.decoy.cost, 32);
}

/// The data path answers on any of its threads.
#[test]
fn an_issuer_is_shared_between_threads() {
    fn shared<T: Send + Sync>(_: &T) {}
    let issuer = issuer();
    shared(&issuer);
    let threads: Vec<_> = (0..4)
        .map(|_| {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            let issuer = &issuer;
            move || runtime.block_on(log_in(issuer, ADA)).status
        })
        .collect();
    std::thread::scope(|scope| {
        let running: Vec<_> = threads.into_iter().map(|thread| scope.spawn(thread)).collect();
        running.into_iter().for_each(|thread| assert_eq!(thread.join().unwrap(), StatusCode::OK));
    });
}
