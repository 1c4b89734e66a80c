//! A CloudEvent (1.0, JSON format) as a relay checks it and a broker gets it. Pure: it borrows the event's text.

use std::borrow::Cow;
use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, Error as _, MapAccess, Visitor};
use serde_json::value::RawValue;

/// Attributes of one event.
const ATTRIBUTES_MAX: usize = 32;
/// Bytes of an attribute's name.
const NAME_BYTES_MAX: usize = 64;
/// Bytes of an attribute's value.
const VALUE_BYTES_MAX: usize = 1_024;
/// What an event's type begins with, before its kind and its version.
const TYPE_PREFIX: &str = "dev.tollgate.";

/// What an event is about, which says where it goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Api,
    User,
    Audit,
}

#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Envelope<'a> {
    pub(crate) id: Cow<'a, str>,
    pub(crate) source: Cow<'a, str>,
    pub(crate) kind: Kind,
    /// Within a boot epoch the source numbers its events.
    pub(crate) position: Option<Position>,
    /// Every attribute, those above included, as their text.
    pub(crate) attributes: Vec<(Cow<'a, str>, Cow<'a, str>)>,
    /// JSON.
    pub(crate) data: &'a str,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Position {
    pub(crate) epoch: u64,
    pub(crate) sequence: u64,
}

/// Why a text is not an event of ours. Whoever sent it reads this.
#[derive(Debug, thiserror::Error)]
pub(crate) enum EnvelopeError {
    #[error("is not a CloudEvent in JSON: {0}")]
    Json(#[from] serde_json::Error),
    #[error("has no `{0}`")]
    Missing(&'static str),
    #[error("has the specversion `{0}`; `1.0` is the one taken here")]
    Version(String),
    #[error("is of type `{0}`; taken here are `dev.tollgate.api.v1` and others of `api`, `user` and `audit`")]
    Type(String),
    #[error("has data of the type `{0}`; only application/json is taken here")]
    ContentType(String),
    #[error("has only one of `bootepoch` and `sequence`, or one that is not a number")]
    Position,
}

impl<'a> Envelope<'a> {
    pub(crate) fn parse(text: &'a str) -> Result<Envelope<'a>, EnvelopeError> {
        let Members { attributes, data } = serde_json::from_str(text)?;
        let find = |name: &str| attributes.iter().find(|(found, _)| found == name).map(|(_, value)| value);
        let required = |name: &'static str| {
            find(name).filter(|value| !value.is_empty()).ok_or(EnvelopeError::Missing(name))
        };
        let version = required("specversion")?;
        if version != "1.0" {
            return Err(EnvelopeError::Version(version.to_string()));
        }
        let id = required("id")?.clone();
        let source = required("source")?.clone();
        let name = required("type")?;
        let kind = kind(name).ok_or_else(|| EnvelopeError::Type(name.to_string()))?;
        if let Some(content) = find("datacontenttype").filter(|content| *content != "application/json") {
            return Err(EnvelopeError::ContentType(content.to_string()));
        }
        let position = match (find("bootepoch"), find("sequence")) {
            (None, None) => None,
            (Some(epoch), Some(sequence)) => match (epoch.parse(), sequence.parse()) {
                // The numbers are nobody's to count with at the far end.
                (Ok(epoch), Ok(sequence)) if sequence < u64::MAX => Some(Position { epoch, sequence }),
                _ => return Err(EnvelopeError::Position),
            },
            _ => return Err(EnvelopeError::Position),
        };
        let data = data.ok_or(EnvelopeError::Missing("data"))?;
        Ok(Envelope { id, source, kind, position, attributes, data })
    }

    /// What keeps records in order that belong together: the tenant, else the user, else the source.
    pub(crate) fn key(&self) -> Cow<'a, str> {
        #[derive(Deserialize)]
        struct Whose<'a> {
            #[serde(borrow)]
            tenant: Option<Cow<'a, str>>,
            #[serde(borrow)]
            user_id: Option<Cow<'a, str>>,
        }
        let whose: Option<Whose<'a>> = serde_json::from_str(self.data).ok();
        whose.and_then(|whose| whose.tenant.or(whose.user_id)).unwrap_or_else(|| self.source.clone())
    }
}

/// `dev.tollgate.<kind>.v<number>`.
fn kind(name: &str) -> Option<Kind> {
    let (kind, version) = name.strip_prefix(TYPE_PREFIX)?.split_once(".v")?;
    version.parse::<u16>().ok()?;
    match kind {
        "api" => Some(Kind::Api),
        "user" => Some(Kind::User),
        "audit" => Some(Kind::Audit),
        _ => None,
    }
}

/// The members of the JSON object.
struct Members<'a> {
    attributes: Vec<(Cow<'a, str>, Cow<'a, str>)>,
    data: Option<&'a str>,
}

#[derive(Deserialize)]
struct Text<'a>(#[serde(borrow)] Cow<'a, str>);

impl<'de> Deserialize<'de> for Members<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Members<'de>, D::Error> {
        deserializer.deserialize_map(MembersVisitor)
    }
}

struct MembersVisitor;

impl<'de> Visitor<'de> for MembersVisitor {
    type Value = Members<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Members<'de>, A::Error> {
        let mut members = Members { attributes: Vec::with_capacity(12), data: None };
        while let Some(Text(name)) = map.next_key()? {
            let value = map.next_value::<&RawValue>()?.get();
            if name == "data" {
                if members.data.replace(value).is_some() {
                    return Err(A::Error::custom("`data` is there twice"));
                }
                continue;
            }
            // CloudEvents 1.0 §3.1: an attribute that is null is one that is not there.
            if value == "null" {
                continue;
            }
            is_name(&name).map_err(A::Error::custom)?;
            if members.attributes.len() == ATTRIBUTES_MAX {
                return Err(A::Error::custom(format_args!(
                    "there are more than {ATTRIBUTES_MAX} attributes"
                )));
            }
            if members.attributes.iter().any(|(other, _)| *other == name) {
                return Err(A::Error::custom(format_args!("`{name}` is there twice")));
            }
            let value =
                attribute(value).map_err(|error| A::Error::custom(format_args!("`{name}` {error}")))?;
            members.attributes.push((name, value));
        }
        Ok(members)
    }
}

/// CloudEvents 1.0 §3.1.
fn is_name(name: &str) -> Result<(), String> {
    let allowed = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    match (1..=NAME_BYTES_MAX).contains(&name.len()) && name.bytes().all(allowed) {
        true => Ok(()),
        false => Err("an attribute's name is up to 64 lower-case letters and digits".to_owned()),
    }
}

/// A string, a number or a Boolean, as its text (CloudEvents 1.0 §3.1.1).
fn attribute(raw: &str) -> Result<Cow<'_, str>, String> {
    let value = match raw.as_bytes().first() {
        Some(b'"') => serde_json::from_str::<Text<'_>>(raw).map_err(|error| error.to_string())?.0,
        Some(b'{' | b'[') => return Err("is not a string, a number or a Boolean".to_owned()),
        _ => Cow::Borrowed(raw),
    };
    match value.len() > VALUE_BYTES_MAX || value.contains(char::is_control) {
        false => Ok(value),
        true => Err(format!("has control characters, or more than {VALUE_BYTES_MAX} bytes")),
    }
}

#[cfg(test)]
mod tests;
