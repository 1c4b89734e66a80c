//! The HTTP/2 connection of one thread to one endpoint, shared by all its requests.

use std::time::Duration;

use hyper::client::conn::http2;
use tokio::sync::Mutex;

use crate::body::RequestBody;
use crate::connection::stream::Stream;
use crate::worker::{LocalExecutor, LocalTimer};

pub(crate) type Sender = http2::SendRequest<RequestBody>;

/// Bytes of a response's header list.
const MAX_HEAD_BYTES: u32 = 64 * 1024;
/// Bytes a stream may have in flight towards the gateway before it must wait for the client.
const STREAM_WINDOW_BYTES: u32 = 256 * 1024;
const CONNECTION_WINDOW_BYTES: u32 = 2 * 1024 * 1024;
/// A connection is asked for a sign of life this often while requests are open on it.
const PING_EVERY: Duration = Duration::from_secs(20);
const PING_TIMEOUT: Duration = Duration::from_secs(10);

/// A slot for the connection. Its lock is held while connecting, so that concurrent requests wait for one
/// connection instead of opening one each.
#[derive(Default)]
pub(crate) struct SharedConnection {
    slot: Mutex<Option<Sender>>,
}

impl SharedConnection {
    /// The connection that is there, or the one that `connect` makes.
    pub(crate) async fn sender<E>(
        &self,
        connect: impl Future<Output = Result<Sender, E>>,
    ) -> Result<Sender, E> {
        let mut slot = self.slot.lock().await;
        if let Some(sender) = slot.as_ref().filter(|sender| sender.is_ready()) {
            return Ok(sender.clone());
        }
        let sender = connect.await?;
        *slot = Some(sender.clone());
        Ok(sender)
    }
}

/// Starts HTTP/2 on `stream`. The connection ends when the other side says so or the last sender is gone.
pub(super) async fn handshake(stream: Stream) -> Result<Sender, hyper::Error> {
    let (sender, connection) = http2::Builder::new(LocalExecutor)
        .timer(LocalTimer)
        .initial_stream_window_size(STREAM_WINDOW_BYTES)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
        .max_header_list_size(MAX_HEAD_BYTES)
        .keep_alive_interval(PING_EVERY)
        .keep_alive_timeout(PING_TIMEOUT)
        .handshake(stream)
        .await?;
    // What ended it is seen by each request that was open on it.
    tokio::task::spawn_local(async move { drop(connection.await) });
    Ok(sender)
}
