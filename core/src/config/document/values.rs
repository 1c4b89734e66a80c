//! The kinds of value a policy file is written in.

use std::borrow::Cow;
use std::fmt;
use std::marker::PhantomData;
use std::time::Duration;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{
    self, Deserializer, IntoDeserializer, MapAccess, SeqAccess, Visitor,
    value::{MapAccessDeserializer, SeqAccessDeserializer},
};
use serde::ser::{SerializeMap, Serializer};
use serde::{Deserialize, Serialize};

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

/// A mapping from names that the user chose, in the order of the file.
#[derive(Clone, Debug, PartialEq)]
pub struct Named<T>(pub Vec<(String, T)>);

/// A list, or its only item without the brackets.
#[derive(Clone, Debug, PartialEq)]
pub struct OneOrMany<T>(pub Vec<T>);

/// A mapping, or the one text or number that stands for most of it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Brief<T>(pub T);

/// What a short form stands for.
pub trait FromBrief: Sized {
    /// As in "expected a URL or a mapping".
    const EXPECTED: &'static str;
    fn from_text(text: &str) -> Option<Result<Self, String>>;
    fn from_integer(_: u64) -> Option<Self> {
        None
    }
    /// JSON Schema of the short form.
    fn brief_schema() -> Schema;
}

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
        let whole = units.into_iter().find(|(_, size)| millis > 0 && millis % size == 0);
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
        match units.into_iter().find(|(_, size)| self.0 > 0 && self.0 % size == 0) {
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

impl<T> Default for Named<T> {
    fn default() -> Named<T> {
        Named(Vec::new())
    }
}

impl<T> Default for OneOrMany<T> {
    fn default() -> OneOrMany<T> {
        OneOrMany(Vec::new())
    }
}

impl<T: Serialize> Serialize for Named<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.0.len()))?;
        for (name, value) in &self.0 {
            map.serialize_entry(name, value)?;
        }
        map.end()
    }
}

impl<T: Serialize> Serialize for OneOrMany<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.serialize(serializer)
    }
}

impl<T: Serialize> Serialize for Brief<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.serialize(serializer)
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Named<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Named<T>, D::Error> {
        struct Entries<T>(PhantomData<T>);
        impl<'de, T: Deserialize<'de>> Visitor<'de> for Entries<T> {
            type Value = Named<T>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a mapping")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Named<T>, A::Error> {
                let mut entries = Vec::new();
                while let Some(entry) = map.next_entry()? {
                    entries.push(entry);
                }
                Ok(Named(entries))
            }
        }
        deserializer.deserialize_map(Entries(PhantomData))
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for OneOrMany<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<OneOrMany<T>, D::Error> {
        struct Either<T>(PhantomData<T>);
        impl<'de, T: Deserialize<'de>> Visitor<'de> for Either<T> {
            type Value = OneOrMany<T>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("one value or a list")
            }
            fn visit_seq<A: SeqAccess<'de>>(self, seq: A) -> Result<OneOrMany<T>, A::Error> {
                Vec::deserialize(SeqAccessDeserializer::new(seq)).map(OneOrMany)
            }
            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<OneOrMany<T>, A::Error> {
                T::deserialize(MapAccessDeserializer::new(map)).map(|item| OneOrMany(vec![item]))
            }
            fn visit_str<E: de::Error>(self, text: &str) -> Result<OneOrMany<T>, E> {
                T::deserialize(text.into_deserializer()).map(|item| OneOrMany(vec![item]))
            }
            fn visit_u64<E: de::Error>(self, number: u64) -> Result<OneOrMany<T>, E> {
                T::deserialize(number.into_deserializer()).map(|item| OneOrMany(vec![item]))
            }
        }
        deserializer.deserialize_any(Either(PhantomData))
    }
}

impl<'de, T: Deserialize<'de> + FromBrief> Deserialize<'de> for Brief<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Brief<T>, D::Error> {
        struct Either<T>(PhantomData<T>);
        impl<'de, T: Deserialize<'de> + FromBrief> Visitor<'de> for Either<T> {
            type Value = Brief<T>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{} or a mapping", T::EXPECTED)
            }
            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Brief<T>, A::Error> {
                T::deserialize(MapAccessDeserializer::new(map)).map(Brief)
            }
            fn visit_str<E: de::Error>(self, text: &str) -> Result<Brief<T>, E> {
                match T::from_text(text) {
                    Some(result) => result.map(Brief).map_err(E::custom),
                    None => Err(E::invalid_type(de::Unexpected::Str(text), &self)),
                }
            }
            fn visit_u64<E: de::Error>(self, number: u64) -> Result<Brief<T>, E> {
                let unexpected = || E::invalid_type(de::Unexpected::Unsigned(number), &self);
                T::from_integer(number).map(Brief).ok_or_else(unexpected)
            }
        }
        deserializer.deserialize_any(Either(PhantomData))
    }
}

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

impl<T: JsonSchema> JsonSchema for Named<T> {
    fn inline_schema() -> bool {
        true
    }
    fn schema_name() -> Cow<'static, str> {
        format!("NamesOf{}", T::schema_name()).into()
    }
    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "object", "additionalProperties": generator.subschema_for::<T>() })
    }
}

impl<T: JsonSchema> JsonSchema for OneOrMany<T> {
    fn inline_schema() -> bool {
        true
    }
    fn schema_name() -> Cow<'static, str> {
        format!("OneOrMany{}", T::schema_name()).into()
    }
    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let item = generator.subschema_for::<T>();
        json_schema!({ "anyOf": [item.clone(), { "type": "array", "items": item }] })
    }
}

impl<T: JsonSchema + FromBrief> JsonSchema for Brief<T> {
    fn inline_schema() -> bool {
        true
    }
    fn schema_name() -> Cow<'static, str> {
        format!("Brief{}", T::schema_name()).into()
    }
    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        json_schema!({ "anyOf": [T::brief_schema(), generator.subschema_for::<T>()] })
    }
}
