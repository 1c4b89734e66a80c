//! Names of keys in the shared store: `tg:{tenant:subject}:limit:form`.
//!
//! The braces are Redis Cluster's hash tag: all limits of one subject are in one slot. The form says how the state is
//! counted, because a limit whose algorithm or rate is changed must not read its predecessor's numbers.

use std::fmt::{self, Write};

use super::rule::{Form, Rule};

/// A part of a key's name.
#[derive(Clone, Copy, Debug)]
pub enum Part<'a> {
    /// From the configuration. Bytes that would end a part or the hash tag are escaped as `%xx`.
    Plain(&'a str),
    /// From a client, as a keyed hash: of fixed length, and nothing that a client can aim at.
    Hashed([u8; 16]),
}

/// The name of one limit's state for one subject.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Key(Box<str>);

impl Key {
    pub fn new(tenant: Part<'_>, subject: Part<'_>, limit: &str, rule: &Rule) -> Key {
        let form = Tag { form: rule.form, leased: false };
        Key(format!("tg:{{{tenant}:{subject}}}:{}:{form}", Part::Plain(limit)).into())
    }

    /// Where leases of the limit come from.
    pub fn leased(tenant: Part<'_>, subject: Part<'_>, limit: &str, rule: &Rule) -> Key {
        let form = Tag { form: rule.form, leased: true };
        Key(format!("tg:{{{tenant}:{subject}}}:{}:{form}", Part::Plain(limit)).into())
    }

    /// Where the nodes of a fleet leave notices to each other.
    pub fn notices(tenant: Part<'_>) -> Key {
        Key(format!("tg:{{{tenant}:notices}}:notices").into())
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Part<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Part::Hashed(bytes) => bytes.iter().try_for_each(|byte| write!(f, "{byte:02x}")),
            Part::Plain(text) => text.bytes().try_for_each(|byte| match byte {
                b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' => f.write_char(byte.into()),
                _ => write!(f, "%{byte:02x}"),
            }),
        }
    }
}

struct Tag {
    form: Form,
    leased: bool,
}

impl fmt::Display for Tag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.leased {
            f.write_str("lease-")?;
        }
        match self.form {
            Form::FixedWindow { window_us, .. } => write!(f, "window-{window_us}"),
            Form::Log { .. } => f.write_str("log"),
            Form::Counter { window_us, .. } => write!(f, "counter-{window_us}"),
            Form::Strict { bucket_us, .. } => write!(f, "strict-{bucket_us}"),
            Form::Bucket { per_permit, per_us, .. } => write!(f, "bucket-{per_permit}-{per_us}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::config::Algorithm;

    #[test]
    fn a_subject_has_one_slot_and_a_changed_rate_another_key() {
        let rule =
            |requests| Rule::new(Algorithm::TokenBucket, requests, Duration::from_secs(60), 5).unwrap();
        let key = |requests| Key::new(Part::Plain("t"), Part::Hashed([0xab; 16]), "premium", &rule(requests));
        let subject = "ab".repeat(16);
        assert_eq!(key(100).as_str(), format!("tg:{{t:{subject}}}:premium:bucket-600000-1"));
        assert_eq!(key(70).as_str(), format!("tg:{{t:{subject}}}:premium:bucket-6000000-7"));
    }

    #[test]
    fn a_configured_part_cannot_leave_its_place() {
        let rule = Rule::new(Algorithm::SlidingWindowLog, 5, Duration::from_secs(60), 5).unwrap();
        let key = Key::leased(Part::Plain("a}b"), Part::Plain("c:d"), "e{ f", &rule);
        assert_eq!(key.as_str(), "tg:{a%7db:c%3ad}:e%7b%20f:lease-log");
    }
}
