//! One pipeline over one connection.

use std::borrow::Borrow;

use tokio::time::{Instant, timeout_at};

use tollgate_core::store::{Answered, Batch, Call, Command, Outcome, StoreFailure, Value};

use super::link::Link;
use crate::native;

/// Answers of Redis after which the same connection will not do better: it is a replica's now.
const DEMOTED: [&str; 2] = ["READONLY", "MASTERDOWN"];

/// Over one connection. `asking` lets a cluster's node take calls of a slot that is moving to it.
pub(super) async fn run<C: Borrow<Call>>(
    link: &Link,
    calls: &[C],
    asking: bool,
    deadline: Instant,
) -> Vec<Outcome> {
    by_digest_or_text(calls, async |commands| send(link, commands, asking, deadline).await).await
}

/// Answers in the calls' order. What Redis says against one is its value.
pub(super) async fn by_digest_or_text<C: Borrow<Call>>(
    calls: &[C],
    send: impl AsyncFn(Vec<Command>) -> Result<Vec<Value>, StoreFailure>,
) -> Vec<Outcome> {
    let mut batch = Batch::new(calls.len());
    loop {
        let answers = send(batch.commands(calls)).await;
        batch = match batch.answered(answers) {
            Answered::Again(batch) => batch,
            Answered::Done(outcomes) => return outcomes,
        };
    }
}

/// Sends commands once. After an error nobody knows which of them were run.
async fn send(
    link: &Link,
    commands: Vec<Command>,
    asking: bool,
    deadline: Instant,
) -> Result<Vec<Value>, StoreFailure> {
    let connected = timeout_at(deadline, link.connected()).await;
    let mut connected = connected.map_err(|_| StoreFailure::Unreachable)??;
    let number = connected.number();
    link.journal().sent(commands.len());
    let commands = if asking { each_asking(commands) } else { commands };
    let sending = native::pipeline(&mut connected.connection, commands.iter());
    let answered = timeout_at(deadline, sending).await.unwrap_or(Err(StoreFailure::TimedOut));
    let demoted = |value: &Value| match value {
        Value::Error(message) => DEMOTED.iter().any(|code| message.starts_with(code)),
        _ => false,
    };
    match &answered {
        Ok(values) if values.iter().any(demoted) => link.give_up(number, StoreFailure::Refused),
        Ok(_) => link.answered(number),
        Err(failure) => {
            link.journal().tell(failure);
            link.give_up(number, *failure);
        }
    }
    let mut values = answered?;
    if asking {
        // Every second answer is a call's.
        let mut index = 0;
        values.retain(|_| {
            index += 1;
            index % 2 == 0
        });
    }
    Ok(values)
}

fn each_asking(commands: Vec<Command>) -> Vec<Command> {
    let asking = || Command::from([bytes::Bytes::from_static(b"ASKING")]);
    commands.into_iter().flat_map(|command| [asking(), command]).collect()
}
