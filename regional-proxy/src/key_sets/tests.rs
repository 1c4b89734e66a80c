use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc;
use std::thread;

use axum::Router;
use axum::extract::Path;
use axum::response::Redirect;
use axum::routing::get;
use rustls::ServerConfig;
use rustls_pki_types::PrivateKeyDer;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

use super::*;

const KEYS: &str = r#"{"keys":[]}"#;

/// Serves on a runtime and a thread of its own, which end with the test's process.
fn serve(router: Router) -> SocketAddr {
    on_a_thread(async move |listener| axum::serve(listener, router).await.unwrap())
}

fn on_a_thread<F: Future<Output = ()>>(run: impl FnOnce(TcpListener) -> F + Send + 'static) -> SocketAddr {
    let listener = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    listener.set_nonblocking(true).unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        runtime().block_on(async move { run(TcpListener::from_std(listener).unwrap()).await })
    });
    address
}

/// A connection whose request is there.
async fn asked(listener: &TcpListener) -> TcpStream {
    let (mut socket, _) = listener.accept().await.unwrap();
    let mut request = Vec::new();
    while !request.ends_with(b"\r\n\r\n") {
        request.push(socket.read_u8().await.unwrap());
    }
    socket
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()
}

fn key_sets() -> KeySets {
    KeySets::with(Arc::new(RootCertStore::empty()), KEY_SET_TIMEOUT).unwrap()
}

async fn fetched(router: Router, path: &str) -> Outcome {
    key_sets().fetch(&format!("http://{}{path}", serve(router))).await
}

#[tokio::test]
async fn a_key_set_is_what_the_server_sends_whatever_it_calls_it() {
    let router = Router::new().route("/keys", get(async || KEYS));
    assert_eq!(fetched(router, "/keys").await, Ok(Bytes::from(KEYS)));
}

#[tokio::test]
async fn only_200_is_an_answer() {
    for status in [204, 206, 404, 500, 304] {
        let status = StatusCode::from_u16(status).unwrap();
        let router = Router::new().route("/keys", get(async move || (status, KEYS)));
        assert_eq!(fetched(router, "/keys").await, Err(FetchError::Status(status.as_u16())));
    }
}

#[tokio::test]
async fn a_body_is_bounded_whether_or_not_its_length_is_announced() {
    let announced = |bytes: usize| Router::new().route("/keys", get(async move || vec![b' '; bytes]));
    assert_eq!(
        fetched(announced(MAX_KEY_SET_BYTES), "/keys").await.map(|body| body.len()),
        Ok(MAX_KEY_SET_BYTES)
    );
    assert_eq!(fetched(announced(MAX_KEY_SET_BYTES + 1), "/keys").await, Err(FetchError::TooLarge));
    let endless = on_a_thread(async |listener| {
        let mut socket = asked(&listener).await;
        socket.write_all(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n").await.unwrap();
        while socket.write_all(b"4\r\n    \r\n").await.is_ok() {}
    });
    assert_eq!(key_sets().fetch(&format!("http://{endless}/")).await, Err(FetchError::TooLarge));
}

#[tokio::test]
async fn three_redirects_are_followed_and_no_fourth() {
    let next = async |Path(left): Path<u32>| match left {
        0 => Err(KEYS),
        _ => Ok(Redirect::temporary(&format!("/{}", left - 1))),
    };
    let router = Router::new().route("/{left}", get(next));
    assert_eq!(fetched(router.clone(), "/3").await, Ok(Bytes::from(KEYS)));
    assert_eq!(fetched(router, "/4").await, Err(FetchError::Redirect));
}

#[tokio::test]
async fn a_redirect_to_another_scheme_is_not_followed() {
    let secure = async || Redirect::temporary("https://127.0.0.1:9/keys");
    assert_eq!(fetched(Router::new().route("/", get(secure)), "/").await, Err(FetchError::Redirect));
}

#[tokio::test]
async fn a_server_that_is_silent_is_given_up_before_or_within_its_body() {
    for head in ["", "HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n{"] {
        let silent = on_a_thread(async move |listener| {
            let mut socket = asked(&listener).await;
            socket.write_all(head.as_bytes()).await.unwrap();
            std::future::pending().await
        });
        let hasty = KeySets::with(Arc::new(RootCertStore::empty()), Duration::from_millis(300)).unwrap();
        assert_eq!(hasty.fetch(&format!("http://{silent}/")).await, Err(FetchError::Timeout), "{head}");
    }
}

#[tokio::test]
async fn a_refused_connection_says_why_and_does_not_show_the_address() {
    let listener = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let refusing = listener.local_addr().unwrap();
    drop(listener);
    let error =
        key_sets().fetch(&format!("http://{refusing}/keys?token=secret")).await.unwrap_err().to_string();
    assert!(error.contains("Connection refused"), "{error}");
    assert!(!error.contains("secret"), "{error}");
}

#[tokio::test]
async fn https_needs_a_certificate_that_is_trusted() {
    let certified = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    let certificate = certified.cert.der().clone();
    let key = PrivateKeyDer::Pkcs8(certified.signing_key.serialize_der().into());
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let config = config.with_no_client_auth().with_single_cert(vec![certificate.clone()], key).unwrap();
    let address = on_a_thread(async move |listener| {
        let acceptor = TlsAcceptor::from(Arc::new(config));
        loop {
            let (socket, _) = listener.accept().await.unwrap();
            let Ok(mut stream) = acceptor.accept(socket).await else { continue };
            let mut request = [0; 1024];
            let _ = stream.read(&mut request).await;
            let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{KEYS}", KEYS.len());
            let _ = stream.write_all(head.as_bytes()).await;
        }
    });
    let url = format!("https://localhost:{}/keys", address.port());
    let untrusted = key_sets().fetch(&url).await.unwrap_err().to_string();
    assert!(untrusted.contains("UnknownIssuer"), "{untrusted}");
    let mut roots = RootCertStore::empty();
    roots.add(certificate).unwrap();
    let trusting = KeySets::with(Arc::new(roots), KEY_SET_TIMEOUT).unwrap();
    assert_eq!(trusting.fetch(&url).await, Ok(Bytes::from(KEYS)));
}

/// A server that counts its requests and answers each once it is told to.
fn gated() -> (SocketAddr, Arc<AtomicUsize>, tokio::sync::mpsc::UnboundedSender<()>) {
    let (open, gate) = tokio::sync::mpsc::unbounded_channel();
    let requests = Arc::new(AtomicUsize::new(0));
    let (counted, gate) = (requests.clone(), Arc::new(tokio::sync::Mutex::new(gate)));
    let answer = async move || {
        counted.fetch_add(1, Ordering::SeqCst);
        gate.lock().await.recv().await;
        KEYS
    };
    (serve(Router::new().route("/keys", get(answer))), requests, open)
}

fn in_the_air(key_sets: &KeySets) -> usize {
    key_sets.flights.table().len()
}

#[test]
fn threads_that_ask_at_once_share_one_flight_and_its_answer() {
    let (address, requests, open) = gated();
    let url = format!("http://{address}/keys");
    let key_sets = key_sets();
    let (done, outcomes) = mpsc::channel();
    let (boarded, boarding) = mpsc::channel();
    for _ in 0..8 {
        let (key_sets, url, done, boarded) = (key_sets.clone(), url.clone(), done.clone(), boarded.clone());
        thread::spawn(move || {
            runtime().block_on(async {
                let flight = key_sets.board(&url);
                boarded.send(()).unwrap();
                done.send(landed(flight).await).unwrap();
            });
        });
    }
    (0..8).for_each(|_| boarding.recv().unwrap());
    open.send(()).unwrap();
    for _ in 0..8 {
        assert_eq!(outcomes.recv().unwrap(), Ok(Bytes::from(KEYS)));
    }
    assert_eq!(requests.load(Ordering::SeqCst), 1);
    // The next one asks again.
    open.send(()).unwrap();
    assert_eq!(runtime().block_on(key_sets.fetch(&url)), Ok(Bytes::from(KEYS)));
    assert_eq!(requests.load(Ordering::SeqCst), 2);
    assert_eq!(in_the_air(&key_sets), 0);
}

#[tokio::test]
async fn a_flight_goes_on_when_who_began_it_leaves() {
    let (address, requests, open) = gated();
    let url = format!("http://{address}/keys");
    let key_sets = key_sets();
    let left = tokio::time::timeout(Duration::from_millis(1), key_sets.fetch(&url)).await;
    assert!(left.is_err());
    open.send(()).unwrap();
    assert_eq!(key_sets.fetch(&url).await, Ok(Bytes::from(KEYS)));
    assert_eq!(requests.load(Ordering::SeqCst), 1);
}

#[test]
fn a_thread_that_ends_in_flight_leaves_the_way_free() {
    let (address, requests, open) = gated();
    let url = format!("http://{address}/keys");
    let key_sets = key_sets();
    let ending = runtime();
    let _boarded = ending.block_on(async { key_sets.board(&url) });
    // It flies only while its runtime runs; this lets it come as far as the server.
    ending.block_on(async {
        while requests.load(Ordering::SeqCst) == 0 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    });
    // The flight is there already, so that this needs no runtime of its own.
    let joined = key_sets.board(&url);
    drop(ending);
    assert_eq!(runtime().block_on(landed(joined)), Err(FetchError::Interrupted));
    assert_eq!(in_the_air(&key_sets), 0);
    (0..2).for_each(|_| open.send(()).unwrap());
    assert_eq!(runtime().block_on(key_sets.fetch(&url)), Ok(Bytes::from(KEYS)));
}
