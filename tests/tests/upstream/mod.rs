//! An upstream whose answer depends on the path, one request a connection.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU16, Ordering};
use std::sync::{Arc, Mutex};

use anyhow::{Context, Result};
use futures_util::{SinkExt, StreamExt};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::time::timeout;
use tollgate_tests::gateway::PATIENCE;

/// What `/keys` publishes.
const KEY: &str = include_str!("../../scenarios/keys/rsa.jwk");

pub(crate) struct Upstream {
    address: SocketAddr,
    state: State,
    came: UnboundedReceiver<String>,
}

#[derive(Clone)]
struct State {
    health: Arc<AtomicU16>,
    seen: Arc<Mutex<Vec<String>>>,
    came: UnboundedSender<String>,
}

impl Upstream {
    pub(crate) async fn start() -> Result<Upstream> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let (sender, came) = unbounded_channel();
        let state = State { health: Arc::new(AtomicU16::new(200)), seen: Arc::default(), came: sender };
        let serving = state.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(stream, serving.clone()));
            }
        });
        Ok(Upstream { address, state, came })
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    pub(crate) fn answers_health_with(&self, status: u16) {
        self.state.health.store(status, Ordering::Relaxed);
    }

    /// What came next: method, path and what the request's body or agent was, or `left`.
    pub(crate) async fn next(&mut self) -> Result<String> {
        timeout(PATIENCE, self.came.recv()).await.context("nothing came")?.context("the upstream ended")
    }

    pub(crate) fn is_quiet(&mut self) -> bool {
        self.came.try_recv().is_err()
    }

    pub(crate) fn saw(&self, request: &str) -> bool {
        self.state.seen.lock().expect("no holder panics").iter().any(|seen| seen == request)
    }

    pub(crate) fn times(&self, request: &str) -> usize {
        self.state.seen.lock().expect("no holder panics").iter().filter(|seen| *seen == request).count()
    }

    pub(crate) fn forget(&mut self) {
        self.state.seen.lock().expect("no holder panics").clear();
    }
}

impl State {
    fn note(&self, what: String) {
        self.seen.lock().expect("no holder panics").push(what.clone());
        // Nobody may be waiting any more.
        let _ = self.came.send(what);
    }
}

/// What ends in an error ends the connection, which is all that a client may learn.
async fn serve(mut stream: TcpStream, state: State) -> Result<()> {
    let mut head = [0; 4096];
    // A WebSocket's handshake reads the head once more.
    let length = loop {
        let length = stream.peek(&mut head).await?;
        anyhow::ensure!(length > 0, "nothing came");
        if head[..length].windows(4).any(|end| end == b"\r\n\r\n") {
            break length;
        }
        tokio::task::yield_now().await;
    };
    let text = String::from_utf8_lossy(&head[..length]).into_owned();
    let line: Vec<&str> = text.split(' ').take(2).collect();
    let request = line.join(" ");
    if request == "GET /echo" {
        let mut socket = tokio_tungstenite::accept_async(stream).await?;
        while let Some(Ok(message)) = socket.next().await {
            if message.is_text() || message.is_binary() {
                socket.send(message).await?;
            }
        }
        return Ok(());
    }
    let head_length = text.find("\r\n\r\n").context("a whole head")? + 4;
    stream.read_exact(&mut head[..head_length]).await?;
    match request.as_str() {
        "GET /healthz" => {
            let agent = text
                .lines()
                .find_map(|line| line.to_ascii_lowercase().strip_prefix("user-agent: ").map(str::to_owned));
            state.note(format!("{request} {}", agent.unwrap_or_default()));
            let status = state.health.load(Ordering::Relaxed);
            stream
                .write_all(
                    format!("HTTP/1.1 {status} -\r\ncontent-length: 0\r\nconnection: close\r\n\r\n")
                        .as_bytes(),
                )
                .await?;
        }
        "GET /fail" => {
            state.note(request);
            stream.write_all(b"HTTP/1.1 500 -\r\ncontent-length: 0\r\nconnection: close\r\n\r\n").await?;
        }
        "GET /keys" => {
            state.note(request);
            // Long enough for everybody who needs them to ask.
            tokio::time::sleep(std::time::Duration::from_millis(300)).await;
            let set = format!("{{\"keys\":[{}]}}", KEY.trim());
            let head =
                format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\nconnection: close\r\n\r\n", set.len());
            stream.write_all(format!("{head}{set}").as_bytes()).await?;
        }
        "GET /hang" => {
            state.note(request);
            stream.read_to_end(&mut Vec::new()).await?;
        }
        "GET /break" => {
            state.note(request);
            stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\npart").await?;
            // What was sent is on its way before the connection breaks.
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
        "GET /endless" => {
            state.note(request);
            stream.write_all(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n").await?;
            let chunk = [b"1000\r\n".as_slice(), &[b'x'; 4096], b"\r\n"].concat();
            while stream.write_all(&chunk).await.is_ok() {}
            state.note("left".to_owned());
        }
        "PUT /ok" => {
            let mut body = String::new();
            while !body.ends_with("0\r\n\r\n") {
                let mut some = [0; 1024];
                let length = stream.read(&mut some).await?;
                anyhow::ensure!(length > 0, "the body broke off");
                body.push_str(&String::from_utf8_lossy(&some[..length]));
            }
            let data: String = body.split("\r\n").skip(1).step_by(2).collect();
            state.note(format!("{request} {data}"));
            stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: close\r\n\r\nok").await?;
        }
        _ => {
            state.note(request);
            stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: close\r\n\r\nok").await?;
        }
    }
    stream.shutdown().await?;
    Ok(())
}
