//! The asking side: a gateway whose store is spoken to over HTTP.

use bytes::Bytes;
use serde_json::Value as Json;

use super::{ANSWER_BYTES_MAX, ANSWER_DEPTH_MAX, Endpoint, json};
use crate::store::{Command, StoreFailure, Value};

/// A POST to the store's URL with this path appended, `Content-Type: application/json` and
/// `Authorization: Bearer …`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    pub path: &'static str,
    pub body: Bytes,
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReadError {
    #[error("the store's answer has more than {ANSWER_BYTES_MAX} bytes")]
    TooLong,
    #[error("the store did not answer in its protocol (status {0})")]
    NotTheProtocol(u16),
    #[error("the store refused the token")]
    Unauthorized,
    /// What stands before the store says so.
    #[error("the store is away (status {0})")]
    Away(u16),
    /// To the request as a whole: a bad request, a transaction that was not run, a limit of the service.
    #[error("the store refused the request: {0}")]
    Refused(String),
    #[error("the store answered {got} of {expected} commands")]
    Count { got: usize, expected: usize },
}

/// Encodes commands; their arguments are sent as text, which those of the gateway are.
pub fn request(endpoint: Endpoint, commands: &[Command]) -> Request {
    let mut body = Vec::new();
    match (endpoint, commands) {
        (Endpoint::Command, [command]) => json::command(command, &mut body),
        _ => json::list(commands, &mut body, json::command),
    }
    Request { path: endpoint.path(), body: body.into() }
}

/// Reads the answer to one command. What Redis says against it is a [`Value::Error`].
///
/// # Errors
///
/// An answer that is no answer to the command.
pub fn read(status: u16, body: &[u8]) -> Result<Value, ReadError> {
    let answer = parse(status, body)?;
    value_of(&answer).ok_or(ReadError::NotTheProtocol(status))
}

/// Reads the answers to several commands, each of which failed or succeeded by itself.
///
/// # Errors
///
/// One error instead of answers, or more or fewer of them than commands: it is then unknown what was done.
pub fn read_all(status: u16, body: &[u8], expected: usize) -> Result<Vec<Value>, ReadError> {
    let answers = match parse(status, body)? {
        Json::Array(answers) => answers,
        other => {
            return Err(match value_of(&other) {
                Some(Value::Error(message)) => ReadError::Refused(message),
                _ => ReadError::NotTheProtocol(status),
            });
        }
    };
    if answers.len() != expected {
        return Err(ReadError::Count { got: answers.len(), expected });
    }
    answers.iter().map(|answer| value_of(answer).ok_or(ReadError::NotTheProtocol(status))).collect()
}

/// What an answer means for those who wait for it.
impl From<ReadError> for StoreFailure {
    fn from(error: ReadError) -> StoreFailure {
        match error {
            ReadError::Unauthorized | ReadError::Refused(_) => StoreFailure::Refused,
            ReadError::Away(_) => StoreFailure::Unreachable,
            ReadError::TooLong | ReadError::NotTheProtocol(_) | ReadError::Count { .. } => {
                StoreFailure::Garbled
            }
        }
    }
}

fn parse(status: u16, body: &[u8]) -> Result<Json, ReadError> {
    if body.len() > ANSWER_BYTES_MAX {
        return Err(ReadError::TooLong);
    }
    if status == 401 || status == 403 {
        return Err(ReadError::Unauthorized);
    }
    if matches!(status, 502..=504) {
        return Err(ReadError::Away(status));
    }
    let answer: Json = serde_json::from_slice(body).map_err(|_| ReadError::NotTheProtocol(status))?;
    match (status, value_of(&answer)) {
        // 400 carries Redis' own errors; other failures are the service's, whatever they contain.
        (200 | 400, _) => Ok(answer),
        (_, Some(Value::Error(message))) => Err(ReadError::Refused(message)),
        _ => Err(ReadError::NotTheProtocol(status)),
    }
}

/// `{"result": …}` or `{"error": "…"}`; an error is never read as a missing result.
fn value_of(answer: &Json) -> Option<Value> {
    let answer = answer.as_object()?;
    match (answer.get("error"), answer.get("result")) {
        (Some(Json::String(message)), _) => Some(Value::Error(message.clone())),
        (None | Some(Json::Null), Some(result)) => result_of(result, ANSWER_DEPTH_MAX),
        _ => None,
    }
}

fn result_of(result: &Json, depth: usize) -> Option<Value> {
    Some(match result {
        Json::Null => Value::Nil,
        Json::Number(number) => match number.as_i64() {
            Some(number) => Value::Integer(number),
            None => Value::Text(number.to_string().into()),
        },
        // JSON does not tell a status from a text.
        Json::String(text) => Value::Text(text.clone().into()),
        Json::Array(values) => {
            let depth = depth.checked_sub(1)?;
            Value::Array(values.iter().map(|value| result_of(value, depth)).collect::<Option<_>>()?)
        }
        Json::Bool(_) | Json::Object(_) => return None,
    })
}
