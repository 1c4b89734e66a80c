//! Logins, key sets and bans, as clients and operators meet them.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Barrier};
use std::time::Duration;
use std::{fs, thread};

use serde_json::{Value, json};

use crate::common::{Gateway, Message, Upstream, Wire};

/// The password `correct horse` at the least cost there is.
const CHEAP: &str = "$argon2id$v=19$m=8,t=1,p=1$c2FsdHNhbHRzYWx0c2FsdA$";

fn policy(upstream: &Upstream) -> Value {
    let hash = tollgate::issuer::hash(b"correct horse").unwrap();
    json!({
        "routing": { "services": { "echo": { "urls": [format!("http://{}", upstream.address)], "roles": ["clerk"] } } },
        "auth": { "login": {
            "secret": "0f9a8b7c6d5e4f30".repeat(2),
            "users": [{ "username": "ada", "password_hash": hash, "roles": ["clerk"], "tier": "premium" }],
        } },
    })
}

fn post(gateway: &Gateway, path: &str, body: &Value) -> Message {
    let body = body.to_string();
    let mut wire = gateway.connect();
    wire.send(format!(
        "POST {path} HTTP/1.1\r\nhost: a\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    ));
    wire.reply()
}

fn get(gateway: &Gateway, token: &str) -> u16 {
    let mut wire = gateway.connect();
    wire.send(format!("GET /echo/ HTTP/1.1\r\nhost: a\r\nauthorization: Bearer {token}\r\n\r\n"));
    wire.reply().status()
}

fn tokens(reply: &Message) -> (String, String) {
    assert_eq!(reply.status(), 200, "{}", reply.text());
    let tokens: Value = serde_json::from_str(&reply.text()).unwrap();
    assert_eq!(tokens["token_type"], "Bearer");
    assert_eq!(tokens["expires_in"], 900);
    let text = |name: &str| tokens[name].as_str().unwrap().to_owned();
    (text("access_token"), text("refresh_token"))
}

#[test]
fn who_logs_in_is_let_in_and_refreshes_until_a_token_is_used_twice() {
    let upstream = Upstream::ok();
    let gateway = Gateway::start(policy(&upstream));
    let login = post(&gateway, "/auth/login", &json!({ "username": "ada", "password": "correct horse" }));
    assert_eq!(login.field("cache-control").as_deref(), Some("no-store"));
    let (access, refresh) = tokens(&login);
    assert_eq!(get(&gateway, &access), 200);
    let (access, rotated) = tokens(&post(&gateway, "/auth/refresh", &json!({ "refresh_token": refresh })));
    assert_eq!(get(&gateway, &access), 200);
    let replay = post(&gateway, "/auth/refresh", &json!({ "refresh_token": refresh }));
    assert_eq!(replay.status(), 401);
    let ended = post(&gateway, "/auth/refresh", &json!({ "refresh_token": rotated }));
    assert_eq!(ended.status(), 401, "a replay ends the whole family");
    let event = gateway.event("/auth/login");
    assert_eq!((&event["reason"], &event["status_code"]), (&json!("login"), &json!(200)));
}

#[test]
fn who_cannot_log_in_is_told_no_more_than_that() {
    let upstream = Upstream::ok();
    let gateway = Gateway::start(policy(&upstream));
    let wrong = post(&gateway, "/auth/login", &json!({ "username": "ada", "password": "wrong" }));
    let nobody = post(&gateway, "/auth/login", &json!({ "username": "eve", "password": "wrong" }));
    let detail = |reply: &Message| {
        let problem: Value = serde_json::from_str(&reply.text()).unwrap();
        (reply.status(), problem["detail"].clone())
    };
    assert_eq!(wrong.status(), 401);
    assert_eq!(detail(&wrong), detail(&nobody));
    assert_eq!(get(&gateway, "not.a.token"), 401);
    assert_eq!(upstream.requests().len(), 0);
}

#[test]
fn a_login_that_is_too_long_or_stops_halfway_is_refused() {
    let upstream = Upstream::ok();
    let mut rules = policy(&upstream);
    rules["server"] = json!({ "timeouts": { "idle": "500ms" } });
    let gateway = Gateway::start(rules);
    let long = post(&gateway, "/auth/login", &json!({ "username": "a".repeat(5000), "password": "" }));
    assert_eq!(long.status(), 413);
    let mut wire = gateway.connect();
    wire.send("POST /auth/login HTTP/1.1\r\nhost: a\r\ncontent-type: application/json\r\ncontent-length: 100\r\n\r\n{");
    assert_eq!(wire.reply().status(), 400);
    let mut wire = gateway.connect();
    wire.send("GET /auth/login HTTP/1.1\r\nhost: a\r\n\r\n");
    let reply = wire.reply();
    assert_eq!((reply.status(), reply.field("allow").as_deref()), (405, Some("POST")));
}

#[test]
fn a_reload_keeps_logins_and_logs_out_who_is_gone() {
    let upstream = Upstream::ok();
    let mut rules = policy(&upstream);
    let gateway = Gateway::start(rules.clone());
    let login = || post(&gateway, "/auth/login", &json!({ "username": "ada", "password": "correct horse" }));
    let (_, refresh) = tokens(&login());
    rules["auth"]["login"]["access_ttl"] = json!("15m");
    gateway.write_policy(rules.clone());
    gateway.admin("POST /admin/config/reload");
    let (_, refresh) = tokens(&post(&gateway, "/auth/refresh", &json!({ "refresh_token": refresh })));
    rules["auth"]["login"]["users"] =
        json!([{ "username": "eve", "password_hash": format!("{CHEAP}AAAAAAAAAAAAAAAAAAAAAA") }]);
    gateway.write_policy(rules);
    gateway.admin("POST /admin/config/reload");
    assert_eq!(post(&gateway, "/auth/refresh", &json!({ "refresh_token": refresh })).status(), 401);
    assert_eq!(login().status(), 401);
}

/// A token of the scenarios' RSA key, whose set is published.
const TOKEN: &str = include_str!("../../../tests/scenarios/keys/rsa.token");

#[test]
fn requests_that_wait_for_one_key_set_share_its_fetch() {
    let fetches = Arc::new(AtomicUsize::new(0));
    let (counted, set) = (fetches.clone(), fs::read_to_string("../tests/scenarios/keys/rsa.jwk").unwrap());
    let issuer = Upstream::scripted(move |wire, _| {
        wire.request();
        counted.fetch_add(1, Ordering::SeqCst);
        // Long enough for all three to ask.
        thread::sleep(Duration::from_millis(300));
        let set = format!("{{\"keys\":[{}]}}", set.trim());
        wire.send(format!(
            "HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{set}",
            set.len()
        ));
    });
    let upstream = Upstream::ok();
    let gateway = Gateway::start(json!({
        "server": { "workers": 2 },
        "routing": { "services": { "echo": { "urls": [format!("http://{}", upstream.address)] } } },
        "auth": { "jwt": { "jwks_url": format!("http://{}/keys", issuer.address), "issuer": "i" } },
    }));
    let start = Barrier::new(3);
    let statuses: Vec<u16> = thread::scope(|scope| {
        let ask = || {
            let mut wire: Wire = gateway.connect();
            start.wait();
            wire.send(format!(
                "GET /echo/ HTTP/1.1\r\nhost: a\r\nauthorization: Bearer {}\r\n\r\n",
                TOKEN.trim()
            ));
            wire.reply().status()
        };
        let asking: Vec<_> = (0..3).map(|_| scope.spawn(ask)).collect();
        asking.into_iter().map(|asked| asked.join().unwrap()).collect()
    });
    assert_eq!(statuses, [200, 200, 200]);
    assert_eq!(fetches.load(Ordering::SeqCst), 1);
}

#[test]
fn a_ban_is_listed_and_lifted() {
    let upstream = Upstream::ok();
    let gateway = Gateway::start(json!({
        "routing": { "services": { "echo": { "urls": [format!("http://{}", upstream.address)] } } },
        "security": { "rate_limit": { "ddos_protection": { "max_requests_per_ip": 2, "window": "1h", "block_duration": "1h" } } },
    }));
    let ask = || {
        let mut wire = gateway.connect();
        wire.send("GET /echo/ HTTP/1.1\r\nhost: a\r\n\r\n");
        wire.reply().status()
    };
    assert_eq!([ask(), ask(), ask(), ask()], [200, 200, 429, 429]);
    let bans = gateway.admin("GET /admin/bans");
    assert_eq!(bans["bans"][0]["address"], "127.0.0.1");
    assert_eq!(bans["bans"][0]["prefix_len"], 32);
    gateway.admin("DELETE /admin/bans/127.0.0.1");
    assert_eq!(gateway.admin("GET /admin/bans"), json!({ "bans": [] }));
    assert_eq!(ask(), 200);
}
