//! Names of endpoints, resolved again as their records expire.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::net::IpAddr;
use std::rc::Rc;
use std::time::{Duration, Instant};

use hickory_resolver::TokioResolver;
use hickory_resolver::net::NetError;
use tokio::sync::Mutex;

/// Addresses of a name that are tried.
const MAX_ADDRESSES: usize = 8;
/// A record is believed for this long at least, whatever its time to live says.
const MIN_TTL: Duration = Duration::from_secs(1);
/// After a failed lookup, stale addresses serve for this long until the next one.
const RETRY_AFTER: Duration = Duration::from_secs(5);

/// The names one thread has resolved. Their number is bounded by the configurations' endpoints.
pub(crate) struct Names {
    /// `None` where the system's resolver configuration cannot be read: then only addresses work.
    resolver: Option<TokioResolver>,
    known: RefCell<HashMap<Box<str>, Rc<Name>>>,
}

#[derive(Debug, thiserror::Error)]
pub(crate) enum NameError {
    #[error("the system's resolver configuration cannot be read")]
    NoResolver,
    #[error(transparent)]
    Lookup(#[from] NetError),
    #[error("the name has no address")]
    NoAddress,
}

#[derive(Default)]
struct Name {
    addresses: RefCell<Option<Rc<[IpAddr]>>>,
    valid_until: Cell<Option<Instant>>,
    /// Held during a lookup: one at a time.
    lookup: Mutex<()>,
}

impl Names {
    pub(crate) fn from_system() -> Names {
        let resolver = TokioResolver::builder_tokio().and_then(|builder| builder.build()).ok();
        Names { resolver, known: RefCell::default() }
    }

    /// The addresses of `host`: at once when they are known, even if expired; a new lookup then runs meanwhile.
    pub(crate) async fn resolve(&self, host: &str) -> Result<Rc<[IpAddr]>, NameError> {
        if let Ok(address) = host.parse::<IpAddr>() {
            return Ok(Rc::new([address]));
        }
        let resolver = self.resolver.as_ref().ok_or(NameError::NoResolver)?;
        let name = self.known.borrow_mut().entry(host.into()).or_default().clone();
        let known = name.addresses.borrow().clone();
        match known {
            Some(addresses) => {
                if name.is_expired() {
                    let (resolver, host) = (resolver.clone(), host.to_owned());
                    // An error leaves the addresses that are known in place.
                    tokio::task::spawn_local(async move { drop(name.look_up(&resolver, &host).await) });
                }
                Ok(addresses)
            }
            None => name.look_up(resolver, host).await,
        }
    }
}

impl Name {
    fn is_expired(&self) -> bool {
        self.valid_until.get().is_none_or(|until| until <= Instant::now())
    }

    async fn look_up(&self, resolver: &TokioResolver, host: &str) -> Result<Rc<[IpAddr]>, NameError> {
        let _one_at_a_time = self.lookup.lock().await;
        if let Some(addresses) = self.addresses.borrow().clone()
            && !self.is_expired()
        {
            return Ok(addresses);
        }
        self.valid_until.set(Some(Instant::now() + RETRY_AFTER));
        let found = resolver.lookup_ip(host).await?;
        let addresses: Rc<[IpAddr]> = found.iter().take(MAX_ADDRESSES).collect();
        if addresses.is_empty() {
            return Err(NameError::NoAddress);
        }
        self.valid_until.set(Some(found.valid_until().max(Instant::now() + MIN_TTL)));
        self.addresses.replace(Some(addresses.clone()));
        Ok(addresses)
    }
}
