//! Requests at a steady rate, and what became of each.

use std::net::SocketAddr;
use std::time::{SystemTime, UNIX_EPOCH};

use futures_util::future::join_all;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{Duration, Instant, MissedTickBehavior, interval_at};

use crate::fleet::Fleet;

/// The status of a request whose connection broke.
pub(crate) const BROKEN: u16 = 0;
/// Of one node, each with one request at a time.
const CONNECTIONS: u32 = 8;

#[derive(Clone, Copy, Debug)]
pub(crate) struct Answer {
    pub(crate) sent_us: u64,
    pub(crate) received_us: u64,
    pub(crate) status: u16,
}

/// What each node gets.
#[derive(Clone, Copy)]
pub(crate) struct Load {
    /// Requests a second.
    pub(crate) rate: u32,
    pub(crate) seconds: u64,
    pub(crate) path: &'static str,
}

impl Load {
    pub(crate) async fn on_all(&self, fleet: &Fleet) -> Vec<Answer> {
        let each = fleet.nodes.iter().map(|node| self.on(node.address));
        join_all(each).await.into_iter().flatten().collect()
    }

    /// Each connection's requests come at even times, those of all connections too.
    pub(crate) async fn on(&self, address: SocketAddr) -> Vec<Answer> {
        let every = Duration::from_secs(1) * CONNECTIONS / self.rate;
        let began = Instant::now();
        let until = began + Duration::from_secs(self.seconds);
        let connection = async |number: u32| {
            let mut client = Client::new(address);
            let mut ticks = interval_at(began + every * number / CONNECTIONS, every);
            ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
            let mut answers = Vec::new();
            while ticks.tick().await < until {
                answers.push(client.get(self.path).await);
            }
            answers
        };
        join_all((0..CONNECTIONS).map(connection)).await.into_iter().flatten().collect()
    }
}

pub(crate) fn admitted(answers: &[Answer]) -> impl Iterator<Item = &Answer> {
    answers.iter().filter(|answer| answer.status == 200)
}

fn now_us() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_micros() as u64
}

/// One connection, made again after it broke.
pub(crate) struct Client {
    address: SocketAddr,
    stream: Option<TcpStream>,
}

impl Client {
    pub(crate) fn new(address: SocketAddr) -> Client {
        Client { address, stream: None }
    }

    pub(crate) async fn get(&mut self, path: &str) -> Answer {
        let sent_us = now_us();
        let status = self.exchange(path).await;
        if status.is_none() {
            self.stream = None;
        }
        Answer { sent_us, received_us: now_us(), status: status.unwrap_or(BROKEN) }
    }

    async fn exchange(&mut self, path: &str) -> Option<u16> {
        let stream = match &mut self.stream {
            Some(stream) => stream,
            None => {
                let stream = TcpStream::connect(self.address).await.ok()?;
                stream.set_nodelay(true).ok()?;
                self.stream.insert(stream)
            }
        };
        let request = format!("GET {path} HTTP/1.1\r\nhost: gateway\r\n\r\n");
        stream.write_all(request.as_bytes()).await.ok()?;
        let (mut bytes, mut buffer) = (Vec::new(), [0; 4_096]);
        loop {
            let read = stream.read(&mut buffer).await.ok().filter(|read| *read > 0)?;
            bytes.extend_from_slice(&buffer[..read]);
            let Some(end) = bytes.windows(4).position(|four| four == b"\r\n\r\n") else { continue };
            let head = String::from_utf8_lossy(&bytes[..end]).to_ascii_lowercase();
            let length = head.lines().find_map(|line| line.strip_prefix("content-length: "))?;
            if bytes.len() >= end + 4 + length.parse::<usize>().ok()? {
                return head.split(' ').nth(1)?.parse().ok();
            }
        }
    }
}
