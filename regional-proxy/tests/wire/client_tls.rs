//! TLS towards clients: what is negotiated, what is refused, and certificates that change while it runs.

use std::io::Write;
use std::net::TcpStream;
use std::path::Path;
use std::sync::Arc;

use rustls::crypto::ring::default_provider;
use rustls::version::{TLS12, TLS13};
use rustls::{
    CipherSuite, ClientConfig, ClientConnection, ProtocolVersion, StreamOwned, SupportedProtocolVersion,
};
use rustls_pki_types::CertificateDer;
use serde_json::{Value, json};
use tempfile::TempDir;

use super::common::{Authority, Gateway, Identity, PATIENCE, Upstream, Wire, until};

const REQUEST: &str = "GET /echo/x HTTP/1.1\r\nhost: localhost\r\n\r\n";

struct Stage {
    gateway: Gateway,
    authority: Authority,
    certificate: CertificateDer<'static>,
}

/// How a client shakes hands.
struct Client<'a> {
    versions: &'a [&'static SupportedProtocolVersion],
    protocols: &'a [&'a str],
    suites: Option<CipherSuite>,
    identity: Option<&'a Identity>,
}

const ANY: Client<'static> =
    Client { versions: &[&TLS13, &TLS12], protocols: &[], suites: None, identity: None };

fn stage(tls: impl FnOnce(&Path) -> Value) -> Stage {
    let folder = TempDir::new().unwrap();
    let authority = Authority::new();
    let identity = authority.issue("localhost");
    identity.write(folder.path(), "server");
    let mut rules = json!({
        "cert_file": folder.path().join("server.crt"), "key_file": folder.path().join("server.key"),
    });
    rules.as_object_mut().unwrap().extend(tls(folder.path()).as_object().unwrap().clone());
    let policy = json!({
        "security": { "tls": rules },
        "routing": { "services": { "echo": { "urls": [format!("http://{}", Upstream::ok().address)] } } },
    });
    Stage { gateway: Gateway::start_in(folder, policy), authority, certificate: identity.certificate }
}

impl Stage {
    /// A connection that has not shaken hands yet.
    fn begin(&self, client: &Client<'_>) -> Result<StreamOwned<ClientConnection, TcpStream>, String> {
        let mut provider = default_provider();
        if let Some(suite) = client.suites {
            provider.cipher_suites.retain(|known| known.suite() == suite);
        }
        let config = ClientConfig::builder_with_provider(Arc::new(provider))
            .with_protocol_versions(client.versions)
            .map_err(|error| error.to_string())?
            .with_root_certificates(self.authority.roots());
        let mut config = match client.identity {
            Some(identity) => {
                config.with_client_auth_cert(vec![identity.certificate.clone()], identity.key()).unwrap()
            }
            None => config.with_no_client_auth(),
        };
        config.alpn_protocols = client.protocols.iter().map(|name| name.as_bytes().to_vec()).collect();
        let session = ClientConnection::new(Arc::new(config), "localhost".try_into().unwrap()).unwrap();
        let socket = TcpStream::connect(self.gateway.listen).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        Ok(StreamOwned::new(session, socket))
    }

    /// A connection that has shaken hands, and has had an answer to a request if it speaks HTTP/1.
    fn connect(&self, client: &Client<'_>) -> Result<StreamOwned<ClientConnection, TcpStream>, String> {
        let mut stream = self.begin(client)?;
        while stream.conn.is_handshaking() {
            stream.conn.complete_io(&mut stream.sock).map_err(|error| error.to_string())?;
        }
        if stream.conn.alpn_protocol() != Some(b"h2") {
            let mut wire = Wire::over(&mut stream);
            wire.try_send(REQUEST).map_err(|error| error.to_string())?;
            // TLS 1.3 tells a client only after its handshake that it is refused.
            let mut reply = wire.head().ok_or("refused after the handshake")?;
            wire.body(&mut reply);
            assert_eq!((reply.status(), reply.text().as_str()), (200, "ok"));
        }
        Ok(stream)
    }

    fn served(&self) -> CertificateDer<'static> {
        let stream = self.connect(&ANY).unwrap();
        stream.conn.peer_certificates().unwrap()[0].clone().into_owned()
    }
}

#[test]
fn the_protocol_is_what_both_sides_speak() {
    let stage = stage(|_| json!({}));
    for (offered, chosen) in [
        (&["h2", "http/1.1"][..], Some(&b"h2"[..])),
        (&["http/1.1", "h2"], Some(b"h2")),
        (&["http/1.1"], Some(b"http/1.1")),
        (&[], None),
    ] {
        let stream = stage.connect(&Client { protocols: offered, ..ANY }).unwrap();
        assert_eq!(stream.conn.alpn_protocol(), chosen, "{offered:?}");
    }
    // RFC 7301 §3.2.
    let refused = stage.connect(&Client { protocols: &["spdy/3"], ..ANY }).unwrap_err();
    assert!(refused.contains("NoApplicationProtocol"), "{refused}");
}

/// The last message of the handshake and the first request arrive in one piece.
#[test]
fn a_request_that_comes_with_the_handshake_is_not_overlooked() {
    let stage = stage(|_| json!({}));
    let mut stream = stage.begin(&ANY).unwrap();
    while stream.conn.is_handshaking() {
        while stream.conn.wants_write() {
            stream.conn.write_tls(&mut stream.sock).unwrap();
        }
        stream.conn.read_tls(&mut stream.sock).unwrap();
        stream.conn.process_new_packets().unwrap();
    }
    stream.conn.writer().write_all(REQUEST.as_bytes()).unwrap();
    let mut together = Vec::new();
    while stream.conn.wants_write() {
        stream.conn.write_tls(&mut together).unwrap();
    }
    stream.sock.write_all(&together).unwrap();
    assert_eq!(Wire::over(&mut stream).reply().status(), 200);
}

#[test]
fn a_minimum_of_1_3_refuses_1_2() {
    let stage = stage(|_| json!({ "min_version": "1.3" }));
    let stream = stage.connect(&ANY).unwrap();
    assert_eq!(stream.conn.protocol_version(), Some(ProtocolVersion::TLSv1_3));
    let refused = stage.connect(&Client { versions: &[&TLS12], ..ANY }).unwrap_err();
    assert!(refused.contains("ProtocolVersion"), "{refused}");
}

#[test]
fn only_the_suites_of_the_list_are_chosen() {
    let stage = stage(|_| json!({ "cipher_suites": ["TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384"] }));
    let old = Client { versions: &[&TLS12], ..ANY };
    let stream = stage.connect(&old).unwrap();
    let suite = stream.conn.negotiated_cipher_suite().unwrap().suite();
    assert_eq!(suite, CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384);
    let other = Some(CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256);
    let refused = stage.connect(&Client { suites: other, ..old }).unwrap_err();
    assert!(refused.contains("HandshakeFailure"), "{refused}");
    // A list of names of TLS 1.2 leaves 1.3 as it is.
    assert!(stage.connect(&Client { versions: &[&TLS13], ..ANY }).is_ok());
}

#[test]
fn a_replaced_certificate_is_served_to_the_next_client_and_a_broken_one_never() {
    let stage = stage(|_| json!({}));
    assert_eq!(stage.served(), stage.certificate);
    let mut kept = stage.connect(&ANY).unwrap();
    let next = stage.authority.issue("localhost");
    next.write(stage.gateway.path("server.crt").parent().unwrap(), "server");
    until("the new certificate is served", || stage.served() == next.certificate);
    std::fs::write(stage.gateway.path("server.crt"), "-----BEGIN CERTIFICATE-----\nbroken\n").unwrap();
    until("the broken file is reported", || stage.gateway.log().contains("the former certificates stay"));
    assert_eq!(stage.served(), next.certificate);
    // A certificate beside the key of another is broken too.
    stage.authority.issue("localhost").write(stage.gateway.path("server.crt").parent().unwrap(), "third");
    std::fs::copy(stage.gateway.path("third.crt"), stage.gateway.path("server.crt")).unwrap();
    until("the mismatch is reported", || stage.gateway.log().contains("KeyMismatch"));
    assert_eq!(stage.served(), next.certificate);
    let mut wire = Wire::over(&mut kept);
    wire.send(REQUEST);
    assert_eq!(wire.reply().status(), 200);
}

#[test]
fn a_client_without_a_certificate_of_the_authority_is_refused_where_one_is_required() {
    let clients = Authority::new();
    let stage = stage(|folder| {
        clients.write(&folder.join("clients.crt"));
        json!({ "client_ca_file": folder.join("clients.crt") })
    });
    let (known, stranger) = (clients.issue("client"), Authority::new().issue("client"));
    for versions in [&[&TLS13][..], &[&TLS12]] {
        let with = |identity| stage.connect(&Client { versions, identity, ..ANY });
        assert!(with(Some(&known)).is_ok());
        assert!(with(None).is_err());
        assert!(with(Some(&stranger)).is_err());
    }
}

#[test]
fn an_optional_client_certificate_is_checked_if_there_is_one() {
    let clients = Authority::new();
    let stage = stage(|folder| {
        clients.write(&folder.join("clients.crt"));
        json!({ "client_ca_file": folder.join("clients.crt"), "client_auth_required": false })
    });
    let (known, stranger) = (clients.issue("client"), Authority::new().issue("client"));
    let with = |identity| stage.connect(&Client { identity, ..ANY });
    assert!(with(None).is_ok());
    assert!(with(Some(&known)).is_ok());
    assert!(with(Some(&stranger)).is_err());
}

#[test]
fn http_is_sent_to_https_where_the_policy_says_so() {
    let upstream = Upstream::ok();
    let gateway = Gateway::start(json!({
        "security": { "https_redirect": true },
        "routing": { "services": { "echo": { "urls": [format!("http://{}", upstream.address)] } } },
    }));
    let mut wire = gateway.connect();
    // A stranger's word about the scheme is not taken.
    wire.send("POST /echo/x?q=1 HTTP/1.1\r\nhost: api.example:8080\r\nx-forwarded-proto: https\r\ncontent-length: 0\r\n\r\n");
    let reply = wire.reply();
    assert_eq!(
        (reply.status(), reply.field("location").as_deref()),
        (308, Some("https://api.example/echo/x?q=1"))
    );
    assert_eq!(upstream.connections(), 0);
}
