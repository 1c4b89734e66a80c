//! Client sockets: bound once, accepted on one thread, and handed to the lane with the fewest connections.
//!
//! Sharing a port between the lanes' own sockets (`SO_REUSEPORT`) would spread connections by hash, leave one lane
//! busier than another for as long as they live, and let a second instance start unnoticed.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread;
use std::time::Duration;

use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::TcpListener;
use tokio::sync::mpsc::UnboundedSender;
use tokio::sync::{Semaphore, oneshot};

use crate::connection::Accepted;
use crate::engine::Shared;

/// Connections that the kernel keeps until they are accepted.
const BACKLOG: i32 = 4096;
/// How long to wait when the process has no descriptor left for another connection.
const EXHAUSTED_PAUSE: Duration = Duration::from_millis(50);

/// Sockets that listen.
#[derive(Debug)]
pub struct Listeners(Vec<std::net::TcpListener>);

#[derive(Debug, thiserror::Error)]
pub enum ListenError {
    #[error(
        "cannot listen on {address}: another process does already; stop it, or change server.listen, server.admin.listen, redis_bridge.listen or relay.listen"
    )]
    InUse { address: SocketAddr },
    #[error("cannot listen on {address}: {source}")]
    Bind { address: SocketAddr, source: io::Error },
}

impl Listeners {
    /// Binds every address, or none.
    pub fn bind(addresses: &[SocketAddr]) -> Result<Listeners, ListenError> {
        addresses.iter().map(|address| bind(*address)).collect::<Result<_, _>>().map(Listeners)
    }

    pub(crate) fn into_inner(self) -> Vec<std::net::TcpListener> {
        self.0
    }

    /// Serves what is not the data path on a thread and a runtime of its own, called `name`.
    pub(crate) fn serve(self, name: &str, router: axum::Router) -> io::Result<()> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        thread::Builder::new().name(name.to_owned()).spawn(move || {
            runtime.block_on(async move {
                for listener in self.into_inner() {
                    let listener = tokio::net::TcpListener::from_std(listener)
                        .expect("a bound socket fits an event loop");
                    let router = router.clone();
                    tokio::spawn(async move { axum::serve(listener, router).await });
                }
                std::future::pending::<()>().await
            })
        })?;
        Ok(())
    }

    /// The addresses that were bound; a port of 0 has become a real one.
    pub fn addresses(&self) -> Vec<SocketAddr> {
        // A bound socket has an address.
        self.0.iter().filter_map(|listener| listener.local_addr().ok()).collect()
    }
}

fn bind(address: SocketAddr) -> Result<std::net::TcpListener, ListenError> {
    let open = || {
        let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
        // On Linux this lets a restart bind beside connections in TIME_WAIT, and never two listeners.
        socket.set_reuse_address(true)?;
        socket.set_nonblocking(true)?;
        socket.bind(&address.into())?;
        socket.listen(BACKLOG)?;
        Ok(socket.into())
    };
    open().map_err(|source: io::Error| match source.kind() {
        io::ErrorKind::AddrInUse => ListenError::InUse { address },
        _ => ListenError::Bind { address, source },
    })
}

/// Accepts on the calling thread until told to stop.
pub(crate) fn run(
    shared: Arc<Shared>,
    listeners: Listeners,
    lanes: Vec<UnboundedSender<Accepted>>,
    stop: oneshot::Receiver<()>,
) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().enable_time().build();
    let runtime = runtime.expect("the operating system has a descriptor left for an event loop");
    runtime.block_on(async {
        let places = Arc::new(Semaphore::new(shared.limits().connections as usize));
        let mut accepting = tokio::task::JoinSet::new();
        for listener in &listeners.0 {
            let (shared, lanes, places) = (shared.clone(), lanes.clone(), places.clone());
            let listener = listener.try_clone().expect("the operating system has a descriptor left");
            accepting.spawn(async move {
                let listener = TcpListener::from_std(listener).expect("a bound socket fits an event loop");
                accept(&shared, &listener, &lanes, places).await;
            });
        }
        // Told to stop, or whoever could tell is gone.
        let _ = stop.await;
        accepting.shutdown().await;
        // Who is in the queue has connected already, and would be reset.
        for listener in &listeners.0 {
            while let (Ok(place), Ok((socket, address))) =
                (places.clone().try_acquire_owned(), listener.accept())
            {
                // Clones share what makes the listener non-blocking, and what it accepts does not have it.
                let _ = socket.set_nonblocking(true);
                hand_over(&shared, &lanes, Accepted { socket, address, place });
            }
        }
    });
}

async fn accept(
    shared: &Shared,
    listener: &TcpListener,
    lanes: &[UnboundedSender<Accepted>],
    places: Arc<Semaphore>,
) {
    loop {
        let place = places.clone().acquire_owned().await.expect("the semaphore is never closed");
        let (socket, address) = match listener.accept().await {
            Ok(accepted) => accepted,
            Err(error) => {
                if is_exhausted(&error) {
                    tokio::time::sleep(EXHAUSTED_PAUSE).await;
                }
                continue;
            }
        };
        let Ok(socket) = socket.into_std() else { continue };
        if !hand_over(shared, lanes, Accepted { socket, address, place }) {
            return;
        }
    }
}

/// False when the lanes are gone.
fn hand_over(shared: &Shared, lanes: &[UnboundedSender<Accepted>], accepted: Accepted) -> bool {
    // Replies are written whole, so that waiting for more to send along only delays them.
    let _ = accepted.socket.set_nodelay(true);
    let open = |lane: &usize| shared.connections[*lane].load(Ordering::Relaxed);
    let lane = (0..lanes.len()).min_by_key(open).expect("there is a lane");
    shared.connections[lane].fetch_add(1, Ordering::AcqRel);
    lanes[lane].send(accepted).is_ok()
}

/// EMFILE or ENFILE: trying again at once would spin.
fn is_exhausted(error: &io::Error) -> bool {
    const ENFILE: i32 = 23;
    const EMFILE: i32 = 24;
    matches!(error.raw_os_error(), Some(ENFILE | EMFILE))
}
