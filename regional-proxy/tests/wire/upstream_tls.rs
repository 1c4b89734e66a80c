//! TLS towards services: whom they are, who the gateway is to them, and what is refused.

use std::io::Write;
use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::sync::Arc;
use std::thread;

use rustls::crypto::ring::default_provider;
use rustls::server::WebPkiClientVerifier;
use rustls::{ServerConfig, ServerConnection, StreamOwned};
use serde_json::{Value, json};
use tempfile::TempDir;

use super::common::{Authority, Gateway, Identity, Upstream, Wire};

/// Answers with the server name it was asked for and whether it was shown a certificate.
fn service(identity: &Identity, clients: Option<&Authority>) -> SocketAddr {
    let provider = Arc::new(default_provider());
    let config =
        ServerConfig::builder_with_provider(provider.clone()).with_safe_default_protocol_versions().unwrap();
    let config = match clients {
        Some(clients) => config.with_client_cert_verifier(
            WebPkiClientVerifier::builder_with_provider(clients.roots(), provider).build().unwrap(),
        ),
        None => config.with_no_client_auth(),
    };
    let config = config.with_single_cert(vec![identity.certificate.clone()], identity.key()).unwrap();
    let config = Arc::new(config);
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        for socket in listener.incoming().flatten() {
            let mut stream = StreamOwned::new(ServerConnection::new(config.clone()).unwrap(), socket);
            // A client that refuses the certificate ends this.
            while Wire::over(&mut stream).request().is_some() {
                let name = stream.conn.server_name().unwrap_or("none").to_owned();
                let shown = stream.conn.peer_certificates().map_or(0, <[_]>::len);
                let body = format!("{name} {shown}");
                write!(stream, "HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{body}", body.len()).unwrap();
            }
        }
    });
    address
}

/// The status and body of one call, and why.
fn call(url: String, tls: impl FnOnce(&Path) -> Value) -> (u16, String, String) {
    let folder = TempDir::new().unwrap();
    let echo = json!({ "urls": [url], "tls": tls(folder.path()) });
    let gateway = Gateway::start_in(folder, json!({ "routing": { "services": { "echo": echo } } }));
    let mut wire = gateway.connect();
    wire.send("GET /echo/x HTTP/1.1\r\nhost: a\r\n\r\n");
    let reply = wire.reply();
    let reason = gateway.event("/echo/x")["reason"].as_str().unwrap().to_owned();
    (reply.status(), reply.text(), reason)
}

fn trusting(authority: &Authority, folder: &Path) -> Value {
    authority.write(&folder.join("ca.crt"));
    json!({ "ca_file": folder.join("ca.crt") })
}

#[test]
fn a_service_of_its_own_authority_is_trusted_where_that_is_named_and_only_there() {
    let authority = Authority::new();
    let url = format!("https://{}", service(&authority.issue("127.0.0.1"), None));
    let (status, body, reason) = call(url.clone(), |folder| trusting(&authority, folder));
    // An address is no server name (RFC 6066 §3).
    assert_eq!((status, body.as_str(), reason.as_str()), (200, "none 0", "forwarded"));
    let (status, _, reason) = call(url.clone(), |_| json!({}));
    assert_eq!((status, reason.as_str()), (502, "upstream_tls"));
    let (status, body, reason) = call(url, |folder| trusting(&Authority::new(), folder));
    assert_eq!((status, reason.as_str()), (502, "upstream_tls"));
    assert!(!body.to_lowercase().contains("certificate"), "{body}");
}

#[test]
fn a_certificate_of_another_name_is_refused_unless_that_name_is_asked_for() {
    let authority = Authority::new();
    let url = format!("https://{}", service(&authority.issue("inner.example"), None));
    let (status, _, reason) = call(url.clone(), |folder| trusting(&authority, folder));
    assert_eq!((status, reason.as_str()), (502, "upstream_tls"));
    let (status, body, _) = call(url, |folder| {
        let mut tls = trusting(&authority, folder);
        tls["server_name"] = json!("inner.example");
        tls
    });
    assert_eq!((status, body.as_str()), (200, "inner.example 0"));
}

#[test]
fn the_gateway_shows_its_certificate_to_a_service_that_asks() {
    let (authority, clients) = (Authority::new(), Authority::new());
    let url = format!("https://{}", service(&authority.issue("127.0.0.1"), Some(&clients)));
    let (status, body, _) = call(url.clone(), |folder| {
        clients.issue("gateway").write(folder, "gateway");
        let mut tls = trusting(&authority, folder);
        tls["cert_file"] = json!(folder.join("gateway.crt"));
        tls["key_file"] = json!(folder.join("gateway.key"));
        tls
    });
    assert_eq!((status, body.as_str()), (200, "none 1"));
    let (status, ..) = call(url, |folder| trusting(&authority, folder));
    assert_eq!(status, 502);
}

#[test]
fn a_service_that_speaks_no_tls_is_refused() {
    let plain = Upstream::scripted(|wire, _| {
        wire.take(1);
        wire.send("HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n");
    });
    let (status, _, reason) = call(format!("https://{}", plain.address), |_| json!({}));
    assert_eq!((status, reason.as_str()), (502, "upstream_tls"));
}
