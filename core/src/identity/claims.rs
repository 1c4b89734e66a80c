//! What a token says, as its provider's rules read it.

use std::borrow::Cow;
use std::time::Duration;

use http::HeaderValue;
use serde_json::{Map, Value};

use super::unauthorized::Unauthorized;

const MICROS_PER_SECOND: i64 = 1_000_000;

/// The claims set of one token, in which no name occurs twice.
#[derive(Clone, Debug)]
pub(super) struct Claims(Map<String, Value>);

/// When a token counts, with its provider's leeway in it, in microseconds since the Unix epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Validity {
    /// The first moment that is too late.
    until_us: i64,
    /// The first moment that is not too early.
    from_us: i64,
}

impl Claims {
    pub(super) fn new(members: Map<String, Value>) -> Claims {
        Claims(members)
    }

    /// A registered claim that is a string where it is there at all (RFC 7519 section 4.1).
    pub(super) fn registered(&self, name: &str) -> Result<Option<&str>, Unauthorized> {
        match self.0.get(name) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text)),
            Some(_) => Err(Unauthorized::Claims),
        }
    }

    /// Whether `aud`, a string or an array of them (RFC 7519 section 4.1.3), holds one of `accepted`. Where nothing is
    /// accepted in particular, `aud` is not asked for.
    pub(super) fn audience_is_one_of(&self, accepted: &[String]) -> Result<bool, Unauthorized> {
        let is_accepted = |audience: &str| accepted.iter().any(|accepted| accepted == audience);
        let mut found = accepted.is_empty();
        match self.0.get("aud") {
            None => {}
            Some(Value::String(audience)) => found |= is_accepted(audience),
            Some(Value::Array(audiences)) => {
                for audience in audiences {
                    found |= is_accepted(audience.as_str().ok_or(Unauthorized::Claims)?);
                }
            }
            Some(_) => return Err(Unauthorized::Claims),
        }
        Ok(found)
    }

    /// From `exp`, without which a token would be good for ever, and `nbf`. `iat` only has to be a date: a token from
    /// the future is what `nbf` is for.
    pub(super) fn validity(&self, leeway: Duration) -> Result<Validity, Unauthorized> {
        let leeway_us = i64::try_from(leeway.as_micros()).unwrap_or(i64::MAX);
        let expires_us = self.date("exp")?.ok_or(Unauthorized::Claims)?;
        let not_before_us = self.date("nbf")?.unwrap_or(i64::MIN);
        self.date("iat")?;
        Ok(Validity {
            until_us: expires_us.saturating_add(leeway_us),
            from_us: not_before_us.saturating_sub(leeway_us),
        })
    }

    /// A claim by its literal name or, where there is none, by a path into nested objects: names of claims may hold
    /// dots themselves, as those that are URLs do.
    pub(super) fn find(&self, name: &str) -> Option<&Value> {
        self.0.get(name).or_else(|| {
            let mut steps = name.split('.');
            let first = self.0.get(steps.next()?)?;
            steps.try_fold(first, |value, step| value.as_object()?.get(step))
        })
    }

    /// A claim that is one value, as text.
    pub(super) fn text(&self, name: &str) -> Option<Cow<'_, str>> {
        scalar(self.find(name)?)
    }

    /// Whether there is a claim and, where a value is given, whether it is that value or an array with it.
    pub(super) fn has(&self, name: &str, value: Option<&str>) -> bool {
        let Some(found) = self.find(name) else { return false };
        let is_it = |found: &Value| value.is_none_or(|value| scalar(found).is_some_and(|text| text == value));
        value.is_none() || is_it(found) || found.as_array().is_some_and(|items| items.iter().any(is_it))
    }

    /// The words of a claim that is an array, or a string in which `is_separator` stands between them.
    pub(super) fn words(&self, name: &str, is_separator: fn(char) -> bool) -> Vec<String> {
        match self.find(name) {
            Some(Value::String(text)) => {
                text.split(is_separator).filter(|word| !word.is_empty()).map(str::to_owned).collect()
            }
            Some(Value::Array(items)) => items
                .iter()
                .filter_map(Value::as_str)
                .filter(|word| !word.is_empty())
                .map(str::to_owned)
                .collect(),
            _ => Vec::new(),
        }
    }

    /// A claim as a service sees it in a header; lists are joined by commas. `None` where that could not be read
    /// back: objects, control characters, and list items that hold a comma.
    pub(super) fn header(&self, name: &str) -> Option<HeaderValue> {
        let text = match self.find(name)? {
            Value::Array(items) => {
                let item = |item| scalar(item).filter(|text| !text.contains(','));
                items.iter().map(item).collect::<Option<Vec<_>>>()?.join(",").into()
            }
            value => scalar(value)?,
        };
        HeaderValue::from_bytes(text.as_bytes()).ok()
    }

    /// A NumericDate (RFC 7519 section 2) in microseconds; what is beyond a date's range is its edge.
    fn date(&self, name: &str) -> Result<Option<i64>, Unauthorized> {
        let number = match self.0.get(name) {
            None => return Ok(None),
            Some(Value::Number(number)) => number,
            Some(_) => return Err(Unauthorized::Claims),
        };
        let us = match (number.as_i64(), number.as_f64()) {
            (Some(seconds), _) => seconds.saturating_mul(MICROS_PER_SECOND),
            // A cast from a float saturates.
            (None, Some(seconds)) => (seconds * MICROS_PER_SECOND as f64).round() as i64,
            (None, None) => return Err(Unauthorized::Claims),
        };
        Ok(Some(us))
    }
}

impl Validity {
    pub(super) fn check(self, wall_us: u64) -> Result<(), Unauthorized> {
        let now_us = i64::try_from(wall_us).unwrap_or(i64::MAX);
        if now_us >= self.until_us {
            return Err(Unauthorized::Expired);
        }
        if now_us < self.from_us {
            return Err(Unauthorized::NotYetValid);
        }
        Ok(())
    }
}

fn scalar(value: &Value) -> Option<Cow<'_, str>> {
    match value {
        Value::String(text) => Some(Cow::Borrowed(text)),
        Value::Number(number) => Some(Cow::Owned(number.to_string())),
        Value::Bool(truth) => Some(Cow::Borrowed(if *truth { "true" } else { "false" })),
        _ => None,
    }
}
