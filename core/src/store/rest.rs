//! The Upstash REST protocol, as data: both sides of it.
//!
//! A command is a JSON array that is posted to `/`; several go to `/pipeline`, or to `/multi-exec` to run as one. The
//! answer is `{"result": …}` or `{"error": "…"}`, for several an array of these, one for each command. A transaction that
//! was not run answers with one error. With `Upstash-Encoding: base64`, which the official client sends, texts in results
//! come in base64, so that bytes survive JSON; a result that is `OK` and errors are exempt.
//!
//! A command can also be named in the path (`/get/key`). The asking side never does: it puts arguments into access logs.

mod client;
mod json;
mod server;

pub use client::{ReadError, Request, read, read_all, request};
pub use server::{Ask, AskError, Encoding, RequestHead, ask, write, write_all, write_error};

/// Bytes of a request's body.
pub const BODY_BYTES_MAX: usize = 1 << 20;
/// Commands in a pipeline or a transaction.
pub const COMMANDS_MAX: usize = 1_000;
/// Arguments of one command, its name included.
pub const ARGUMENTS_MAX: usize = 10_000;
/// Bytes of one argument.
pub const ARGUMENT_BYTES_MAX: usize = 512 << 10;
/// Bytes of an answer's body that are read.
pub const ANSWER_BYTES_MAX: usize = 4 << 20;
/// Arrays within arrays of an answer.
pub const ANSWER_DEPTH_MAX: usize = 16;

/// Where commands are posted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Endpoint {
    Command,
    Pipeline,
    Transaction,
}

impl Endpoint {
    pub fn path(self) -> &'static str {
        match self {
            Endpoint::Command => "/",
            Endpoint::Pipeline => "/pipeline",
            Endpoint::Transaction => "/multi-exec",
        }
    }

    /// `None` for a path that names a command.
    pub fn of(path: &str) -> Option<Endpoint> {
        [Endpoint::Command, Endpoint::Pipeline, Endpoint::Transaction]
            .into_iter()
            .find(|endpoint| endpoint.path() == path || path.is_empty() && *endpoint == Endpoint::Command)
    }
}

#[cfg(test)]
mod tests;
