//! The kinds of text and number a policy file is written in.

#[cfg(feature = "yaml")]
use std::borrow::Cow;
use std::fmt;
use std::time::Duration;

#[cfg(feature = "yaml")]
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{self, Deserializer, Visitor};
use serde::{Deserialize, Serialize, Serializer};

/// The longest time a file can name: 10 years of 366 days, so that microseconds fit wherever they are added up.
pub const TIMESPAN_MAX: Duration = Duration::from_secs(3660 * 86_400);

/// A length of time: `500ms`, `30s`, `1m`, `1h`, `30d`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Timespan(pub Duration);

/// A length of time as [`Timespan`] has it, or a number of seconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Seconds(pub Duration);

/// A number of bytes: `512`, `8KiB`, `10MiB`, `1GiB`; `KB`, `MB` and `GB` are powers of 1,000.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Size(pub u64);

/// Text that is never shown again. Give it as `${NAME}` or `${file:/run/secrets/name}`.
#[derive(Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(transparent)]
pub struct Secret(String);

impl Secret {
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[redacted]")
    }
}

impl Serialize for Secret {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str("[redacted]")
    }
}

impl Timespan {
    pub const fn from_millis(millis: u64) -> Timespan {
        Timespan(Duration::from_millis(millis))
    }

    pub const fn from_secs(seconds: u64) -> Timespan {
        Timespan(Duration::from_secs(seconds))
    }

    fn parse(text: &str) -> Result<Timespan, String> {
        let (number, unit) = split_unit(text);
        let millis_a_unit = match unit {
            "ms" => 1,
            "s" => 1_000,
            "m" => 60_000,
            "h" => 3_600_000,
            "d" => 86_400_000,
            _ => {
                return Err(format!(
                    "`{text}` is not a length of time; write `500ms`, `30s`, `5m`, `1h` or `30d`"
                ));
            }
        };
        let too_long = || format!("`{text}` is too long; at most {}", Timespan(TIMESPAN_MAX));
        let number: u64 = match number.parse() {
            Ok(number) => number,
            Err(_) if number.is_empty() => return Err(format!("`{text}` has no number; write `30s`")),
            Err(_) => return Err(too_long()),
        };
        number
            .checked_mul(millis_a_unit)
            .map(Duration::from_millis)
            .filter(|time| *time <= TIMESPAN_MAX)
            .map(Timespan)
            .ok_or_else(too_long)
    }
}

impl fmt::Display for Timespan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let millis = self.0.as_millis();
        let units = [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1_000), ("ms", 1)];
        let whole = units.into_iter().find(|(_, size)| millis > 0 && millis.is_multiple_of(*size));
        let (unit, size) = whole.unwrap_or(("s", 1_000));
        write!(f, "{}{unit}", millis / size)
    }
}

impl Size {
    fn parse(text: &str) -> Result<Size, String> {
        let (number, unit) = split_unit(text);
        let bytes_a_unit: u64 = match unit {
            "" | "B" => 1,
            "KiB" => 1 << 10,
            "MiB" => 1 << 20,
            "GiB" => 1 << 30,
            "KB" | "kB" => 1_000,
            "MB" => 1_000_000,
            "GB" => 1_000_000_000,
            _ => return Err(format!("`{text}` is not a size; write `8KiB`, `10MiB` or a number of bytes")),
        };
        let number = number.parse::<u64>().ok();
        number
            .and_then(|number| number.checked_mul(bytes_a_unit))
            .map(Size)
            .ok_or(format!("`{text}` is not a size that exists; write `8KiB`, `10MiB` or a number of bytes"))
    }
}

fn split_unit(text: &str) -> (&str, &str) {
    text.split_at(text.find(|byte: char| !byte.is_ascii_digit()).unwrap_or(text.len()))
}

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let units = [("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)];
        match units.into_iter().find(|(_, size)| self.0 > 0 && self.0.is_multiple_of(*size)) {
            Some((unit, size)) => write!(f, "{}{unit}", self.0 / size),
            None => write!(f, "{}", self.0),
        }
    }
}

impl Serialize for Timespan {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl Serialize for Seconds {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&Timespan(self.0))
    }
}

impl Serialize for Size {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Timespan {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Timespan, D::Error> {
        struct Text;
        impl Visitor<'_> for Text {
            type Value = Timespan;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a length of time with its unit, such as `30s` or `5m`")
            }
            fn visit_str<E: de::Error>(self, text: &str) -> Result<Timespan, E> {
                Timespan::parse(text).map_err(E::custom)
            }
        }
        deserializer.deserialize_any(Text)
    }
}

impl<'de> Deserialize<'de> for Seconds {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Seconds, D::Error> {
        struct TextOrSeconds;
        impl Visitor<'_> for TextOrSeconds {
            type Value = Seconds;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a number of seconds, or a length of time such as `1h`")
            }
            fn visit_u64<E: de::Error>(self, seconds: u64) -> Result<Seconds, E> {
                Timespan::parse(&format!("{seconds}s")).map(|time| Seconds(time.0)).map_err(E::custom)
            }
            fn visit_str<E: de::Error>(self, text: &str) -> Result<Seconds, E> {
                Timespan::parse(text).map(|time| Seconds(time.0)).map_err(E::custom)
            }
        }
        deserializer.deserialize_any(TextOrSeconds)
    }
}

impl<'de> Deserialize<'de> for Size {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Size, D::Error> {
        struct TextOrBytes;
        impl Visitor<'_> for TextOrBytes {
            type Value = Size;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a size such as `8KiB`, or a number of bytes")
            }
            fn visit_u64<E: de::Error>(self, bytes: u64) -> Result<Size, E> {
                Ok(Size(bytes))
            }
            fn visit_str<E: de::Error>(self, text: &str) -> Result<Size, E> {
                Size::parse(text).map_err(E::custom)
            }
        }
        deserializer.deserialize_any(TextOrBytes)
    }
}

#[cfg(feature = "yaml")]
impl JsonSchema for Timespan {
    fn inline_schema() -> bool {
        true
    }
    fn schema_name() -> Cow<'static, str> {
        "Timespan".into()
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "pattern": "^([0-9]+(ms|s|m|h|d)|.*\\$\\{.*)$" })
    }
}

#[cfg(feature = "yaml")]
impl JsonSchema for Seconds {
    fn inline_schema() -> bool {
        true
    }
    fn schema_name() -> Cow<'static, str> {
        "Seconds".into()
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": ["string", "integer"], "pattern": "^([0-9]+(ms|s|m|h|d)|.*\\$\\{.*)$", "minimum": 0 })
    }
}

#[cfg(feature = "yaml")]
impl JsonSchema for Size {
    fn inline_schema() -> bool {
        true
    }
    fn schema_name() -> Cow<'static, str> {
        "Size".into()
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": ["string", "integer"],
            "pattern": "^([0-9]+(B|KiB|MiB|GiB|KB|kB|MB|GB)?|.*\\$\\{.*)$",
            "minimum": 0
        })
    }
}

#[cfg(feature = "yaml")]
impl JsonSchema for Secret {
    fn inline_schema() -> bool {
        true
    }
    fn schema_name() -> Cow<'static, str> {
        "Secret".into()
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string" })
    }
}
