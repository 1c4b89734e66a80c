//! The demo: a gateway, its admin listener and three sample services in one process.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::thread;

use anyhow::{Result, anyhow};
use axum::extract::Path;
use axum::routing::get;
use axum::{Json, Router};
use serde_json::{Value, json};

use crate::policy::PolicyFile;
use crate::process;

/// Serves until it is stopped.
pub fn run() -> Result<()> {
    let token = admin_token();
    let [users, orders, payments] = [users(), orders(), payments()].map(sample);
    let events = std::env::temp_dir().join("tollgate-demo-events");
    let policy = json!({
        "server": {
            "listen": "127.0.0.1:8080",
            "admin": { "listen": "127.0.0.1:9090", "token": token },
        },
        "routing": { "services": {
            "user_service": service(users?),
            "order_service": service(orders?),
            "payment_service": service(payments?),
        } },
        "event_processing": { "enabled": true, "log": { "directory": events } },
        "monitoring": { "access_log": false },
    });
    let policy = PolicyFile::embedded(&policy.to_string(), "demo")?;
    process::run(policy, |_| {
        println!(
            "Tollgate demo\n\
             \n  gateway  http://127.0.0.1:8080   /user_service /order_service /payment_service\
             \n  admin    http://127.0.0.1:9090   token {token}\
             \n  events   {}\n\
             \nTry:\
             \n  curl -i http://127.0.0.1:8080/user_service/users/7\
             \n  curl -i http://127.0.0.1:8080/order_service/orders\
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

/// Good for this start of the demo only: 128 bits from the operating system, through `RandomState`'s keys.
fn admin_token() -> String {
    use std::hash::{BuildHasher, RandomState};
    format!("{:016x}{:016x}", RandomState::new().hash_one(0), RandomState::new().hash_one(1))
}
