//! The answering side: a bridge that serves the protocol over a native Redis.

use bytes::Bytes;
use serde_json::Value as Json;

use super::{ARGUMENT_BYTES_MAX, ARGUMENTS_MAX, BODY_BYTES_MAX, COMMANDS_MAX, Endpoint, json};
use crate::store::{Command, Value};

/// What of a request's head matters to its meaning. Tokens are the bridge's to check, before this.
#[derive(Clone, Copy, Debug)]
pub struct RequestHead<'a> {
    pub method: &'a str,
    pub path: &'a str,
    /// The header `Upstash-Encoding`.
    pub encoding: Option<&'a str>,
}

/// How texts in results are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Encoding {
    /// As JSON strings; bytes that are not UTF-8 become U+FFFD.
    #[default]
    Plain,
    Base64,
}

/// A request that makes sense: at least one command, within the bounds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ask {
    pub endpoint: Endpoint,
    /// One unless the endpoint is for several.
    pub commands: Vec<Command>,
    pub encoding: Encoding,
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AskError {
    #[error("ERR commands are sent by POST")]
    Method,
    #[error("ERR there is no such path; commands go to `/`, `/pipeline` or `/multi-exec`")]
    Path,
    #[error("ERR a body has at most {BODY_BYTES_MAX} bytes")]
    BodyTooLong,
    #[error("ERR the body is not JSON")]
    NotJson,
    #[error("ERR a command is an array of texts and numbers, its name first")]
    NotACommand,
    #[error("ERR a pipeline is an array of commands")]
    NotAPipeline,
    #[error("ERR a pipeline has at most {COMMANDS_MAX} commands")]
    TooManyCommands,
    #[error("ERR a command has at most {ARGUMENTS_MAX} arguments")]
    TooManyArguments,
    #[error("ERR an argument has at most {ARGUMENT_BYTES_MAX} bytes")]
    ArgumentTooLong,
}

impl AskError {
    /// The HTTP status in the protocol's form.
    pub fn status(&self) -> u16 {
        match self {
            AskError::Method => 405,
            AskError::Path => 404,
            AskError::BodyTooLong => 413,
            _ => 400,
        }
    }
}

/// Reads a request.
///
/// # Errors
///
/// Whatever is wrong with it as a whole; its text goes into [`write_error`]. Nothing of it is to be run then.
pub fn ask(head: &RequestHead<'_>, body: &[u8]) -> Result<Ask, AskError> {
    let endpoint = Endpoint::of(head.path).ok_or(AskError::Path)?;
    if !head.method.eq_ignore_ascii_case("POST") {
        return Err(AskError::Method);
    }
    if body.len() > BODY_BYTES_MAX {
        return Err(AskError::BodyTooLong);
    }
    let body: Json = serde_json::from_slice(body).map_err(|_| AskError::NotJson)?;
    let commands = if endpoint == Endpoint::Command {
        vec![command(&body)?]
    } else {
        let items = body.as_array().filter(|items| !items.is_empty()).ok_or(AskError::NotAPipeline)?;
        if items.len() > COMMANDS_MAX {
            return Err(AskError::TooManyCommands);
        }
        items.iter().map(command).collect::<Result<_, _>>()?
    };
    let base64 = head.encoding.is_some_and(|encoding| encoding.eq_ignore_ascii_case("base64"));
    let encoding = if base64 { Encoding::Base64 } else { Encoding::Plain };
    Ok(Ask { endpoint, commands, encoding })
}

/// The status and body that answer one command.
pub fn write(value: &Value, encoding: Encoding) -> (u16, Bytes) {
    let mut out = Vec::new();
    answer(value, encoding, &mut out);
    (if matches!(value, Value::Error(_)) { 400 } else { 200 }, out.into())
}

/// The status and body that answer several commands, failed ones among them.
pub fn write_all(values: &[Value], encoding: Encoding) -> (u16, Bytes) {
    let mut out = Vec::new();
    json::list(values, &mut out, |value, out| answer(value, encoding, out));
    (200, out.into())
}

/// The body that says why nothing was run.
pub fn write_error(message: &str) -> Bytes {
    let mut out = Vec::new();
    answer(&Value::Error(message.into()), Encoding::Plain, &mut out);
    out.into()
}

fn command(item: &Json) -> Result<Command, AskError> {
    let arguments = item.as_array().ok_or(AskError::NotACommand)?;
    if !matches!(arguments.first(), Some(Json::String(name)) if !name.is_empty()) {
        return Err(AskError::NotACommand);
    }
    if arguments.len() > ARGUMENTS_MAX {
        return Err(AskError::TooManyArguments);
    }
    arguments.iter().map(argument).collect()
}

fn argument(argument: &Json) -> Result<Bytes, AskError> {
    let text = match argument {
        Json::String(text) => text.clone(),
        Json::Number(number) => number.to_string(),
        // The official client sends options so.
        Json::Bool(flag) => flag.to_string(),
        Json::Null | Json::Array(_) | Json::Object(_) => return Err(AskError::NotACommand),
    };
    if text.len() > ARGUMENT_BYTES_MAX { Err(AskError::ArgumentTooLong) } else { Ok(text.into()) }
}

fn answer(value: &Value, encoding: Encoding, out: &mut Vec<u8>) {
    if let Value::Error(message) = value {
        out.extend_from_slice(br#"{"error":"#);
        json::text(message.as_bytes(), out);
    } else {
        out.extend_from_slice(br#"{"result":"#);
        result(value, encoding, out);
    }
    out.push(b'}');
}

fn result(value: &Value, encoding: Encoding, out: &mut Vec<u8>) {
    match value {
        Value::Nil => out.extend_from_slice(b"null"),
        Value::Integer(number) => out.extend_from_slice(number.to_string().as_bytes()),
        // The official client leaves `OK` as it is and decodes every other text.
        Value::Status(text) if text == "OK" => json::text(text.as_bytes(), out),
        Value::Status(text) => encoded(text.as_bytes(), encoding, out),
        Value::Text(bytes) => encoded(bytes, encoding, out),
        Value::Array(values) => json::list(values, out, |value, out| result(value, encoding, out)),
        // An error within a result has no place of its own in the protocol.
        Value::Error(message) => encoded(message.as_bytes(), encoding, out),
    }
}

fn encoded(bytes: &[u8], encoding: Encoding, out: &mut Vec<u8>) {
    match encoding {
        Encoding::Plain => json::text(bytes, out),
        Encoding::Base64 => {
            out.push(b'"');
            json::base64(bytes, out);
            out.push(b'"');
        }
    }
}
