//! A Redis behind a bridge of this process, asked through the REST protocol.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};

use bytes::Bytes;
use sha2::{Digest, Sha256};
use tollgate::{Listeners, bridge};
use tollgate_core::config::{self, NoSources};
use tollgate_core::store::Value;
use tollgate_core::store::rest::{self, Endpoint};

use tollgate_tests::redis::{Redis, Server};

pub(crate) const GENERAL: &str = "general-token";
pub(crate) const GATEWAY: &str = "gateway-token";

pub(crate) struct Bridge {
    pub(crate) address: SocketAddr,
    connection: TcpStream,
}

/// Starts a bridge to this Redis, for a general token and one of a gateway with the namespace `acme`.
pub(crate) fn start(server: &mut Server) -> Bridge {
    server.words(&["ACL", "SETUSER", "app", "on", ">app-password", "~*", "+@all"]);
    let (listeners, address) = listeners();
    let sha256 = |token: &str| {
        Sha256::digest(token.as_bytes()).iter().map(|byte| format!("{byte:02x}")).collect::<String>()
    };
    let text = format!(
        r#"
redis_bridge:
  listen: "{address}"
  redis: {{ url: "redis://127.0.0.1:{port}" }}
  general_redis: {{ url: "redis://127.0.0.1:{port}", shared_with_limits: true }}
  tokens:
    - {{ name: app, sha256: {general}, kind: general, user: app, password: app-password }}
    - {{ name: edge, sha256: {gateway}, kind: gateway, prefix: "tg:{{acme:" }}
"#,
        port = server.port,
        general = sha256(GENERAL),
        gateway = sha256(GATEWAY),
    );
    let loaded = config::load(&text, "bridge", &NoSources).unwrap();
    bridge::spawn(listeners, &loaded.config.redis_bridge.unwrap()).unwrap();
    Bridge { address, connection: TcpStream::connect(address).unwrap() }
}

fn listeners() -> (Listeners, SocketAddr) {
    let listeners = Listeners::bind(&["127.0.0.1:0".parse().unwrap()]).unwrap();
    let address = listeners.addresses()[0];
    (listeners, address)
}

impl Redis for Bridge {
    fn send(&mut self, command: &[Bytes]) -> Value {
        let request = rest::request(Endpoint::Command, &[command.to_vec()]);
        let head = format!(
            "POST {} HTTP/1.1\r\nhost: bridge\r\nauthorization: Bearer {GENERAL}\r\ncontent-length: {}\r\n\r\n",
            request.path,
            request.body.len()
        );
        self.connection.write_all(&[head.as_bytes(), &request.body].concat()).unwrap();
        let (status, body) = answer(&mut self.connection);
        rest::read(status, &body).unwrap()
    }
}

/// One answer with a length, which is how the bridge sends them.
fn answer(connection: &mut TcpStream) -> (u16, Vec<u8>) {
    let (mut bytes, mut buffer) = (Vec::new(), [0; 4_096]);
    loop {
        let read = connection.read(&mut buffer).unwrap();
        assert_ne!(read, 0, "the bridge closed: {}", String::from_utf8_lossy(&bytes));
        bytes.extend_from_slice(&buffer[..read]);
        let Some(end) = bytes.windows(4).position(|four| four == b"\r\n\r\n") else { continue };
        let head = String::from_utf8_lossy(&bytes[..end]).to_ascii_lowercase();
        let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")).unwrap();
        if bytes.len() == end + 4 + length.parse::<usize>().unwrap() {
            let status = head.split(' ').nth(1).unwrap().parse().unwrap();
            return (status, bytes[end + 4..].to_vec());
        }
    }
}
