//! The answering side: a bridge that serves the protocol over a native Redis.

use bytes::Bytes;
use serde_json::Value as Json;

use super::{ARGUMENT_BYTES_MAX, ARGUMENTS_MAX, BODY_BYTES_MAX, COMMANDS_MAX, Endpoint, json};
use crate::store::{Command, Value};

/// What of a request's head matters to its meaning. Tokens are the bridge's to check, before this.
#[derive(Clone, Copy, Debug)]
pub struct RequestHead<'a> {
    pub method: &'a str,
    /// As it was sent, without its query.
    pub path: &'a str,
    pub query: Option<&'a str>,
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
    #[error("ERR commands are sent by POST, those in a path by GET too")]
    Method,
    #[error("ERR the path or its query is not encoded as a URL is")]
    Path,
    #[error("ERR a token is sent in the header `Authorization`, never in a URL")]
    TokenInQuery,
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
    let endpoint = Endpoint::of(head.path);
    let is_post = head.method.eq_ignore_ascii_case("POST");
    if !is_post && (endpoint.is_some() || !head.method.eq_ignore_ascii_case("GET")) {
        return Err(AskError::Method);
    }
    if body.len() > BODY_BYTES_MAX {
        return Err(AskError::BodyTooLong);
    }
    let commands = match endpoint {
        None => vec![command_in_path(head, body)?],
        Some(endpoint) => commands(endpoint, body)?,
    };
    let endpoint = endpoint.unwrap_or(Endpoint::Command);
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

fn commands(endpoint: Endpoint, body: &[u8]) -> Result<Vec<Command>, AskError> {
    let body: Json = serde_json::from_slice(body).map_err(|_| AskError::NotJson)?;
    if endpoint == Endpoint::Command {
        return Ok(vec![command(&body)?]);
    }
    let items = body.as_array().filter(|items| !items.is_empty()).ok_or(AskError::NotAPipeline)?;
    if items.len() > COMMANDS_MAX {
        return Err(AskError::TooManyCommands);
    }
    items.iter().map(command).collect()
}

/// `/set/key/value?EX=100`, where the value can be the body instead.
fn command_in_path(head: &RequestHead<'_>, body: &[u8]) -> Result<Command, AskError> {
    let path = head.path.trim_start_matches('/');
    let mut command = path.split('/').map(|part| decoded(part, false)).collect::<Result<Command, _>>()?;
    if !body.is_empty() {
        command.push(Bytes::copy_from_slice(body));
    }
    for pair in head.query.unwrap_or_default().split('&').filter(|pair| !pair.is_empty()) {
        let (name, value) = pair.split_once('=').map_or((pair, None), |(name, value)| (name, Some(value)));
        let name = decoded(name, true)?;
        if name == "_token" {
            return Err(AskError::TokenInQuery);
        }
        command.push(name);
        if let Some(value) = value {
            command.push(decoded(value, true)?);
        }
    }
    if command[0].is_empty() {
        return Err(AskError::NotACommand);
    }
    if command.len() > ARGUMENTS_MAX {
        return Err(AskError::TooManyArguments);
    }
    let is_too_long = |argument: &Bytes| argument.len() > ARGUMENT_BYTES_MAX;
    if command.iter().any(is_too_long) { Err(AskError::ArgumentTooLong) } else { Ok(command) }
}

/// Percent-decoded (RFC 3986 section 2.1); in a query a plus is a space.
fn decoded(part: &str, in_query: bool) -> Result<Bytes, AskError> {
    let mut bytes = part.bytes();
    let mut out = Vec::with_capacity(part.len());
    let digit = |byte: Option<u8>| byte.and_then(|byte| char::from(byte).to_digit(16)).ok_or(AskError::Path);
    while let Some(byte) = bytes.next() {
        out.push(match byte {
            b'%' => (digit(bytes.next())? << 4 | digit(bytes.next())?) as u8,
            b'+' if in_query => b' ',
            other => other,
        });
    }
    Ok(out.into())
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
        match value {
            // Only here does the official client leave it as it is; within an array it decodes every text.
            Value::Status(text) if text == "OK" => json::text(text.as_bytes(), out),
            value => result(value, encoding, out),
        }
    }
    out.push(b'}');
}

fn result(value: &Value, encoding: Encoding, out: &mut Vec<u8>) {
    match value {
        Value::Nil => out.extend_from_slice(b"null"),
        Value::Integer(number) => out.extend_from_slice(number.to_string().as_bytes()),
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
