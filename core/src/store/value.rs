//! What Redis answers, whichever protocol carried it.

use bytes::Bytes;

/// One answer. Maps, sets and floats of RESP3 do not occur: neither protocol here asks for them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value {
    Nil,
    Integer(i64),
    /// A simple string: `OK`, `PONG`, `QUEUED`.
    Status(String),
    Text(Bytes),
    Array(Vec<Value>),
    /// What Redis said against the command, with its code: `NOSCRIPT No matching script. …`.
    Error(String),
}

impl Value {
    /// The script is not known yet, so that the same call has to be sent as EVAL.
    pub fn is_noscript(&self) -> bool {
        matches!(self, Value::Error(message) if message.starts_with("NOSCRIPT"))
    }

    pub(crate) fn integers(values: &[u64]) -> Value {
        Value::Array(
            values.iter().map(|value| Value::Integer(i64::try_from(*value).unwrap_or(i64::MAX))).collect(),
        )
    }
}
