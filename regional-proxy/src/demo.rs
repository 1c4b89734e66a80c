//! The demo: a gateway, its admin listener and three sample services in one process.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::thread;

use anyhow::{Result, anyhow};
use axum::extract::Path;
use axum::routing::get;
use axum::{Json, Router};
use serde_json::{Value, json};

use crate::issuer::hash;
use crate::policy::PolicyFile;
use crate::process;

/// Serves until it is stopped.
pub fn run() -> Result<()> {
    let token = secret()?;
    let [users, orders, payments] = [users(), orders(), payments()].map(sample);
    let events = std::env::temp_dir().join("tollgate-demo-events");
    let policy = json!({
        "server": {
            "listen": "127.0.0.1:8080",
            "admin": { "listen": "127.0.0.1:9090", "token": token },
            // A page in the visitor's browser must not get here by a name of its own.
            "allowed_hosts": ["127.0.0.1", "localhost", "[::1]"],
        },
        "routing": { "services": {
            "user_service": with(service(users?), "public", true.into()),
            "order_service": service(orders?),
            "payment_service": with(service(payments?), "roles", json!(["admin"])),
        } },
        "auth": { "login": {
            "secret": secret()?,
            "users": [
                { "username": "demo", "password_hash": hash(b"demo")?, "tier": "premium" },
                { "username": "admin", "password_hash": hash(b"admin")?, "roles": ["admin"] },
            ],
        } },
        "rate_limit": {
            "default": { "requests": 100, "window": "1m", "burst": 20 },
            "per_user": { "premium": { "requests": 600, "window": "1m", "burst": 100 } },
        },
        "event_processing": { "enabled": true, "log": { "directory": events } },
        "monitoring": { "access_log": false, "decision_header": true },
    });
    let policy = PolicyFile::embedded(&policy.to_string(), "demo")?;
    process::run(policy, Vec::new(), |_| {
        println!(
            "Tollgate demo\n\
             \n  gateway  http://127.0.0.1:8080\
             \n             /user_service     open to all\
             \n             /order_service    for who is logged in: demo/demo (tier premium) or admin/admin\
             \n             /payment_service  for the role admin: admin/admin\
             \n  admin    http://127.0.0.1:9090   token {token}\
             \n  events   {}\n\
             \nTry:\
             \n  curl -i http://127.0.0.1:8080/user_service/users/7\
             \n  curl -s http://127.0.0.1:8080/auth/login -H 'Content-Type: application/json' -d '{{\"username\":\"demo\",\"password\":\"demo\"}}'\
             \n  curl -s -H 'Authorization: Bearer {token}' http://127.0.0.1:9090/admin/stats\n",
            events.display(),
        );
    })
}

fn service(address: SocketAddr) -> Value {
    json!({
        "urls": [format!("http://{address}")],
        "timeout": "5s",
        "retries": 1,
        "health_check": { "path": "/health", "interval": "10s", "timeout": "1s" },
        "circuit_breaker": { "failure_rate": 0.5, "minimum_calls": 20, "window": "10s", "open_for": "15s" },
    })
}

fn with(mut service: Value, key: &str, value: Value) -> Value {
    service[key] = value;
    service
}

fn users() -> Router {
    let user = |Path(id): Path<u32>| async move { Json(json!({ "id": id, "name": format!("User {id}") })) };
    let all = async || Json(json!([{ "id": 1, "name": "User 1" }, { "id": 2, "name": "User 2" }]));
    Router::new().route("/users", get(all)).route("/users/{id}", get(user))
}

fn orders() -> Router {
    let all = async || Json(json!([{ "id": 11, "user": 1, "total_cents": 4200 }]));
    Router::new().route("/orders", get(all))
}

fn payments() -> Router {
    let all = async || Json(json!([{ "id": 21, "order": 11, "state": "captured" }]));
    Router::new().route("/payments", get(all))
}

/// Starts a service on a free port of this machine.
fn sample(router: Router) -> Result<SocketAddr> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
        .map_err(|error| anyhow!("cannot start a sample service: {error}"))?;
    listener.set_nonblocking(true)?;
    let address = listener.local_addr()?;
    let router = router.route("/health", get(async || Json(json!({ "status": "ok" }))));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    thread::Builder::new().name("sample".to_owned()).spawn(move || {
        runtime.block_on(async move {
            let listener = tokio::net::TcpListener::from_std(listener)?;
            axum::serve(listener, router).await
        })
    })?;
    Ok(address)
}

/// 256 bits, good for this start of the demo only.
fn secret() -> Result<String> {
    let mut bytes = [0; 32];
    getrandom::fill(&mut bytes)
        .map_err(|error| anyhow!("the operating system gives no random bytes: {error}"))?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}
