//! Proxies of one fleet, and the service behind them.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::Stdio;

use serde_json::{Map, Value, json};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::process::{Child, Command};
use tokio::time::{Duration, sleep, timeout};
use tollgate_tests::gateway::PATIENCE;
use tollgate_tests::redis::free_port;

use crate::load::{Answer, Client};

pub(crate) struct Fleet {
    pub(crate) nodes: Vec<Node>,
}

pub(crate) struct Node {
    pub(crate) address: SocketAddr,
    admin: SocketAddr,
    /// Killed with SIGKILL when it is dropped.
    pub(crate) process: Child,
    _folder: TempDir,
}

impl Fleet {
    /// `limits` by the names of the services, which all are the same one.
    pub(crate) async fn start(nodes: usize, redis_port: u16, limits: Value) -> Fleet {
        let service = serve().await;
        let names = limits.as_object().expect("limits by service").keys();
        let services: Map<String, Value> =
            names.map(|name| (name.clone(), json!({ "urls": [format!("http://{service}")] }))).collect();
        let store = json!({
            "redis": { "url": format!("redis://127.0.0.1:{redis_port}") },
            "namespace": "test", "secret": "a secret of the whole fleet", "nodes": nodes,
            // A busy machine is not a store that fails, during which more than the bound is admitted.
            "timeout": "5s",
        });
        let policy = json!({
            "server": { "workers": 1 },
            "routing": { "services": services },
            "rate_limit": { "store": store, "per_service": limits },
            "event_processing": { "enabled": false },
        });
        let mut started = Vec::new();
        for _ in 0..nodes {
            started.push(Node::start(policy.clone()).await);
        }
        Fleet { nodes: started }
    }

    /// A metric over all nodes and labels.
    pub(crate) async fn sum(&self, metric: &str) -> f64 {
        let mut sum = 0.0;
        for node in &self.nodes {
            sum += node.metric(metric).await;
        }
        sum
    }
}

impl Node {
    async fn start(mut policy: Value) -> Node {
        let [address, admin] = [(); 2].map(|()| SocketAddr::from(([127, 0, 0, 1], free_port())));
        policy["server"]["listen"] = json!(address);
        policy["server"]["admin"] = json!({ "listen": admin });
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("tollgate.yaml");
        std::fs::write(&file, policy.to_string()).unwrap();
        let binary = std::env::var_os("TOLLGATE_BIN").map(PathBuf::from);
        let binary = binary.expect("TOLLGATE_BIN is the path of the binary; `tests/run limits` sets it");
        let process = Command::new(&binary)
            .args(["serve", "--config"])
            .arg(&file)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .expect("the binary starts");
        let listening = async {
            while TcpStream::connect(address).await.is_err() || TcpStream::connect(admin).await.is_err() {
                sleep(Duration::from_millis(5)).await;
            }
        };
        timeout(PATIENCE, listening).await.expect("the proxy listens");
        Node { address, admin, process, _folder: folder }
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        Client::new(self.address).get(path).await
    }

    /// Over all labels.
    pub(crate) async fn metric(&self, metric: &str) -> f64 {
        let text = self.metrics().await;
        let value = |line: &str| {
            let rest = line.strip_prefix(metric)?;
            let value = rest.strip_prefix(' ').or_else(|| rest.rsplit_once("} ").map(|(_, value)| value));
            value?.parse::<f64>().ok()
        };
        text.lines().filter_map(value).sum()
    }

    async fn metrics(&self) -> String {
        let mut stream = TcpStream::connect(self.admin).await.unwrap();
        let request = "GET /metrics HTTP/1.1\r\nhost: admin\r\nconnection: close\r\n\r\n";
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).await.unwrap();
        text
    }
}

/// A service that says yes.
async fn serve() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let (mut buffer, mut head) = ([0; 4_096], Vec::new());
                while let Ok(read @ 1..) = stream.read(&mut buffer).await {
                    head.extend_from_slice(&buffer[..read]);
                    while let Some(end) = head.windows(4).position(|four| four == b"\r\n\r\n") {
                        head.drain(..end + 4);
                        if stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await.is_err() {
                            return;
                        }
                    }
                }
            });
        }
    });
    address
}
