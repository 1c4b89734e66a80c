//! TLS towards clients. Certificates are read again when their files change, without a restart.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use arc_swap::ArcSwap;
use rustls::crypto::CryptoProvider;
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::ClientCertVerifier;
use rustls::{RootCertStore, ServerConfig, SupportedProtocolVersion};
use rustls_pki_types::pem::{self, PemObject};
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use tollgate_core::config::{ServerTls, TlsVersion};

#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    #[error("cannot read {path}: {source}")]
    File { path: PathBuf, source: pem::Error },
    #[error("{path} holds no certificate")]
    NoCertificate { path: PathBuf },
    #[error("unknown cipher suite {name}; known are {known}")]
    CipherSuite { name: String, known: String },
    #[error("security.tls.cipher_suites leaves no suite for TLS from min_version on")]
    NoCipherSuite,
    #[error("the client certificates' CA file is not usable: {0}")]
    ClientCa(#[from] rustls::server::VerifierBuilderError),
    #[error("certificate and key are not usable: {0}")]
    Config(#[from] rustls::Error),
}

/// The TLS side of all listeners.
pub struct TlsServer {
    rules: ServerTls,
    current: ArcSwap<Loaded>,
}

struct Loaded {
    config: Arc<ServerConfig>,
    stamps: Stamps,
}

/// When each file was last changed; `None` where it cannot be told.
type Stamps = Vec<Option<SystemTime>>;

impl TlsServer {
    pub fn new(rules: ServerTls) -> Result<TlsServer, TlsError> {
        let loaded = load(&rules)?;
        Ok(TlsServer { rules, current: ArcSwap::from_pointee(loaded) })
    }

    /// Reads the files again if one of them changed, and says whether it did. After an error the former certificate
    /// stays, and the next call tries again.
    pub fn refresh(&self) -> Result<bool, TlsError> {
        if stamps(&self.rules) == self.current.load().stamps {
            return Ok(false);
        }
        self.current.store(Arc::new(load(&self.rules)?));
        Ok(true)
    }

    pub(crate) async fn accept(&self, socket: TcpStream) -> io::Result<TlsStream<TcpStream>> {
        let acceptor = TlsAcceptor::from(self.current.load().config.clone());
        acceptor.accept(socket).await
    }
}

fn load(rules: &ServerTls) -> Result<Loaded, TlsError> {
    // Taken before reading: a change in between is then seen next time.
    let stamps = stamps(rules);
    let builder = ServerConfig::builder_with_provider(Arc::new(provider(rules)?))
        .with_protocol_versions(versions(rules.min_version))
        .map_err(|_| TlsError::NoCipherSuite)?;
    let builder = match &rules.client_ca_file {
        Some(path) => builder.with_client_cert_verifier(client_verifier(path, rules)?),
        None => builder.with_no_client_auth(),
    };
    let mut config =
        builder.with_single_cert(certificates(&rules.cert_file)?, private_key(&rules.key_file)?)?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(Loaded { config: Arc::new(config), stamps })
}

fn provider(rules: &ServerTls) -> Result<CryptoProvider, TlsError> {
    let mut provider = rustls::crypto::ring::default_provider();
    if rules.cipher_suites.is_empty() {
        return Ok(provider);
    }
    let all = std::mem::take(&mut provider.cipher_suites);
    for name in &rules.cipher_suites {
        let suite =
            all.iter().find(|suite| iana_name(suite) == *name).ok_or_else(|| TlsError::CipherSuite {
                name: name.clone(),
                known: all.iter().map(iana_name).collect::<Vec<_>>().join(", "),
            })?;
        provider.cipher_suites.push(*suite);
    }
    // TLS 1.3 has no suite that needs leaving out, and a list written for 1.2 should not turn it off.
    let names_1_3 = provider.cipher_suites.iter().any(|suite| suite.tls13().is_some());
    if !names_1_3 {
        provider.cipher_suites.extend(all.iter().filter(|suite| suite.tls13().is_some()));
    }
    Ok(provider)
}

/// rustls calls TLS 1.3's suites `TLS13_…`, IANA `TLS_…`.
fn iana_name(suite: &rustls::SupportedCipherSuite) -> String {
    let name = format!("{:?}", suite.suite());
    name.replacen("TLS13_", "TLS_", 1)
}

fn versions(min: TlsVersion) -> &'static [&'static SupportedProtocolVersion] {
    static BOTH: [&SupportedProtocolVersion; 2] = [&rustls::version::TLS13, &rustls::version::TLS12];
    match min {
        TlsVersion::V1_2 => &BOTH,
        TlsVersion::V1_3 => &BOTH[..1],
    }
}

fn client_verifier(path: &Path, rules: &ServerTls) -> Result<Arc<dyn ClientCertVerifier>, TlsError> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(path)? {
        roots.add(certificate)?;
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
    let builder = if rules.client_auth_required { builder } else { builder.allow_unauthenticated() };
    Ok(builder.build()?)
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let in_file = |source| TlsError::File { path: path.to_owned(), source };
    let chain: Vec<_> =
        CertificateDer::pem_file_iter(path).map_err(in_file)?.collect::<Result<_, _>>().map_err(in_file)?;
    if chain.is_empty() {
        return Err(TlsError::NoCertificate { path: path.to_owned() });
    }
    Ok(chain)
}

fn private_key(path: &Path) -> Result<PrivateKeyDer<'static>, TlsError> {
    PrivateKeyDer::from_pem_file(path).map_err(|source| TlsError::File { path: path.to_owned(), source })
}

fn stamps(rules: &ServerTls) -> Stamps {
    let files = [Some(&rules.cert_file), Some(&rules.key_file), rules.client_ca_file.as_ref()];
    let stamp = |path: &PathBuf| fs::metadata(path).and_then(|metadata| metadata.modified()).ok();
    files.into_iter().flatten().map(stamp).collect()
}
