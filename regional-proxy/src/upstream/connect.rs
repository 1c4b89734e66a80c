//! New connections to an endpoint.

use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::time::{Instant, timeout, timeout_at};

use super::{Link, Upstream, h2};
use crate::connection::stream::Stream;
use crate::worker::Worker;
use tollgate_core::Failure;

/// Opens an HTTP/1 connection within `limit`.
pub(crate) async fn connect(
    worker: &Worker,
    upstream: &Rc<Upstream>,
    limit: Duration,
) -> Result<Box<Link>, Failure> {
    Ok(Link::new(open(worker, upstream, limit).await?, upstream.clone()))
}

/// The endpoint's HTTP/2 connection, opened within `limit` if there is none.
pub(crate) async fn shared(
    worker: &Worker,
    upstream: &Rc<Upstream>,
    limit: Duration,
) -> Result<h2::Sender, Failure> {
    let connect = async {
        let stream = open(worker, upstream, limit).await?;
        h2::handshake(stream).await.map_err(|_| Failure::Connect)
    };
    upstream.shared.sender(connect).await
}

async fn open(worker: &Worker, upstream: &Upstream, limit: Duration) -> Result<Stream, Failure> {
    let endpoint = &upstream.endpoint;
    let deadline = Instant::now() + limit;
    let named = timeout_at(deadline, worker.names.resolve(endpoint.host())).await;
    let addresses = named.map_err(|_| Failure::Connect)?.map_err(|_| Failure::Dns)?;
    let mut last = Failure::Dns;
    for (index, address) in addresses.iter().enumerate() {
        // Each address gets an even share of what time is left, so that a silent one does not use it all up.
        let left = deadline.saturating_duration_since(Instant::now());
        let share = left / (addresses.len() - index) as u32;
        match timeout(share, TcpStream::connect(SocketAddr::new(*address, endpoint.port()))).await {
            Ok(Ok(socket)) => return secure(worker, upstream, socket, deadline).await,
            Ok(Err(_)) | Err(_) => last = Failure::Connect,
        }
    }
    Err(last)
}

async fn secure(
    worker: &Worker,
    upstream: &Upstream,
    socket: TcpStream,
    deadline: Instant,
) -> Result<Stream, Failure> {
    // Without it a request's body can wait for the acknowledgement of its head. A socket that refuses still works.
    let _ = socket.set_nodelay(true);
    let endpoint = &upstream.endpoint;
    if !endpoint.is_tls() {
        return Ok(Stream::Clear(socket));
    }
    let securing = upstream.tls.connect(endpoint, socket, worker.watches.now_ms());
    let stream =
        timeout_at(deadline, securing).await.map_err(|_| Failure::Connect)?.map_err(|_| Failure::Tls)?;
    Ok(Stream::Tls(Box::new(stream.into())))
}
