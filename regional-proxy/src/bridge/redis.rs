//! A connection to Redis: shared by all requests with a token, made when it is first needed and again after it failed.

use std::sync::OnceLock;
use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::{
    AsyncConnectionConfig, Client, Cmd, ConnectionAddr, IntoConnectionInfo, Pipeline, RedisConnectionInfo,
};
use tokio::sync::Mutex;
use tollgate_core::config::RedisServer;
use tollgate_core::store::{Command, Value};

/// Arrays within arrays of what Redis answers.
const DEPTH_MAX: usize = 16;

#[derive(Debug, thiserror::Error)]
pub(super) enum RedisError {
    #[error("ERR the bridge's Redis cannot be configured: {0}")]
    Configuration(redis::RedisError),
    #[error("ERR Redis did not answer within {0:?}; what was asked for may have been done")]
    Silent(Duration),
    #[error("ERR Redis refused the bridge's user and password")]
    Credentials,
    #[error("ERR Redis cannot be reached; nothing was sent to it")]
    Unreachable,
    #[error("ERR the connection to Redis broke; what was asked for may have been done")]
    Broken,
    #[error("ERR Redis answered in a way that is not its protocol")]
    Garbage,
}

pub(super) struct Redis {
    client: Client,
    timeout: Duration,
    /// With a number that tells it from its successors.
    connection: Mutex<(u64, Option<MultiplexedConnection>)>,
}

impl Redis {
    pub(super) fn new(server: &RedisServer, timeout: Duration) -> Result<Redis, RedisError> {
        let RedisServer { host, port, .. } = server.clone();
        let address = match server.tls {
            true => ConnectionAddr::TcpTls { host, port, insecure: false, tls_params: None },
            false => ConnectionAddr::Tcp(host, port),
        };
        let mut user = RedisConnectionInfo::default().set_db(server.database.into()).set_skip_set_lib_name();
        if let Some(name) = &server.user {
            user = user.set_username(name);
        }
        if let Some(password) = &server.password {
            user = user.set_password(password);
        }
        let info = address.into_connection_info().map(|info| info.set_redis_settings(user));
        let client = info.and_then(Client::open).map_err(RedisError::Configuration)?;
        Ok(Redis { client, timeout, connection: Mutex::new((0, None)) })
    }

    /// Sends all commands at once and answers in their order.
    pub(super) async fn pipeline(&self, commands: &[&Command]) -> Result<Vec<Value>, RedisError> {
        let mut pipeline = Pipeline::with_capacity(commands.len());
        for command in commands {
            pipeline.add_command(packed(command));
        }
        let values = self.send(&pipeline, commands.len()).await?;
        values.into_iter().map(|value| translated(value, DEPTH_MAX).ok_or(RedisError::Garbage)).collect()
    }

    /// Sends all commands between MULTI and EXEC in one piece, so that no other request's come between. The inner error
    /// is why Redis discarded them.
    pub(super) async fn transaction(
        &self,
        commands: &[&Command],
    ) -> Result<Result<Vec<Value>, String>, RedisError> {
        let [multi, exec] = ["MULTI", "EXEC"].map(|name| Command::from([name.into()]));
        let all: Vec<&Command> =
            std::iter::once(&multi).chain(commands.iter().copied()).chain([&exec]).collect();
        let mut answers = self.pipeline(&all).await?;
        let outcome = answers.pop();
        let refused = answers.into_iter().find_map(|answer| match answer {
            Value::Error(message) => Some(message),
            _ => None,
        });
        match (outcome, refused) {
            (Some(Value::Array(values)), None) if values.len() == commands.len() => Ok(Ok(values)),
            (Some(Value::Error(message)), refused) => Ok(Err(refused.unwrap_or(message))),
            _ => Err(RedisError::Garbage),
        }
    }

    async fn send(&self, pipeline: &Pipeline, count: usize) -> Result<Vec<redis::Value>, RedisError> {
        let number = OnceLock::new();
        let exchange = async {
            let (current, mut connection) = self.connected().await?;
            let _ = number.set(current);
            let answered = connection.send_packed_commands(pipeline, 0, count).await;
            answered.map_err(|error| match error.kind() {
                redis::ErrorKind::Parse => RedisError::Garbage,
                _ => RedisError::Broken,
            })
        };
        let outcome = tokio::time::timeout(self.timeout, exchange).await;
        let outcome = outcome.unwrap_or(Err(RedisError::Silent(self.timeout)));
        if let (Err(_), Some(number)) = (&outcome, number.get()) {
            // A connection that once was silent or broke is not waited for again.
            let mut connection = self.connection.lock().await;
            if connection.0 == *number {
                connection.1 = None;
            }
        }
        outcome
    }

    async fn connected(&self) -> Result<(u64, MultiplexedConnection), RedisError> {
        let mut slot = self.connection.lock().await;
        if let (number, Some(connection)) = &*slot {
            return Ok((*number, connection.clone()));
        }
        // `send` has the one clock for all of it.
        let config = AsyncConnectionConfig::new().set_connection_timeout(None).set_response_timeout(None);
        let connecting = self.client.get_multiplexed_async_connection_with_config(&config).await;
        let connection = connecting.map_err(|error| match error.kind() {
            redis::ErrorKind::AuthenticationFailed => RedisError::Credentials,
            redis::ErrorKind::Parse => RedisError::Garbage,
            _ => RedisError::Unreachable,
        })?;
        *slot = (slot.0 + 1, Some(connection.clone()));
        Ok((slot.0, connection))
    }
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
