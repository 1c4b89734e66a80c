//! What stands around one case that is played at an edge.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use anyhow::{Context, Result};
use http::HeaderValue;
use serde_json::Value;
use tokio::net::TcpStream;
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::time::timeout;

use super::client::{self, Front};
use super::expect::{Differences, Names};
use super::upstream::Upstreams;
use super::{Case, Exchange};

/// For everything that takes milliseconds on an idle machine.
const PATIENCE: Duration = Duration::from_secs(20);

/// How a platform is told apart from others, by what it does before and after the adapter.
pub(super) struct Platform {
    /// The header in which it names the client.
    pub(super) client: fn(IpAddr) -> (&'static str, String),
    /// It wants to know the host from the target.
    pub(super) is_absolute: bool,
    pub(super) differences: fn() -> Differences,
}

pub(super) struct Scene {
    pub(super) platform: Platform,
    pub(super) listen: SocketAddr,
    pub(super) upstreams: Upstreams,
    pub(super) names: Names,
    pub(super) events: UnboundedReceiver<Value>,
}

impl Scene {
    pub(super) async fn play(&mut self, case: &Case) -> Result<()> {
        let mut at_ms = 0;
        for (index, exchange) in case.exchanges.iter().enumerate() {
            at_ms = exchange.at_ms.unwrap_or(at_ms);
            for time in 0..exchange.times {
                self.exchange(exchange, at_ms).await.with_context(|| {
                    format!("exchange {} ({}), time {}", index + 1, exchange.request, time + 1)
                })?;
            }
        }
        Ok(())
    }

    async fn exchange(&mut self, exchange: &Exchange, at_ms: u64) -> Result<()> {
        let mut differences = (self.platform.differences)();
        self.upstreams.expect(&exchange.attempts).await?;
        let (name, client) = (self.platform.client)(exchange.from);
        let headers = vec![(name, HeaderValue::try_from(client)?)];
        let front = Front { headers, is_absolute: self.platform.is_absolute };
        let stream = TcpStream::connect(self.listen).await?;
        let got =
            timeout(PATIENCE, client::send(stream, exchange, at_ms, front)).await.context("no reply")??;
        self.upstreams.review(&mut differences, &self.names);
        differences.reply(&got, &exchange.reply, &self.names);
        let event = timeout(PATIENCE, self.events.recv()).await.context("no event")?;
        differences.event(&event.context("the platform's process ended")?, &exchange.event);
        differences.into_result("the exchange differs")
    }
}
