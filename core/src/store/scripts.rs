//! The Lua scripts, one text for every way to Redis.

use std::sync::LazyLock;

use sha1::{Digest, Sha1};

/// The line that reads the clock. It occurs once in every script, so that a test can put its own time there.
pub const TIME_LINE: &str = "local time = redis.call('TIME')";

/// One script. Redis knows it by the SHA-1 of its text once it was loaded or evaluated.
#[derive(Debug, PartialEq, Eq)]
pub struct Script {
    pub name: &'static str,
    pub text: &'static str,
    /// 40 hexadecimal digits, as EVALSHA takes them.
    pub sha1: String,
}

/// Every script of the gateway. A gateway's own token at a REST bridge runs these and nothing else.
pub static SCRIPTS: LazyLock<[Script; 7]> = LazyLock::new(|| {
    [
        script("fixed_window", FIXED_WINDOW),
        script("sliding_window_log", SLIDING_WINDOW_LOG),
        script("sliding_window_counter", SLIDING_WINDOW_COUNTER),
        script("sliding_window_strict", SLIDING_WINDOW_STRICT),
        script("token_bucket", TOKEN_BUCKET),
        script("lease", LEASE),
        script("notices", NOTICES),
    ]
});

pub(super) const AT_FIXED_WINDOW: usize = 0;
pub(super) const AT_LOG: usize = 1;
pub(super) const AT_COUNTER: usize = 2;
pub(super) const AT_STRICT: usize = 3;
pub(super) const AT_BUCKET: usize = 4;
pub(super) const AT_LEASE: usize = 5;
pub(super) const AT_NOTICES: usize = 6;

macro_rules! lua {
    ($file:literal) => {
        concat!(include_str!("scripts/clock.lua"), include_str!($file))
    };
}

const FIXED_WINDOW: &str = lua!("scripts/fixed_window.lua");
const SLIDING_WINDOW_LOG: &str = lua!("scripts/sliding_window_log.lua");
const SLIDING_WINDOW_COUNTER: &str = lua!("scripts/sliding_window_counter.lua");
const SLIDING_WINDOW_STRICT: &str = lua!("scripts/sliding_window_strict.lua");
const TOKEN_BUCKET: &str = lua!("scripts/token_bucket.lua");
const LEASE: &str = lua!("scripts/lease.lua");
const NOTICES: &str = lua!("scripts/notices.lua");

fn script(name: &'static str, text: &'static str) -> Script {
    let sha1 = Sha1::digest(text.as_bytes()).iter().map(|byte| format!("{byte:02x}")).collect();
    Script { name, text, sha1 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_script_reads_the_clock_in_one_line() {
        for script in SCRIPTS.iter() {
            assert_eq!(script.text.lines().filter(|line| *line == TIME_LINE).count(), 1, "{}", script.name);
            assert_eq!(script.text.matches("'TIME'").count(), 1, "{}", script.name);
        }
    }

    #[test]
    fn a_script_is_known_by_forty_digits() {
        for script in SCRIPTS.iter() {
            assert!(script.sha1.len() == 40 && script.sha1.bytes().all(|b| b.is_ascii_hexdigit()));
        }
        // The published digest of "abc" (FIPS 180-4).
        assert_eq!(super::script("", "abc").sha1, "a9993e364706816aba3e25717850c26c9cd0d89d");
    }
}
