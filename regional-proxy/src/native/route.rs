//! Which server a connection is opened to.

use std::path::Path;

use redis::aio::MultiplexedConnection;
use tokio::time::{Duration, timeout};

use tollgate_core::config::document::Secret;
use tollgate_core::config::{RedisServer, RedisTopology};
use tollgate_core::store::{Command, Value};

use super::{DIAL_TIMEOUT, DialError, Dialer, RedisTlsError, pipeline};

/// Until one sentinel has said where the master is: a silent one leaves time for the others.
const SENTINEL_TIMEOUT: Duration = Duration::from_millis(500);

/// The way to one server, which is looked for anew each time with Sentinel.
#[derive(Clone)]
pub(crate) enum Route {
    Server { dialer: Dialer, host: String, port: u16 },
    Sentinel { dialer: Dialer, sentinels: Vec<(String, u16)>, to_sentinels: Dialer, master: String },
}

impl Route {
    /// To a server or a sentinels' master; to a cluster's first node.
    pub(crate) fn new(
        servers: &[RedisServer],
        topology: &RedisTopology,
        ca_file: Option<&Path>,
    ) -> Result<Route, RedisTlsError> {
        let first = &servers[0];
        let dialer = Dialer::new(first, ca_file)?;
        Ok(match topology {
            RedisTopology::Single | RedisTopology::Cluster => {
                Route::Server { dialer, host: first.host.clone(), port: first.port }
            }
            RedisTopology::Sentinel { master, user, password } => {
                let password = password.as_ref().map(Secret::expose);
                let to_sentinels = dialer.with_user(user.as_deref(), password);
                let sentinels = servers.iter().map(|server| (server.host.clone(), server.port)).collect();
                Route::Sentinel { dialer, sentinels, to_sentinels, master: master.clone() }
            }
        })
    }

    pub(crate) async fn dial(&self) -> Result<MultiplexedConnection, DialError> {
        timeout(DIAL_TIMEOUT, self.open()).await.unwrap_or(Err(DialError::Silent))
    }

    async fn open(&self) -> Result<MultiplexedConnection, DialError> {
        match self {
            Route::Server { dialer, host, port } => dialer.dial(host, *port).await,
            Route::Sentinel { dialer, sentinels, to_sentinels, master } => {
                let mut failed = DialError::UnknownMaster(master.clone());
                for (host, port) in sentinels {
                    let asked = timeout(SENTINEL_TIMEOUT, master_of(to_sentinels, host, *port, master)).await;
                    match asked.unwrap_or(Err(DialError::Silent)) {
                        Ok(Some((host, port))) => return to_master(dialer, &host, port).await,
                        Ok(None) => {}
                        Err(error) => failed = error,
                    }
                }
                Err(failed)
            }
        }
    }
}

async fn master_of(
    dialer: &Dialer,
    host: &str,
    port: u16,
    master: &str,
) -> Result<Option<(String, u16)>, DialError> {
    let mut connection = dialer.dial(host, port).await?;
    let answer = ask(&mut connection, &["SENTINEL", "get-master-addr-by-name", master]).await;
    let Some(Value::Array(parts)) = answer else { return Ok(None) };
    let [Value::Text(host), Value::Text(port)] = parts.as_slice() else { return Ok(None) };
    let text = |bytes: &[u8]| std::str::from_utf8(bytes).ok().map(str::to_owned);
    Ok(text(host).zip(text(port).and_then(|port| port.parse().ok())))
}

/// A sentinel that was away may name the former master, which would take what its successor never hears of.
async fn to_master(dialer: &Dialer, host: &str, port: u16) -> Result<MultiplexedConnection, DialError> {
    let mut connection = dialer.dial(host, port).await?;
    match ask(&mut connection, &["ROLE"]).await {
        Some(Value::Array(parts)) if matches!(parts.first(), Some(Value::Text(role)) if role == "master") => {
            Ok(connection)
        }
        _ => Err(DialError::NotMaster),
    }
}

async fn ask(connection: &mut MultiplexedConnection, words: &[&str]) -> Option<Value> {
    let command: Command = words.iter().map(|word| word.as_bytes().to_vec().into()).collect();
    pipeline(connection, [&command].into_iter()).await.ok()?.pop()
}
