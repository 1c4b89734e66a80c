//! Commands that no token may send, whatever Redis allows its user: those that keep a connection waiting, change what
//! it is to others that share it, or rule the server.

use bytes::Bytes;
use tollgate_core::store::Command;

/// They wait, or never stop answering.
const WAITING: [&str; 20] = [
    "blmove",
    "blmpop",
    "blpop",
    "brpop",
    "brpoplpush",
    "bzmpop",
    "bzpopmax",
    "bzpopmin",
    "migrate",
    "monitor",
    "psubscribe",
    "psync",
    "punsubscribe",
    "ssubscribe",
    "subscribe",
    "sunsubscribe",
    "sync",
    "unsubscribe",
    "wait",
    "waitaof",
];
/// They change the connection, which all requests with a token share.
const OF_THE_CONNECTION: [&str; 15] = [
    "asking",
    "auth",
    "client",
    "discard",
    "exec",
    "hello",
    "multi",
    "quit",
    "readonly",
    "readwrite",
    "replconf",
    "reset",
    "select",
    "unwatch",
    "watch",
];
/// They rule the server.
const OF_THE_SERVER: [&str; 14] = [
    "acl",
    "bgrewriteaof",
    "bgsave",
    "cluster",
    "config",
    "debug",
    "failover",
    "latency",
    "module",
    "pfdebug",
    "replicaof",
    "save",
    "shutdown",
    "slaveof",
];

/// # Errors
///
/// Why the command is refused.
pub(super) fn admit(command: &Command) -> Result<(), String> {
    let name = lower(command.first());
    let refused = |list: &[&str]| list.contains(&name.as_str());
    let why = if refused(&WAITING) || name.starts_with("xread") && has_block(command) {
        "keeps its connection waiting"
    } else if refused(&OF_THE_CONNECTION) {
        "changes a connection that others share"
    } else if refused(&OF_THE_SERVER) || is_ruling_scripts(command, &name) {
        "rules the server"
    } else {
        return Ok(());
    };
    Err(format!("the bridge has no `{name}`: it {why}"))
}

/// `BLOCK` stands before `STREAMS`, after which it could be a key's name.
fn has_block(command: &Command) -> bool {
    let options = command.iter().skip(1).map(|argument| argument.to_ascii_lowercase());
    options.take_while(|option| option.as_slice() != b"streams").any(|option| option.as_slice() == b"block")
}

fn is_ruling_scripts(command: &Command, name: &str) -> bool {
    matches!(name, "script" | "function") && matches!(lower(command.get(1)).as_str(), "kill" | "debug")
}

fn lower(argument: Option<&Bytes>) -> String {
    argument.map(|argument| String::from_utf8_lossy(argument).to_ascii_lowercase()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(line: &str, expected: Result<(), &str>) {
        let command: Command = line.split(' ').map(|part| Bytes::copy_from_slice(part.as_bytes())).collect();
        assert_eq!(admit(&command), expected.map_err(str::to_owned), "{line}");
    }

    #[test]
    fn what_others_would_suffer_from_is_refused_in_any_spelling() {
        check("GET a", Ok(()));
        check("BlPop a 0", Err("the bridge has no `blpop`: it keeps its connection waiting"));
        check("SELECT 1", Err("the bridge has no `select`: it changes a connection that others share"));
        check("Shutdown", Err("the bridge has no `shutdown`: it rules the server"));
        check("script KILL", Err("the bridge has no `script`: it rules the server"));
        check("script load x", Ok(()));
    }

    #[test]
    fn a_stream_is_read_without_waiting() {
        check("XREAD COUNT 2 STREAMS block 0", Ok(()));
        let refused = Err("the bridge has no `xread`: it keeps its connection waiting");
        check("XREAD count 2 Block 0 STREAMS a 0", refused);
    }
}
