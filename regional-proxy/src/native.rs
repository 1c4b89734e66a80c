//! Native Redis, as the store and the bridge speak to it: how a connection is opened, and what goes over it in core's
//! terms.
//!
//! The crate's own clients are not used: each connection of theirs reads the system's certificates again, on the thread
//! that serves requests, and those for Cluster and Sentinel send a command twice when a connection breaks.

mod route;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, Cmd, ErrorKind, Pipeline, RedisConnectionInfo};
use rustls::ClientConfig;
use rustls_pki_types::{InvalidDnsNameError, ServerName};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use tollgate_core::config::RedisServer;
use tollgate_core::store::{Command, StoreFailure, Value};

use crate::upstream::{UpstreamTlsError, roots};

pub(crate) use route::Route;

/// Until a connection is open, with its handshakes; for Sentinel until the master's is.
pub(crate) const DIAL_TIMEOUT: Duration = Duration::from_secs(2);
/// Arrays within arrays of what Redis answers.
const DEPTH_MAX: usize = 16;
/// Pipelines that wait to be written, a connection.
const UNWRITTEN_MAX: usize = 1_024;

/// Why there is no connection. Its text is for the log.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DialError {
    #[error(transparent)]
    Io(#[from] io::Error),
    #[error(transparent)]
    Redis(#[from] redis::RedisError),
    #[error("its host is no server name: {0}")]
    ServerName(#[from] InvalidDnsNameError),
    #[error("it did not answer within {DIAL_TIMEOUT:?}")]
    Silent,
    #[error("no sentinel that answers knows a master called `{0}`")]
    UnknownMaster(String),
    #[error("what the sentinels call the master says it is none")]
    NotMaster,
}

/// Why no connection can ever be opened.
#[derive(Debug, thiserror::Error)]
pub enum RedisTlsError {
    #[error("`ca_file` cannot be used: {0}")]
    Roots(#[from] UpstreamTlsError),
    #[error("{0} holds no certificate")]
    NoCertificate(PathBuf),
    #[error(transparent)]
    Tls(#[from] rustls::Error),
}

/// Opens connections for one user, to any server that is spoken to alike.
#[derive(Clone)]
pub(crate) struct Dialer {
    tls: Option<Arc<ClientConfig>>,
    user: RedisConnectionInfo,
}

impl Dialer {
    pub(crate) fn new(server: &RedisServer, ca_file: Option<&Path>) -> Result<Dialer, RedisTlsError> {
        let mut user = RedisConnectionInfo::default().set_db(server.database.into()).set_skip_set_lib_name();
        if let Some(name) = &server.user {
            user = user.set_username(name);
        }
        if let Some(password) = &server.password {
            user = user.set_password(password);
        }
        let tls = if server.tls { Some(Arc::new(client_config(ca_file)?)) } else { None };
        Ok(Dialer { tls, user })
    }

    /// For the sentinels, which have no database and other users than the Redis they lead to.
    pub(crate) fn with_user(&self, user: Option<&str>, password: Option<&str>) -> Dialer {
        let mut info = RedisConnectionInfo::default().set_skip_set_lib_name();
        if let Some(name) = user {
            info = info.set_username(name);
        }
        if let Some(password) = password {
            info = info.set_password(password);
        }
        Dialer { tls: self.tls.clone(), user: info }
    }

    /// The connection is driven by a task of the runtime that this is called on, until its last clone is gone.
    pub(crate) async fn dial(&self, host: &str, port: u16) -> Result<MultiplexedConnection, DialError> {
        let socket = TcpStream::connect((host, port)).await?;
        // A call is one small write, whose answer is waited for. A socket that refuses still works.
        let _ = socket.set_nodelay(true);
        match &self.tls {
            None => self.introduce(socket).await,
            Some(config) => {
                let name = ServerName::try_from(host.to_owned())?;
                self.introduce(TlsConnector::from(config.clone()).connect(name, socket).await?).await
            }
        }
    }

    async fn introduce(
        &self,
        stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    ) -> Result<MultiplexedConnection, DialError> {
        // Whoever asks has the one clock for all of it.
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(None)
            .set_response_timeout(None)
            .set_pipeline_buffer_size(UNWRITTEN_MAX);
        let opened = MultiplexedConnection::new_with_config(&self.user, stream, config).await;
        let (connection, driver) = opened?;
        tokio::spawn(driver);
        Ok(connection)
    }
}

impl DialError {
    pub(crate) fn failure(&self) -> StoreFailure {
        match self {
            DialError::Redis(error) => match error.kind() {
                ErrorKind::Parse => StoreFailure::Garbled,
                ErrorKind::Io => StoreFailure::Unreachable,
                _ => StoreFailure::Refused,
            },
            _ => StoreFailure::Unreachable,
        }
    }
}

fn client_config(ca_file: Option<&Path>) -> Result<ClientConfig, RedisTlsError> {
    let roots = roots(ca_file)?;
    if let Some(path) = ca_file
        && roots.is_empty()
    {
        return Err(RedisTlsError::NoCertificate(path.to_owned()));
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
    Ok(builder.with_root_certificates(roots).with_no_client_auth())
}

/// Sends all commands at once and answers in their order. What Redis says against one of them is its value.
///
/// # Errors
///
/// None of the answers is known then, nor which of the commands were run; the connection is of no more use.
pub(crate) async fn pipeline<C: AsRef<Command>>(
    connection: &mut MultiplexedConnection,
    commands: impl ExactSizeIterator<Item = C>,
) -> Result<Vec<Value>, StoreFailure> {
    let count = commands.len();
    let mut pipeline = Pipeline::with_capacity(count);
    for command in commands {
        pipeline.add_command(packed(command.as_ref()));
    }
    // An answer that is none of the protocol is told from a broken connection only where one is waited for.
    let answered = match pipeline.cmd_iter().next() {
        Some(command) if count == 1 => connection.send_packed_command(command).await.map(|value| vec![value]),
        _ => connection.send_packed_commands(&pipeline, 0, count).await,
    };
    let values = answered.map_err(|error| match error.kind() {
        ErrorKind::Parse => StoreFailure::Garbled,
        _ => StoreFailure::Unreachable,
    })?;
    values.into_iter().map(|value| translated(value, DEPTH_MAX).ok_or(StoreFailure::Garbled)).collect()
}

fn packed(command: &Command) -> Cmd {
    let mut packed = Cmd::new();
    for argument in command {
        packed.arg(argument.as_ref());
    }
    packed
}

/// `None` for what RESP2 does not have.
fn translated(value: redis::Value, depth: usize) -> Option<Value> {
    Some(match value {
        redis::Value::Nil => Value::Nil,
        redis::Value::Int(number) => Value::Integer(number),
        redis::Value::Okay => Value::Status("OK".into()),
        redis::Value::SimpleString(text) => Value::Status(text),
        redis::Value::BulkString(bytes) => Value::Text(bytes.into()),
        redis::Value::Array(values) => {
            let depth = depth.checked_sub(1)?;
            Value::Array(values.into_iter().map(|value| translated(value, depth)).collect::<Option<_>>()?)
        }
        redis::Value::ServerError(error) => Value::Error(
            [Some(error.code()), error.details()].into_iter().flatten().collect::<Vec<_>>().join(" "),
        ),
        _ => return None,
    })
}
