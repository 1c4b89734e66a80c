//! Who asks, and what of it is admitted.

use std::time::Duration;

use axum::http::{HeaderMap, header};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use tollgate_core::config::{BridgeScope, BridgeToken};
use tollgate_core::store::{Command, SCRIPTS};

use super::command;
use super::redis::{Redis, RedisError};

/// One token and its connection. Tokens never share one: each is a user of Redis' own.
pub(super) struct Holder {
    pub(super) redis: Redis,
    sha256: [u8; 32],
    scope: BridgeScope,
}

impl Holder {
    pub(super) fn new(token: &BridgeToken, timeout: Duration) -> Result<Holder, RedisError> {
        let redis = Redis::new(&token.redis, timeout)?;
        Ok(Holder { redis, sha256: token.sha256, scope: token.scope.clone() })
    }

    /// # Errors
    ///
    /// Why the command is refused; Redis never sees it.
    pub(super) fn admit(&self, command: &Command) -> Result<(), String> {
        match &self.scope {
            BridgeScope::General => command::admit(command),
            BridgeScope::Gateway { prefix } => match is_a_gateways(command, prefix) {
                true => Ok(()),
                false => Err(format!(
                    "this token runs the gateway's own scripts on one key that begins with `{prefix}`"
                )),
            },
        }
    }
}

/// Every hash is compared, so that the time says nothing about which one is near.
pub(super) fn holder<'a>(holders: &'a [Holder], headers: &HeaderMap) -> Option<&'a Holder> {
    let digest: [u8; 32] = Sha256::digest(bearer(headers)?).into();
    holders.iter().fold(None, |found, holder| match bool::from(digest.ct_eq(&holder.sha256)) {
        true => Some(holder),
        false => found,
    })
}

/// RFC 6750 §2.1; the scheme's name has no case (RFC 9110 §11.1). A second header is ambiguous.
fn bearer(headers: &HeaderMap) -> Option<&[u8]> {
    let mut values = headers.get_all(header::AUTHORIZATION).iter();
    let (value, None) = (values.next()?, values.next()) else { return None };
    let (scheme, token) = value.to_str().ok()?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then_some(token.trim_matches(' ').as_bytes())
}

/// A script that is registered, by its digest or its whole text, with exactly one key: a script sees as keys what the
/// number before them says, and anything else could be named among them.
fn is_a_gateways(command: &Command, prefix: &str) -> bool {
    let is = |at: usize, name: &str| {
        command.get(at).is_some_and(|part| part.eq_ignore_ascii_case(name.as_bytes()))
    };
    let digest = |at: usize| SCRIPTS.iter().any(|script| is(at, &script.sha1));
    let text = |at: usize| {
        command
            .get(at)
            .is_some_and(|part| SCRIPTS.iter().any(|script| part.as_ref() == script.text.as_bytes()))
    };
    let on_own_key = command.get(2).is_some_and(|keys| keys.as_ref() == b"1")
        && command.get(3).is_some_and(|key| key.starts_with(prefix.as_bytes()));
    if is(0, "EVALSHA") {
        digest(1) && on_own_key
    } else if is(0, "EVAL") {
        text(1) && on_own_key
    } else if is(0, "SCRIPT") && is(1, "EXISTS") {
        command.len() > 2 && (2..command.len()).all(digest)
    } else {
        is(0, "SCRIPT") && is(1, "LOAD") && command.len() == 3 && text(2)
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    fn check(parts: &[&str], expected: bool) {
        let command: Command = parts.iter().map(|part| Bytes::copy_from_slice(part.as_bytes())).collect();
        assert_eq!(is_a_gateways(&command, "tg:{a:"), expected, "{parts:?}");
    }

    #[test]
    fn a_gateways_token_runs_registered_scripts_on_its_own_keys() {
        let script = &SCRIPTS[0];
        let (sha1, text) = (script.sha1.as_str(), script.text);
        check(&["EVALSHA", sha1, "1", "tg:{a:x}", "y"], true);
        check(&["evalsha", &sha1.to_uppercase(), "1", "tg:{a:x}"], true);
        check(&["EVAL", text, "1", "tg:{a:x}", "y"], true);
        check(&["SCRIPT", "LOAD", text], true);
        check(&["script", "exists", sha1, &SCRIPTS[5].sha1], true);
    }

    #[test]
    fn a_gateways_token_does_nothing_else() {
        let script = &SCRIPTS[0];
        let (sha1, text) = (script.sha1.as_str(), script.text);
        let longer = format!("{text} ");
        let unknown = "0".repeat(40);
        for keys in ["0", "2", "01", "+1", " 1", "1 ", "-1", "1.0", ""] {
            check(&["EVALSHA", sha1, keys, "tg:{a:x}", "other"], false);
        }
        check(&["EVALSHA", sha1, "1", "tg:{b:x}"], false);
        check(&["EVALSHA", sha1, "1"], false);
        check(&["EVALSHA", sha1], false);
        check(&["EVALSHA", &unknown, "1", "tg:{a:x}"], false);
        check(&["EVAL", &longer, "1", "tg:{a:x}"], false);
        check(&["EVAL", "return redis.call('KEYS', '*')", "1", "tg:{a:x}"], false);
        check(&["EVAL_RO", text, "1", "tg:{a:x}"], false);
        check(&["SCRIPT", "LOAD", "return 1"], false);
        check(&["SCRIPT", "LOAD", text, text], false);
        check(&["SCRIPT", "EXISTS"], false);
        check(&["SCRIPT", "EXISTS", sha1, &unknown], false);
        check(&["SCRIPT", "FLUSH"], false);
        for name in ["GET", "KEYS", "DEL", "FCALL", "PING", "MULTI", "EXEC"] {
            check(&[name, "tg:{a:x}"], false);
        }
    }
}
