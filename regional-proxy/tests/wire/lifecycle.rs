//! Reload and drain while clients press: no request is lost.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use serde_json::{Value, json};

use super::common::{Gateway, Upstream, Wire, until};

const CLIENTS: usize = 16;

/// Clients that ask again as soon as they are answered, on connections that they keep for as long as they may.
struct Load {
    stop: Arc<AtomicBool>,
    clients: Vec<JoinHandle<Tally>>,
}

#[derive(Debug, Default, PartialEq, Eq)]
struct Tally {
    answered: usize,
    failures: Vec<String>,
    connections: usize,
}

impl Load {
    fn on(address: SocketAddr) -> Load {
        let stop = Arc::<AtomicBool>::default();
        let clients = (0..CLIENTS)
            .map(|_| {
                let stop = stop.clone();
                thread::spawn(move || press(address, &stop))
            })
            .collect();
        Load { stop, clients }
    }

    fn stop(self) -> Tally {
        self.stop.store(true, Ordering::SeqCst);
        self.join()
    }

    fn join(self) -> Tally {
        let mut sum = Tally::default();
        for client in self.clients {
            let tally = client.join().unwrap();
            sum.answered += tally.answered;
            sum.connections += tally.connections;
            sum.failures.extend(tally.failures);
        }
        sum
    }
}

/// Ends when told to, or when the gateway takes no more connections.
fn press(address: SocketAddr, stop: &AtomicBool) -> Tally {
    let mut tally = Tally::default();
    while !stop.load(Ordering::SeqCst) {
        let Ok(stream) = std::net::TcpStream::connect(address) else { break };
        tally.connections += 1;
        let mut wire = Wire::new(stream);
        let mut is_open = true;
        while is_open && !stop.load(Ordering::SeqCst) {
            let request = "POST /echo/x HTTP/1.1\r\nhost: a\r\ncontent-length: 3\r\n\r\nabc";
            let reply = wire.try_send(request).ok().and_then(|()| wire.head());
            let Some(mut reply) = reply else {
                tally.failures.push(format!("no answer after {} on this load", tally.answered));
                break;
            };
            wire.body(&mut reply);
            if reply.status() != 200 || reply.is_broken {
                tally.failures.push(reply.start.clone());
            }
            tally.answered += 1;
            is_open = reply.field("connection").as_deref() != Some("close");
        }
    }
    tally
}

fn policy(upstream: &Upstream) -> Value {
    json!({
        "server": { "workers": 2 },
        "routing": { "services": { "echo": { "urls": [format!("http://{}", upstream.address)] } } },
    })
}

#[test]
fn reloads_under_load_lose_no_request_and_no_connection() {
    let (first, second) = (Upstream::ok(), Upstream::ok());
    let gateway = Gateway::start(policy(&first));
    let load = Load::on(gateway.listen);
    for nth in 0..10 {
        gateway.write_policy(policy(if nth % 2 == 0 { &second } else { &first }));
        gateway.signal("HUP");
        thread::sleep(Duration::from_millis(100));
    }
    // And once by its own look at the file.
    gateway.write_policy(policy(&second));
    let before = first.requests().len();
    until("the new policy serves", || {
        thread::sleep(Duration::from_millis(100));
        first.requests().len() == before || second.connections() > 0
    });
    let tally = load.stop();
    assert_eq!((tally.failures, tally.connections), (vec![], CLIENTS));
    assert!(tally.answered > 100, "{}", tally.answered);
    assert!(second.connections() > 0);
    assert!(gateway.log().matches("reloaded: this is configuration").count() >= 10);
}

#[test]
fn a_drain_under_load_loses_no_request() {
    let upstream = Upstream::ok();
    let mut gateway = Gateway::start(policy(&upstream));
    let load = Load::on(gateway.listen);
    until("the load is on", || upstream.requests().len() > 500);
    gateway.signal("TERM");
    let tally = load.join();
    assert_eq!(tally.failures, Vec::<String>::new());
    assert_eq!(gateway.wait().code(), Some(0));
    // Each answer has its event, and none is there twice.
    assert_eq!(gateway.events().len(), tally.answered);
}
