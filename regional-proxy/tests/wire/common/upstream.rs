//! Services that do what a script says, and remember what they were asked.

use std::net::{SocketAddr, TcpListener};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;

use super::{Message, Wire};

#[derive(Clone)]
pub(crate) struct Upstream {
    pub(crate) address: SocketAddr,
    seen: Arc<Seen>,
}

#[derive(Default)]
struct Seen {
    connections: AtomicUsize,
    requests: Mutex<Vec<Message>>,
}

impl Upstream {
    /// Runs `script` with each connection, on a thread of its own; the second argument counts connections from 0.
    pub(crate) fn scripted(script: impl Fn(&mut Wire, usize) + Send + Sync + 'static) -> Upstream {
        Upstream::on_threads(move |_| move |wire: &mut Wire, nth| script(wire, nth))
    }

    /// Answers every request with the bytes of `reply`, once it is read whole.
    pub(crate) fn answering(reply: impl Into<Vec<u8>>) -> Upstream {
        let reply = reply.into();
        Upstream::on_threads(move |seen| {
            move |wire: &mut Wire, _| {
                while let Some(request) = wire.request() {
                    seen.requests.lock().unwrap().push(request);
                    if wire.try_send(&reply).is_err() {
                        return;
                    }
                }
            }
        })
    }

    pub(crate) fn ok() -> Upstream {
        Upstream::answering("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok")
    }

    /// What `answering` was asked, in the order of arrival.
    pub(crate) fn requests(&self) -> Vec<Message> {
        self.seen.requests.lock().unwrap().clone()
    }

    pub(crate) fn connections(&self) -> usize {
        self.seen.connections.load(Ordering::SeqCst)
    }

    fn on_threads<F: Fn(&mut Wire, usize) + Send + Sync + 'static>(
        script: impl FnOnce(Arc<Seen>) -> F,
    ) -> Upstream {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let seen = Arc::<Seen>::default();
        let script = Arc::new(script(seen.clone()));
        let counted = seen.clone();
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let nth = counted.connections.fetch_add(1, Ordering::SeqCst);
                let script = script.clone();
                thread::spawn(move || script(&mut Wire::new(stream), nth));
            }
        });
        Upstream { address, seen }
    }
}
