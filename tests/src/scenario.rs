//! Scenarios: a configuration, requests at given times, and the exact reply and event of each.
//!
//! The files in `scenarios/` are played against every adapter, so nothing in them belongs to one platform. Upstreams
//! are named by host: `http://one` in a configuration is the scripted upstream `one`, and `{one}` in an expectation
//! is the authority it is reached at.

mod client;
mod expect;
pub mod parity;
mod play_cloudflare;
mod play_core;
mod play_proxy;
mod play_spin;
mod scene;
pub(crate) mod store;
pub(crate) mod token;
mod upstream;

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use serde::Deserialize;
use serde_json::Value;

pub(crate) use client::{CLOCK_HEADER, clock};
pub use play_cloudflare::Stage as Cloudflare;
pub use play_core::play as play_on_core;
pub(crate) use play_proxy::EventLog;
pub use play_proxy::play as play_on_proxy;
pub use play_spin::Stage as Spin;

/// The wall time at which every case starts: 2026-01-01T00:00:00Z, the start of every window up to a day.
pub const START_WALL_US: u64 = 1_767_225_600_000_000;
/// The monotonic time at which every case starts.
pub const START_MONO_US: u64 = 1_000_000_000;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    /// What the scenarios of this file show.
    #[allow(dead_code, reason = "for readers of the file")]
    about: String,
    #[serde(default)]
    config: Value,
    #[serde(default)]
    #[allow(dead_code, reason = "they are in place by the time the file is read")]
    tokens: BTreeMap<String, token::Token>,
    cases: Vec<Case>,
}

/// One story, told to a fresh gateway.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Case {
    /// The behaviour shown; prefixed with the file's name once loaded.
    pub name: String,
    /// Merged over the file's configuration.
    #[serde(default)]
    pub config: Value,
    /// Platforms that cannot play it, each with the reason.
    #[serde(default)]
    pub skip: BTreeMap<String, String>,
    pub exchanges: Vec<Exchange>,
}

/// One request and all that comes of it.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Exchange {
    /// Milliseconds since the start of the case; by default the time of the exchange before.
    pub at_ms: Option<u64>,
    /// Sends the exchange this often, with the same expectations.
    #[serde(default = "once")]
    pub times: u32,
    /// `METHOD target`.
    pub request: String,
    #[serde(default)]
    pub headers: Headers,
    /// `Host`; an empty one sends none.
    #[serde(default = "default_host")]
    pub host: String,
    #[serde(default = "default_client")]
    pub from: IpAddr,
    pub body: Option<String>,
    /// Sends the body without declaring its length.
    #[serde(default)]
    pub chunked: bool,
    /// What the upstreams see and do, in order.
    #[serde(default)]
    pub attempts: Vec<Attempt>,
    pub reply: Reply,
    /// Fields of the event's `data` that must be as given.
    #[serde(default)]
    pub event: BTreeMap<String, Value>,
}

/// Header fields in order; a value that is a list stands for several fields of the name.
pub type Headers = BTreeMap<String, Values>;

#[derive(Clone, Debug, Deserialize, PartialEq)]
#[serde(untagged)]
pub enum Values {
    One(String),
    Many(Vec<String>),
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Attempt {
    /// The upstream that must be called.
    pub at: String,
    /// `METHOD target` as it must arrive.
    pub sees: Option<String>,
    /// Headers it must see; `null` is absence.
    #[serde(default)]
    pub headers: Expected,
    pub body: Option<String>,
    /// Instead of an answer.
    pub fails: Option<Fault>,
    #[serde(default)]
    pub answer: Answer,
}

#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
pub enum Fault {
    /// Nobody listens.
    Connect,
    /// The connection is closed after the request's head.
    Reset,
    /// No answer ever comes.
    Silence,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Answer {
    pub status: u16,
    pub headers: Headers,
    pub body: String,
    /// Declares a longer body than it sends, then closes.
    pub breaks_off: bool,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Reply {
    pub status: u16,
    #[serde(default)]
    pub headers: Expected,
    pub body: Option<String>,
    /// Members of a JSON body that must be as given.
    pub json: Option<Value>,
    /// The body ends before its time.
    #[serde(default)]
    pub broken: bool,
}

/// Exact values by name: a string, a list for several fields, `null` for none, `<any>` for whatever is there.
pub type Expected = BTreeMap<String, Option<Values>>;

impl Default for Answer {
    fn default() -> Answer {
        Answer { status: 200, headers: Headers::new(), body: String::new(), breaks_off: false }
    }
}

impl Values {
    pub fn iter(&self) -> impl Iterator<Item = &str> {
        match self {
            Values::One(value) => std::slice::from_ref(value).iter().map(String::as_str),
            Values::Many(values) => values.iter().map(String::as_str),
        }
    }
}

impl Exchange {
    pub fn method_and_target(&self) -> Result<(&str, &str)> {
        self.request.split_once(' ').with_context(|| format!("{:?} is not `METHOD target`", self.request))
    }
}

/// All cases of the scenario files below `folder`, in the order of their names.
pub fn load(folder: &Path) -> Result<Vec<Case>> {
    let mut files = Vec::new();
    collect(folder, &mut files)?;
    files.sort();
    ensure!(!files.is_empty(), "no scenario below {}", folder.display());
    let mut cases = Vec::new();
    for path in files {
        let name = path.strip_prefix(folder)?.with_extension("");
        let text = std::fs::read_to_string(&path)?;
        let text = token::fill(&text, folder).with_context(|| path.display().to_string())?;
        let file: File = serde_saphyr::from_str(&text).with_context(|| path.display().to_string())?;
        for case in file.cases {
            let mut config = file.config.clone();
            merge(&mut config, case.config);
            cases.push(Case { name: format!("{}: {}", name.display(), case.name), config, ..case });
        }
    }
    Ok(cases)
}

fn collect(folder: &Path, files: &mut Vec<PathBuf>) -> Result<()> {
    for entry in std::fs::read_dir(folder).with_context(|| folder.display().to_string())? {
        let path = entry?.path();
        if path.is_dir() {
            collect(&path, files)?;
        } else if path.extension().is_some_and(|extension| extension == "yaml") {
            files.push(path);
        }
    }
    Ok(())
}

/// Merges `over` into `base`, mapping by mapping (RFC 7396).
fn merge(base: &mut Value, over: Value) {
    match (base, over) {
        (Value::Object(base), Value::Object(over)) => {
            for (key, value) in over {
                match value {
                    Value::Null => drop(base.remove(&key)),
                    value => merge(base.entry(key).or_insert(Value::Null), value),
                }
            }
        }
        (_, Value::Null) => {}
        (base, over) => *base = over,
    }
}

fn once() -> u32 {
    1
}

fn default_host() -> String {
    "api.example".to_owned()
}

/// TEST-NET-1 (RFC 5737): nobody's address, and trusted by no default.
fn default_client() -> IpAddr {
    IpAddr::from([192, 0, 2, 10])
}
