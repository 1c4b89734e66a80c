//! Comparing what came with what was expected, with every difference in one message.

use std::collections::BTreeMap;

use http::HeaderMap;
use serde_json::Value;

use super::{Expected, Reply};

/// Stands for any value that is there.
const ANY: &str = "<any>";

/// The differences found so far; none is a match.
#[derive(Debug, Default)]
pub(super) struct Differences {
    found: Vec<String>,
    /// The platform joins fields of one name, which means the same (RFC 9110 §5.3); never Set-Cookie.
    joined: bool,
}

/// What a client got, on any platform.
#[derive(Debug)]
pub(super) struct Got {
    pub(super) status: u16,
    pub(super) headers: HeaderMap,
    pub(super) body: Vec<u8>,
    pub(super) broken: bool,
}

impl Differences {
    pub(super) fn joined() -> Differences {
        Differences { joined: true, ..Differences::default() }
    }

    pub(super) fn note(&mut self, difference: impl Into<String>) {
        self.found.push(difference.into());
    }

    pub(super) fn equal<T: PartialEq + std::fmt::Debug>(&mut self, what: &str, got: T, expected: T) {
        if got != expected {
            self.note(format!("{what}: got {got:?}, expected {expected:?}"));
        }
    }

    pub(super) fn into_result(self, context: &str) -> anyhow::Result<()> {
        anyhow::ensure!(self.found.is_empty(), "{context}:\n  {}", self.found.join("\n  "));
        Ok(())
    }

    pub(super) fn headers(&mut self, whose: &str, got: &HeaderMap, expected: &Expected, names: &Names) {
        for (name, expected) in expected {
            let got: Vec<_> =
                got.get_all(name).iter().map(|value| String::from_utf8_lossy(value.as_bytes())).collect();
            let expected: Vec<_> =
                expected.iter().flat_map(|values| values.iter()).map(|value| names.resolve(value)).collect();
            let any = expected == [ANY] && got.len() == 1;
            let same = match self.joined && name != "set-cookie" {
                true => got.is_empty() == expected.is_empty() && got.join(", ") == expected.join(", "),
                false => got == expected,
            };
            if !any && !same {
                self.note(format!("{whose} header {name}: got {got:?}, expected {expected:?}"));
            }
        }
    }

    pub(super) fn reply(&mut self, got: &Got, expected: &Reply, names: &Names) {
        self.equal("status", got.status, expected.status);
        self.headers("reply", &got.headers, &expected.headers, names);
        self.equal("broken body", got.broken, expected.broken);
        let body = String::from_utf8_lossy(&got.body);
        if let Some(expected) = &expected.body {
            self.equal("body", body.as_ref(), &names.resolve(expected));
        }
        if let Some(expected) = &expected.json {
            match serde_json::from_slice(&got.body) {
                Ok(got) => self.json("body", &got, expected),
                Err(error) => self.note(format!("body {body:?} is not JSON: {error}")),
            }
        }
    }

    pub(super) fn event(&mut self, event: &Value, expected: &BTreeMap<String, Value>) {
        for (name, expected) in expected {
            self.json(&format!("event {name}"), &event["data"][name], expected);
        }
    }

    /// Every member of `expected` is in `got`, and as expected; other members are free.
    fn json(&mut self, at: &str, got: &Value, expected: &Value) {
        match expected {
            Value::String(any) if any == ANY && !got.is_null() => {}
            Value::Object(expected) => {
                for (key, expected) in expected {
                    self.json(&format!("{at}.{key}"), &got[key], expected);
                }
            }
            expected => self.equal(at, got, expected),
        }
    }
}

/// Where each upstream is reached.
#[derive(Debug, Default)]
pub(super) struct Names(pub(super) BTreeMap<String, String>);

impl Names {
    /// Replaces `{name}` by the upstream's authority.
    pub(super) fn resolve(&self, text: &str) -> String {
        self.0
            .iter()
            .fold(text.to_owned(), |text, (name, authority)| text.replace(&format!("{{{name}}}"), authority))
    }
}
