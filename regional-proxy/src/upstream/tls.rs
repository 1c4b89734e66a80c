//! TLS towards the services: their own CA, a client certificate and a server name, or what the system trusts.

use std::cell::RefCell;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::pem::{self, PemObject};
use rustls_pki_types::{CertificateDer, InvalidDnsNameError, PrivateKeyDer, ServerName};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use tollgate_core::Endpoint;
use tollgate_core::config::UpstreamProtocol;

/// Files are read again for a connection that is made this much later, in milliseconds, so that a replaced
/// certificate needs no restart.
const REREAD_AFTER_MS: u64 = 60_000;

#[derive(Debug, thiserror::Error)]
pub enum UpstreamTlsError {
    #[error("{path}: {source}")]
    File { path: PathBuf, source: pem::Error },
    #[error("the endpoint's host is no server name: {0}")]
    ServerName(#[from] InvalidDnsNameError),
    #[error(transparent)]
    Tls(#[from] rustls::Error),
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// The TLS side of one endpoint, on one thread.
#[derive(Default)]
pub(crate) struct UpstreamTls {
    made: RefCell<Option<Made>>,
}

#[derive(Clone)]
struct Made {
    config: Arc<ClientConfig>,
    at_ms: u64,
}

impl UpstreamTls {
    pub(crate) async fn connect(
        &self,
        endpoint: &Endpoint,
        socket: TcpStream,
        now_ms: u64,
    ) -> Result<TlsStream<TcpStream>, UpstreamTlsError> {
        let name = endpoint.tls().server_name.as_deref().unwrap_or(endpoint.host());
        let name = ServerName::try_from(name.to_owned())?;
        let config = self.config(endpoint, now_ms)?;
        Ok(TlsConnector::from(config).connect(name, socket).await?)
    }

    fn config(&self, endpoint: &Endpoint, now_ms: u64) -> Result<Arc<ClientConfig>, UpstreamTlsError> {
        if let Some(made) = &*self.made.borrow()
            && now_ms < made.at_ms + REREAD_AFTER_MS
        {
            return Ok(made.config.clone());
        }
        let config = Arc::new(client_config(endpoint)?);
        self.made.replace(Some(Made { config: config.clone(), at_ms: now_ms }));
        Ok(config)
    }
}

fn client_config(endpoint: &Endpoint) -> Result<ClientConfig, UpstreamTlsError> {
    let rules = endpoint.tls();
    let roots = roots(rules.ca_file.as_deref())?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots);
    let mut config = match (&rules.cert_file, &rules.key_file) {
        (Some(chain), Some(key)) => builder.with_client_auth_cert(certificates(chain)?, private_key(key)?)?,
        _ => builder.with_no_client_auth(),
    };
    config.alpn_protocols = match endpoint.protocol() {
        UpstreamProtocol::Http1 => vec![b"http/1.1".to_vec()],
        UpstreamProtocol::Http2 => vec![b"h2".to_vec()],
    };
    Ok(config)
}

/// What a file says, instead of what the operating system trusts.
pub(crate) fn roots(ca_file: Option<&Path>) -> Result<Arc<RootCertStore>, UpstreamTlsError> {
    let Some(path) = ca_file else { return Ok(system_roots()) };
    let mut roots = RootCertStore::empty();
    for certificate in certificates(path)? {
        roots.add(certificate)?;
    }
    Ok(Arc::new(roots))
}

/// What the operating system trusts, read once.
pub(crate) fn system_roots() -> Arc<RootCertStore> {
    static ROOTS: OnceLock<Arc<RootCertStore>> = OnceLock::new();
    let roots = ROOTS.get_or_init(|| {
        let mut roots = RootCertStore::empty();
        // A certificate that cannot be read or parsed is one fewer to trust, and no reason to trust none.
        roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        Arc::new(roots)
    });
    roots.clone()
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, UpstreamTlsError> {
    let in_file = |source| UpstreamTlsError::File { path: path.to_owned(), source };
    CertificateDer::pem_file_iter(path).map_err(in_file)?.collect::<Result<_, _>>().map_err(in_file)
}

fn private_key(path: &Path) -> Result<PrivateKeyDer<'static>, UpstreamTlsError> {
    PrivateKeyDer::from_pem_file(path)
        .map_err(|source| UpstreamTlsError::File { path: path.to_owned(), source })
}
