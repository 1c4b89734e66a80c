//! The data path as the rest of the program sees it: start it, change its configuration, drain it.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use arc_swap::{ArcSwap, ArcSwapOption};
use tokio::sync::{mpsc, oneshot};

use crate::issuer::Issuer;
use crate::key_sets::{KeySets, KeySetsError};
use crate::listener::{self, Listeners};
use crate::store::{StoreError, Stores};
use crate::tls::TlsServer;
use crate::worker;
use tollgate_core::config::{Server, ServerLimits, ServerTimeouts};
use tollgate_core::{Event, Gateway};

/// Takes the events of one lane, a few ticks of 20 ms worth at a time, on that lane's thread: it must not wait.
pub type EventSink = Box<dyn FnMut(&mut Vec<Event>) + Send>;

/// What the data path reads and others may replace while it runs.
pub struct Shared {
    /// The generation that new requests start under.
    pub gateway: Arc<ArcSwap<Gateway>>,
    pub(crate) connections: Box<[AtomicUsize]>,
    deadline: ArcSwapOption<Instant>,
    /// Where the policy has logins.
    pub issuer: ArcSwapOption<Issuer>,
    pub(crate) key_sets: KeySets,
    /// As the policy named it at the start.
    pub stores: Option<Stores>,
    /// Lanes that have not drained yet.
    pub(crate) lanes_left: AtomicUsize,
    /// As it was at the start: listeners and their limits do not change while the process runs.
    server: Server,
    tls: Option<Arc<TlsServer>>,
}

/// Why the data path cannot start.
#[derive(Debug, thiserror::Error)]
pub enum SharedError {
    #[error(transparent)]
    KeySets(#[from] KeySetsError),
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// A running data path.
pub struct Running {
    shared: Arc<Shared>,
    stop_accepting: oneshot::Sender<()>,
    threads: Vec<JoinHandle<()>>,
}

impl Shared {
    /// For `lanes` data-path threads, 1 to 65,535.
    pub fn new(
        gateway: Arc<Gateway>,
        lanes: usize,
        tls: Option<Arc<TlsServer>>,
        issuer: Option<Issuer>,
    ) -> Result<Arc<Shared>, SharedError> {
        let stores = gateway.config().limits.store.as_ref().map(Stores::new).transpose()?;
        Ok(Arc::new(Shared {
            stores,
            lanes_left: AtomicUsize::new(lanes),
            issuer: ArcSwapOption::from_pointee(issuer),
            key_sets: KeySets::new()?,
            server: gateway.config().server.clone(),
            gateway: Arc::new(ArcSwap::new(gateway)),
            connections: (0..lanes).map(|_| AtomicUsize::new(0)).collect(),
            deadline: ArcSwapOption::empty(),
            tls,
        }))
    }

    pub(crate) fn limits(&self) -> &ServerLimits {
        &self.server.limits
    }

    pub(crate) fn timeouts(&self) -> &ServerTimeouts {
        &self.server.timeouts
    }

    pub(crate) fn tls(&self) -> Option<&TlsServer> {
        self.tls.as_deref()
    }

    pub(crate) fn expects_proxy_header(&self, peer: IpAddr) -> bool {
        let trusted = || self.server.trusted_proxies.iter().any(|range| range.contains(peer));
        self.server.proxy_protocol && trusted()
    }

    /// Connections that are open now, over all lanes.
    pub fn open_connections(&self) -> usize {
        self.connections.iter().map(|lane| lane.load(Ordering::Relaxed)).sum()
    }

    pub(crate) fn drain_deadline(&self) -> Option<Instant> {
        self.deadline.load().as_deref().copied()
    }
}

/// Starts the threads of the data path: one for each sink, and one that accepts for all of them.
pub fn serve(shared: Arc<Shared>, listeners: Listeners, sinks: Vec<EventSink>) -> Running {
    assert_eq!(sinks.len(), shared.connections.len(), "one sink a lane");
    let mut threads = Vec::with_capacity(sinks.len() + 1);
    let mut lanes = Vec::with_capacity(sinks.len());
    for (lane, sink) in sinks.into_iter().enumerate() {
        let (sender, accepted) = mpsc::unbounded_channel();
        lanes.push(sender);
        let shared = shared.clone();
        let lane = u16::try_from(lane).expect("fewer lanes than 65,536");
        threads.push(spawn(format!("data-{lane}"), move || worker::run(shared, lane, accepted, sink)));
    }
    let (stop_accepting, stopped) = oneshot::channel();
    let for_listener = shared.clone();
    threads.push(spawn("accept".to_owned(), move || listener::run(for_listener, listeners, lanes, stopped)));
    Running { shared, stop_accepting, threads }
}

impl Running {
    /// Takes no more connections and returns when those that are open are done, at the latest after `within`.
    pub fn drain(self, within: Duration) {
        let Running { shared, stop_accepting, threads } = self;
        // An acceptor that is gone already accepts nothing either.
        let _ = stop_accepting.send(());
        shared.deadline.store(Some(Arc::new(Instant::now() + within)));
        for thread in threads {
            // A thread that panicked has said so; the others are still to be waited for.
            let _ = thread.join();
        }
    }
}

fn spawn(name: String, run: impl FnOnce() + Send + 'static) -> JoinHandle<()> {
    std::thread::Builder::new().name(name).spawn(run).expect("the operating system has a thread left")
}
