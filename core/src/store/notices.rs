//! What nodes tell each other through the store.

use super::answer::AnswerError;
use super::value::Value;

/// Notices that one call carries each way.
pub const NOTICES_PER_CALL_MAX: usize = 256;
/// The set of notices is kept for at least this long after the latest, in milliseconds.
pub const NOTICES_TTL_MIN_MS: u64 = 60_000;

/// Something every node should know for a while.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notice {
    /// How long it holds, counted by the store's clock.
    pub life_us: u64,
    pub text: String,
}

/// Says `notices` to the others and asks what they said since `seen`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exchange {
    /// From the last answer; 0 hears everything.
    pub seen: u64,
    /// At most [`NOTICES_PER_CALL_MAX`].
    pub notices: Vec<Notice>,
}

/// What came of an exchange.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Heard {
    pub seen: u64,
    /// In the order in which they were said, one's own among them. Of as many as one call carries there may be more.
    pub notices: Vec<Notice>,
}

impl Exchange {
    pub(super) fn ttl_ms(&self) -> u64 {
        let longest = self.notices.iter().map(|notice| notice.life_us.div_ceil(1_000)).max();
        longest.unwrap_or(0).max(NOTICES_TTL_MIN_MS)
    }
}

impl Heard {
    /// # Errors
    ///
    /// The store's own error, or an answer that the script cannot have given.
    pub fn read(value: &Value) -> Result<Heard, AnswerError> {
        let values = match value {
            Value::Array(values) => values,
            Value::Error(message) => return Err(AnswerError::Refused(message.clone())),
            _ => return Err(AnswerError::Shape),
        };
        let number = |value: &Value| match value {
            Value::Integer(number) => u64::try_from(*number).map_err(|_| AnswerError::Shape),
            _ => Err(AnswerError::Shape),
        };
        let [_, seen, rest @ ..] = values.as_slice() else { return Err(AnswerError::Shape) };
        let (pairs, []) = rest.as_chunks::<2>() else { return Err(AnswerError::Shape) };
        let notice = |[life, text]: &[Value; 2]| match text {
            Value::Text(text) => {
                Ok(Notice { life_us: number(life)?, text: String::from_utf8_lossy(text).into_owned() })
            }
            _ => Err(AnswerError::Shape),
        };
        Ok(Heard { seen: number(seen)?, notices: pairs.iter().map(notice).collect::<Result<_, _>>()? })
    }
}
