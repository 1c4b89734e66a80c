//! What a route changes of a request and its response, always or under a condition.

#[cfg(feature = "yaml")]
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize, Serializer, de};

use super::{Brief, FromBrief, Named, OneOrMany};

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "yaml", derive(JsonSchema))]
#[serde(deny_unknown_fields, default)]
pub struct Rewrite {
    /// The path to forward, with variables of the route's as `{name}`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// Segments to take off the front of the path.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub strip_prefix: Option<String>,
    pub request_headers: HeaderEdits,
    pub response_headers: HeaderEdits,
    pub query: QueryEdits,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "yaml", derive(JsonSchema))]
#[serde(deny_unknown_fields, default)]
pub struct HeaderEdits {
    /// Taken away first.
    pub remove: OneOrMany<String>,
    /// Replaces what is there.
    #[serde(serialize_with = "without_credentials")]
    pub set: Named<String>,
    /// Joins what is there.
    #[serde(serialize_with = "without_credentials")]
    pub add: Named<String>,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "yaml", derive(JsonSchema))]
#[serde(deny_unknown_fields, default)]
pub struct QueryEdits {
    pub set: Named<String>,
    pub remove: OneOrMany<String>,
}

/// A rewrite that applies only when all of `when` holds.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "yaml", derive(JsonSchema))]
#[serde(deny_unknown_fields, default)]
pub struct Transform {
    pub when: When,
    /// Instead of the path so far, with variables of the route's as `{name}`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    pub request_headers: HeaderEdits,
    pub response_headers: HeaderEdits,
    pub query: QueryEdits,
}

/// Conditions, all of which must hold. Without any a transformation always applies.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "yaml", derive(JsonSchema))]
#[serde(deny_unknown_fields, default)]
pub struct When {
    /// Claims of the caller's token: the exact value, one member of a list, or nothing for any value.
    pub claims: Named<Option<String>>,
    /// Header fields of the request as it came: the exact value, or nothing for any value.
    pub headers: Named<Option<String>>,
    /// Statuses of the response: `404`, `5xx` or `200-299`. Only `response_headers` can depend on it.
    pub status: OneOrMany<Brief<Status>>,
}

/// Statuses from `first` to `last`, both included.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "yaml", derive(JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Status {
    pub first: u16,
    pub last: u16,
}

impl FromBrief for Status {
    const EXPECTED: &'static str = "a status such as 404, `5xx` or `200-299`";

    fn from_text<E: de::Error>(text: &str) -> Option<Result<Status, E>> {
        let (first, last) = match text.strip_suffix("xx") {
            Some(class) => (format!("{class}00"), format!("{class}99")),
            None => {
                let (first, last) = text.split_once('-').unwrap_or((text, text));
                (first.to_owned(), last.to_owned())
            }
        };
        Some(Ok(Status { first: first.parse().ok()?, last: last.parse().ok()? }))
    }

    fn from_integer(status: u64) -> Option<Status> {
        let status = u16::try_from(status).ok()?;
        Some(Status { first: status, last: status })
    }

    #[cfg(feature = "yaml")]
    fn brief_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": ["integer", "string"], "pattern": "^([1-5]xx|[1-5][0-9]{2}(-[1-5][0-9]{2})?)$" })
    }
}

/// A header that is set may carry the gateway's own credential to a service.
fn without_credentials<S: Serializer>(headers: &Named<String>, serializer: S) -> Result<S::Ok, S::Error> {
    const CREDENTIALS: [&str; 7] = ["auth", "cookie", "credential", "key", "password", "secret", "token"];
    let is_credential = |name: &str| CREDENTIALS.iter().any(|word| name.to_ascii_lowercase().contains(word));
    serializer.collect_map(headers.0.iter().map(|(name, value)| match is_credential(name) {
        true => (name, "[redacted]"),
        false => (name, value.as_str()),
    }))
}
