//! The proof of core's boundary: the exchanges that end in an unusual place, on every adapter that there is a build
//! of. `TOLLGATE_BIN` names the proxy, `TOLLGATE_WORKER` and `TOLLGATE_WORKERD` the Worker and its runtime,
//! `TOLLGATE_COMPONENT` and `TOLLGATE_WASMTIME` the component and its (`tests/run boundary` builds them and sets these).

mod upstream;

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use futures_util::future::try_join3;
use futures_util::{SinkExt, StreamExt};
use libtest_mimic::{Arguments, Failed, Trial};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};
use tokio_tungstenite::tungstenite::Message;
use tollgate_tests::gateway::{Adapter, Gateway, PATIENCE};
use upstream::Upstream;

/// Good for the key that the upstream publishes.
const TOKEN: &str = include_str!("../scenarios/keys/rsa.token");

/// A host of `wasi:http` does not say that a client left before there is an answer, upgrades nothing, and may give each of
/// three requests an instance of its own.
const NOT_ON_SPIN: [&str; 3] = [
    "a cancelled half-open probe gives its place back",
    "a WebSocket goes through",
    "three concurrent requests that need one key set share its fetch",
];

fn main() -> Result<()> {
    let arguments = Arguments::from_args();
    let mut trials = Vec::new();
    for adapter in Adapter::all()? {
        let mut trial = |name: &str, story: fn(Adapter) -> Result<()>| {
            let lacks = matches!(adapter, Adapter::Spin(_)) && NOT_ON_SPIN.contains(&name);
            let (name, adapter) = (format!("{}: {name}", adapter.name()), adapter.clone());
            let run = move || story(adapter).map_err(|error| Failed::from(format!("{error:#}")));
            trials.push(Trial::test(name, run).with_ignored_flag(lacks));
        };
        trial("a cancelled half-open probe gives its place back", |adapter| run(cancelled_probe(adapter)));
        trial("a streamed PUT meets an upstream that refuses it", |adapter| run(refused_put(adapter)));
        trial("an upstream that dies in mid-body opens the breaker", |adapter| run(dead_in_body(adapter)));
        trial("a WebSocket goes through", |adapter| run(websocket(adapter)));
        trial("three concurrent requests that need one key set share its fetch", |adapter| {
            run(shared_key_set(adapter))
        });
        trial("two limits are answered by a store", |adapter| run(shared_limits(adapter)));
        trial("health checks run in the background", |adapter| run(background(adapter)));
        trial("a client that leaves ends the upstream's answer", |adapter| run(client_leaves(adapter)));
    }
    libtest_mimic::run(&arguments, trials).exit();
}

fn run(story: impl Future<Output = Result<()>>) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
    runtime.block_on(story)
}

async fn cancelled_probe(adapter: Adapter) -> Result<()> {
    let mut upstream = Upstream::start().await?;
    let breaker =
        json!({ "failure_rate": 0.5, "minimum_calls": 2, "window": "10s", "open_for": "1s", "probes": 1 });
    let services = json!({ "s": { "urls": [upstream.url()], "circuit_breaker": breaker } });
    let mut gateway = adapter.start(services).await?;
    for _ in 0..2 {
        expect(&mut gateway, "/s/fail", 500, "", json!({ "status_code": 500, "reason": "forwarded" }))
            .await?;
    }
    let refused = get(&gateway, "/s/ok").await?;
    ensure!(refused.status == 503, "the breaker is closed: {}", refused.status);
    event(&mut gateway, json!({ "status_code": 503, "reason": "circuit_open", "attempts": 0 })).await?;
    sleep(Duration::from_millis(1_100)).await;
    let mut probe = TcpStream::connect(gateway.listen).await?;
    probe.write_all(b"GET /s/hang HTTP/1.1\r\nhost: a.example\r\n\r\n").await?;
    while upstream.next().await? != "GET /hang" {}
    // A reset: to workerd, an end of the client's stream alone is no more than the end of what it sends.
    probe.set_zero_linger()?;
    drop(probe);
    event(&mut gateway, json!({ "status_code": 499, "end": "aborted", "attempts": 1, "bytes": 0 })).await?;
    for _ in 0..2 {
        expect(&mut gateway, "/s/ok", 200, "ok", json!({ "status_code": 200, "bytes": 2 })).await?;
    }
    Ok(())
}

async fn shared_limits(adapter: Adapter) -> Result<()> {
    let upstream = Upstream::start().await?;
    let services = json!({ "s": { "urls": [upstream.url()] } });
    let limits = json!({
        "store": { "nodes": 1 },
        "default": { "requests": 9, "window": "1h", "algorithm": "sliding_window_log" },
        "per_service": { "s": { "requests": 2, "window": "1h", "algorithm": "distributed", "root": "fixed_window" } },
    });
    let (mut gateway, _store) = adapter.start_sharing(services, limits).await?;
    let said = |default: &str, s: &str| json!({ "limits": { "default": default, "s": s } });
    for _ in 0..2 {
        expect(&mut gateway, "/s/ok", 200, "ok", said("admitted", "admitted")).await?;
    }
    let refused = get(&gateway, "/s/ok").await?;
    ensure!(refused.status == 429, "status {}", refused.status);
    event(&mut gateway, said("spared", "refused")).await
}

/// Only who connects for itself knows that nothing was sent; `fetch` does not tell, and a host of `wasi:http` reads ahead
/// in a body before it connects, so there the body counts as gone.
async fn refused_put(adapter: Adapter) -> Result<()> {
    let mut upstream = Upstream::start().await?;
    let refusing = std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?;
    let urls = json!([format!("http://{refusing}"), upstream.url()]);
    let mut gateway = adapter.start(json!({ "s": { "urls": urls, "retries": 1 } })).await?;
    let mut client = TcpStream::connect(gateway.listen).await?;
    let head = format!(
        "PUT {} HTTP/1.1\r\nhost: a.example\r\nconnection: close\r\ntransfer-encoding: chunked\r\n\r\n",
        gateway.target("/s/ok"),
    );
    client.write_all(head.as_bytes()).await?;
    client.write_all(b"4\r\nonce\r\n0\r\n\r\n").await?;
    let answer = Answer::read(client).await?;
    match adapter {
        Adapter::Proxy { .. } => {
            ensure!(answer.status == 200, "status {}", answer.status);
            ensure!(upstream.next().await? == "PUT /ok once", "the body did not arrive whole");
            event(&mut gateway, json!({ "status_code": 200, "attempts": 2, "reason": "forwarded" })).await
        }
        Adapter::Cloudflare { .. } | Adapter::Spin(_) => {
            ensure!(answer.status == 502, "status {}", answer.status);
            ensure!(upstream.is_quiet(), "the request was sent again");
            let reason =
                if matches!(adapter, Adapter::Spin(_)) { "upstream_connect" } else { "upstream_reset" };
            event(&mut gateway, json!({ "status_code": 502, "attempts": 1, "reason": reason })).await
        }
    }
}

async fn dead_in_body(adapter: Adapter) -> Result<()> {
    let upstream = Upstream::start().await?;
    let breaker =
        json!({ "failure_rate": 0.5, "minimum_calls": 1, "window": "10s", "open_for": "9s", "probes": 1 });
    let services = json!({ "s": { "urls": [upstream.url()], "circuit_breaker": breaker } });
    let mut gateway = adapter.start(services).await?;
    let answer = get(&gateway, "/s/break").await?;
    ensure!(answer.status == 200 && answer.body == "part", "{answer:?}");
    event(&mut gateway, json!({ "status_code": 200, "end": "upstream_reset", "attempts": 1 })).await?;
    let refused = get(&gateway, "/s/ok").await?;
    ensure!(refused.status == 503, "the breaker is closed: {}", refused.status);
    event(&mut gateway, json!({ "status_code": 503, "reason": "circuit_open" })).await
}

async fn websocket(adapter: Adapter) -> Result<()> {
    let upstream = Upstream::start().await?;
    let mut gateway = adapter.start(json!({ "s": { "urls": [upstream.url()] } })).await?;
    let stream = TcpStream::connect(gateway.listen).await?;
    let (mut socket, _) = tokio_tungstenite::client_async("ws://a.example/s/echo", stream).await?;
    for message in [Message::text("hello"), Message::binary(vec![7; 100_000])] {
        socket.send(message.clone()).await?;
        let echo = timeout(PATIENCE, socket.next()).await?.context("the connection ended")??;
        ensure!(echo == message, "another message came back");
    }
    socket.close(None).await?;
    while socket.next().await.is_some_and(|message| message.is_ok()) {}
    drop(socket);
    event(&mut gateway, json!({ "status_code": 101, "end": "complete", "reason": "forwarded" })).await
}

async fn shared_key_set(adapter: Adapter) -> Result<()> {
    let upstream = Upstream::start().await?;
    let auth = json!({ "jwt": { "jwks_url": format!("{}/keys", upstream.url()), "issuer": "i" } });
    let services = json!({ "s": { "urls": [upstream.url()] } });
    let mut gateway = adapter.start_with(services, auth).await?;
    let bearer = format!("authorization: Bearer {}\r\n", TOKEN.trim());
    let ask = || get_with(&gateway, "/s/ok", &bearer);
    let (one, two, three) = try_join3(ask(), ask(), ask()).await?;
    ensure!([one.status, two.status, three.status] == [200; 3], "{one:?}, {two:?}, {three:?}");
    for _ in 0..3 {
        event(&mut gateway, json!({ "status_code": 200, "reason": "forwarded" })).await?;
    }
    ensure!(upstream.times("GET /keys") == 1, "fetched {} times", upstream.times("GET /keys"));
    Ok(())
}

async fn background(adapter: Adapter) -> Result<()> {
    let (mut sick, well) = (Upstream::start().await?, Upstream::start().await?);
    sick.answers_health_with(500);
    let check = json!({ "path": "/healthz", "interval": "1s", "timeout": "1s", "unhealthy_after": 1, "healthy_after": 1 });
    let urls = json!([sick.url(), well.url()]);
    let mut gateway = adapter.start(json!({ "s": { "urls": urls, "health_check": check } })).await?;
    // Where there is no timer, requests bring the checks with them.
    let checked = async {
        loop {
            expect(&mut gateway, "/s/ok", 200, "ok", json!({ "attempts": 1 })).await?;
            if sick.saw("GET /healthz tollgate-health-check")
                && well.saw("GET /healthz tollgate-health-check")
            {
                return anyhow::Ok(());
            }
            sleep(Duration::from_millis(100)).await;
        }
    };
    timeout(PATIENCE, checked).await.context("nobody was checked")??;
    sleep(Duration::from_millis(200)).await;
    sick.forget();
    for _ in 0..4 {
        expect(&mut gateway, "/s/ok", 200, "ok", json!({ "attempts": 1 })).await?;
    }
    ensure!(!sick.saw("GET /ok"), "an endpoint that failed its check was called");
    Ok(())
}

async fn client_leaves(adapter: Adapter) -> Result<()> {
    let mut upstream = Upstream::start().await?;
    let mut gateway = adapter.start(json!({ "s": { "urls": [upstream.url()] } })).await?;
    let mut client = TcpStream::connect(gateway.listen).await?;
    let head = format!("GET {} HTTP/1.1\r\nhost: a.example\r\n\r\n", gateway.target("/s/endless"));
    client.write_all(head.as_bytes()).await?;
    let mut some = vec![0; 100_000];
    client.read_exact(&mut some).await?;
    ensure!(some.starts_with(b"HTTP/1.1 200"), "no answer began");
    drop(client);
    event(&mut gateway, json!({ "status_code": 200, "end": "aborted", "attempts": 1 })).await?;
    while upstream.next().await? != "left" {}
    Ok(())
}

#[derive(Debug)]
struct Answer {
    status: u16,
    body: String,
}

impl Answer {
    /// Reads until the gateway closes.
    async fn read(mut client: TcpStream) -> Result<Answer> {
        let mut bytes = Vec::new();
        // A connection that is reset has said what it had to say.
        let _ = timeout(PATIENCE, client.read_to_end(&mut bytes)).await.context("the answer does not end")?;
        let text = String::from_utf8_lossy(&bytes);
        let (head, body) = text.split_once("\r\n\r\n").context("no answer")?;
        let status = head.split(' ').nth(1).context("no status")?.parse()?;
        Ok(Answer { status, body: body.to_owned() })
    }
}

async fn get(gateway: &Gateway, target: &str) -> Result<Answer> {
    get_with(gateway, target, "").await
}

/// `fields` are whole lines.
async fn get_with(gateway: &Gateway, path: &str, fields: &str) -> Result<Answer> {
    let mut client = TcpStream::connect(gateway.listen).await?;
    let target = gateway.target(path);
    let head = format!("GET {target} HTTP/1.1\r\nhost: a.example\r\nconnection: close\r\n{fields}\r\n");
    client.write_all(head.as_bytes()).await?;
    Answer::read(client).await
}

async fn expect(gateway: &mut Gateway, target: &str, status: u16, body: &str, data: Value) -> Result<()> {
    let answer = get(gateway, target).await?;
    ensure!(answer.status == status && answer.body == body, "{target}: {answer:?}");
    event(gateway, data).await
}

/// The next event has these members.
async fn event(gateway: &mut Gateway, expected: Value) -> Result<()> {
    let data = gateway.event().await?;
    for (name, value) in expected.as_object().context("members")? {
        ensure!(data[name] == *value, "event {name}: got {}, expected {value}, in {data}", data[name]);
    }
    Ok(())
}
