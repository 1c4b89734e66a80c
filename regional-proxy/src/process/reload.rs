//! From one configuration to the next, without dropping a connection.

use std::sync::{Arc, Mutex, PoisonError};

use tollgate_core::Options;
use tollgate_core::config::Loaded;
use tracing::{info, warn};

use crate::policy::{self, PolicyError, PolicyFile};
use crate::{Shared, TlsServer};

/// Replaces the configuration of a running process.
pub struct Reloader {
    shared: Arc<Shared>,
    tls: Option<Arc<TlsServer>>,
    current: Mutex<Current>,
}

struct Current {
    policy: PolicyFile,
    options: Options,
    /// The last text that was refused, so that it is reported once and not every second.
    refused: Option<String>,
}

impl Reloader {
    pub fn new(
        policy: PolicyFile,
        options: Options,
        shared: Arc<Shared>,
        tls: Option<Arc<TlsServer>>,
    ) -> Reloader {
        Reloader { shared, tls, current: Mutex::new(Current { policy, options, refused: None }) }
    }

    /// Reads the file and serves it, whether or not it changed. Answers the new generation; after an error the
    /// former configuration stays.
    pub fn reload(&self) -> Result<u64, PolicyError> {
        let mut current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(path) = current.policy.path.clone() else {
            return Ok(current.options.generation);
        };
        self.adopt(&mut current, PolicyFile::read(&path)?)
    }

    /// The same, if the file or a certificate changed since; `None` if not, or if this error was reported already.
    pub fn reload_if_changed(&self) -> Option<Result<u64, PolicyError>> {
        self.refresh_certificates();
        let mut current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        let outcome = current.policy.reread_if_changed()?;
        let outcome = outcome.and_then(|policy| self.adopt(&mut current, policy));
        let refused = outcome.as_ref().err().map(ToString::to_string);
        let is_news = refused.is_none() || refused != current.refused;
        current.refused = refused;
        is_news.then_some(outcome)
    }

    /// Reads the configuration in force.
    pub fn read<T>(&self, read: impl FnOnce(&Loaded) -> T) -> T {
        read(&self.current.lock().unwrap_or_else(PoisonError::into_inner).policy.loaded)
    }

    fn adopt(&self, current: &mut Current, policy: PolicyFile) -> Result<u64, PolicyError> {
        let generation = current.options.generation + 1;
        let options = Options { generation, ..current.options.clone() };
        let gateway = policy.gateway(Some(&self.shared.gateway.load()), options)?;
        let issuer = policy.issuer(self.shared.issuer.load().as_deref())?;
        policy::warn(&policy.loaded);
        if current.policy.loaded.config.server != policy.loaded.config.server {
            warn!("server: listeners, workers, limits and timeouts take effect at the next start");
        }
        if current.policy.loaded.config.security.tls != policy.loaded.config.security.tls {
            warn!("security.tls: takes effect at the next start");
        }
        if current.policy.loaded.config.redis_bridge != policy.loaded.config.redis_bridge {
            warn!("redis_bridge: takes effect at the next start");
        }
        let way = |policy: &PolicyFile| {
            policy.loaded.config.limits.store.as_ref().map(|store| (store.way.clone(), store.timeout))
        };
        if way(&current.policy) != way(&policy) {
            warn!("rate_limit.store: how it is reached takes effect at the next start");
        }
        if current.policy.loaded.config.relay != policy.loaded.config.relay {
            warn!("relay: takes effect at the next start");
        }
        if current.policy.loaded.config.events != policy.loaded.config.events {
            warn!("event_processing: takes effect at the next start");
        }
        self.shared.issuer.store(issuer.map(Arc::new));
        self.shared.gateway.store(gateway);
        current.options.generation = generation;
        current.policy = policy;
        Ok(generation)
    }

    fn refresh_certificates(&self) {
        match self.tls.as_deref().map(TlsServer::refresh) {
            Some(Ok(true)) => info!("the certificates were read again"),
            Some(Err(error)) => warn!("the former certificates stay: {error}"),
            Some(Ok(false)) | None => {}
        }
    }
}
